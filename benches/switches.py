"""The switches: each is started with the same ports and rules, measured, and stopped.

A switch has ports that are vhost-user servers (`socket(n)`, n from 1), and behind them netdevs, as `Setup` says. `usage()`
tells what its core did since the start: packets, cycles spent on them, cycles left over.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import host
from host import Failed, Program, run

PORT_RULES = ("in_port=1,actions=output:2", "in_port=2,actions=output:1")
PROMPT = "testpmd> "
NORMAL = ("priority=0,actions=NORMAL",)


@dataclass(frozen=True)
class Setup:
    """What a switch is to look like."""

    guests: int = 2
    netdevs: int = 0  # veths, the generator at their other ends
    netdev_queues: int = 1
    workers: int = 1  # of two, the second one is on the generator's CPU
    rules: tuple = PORT_RULES
    mac_table: int = 8192
    flow_cache: int = 0  # entries of a worker's cache; 0: the default
    mtu: int = 1500
    sleeps: bool = False  # an idle ringswitch may sleep; others cannot
    halts: bool = True  # and the system may halt its CPU then

    def veths(self):
        """The pairs' names: the switch's end, the generator's end."""
        return [(f"rsb{n}", f"rsg{n}") for n in range(self.netdevs)]


@dataclass
class Usage:
    packets: int = 0
    busy_cycles: int = 0
    idle_cycles: int = 0

    def since(self, before):
        return Usage(*(getattr(self, name) - getattr(before, name) for name in ("packets", "busy_cycles", "idle_cycles")))


@dataclass
class Place:
    """Where things run and where programs are."""

    switch_cpu: int = 1
    generator_cpu: int = 0
    ovs_prefix: str = ""
    hugepages: bool = True
    seconds: float = 1.5  # that a measurement lasts
    programs: Path = field(default_factory=lambda: host.ROOT / "target" / "release")

    def part(self, name, timeout, *options):
        """What one of the programs in dataplane/benches says of two threads, one on each of these CPUs."""
        built = sorted((self.programs / "deps").glob(f"{name}-*[0-9a-f]"), key=lambda path: path.stat().st_mtime)
        if not built:
            raise Failed(f"not built (cargo bench --no-run -p ringswitch-dataplane --bench {name})")
        cpus = f"{self.generator_cpu},{self.switch_cpu}"
        return json.loads(run([built[-1], "--json", "--cpus", cpus, *options], timeout))


OURS = "ringswitch"


class Switch:
    name = ""
    program = None

    def __init__(self, place):
        self.place = place

    @property
    def dir(self):
        return host.directory() / self.name

    def plays(self, _setup):
        """False when it has no such ports or rules."""
        return True

    def socket(self, number):
        return self.dir / f"p{number}"

    def management(self):
        """The socket where ovs-ofctl finds the bridge."""
        return self.dir / "br0.mgmt"

    def load_by_openflow(self, rules, timeout=60):
        path = self.dir / "rules.txt"
        path.write_text("\n".join(rules) + "\n")
        run(["ovs-ofctl", "add-flows", f"unix:{self.management()}", path], timeout)

    def kernel_cycles(self):
        """What its core spent so far in the kernel, in system calls and in softirqs in between."""
        return int(self.program.busiest_thread_seconds()[1] * host.cycles_per_second()) if self.program else 0

    def stop(self):
        if self.program:
            self.program.stop()
            self.program = None
        for path in self.dir.glob("p[0-9]*"):
            path.unlink()


