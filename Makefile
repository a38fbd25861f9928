# Everything here works on a fresh Debian 12 with Rust; `make packages` installs what else is needed.
CARGO ?= cargo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Needed to build (the XDP program and libxdp), to test, and to compare with Open vSwitch.
BUILD_PACKAGES := gcc libc6-dev make pkg-config m4 clang libelf-dev zlib1g-dev libbpf-dev
RUN_PACKAGES := iproute2 iputils-ping ethtool iperf3 tcpdump
TEST_PACKAGES := $(RUN_PACKAGES) dpdk-dev openvswitch-switch-dpdk python3-venv nftables

# Where the built programs are, and where `make install` puts them.
BIN ?= target/release
PREFIX ?= /usr/local
COMPLETIONS := bash-completion/completions zsh/site-functions fish/vendor_completions.d

.PHONY: help packages build demo test check openflow-suite bench bench-vs-ovs bench-count install
help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

packages: ## install the Debian packages that tests need
	@./configs/packages.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)

demo: ## build, run a switch with two guests (and a NIC when root), show what it does
	@./configs/packages.sh $(BUILD_PACKAGES) iproute2
	$(CARGO) build --release --bins --workspace
	@./configs/demo.sh

test: packages ## run every test; those that need root say when they are skipped
	$(CARGO) test --workspace

build: ## optimised programs in target/release
	$(CARGO) build --release --bins --workspace

check: ## formatting, lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

openflow-suite: packages build ## ovs-ofctl, os-ken's switch tests, simple_switch and Faucet over the switch (15 minutes)
	./tests/openflow/transcript
	./tests/openflow/controllers
	./tests/openflow/switch-suite --failures --expect

bench: packages ## everything that is measured, beside OVS-DPDK and testpmd, into docs/benchmarks.md (an hour)
	./benches/run --plots --update-docs

bench-vs-ovs: packages ## the small table, beside OVS-DPDK and testpmd (minutes)
	./benches/vs-ovs

bench-count: ## instructions per packet, counted
	@./configs/packages.sh $(BUILD_PACKAGES) valgrind
	./benches/count

install: build ## programs, unit file and completions (bash, zsh, fish) under PREFIX [/usr/local]
	install -D -m 755 $(BIN)/ringswitchd $(BIN)/rsctl $(BIN)/rspktgen -t $(DESTDIR)$(PREFIX)/bin
	install -D -m 644 configs/ringswitch.service -t $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed -i 's|/usr/local|$(PREFIX)|' $(DESTDIR)$(PREFIX)/lib/systemd/system/ringswitch.service
	install -D -m 644 configs/minimal.toml $(DESTDIR)/etc/ringswitch/ringswitch.toml.example
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS))
	$(BIN)/rsctl completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/rsctl
	$(BIN)/rsctl completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rsctl
	$(BIN)/rsctl completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rsctl.fish