class Ringswitch(Switch):
    name = OURS

    def version(self):
        return run([self.place.programs / "ringswitchd", "--version"]).strip()

    def start(self, setup):
        port = '[bridges.br0.ports.{0}]\ntype = "{1}"\nofport_request = {2}\n{3}\n'
        ports = [port.format(f"p{n}", "vhost-user", n, f'path = "{self.socket(n)}"') for n in range(1, setup.guests + 1)]
        ports += [port.format(name, "afxdp", setup.guests + 1 + i, "") for i, (name, _) in enumerate(setup.veths())]
        cpus = [self.place.switch_cpu, self.place.generator_cpu][: setup.workers]
        cache = f"cache-entries = {setup.flow_cache}\n" if setup.flow_cache else ""
        awake = "" if setup.halts else "resume-latency-us = 0\n"
        config = (
            f'[workers]\ncpus = {cpus}\nidle = "{"sleep" if setup.sleeps else "spin"}"\n{cache}{awake}'
            f"[bridges.br0]\nmac-table-size = {setup.mac_table}\n" + "\n".join(ports)
        )
        path = self.dir / "switch.toml"
        path.write_text(config)
        command = [self.place.programs / "ringswitchd", "--socket", self.dir / "ctl", "--config", path]
        self.program = Program(self.name, command)
        self.program.wait_until("control socket", lambda: (self.dir / "ctl").exists() and self.socket_ready(setup))
        self.set_rules(setup.rules)

    def socket_ready(self, setup):
        return all(self.socket(n).exists() for n in range(1, setup.guests + 1))

    def ctl(self, *words, timeout=60):
        return run([self.place.programs / "rsctl", "--socket", self.dir / "ctl", "--json", *words], timeout)

    def limit(self, port, bits=0, packets=0):
        """What it sends too much of waits."""
        self.ctl("set", "interface", port, f"max_rate={bits}", f"max_packet_rate={packets}")

    def line_rate(self, port, bits):
        """What the port takes; the rest waits in the rings of those who send to it."""
        qos = ("--id=@line", "create", "qos", "type=linux-htb", f"other-config:max-rate={bits}")
        self.ctl("set", "port", port, "qos=@line", "--", *qos)

    def weights(self, weights):
        for pool, weight in weights.items():
            self.ctl("pool-set", pool, f"weight={weight}")

    def sorter(self, port, sorter):
        self.ctl("set", "interface", port, f"options:sorter={sorter}")

    def sorters(self, port):
        """Who sorts for each pool that the port knows."""
        pools = json.loads(self.ctl("pool-list"))
        return {pool["name"]: uplink for pool in pools for uplink in pool["sorting"] if uplink["uplink"] == port}

    def pool_filter(self, pool, mac):
        self.ctl("pool-set", pool, f"filters={mac}")

    def pin(self, port, cpu):
        """The worker of this CPU polls the port's first queue."""
        self.ctl("set", "interface", port, f"other_config:pmd-rxq-affinity=0:{cpu}")

    def sample(self, names, seconds):
        """`(time, bytes that each port's guest sent ...)` about once a millisecond."""
        request = b'{"jsonrpc":"2.0","id":1,"method":"dump-ports","params":{"bridge":"br0"}}\n'
        samples, end = [], time.monotonic() + seconds
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.dir / "ctl"))
            reply = control.makefile()
            while time.monotonic() < end:
                control.sendall(request)
                ports = {port["name"]: port["rx_bytes"] for port in json.loads(reply.readline())["result"]}
                samples.append((time.monotonic(), *(ports[name] for name in names)))
                time.sleep(0.0005)
        return samples

    def counts(self, name):
        """Packets and bytes that the port sent to its guest, packets that came from it and were dropped."""
        port = next(port for port in json.loads(self.ctl("dump-ports", "br0")) if port["name"] == name)
        return port["tx_packets"], port["tx_bytes"], sum(port["drops"].values())

    def set_rules(self, rules):
        self.ctl("del-flows", "br0")
        self.load(rules)

    def load(self, rules, timeout=60):
        path = self.dir / "rules.txt"
        path.write_text("\n".join(rules) + "\n")
        self.ctl("add-flows", "br0", path, timeout=timeout)

    def usage(self):
        worker = json.loads(self.ctl("worker-stats"))[0]
        return Usage(worker["packets"], worker["busy_cycles"], worker["idle_cycles"])


class Ovs(Switch):
    """OVS-DPDK: Debian's, or another build (`--ovs-prefix`), with a database of its own."""

    name = "ovs-dpdk"

    def path(self, name):
        prefix = self.place.ovs_prefix
        if prefix:
            return next((p for p in (f"{prefix}/{d}/{name}" for d in ("sbin", "bin")) if Path(p).exists()), name)
        # Debian's plain ovs-vswitchd has no DPDK; the package keeps this one beside it.
        return "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk" if name == "ovs-vswitchd" else name

    def version(self):
        text = run([self.path("ovs-vswitchd"), "--version"])
        return ", ".join(text.split("\n")[:2]).strip(", ")

    def environment(self):
        where = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(self.dir))
        return {**os.environ, **where}

    def start(self, setup):
        for old in self.dir.iterdir():
            old.unlink()
        schema = f"{self.place.ovs_prefix or '/usr'}/share/openvswitch/vswitch.ovsschema"
        if not Path(schema).exists():
            raise Failed("Open vSwitch is not installed (openvswitch-switch-dpdk)")
        run([self.path("ovsdb-tool"), "create", self.dir / "conf.db", schema])
        server = ["ovsdb-server", self.dir / "conf.db", f"--remote=punix:{self.dir}/db", f"--unixctl={self.dir}/dbctl"]
        self.server = Program("ovsdb-server", [self.path(server[0]), *server[1:]], env=self.environment())
        self.server.wait_until("database socket", (self.dir / "db").exists)
        # OVS adds --in-memory by itself, which --no-huge does not go with, unless --legacy-mem is there.
        huge = self.place.hugepages and host.free_hugepages() >= 512
        memory = "" if huge else " --no-huge --legacy-mem -m 1024"
        self.vsctl(
            "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:dpdk-lcore-mask={1 << self.place.generator_cpu:#x}",
            f"other_config:pmd-cpu-mask={1 << self.place.switch_cpu:#x}",
            f"other_config:dpdk-extra=--no-pci{memory}", "other_config:max-idle=60000",
            f"other_config:flow-limit={2_000_000}",
            *(["other_config:dpdk-socket-mem=1024"] if huge else []),
        )  # fmt: skip
        command = [self.path("ovs-vswitchd"), f"unix:{self.dir}/db", f"--unixctl={self.dir}/ctl"]
        self.program = Program(self.name, command, env=self.environment())
        self.program.wait_until("control socket", (self.dir / "ctl").exists)
        self.add_ports(setup)
        self.set_rules(setup.rules)

    def vsctl(self, *words):
        return run([self.path("ovs-vsctl"), f"--db=unix:{self.dir}/db", "--timeout=20", *words], 25)

    def add_ports(self, setup):
        words = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"]
        words += [f"other_config:mac-table-size={setup.mac_table}"]
        for n in range(1, setup.guests + 1):
            words += ["--", "add-port", "br0", f"p{n}", "--", "set", "interface", f"p{n}", "type=dpdkvhostuser"]
            words += [f"ofport_request={n}", f"mtu_request={setup.mtu}"]
        for i, (name, _) in enumerate(setup.veths()):
            words += ["--", "add-port", "br0", name, "--", "set", "interface", name, "type=afxdp"]
            words += [f"ofport_request={setup.guests + 1 + i}", "options:n_rxq=1"]
        self.vsctl(*words)
        self.program.wait_until("ports", lambda: all(self.socket(n).exists() for n in range(1, setup.guests + 1)))
        errors = self.vsctl("--bare", "--columns=error", "list", "interface").strip()
        if errors:
            raise Failed(f"ovs-dpdk: {errors.splitlines()[0]}")

    def line_rate(self, port, bits):
        """All that OVS has for userspace ports: a policer, which drops."""
        self.vsctl("clear", "port", port, "qos", "--", "--all", "destroy", "qos")
        qos = ("create", "qos", "type=egress-policer", f"other-config:cir={bits // 8}", f"other-config:cbs={bits // 800}")
        self.vsctl("set", "port", port, "qos=@line", "--", "--id=@line", *qos)

    def weights(self, _weights):
        """It has none."""

    def set_rules(self, rules):
        self.ofctl("del-flows")
        self.load(rules)

    def ofctl(self, verb, *words, timeout=60):
        return run([self.path("ovs-ofctl"), verb, f"unix:{self.management()}", *words], timeout)

    def load(self, rules, timeout=60):
        self.load_by_openflow(rules, timeout)

    def usage(self):
        text = run([self.path("ovs-appctl"), "-t", self.dir / "ctl", "dpif-netdev/pmd-stats-show"])
        pmd = re.search(r"pmd thread.*?(?=main thread|\Z)", text, re.S)
        numbers = {
            key: int(found[1]) if pmd and (found := re.search(rf"{key}: (\d+)", pmd[0])) else 0
            for key in ("packets received", "processing cycles", "idle cycles")
        }
        return Usage(*numbers.values())

    def stop(self):
        super().stop()
        if getattr(self, "server", None):
            self.server.stop()


class TestpmdIo(Switch):
    """DPDK's vhost library with nothing between its two ports: what a switch costs that does not switch."""

    name = "testpmd-io"

    def plays(self, setup):
        return setup.guests == 2 and not setup.netdevs and setup.rules in (PORT_RULES, NORMAL)

    def version(self):
        if not shutil.which("dpdk-testpmd"):
            raise Failed("dpdk-testpmd is not installed (dpdk-dev)")
        return f"DPDK {run(['dpkg-query', '-W', '-f', '${Version}', 'dpdk-dev'])}"

    def start(self, _setup):
        place = self.place
        huge = place.hugepages and host.free_hugepages() >= 256
        # Statistics are printed through a buffer that a file would only get when it is full.
        command = ["stdbuf", "-oL", "dpdk-testpmd", "--no-pci"]
        command += ["--lcores", f"0@{place.generator_cpu},1@{place.switch_cpu}"]
        command += ["--in-memory"] if huge else ["--no-huge"]
        command += ["-m", "512", "--no-telemetry", "--file-prefix=rsb-io"]
        command += [f"--vdev=eth_vhost{n - 1},iface={self.socket(n)}" for n in (1, 2)]
        command += ["--", "-i", "--nb-cores=1", "--total-num-mbufs=16384", "--forward-mode=io", "--auto-start"]
        command += ["--record-core-cycles", "--rxd=256", "--txd=256", "--no-mlockall"]
        self.program = Program(self.name, command, stdin=-1)
        self.program.wait_until("start", lambda: PROMPT in self.program.text(), 30)

    def usage(self):
        """testpmd counts cycles only of calls that found packets; how many it polled in vain follows from the clock."""
        said = len(self.program.text())
        self.program.say("show fwd stats all")
        self.program.wait_until("statistics", lambda: PROMPT in self.program.text()[said:], 5)
        found = re.search(r"\(total cycles=(\d+) / total \w+ packets=(\d+)\)", self.program.text()[said:])
        busy, packets = map(int, found.groups()) if found else (0, 0)
        return Usage(packets, busy, int(time.monotonic() * host.cycles_per_second()) - busy)


class LinuxBridge(Switch):
    """The kernel's bridge. It works in softirqs: those that take frames from the generator are steered to the switch's CPU."""

    name = "linux-bridge"
    setup = Setup()

    def plays(self, setup):
        return setup.guests == 0 and setup.netdevs == 2 and setup.rules in (PORT_RULES, NORMAL)

    def version(self):
        return f"Linux {platform.release()}"

    def start(self, setup):
        self.setup = setup
        run(["ip", "link", "add", "rsbr", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"])
        run(["sysctl", "-qw", "net.ipv6.conf.rsbr.disable_ipv6=1"])
        for ours, _ in setup.veths():
            run(["ip", "link", "set", ours, "master", "rsbr"])
            host.steer(ours, self.place.switch_cpu)
        run(["ip", "link", "set", "rsbr", "up"])

    def kernel_cycles(self):
        """All that it is."""
        return host.softirq_cycles(self.place.switch_cpu)

    def usage(self):
        """It is idle whenever its CPU is in no softirq."""
        links = (json.loads(run(["ip", "-j", "-s", "link", "show", name]))[0] for name, _ in self.setup.veths())
        packets = sum(link["stats64"]["rx"]["packets"] for link in links)
        busy = host.softirq_cycles(self.place.switch_cpu)
        return Usage(packets, busy, int(time.monotonic() * host.cycles_per_second()) - busy)

    def stop(self):
        with contextlib.suppress(Failed):
            run(["ip", "link", "del", "rsbr"])


SWITCHES = {switch.name: switch for switch in (Ringswitch, Ovs, TestpmdIo, LinuxBridge)}
