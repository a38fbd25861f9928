"""What is measured. Each scenario is a function that starts switches (`bench.alternate`) and records cells.

`SCENARIOS` says for each what its columns are; the first one is compared between switches (fewer is better, but for
`mpps`, which is never compared).
"""

import subprocess
import time
from dataclasses import dataclass, replace

import host
from generators import Load, Rspktgen
from host import Failed, Program, run
from rules import acl_rules, explosion_pcap, explosion_rules, many_rules, tuple_rules
from switches import NORMAL, PORT_RULES, Setup

THROUGHPUT = ("cycles", "mpps", "busy")
RINGS = ("split", "packed")


def small(bench):
    """64 B and 1500 B, both ways between two guests, port to port: the table of `benches/vs-ovs`."""
    for turn in bench.alternate(Setup()):
        for size in ("64", "1500"):
            for ring in RINGS:
                turn.load(f"{size} B {ring}", Load(size=size, ring=ring))


def sizes(bench):
    """Frame sizes, both ways between two guests, port to port."""
    for setup, list_of in ((Setup(), "64 128 256 512 1024 1500 imix"), (Setup(mtu=9100), "9000")):
        for turn in bench.alternate(setup):
            for size in list_of.split():
                for ring in RINGS:
                    turn.load(f"{size}{' B' if size != 'imix' else ''} {ring}", Load(size=size, ring=ring))


def mrg(bench):
    """Mergeable receive buffers on and off."""
    for turn in bench.alternate(Setup()):
        for size in ("64", "1500"):
            for ring in RINGS:
                for on in (False, True):
                    load = Load(size=size, ring=ring, mrg=on)
                    turn.load(f"{size} B {ring} mrg {'on' if on else 'off'}", load)


def macs(bench):
    """Learning bridge (NORMAL), 64 B packed, so many flows each with two addresses of its own."""
    for flows in (1, 1000, 100_000, 1_000_000):
        # Both ways, so half the flows go each way. Every address must fit; 2^20 is the most that ringswitch takes.
        each = max(flows // 2, 1)
        setup = Setup(rules=NORMAL, mac_table=min(max(8192, 4 * each), 1 << 20))
        many = flows > 1000
        load = Load(ring="packed", flows=each, vary="src-mac,dst-mac", warmup=8.0 if many else 0.5)
        for turn in bench.alternate(setup, rounds=1 if many else None):
            turn.load(f"{flows:,} flows".replace(",", " "), load)


def tuples(bench):
    """Rules that look at all of the 5-tuple, 64 B packed, so many flows."""
    for turn in bench.alternate(Setup(rules=tuple_rules()), rounds=2):
        for flows in (1, 1000, 100_000, 1_000_000):
            load = Load(ring="packed", flows=max(flows // 2, 1), warmup=6.0 if flows > 1000 else 0.5)
            turn.load(f"{flows:,} flows".replace(",", " "), load)


def acl(bench):
    """10 000 rules with 50 masks, 64 B packed, so many 5-tuple flows."""
    for turn in bench.alternate(Setup(rules=acl_rules(10_000, 50)), rounds=2):
        for flows in (1, 1000, 100_000):
            load = Load(ring="packed", flows=max(flows // 2, 1), warmup=6.0 if flows > 1000 else 0.5)
            turn.load(f"{flows:,} flows".replace(",", " "), load)


def ports(bench):
    """One busy pair (64 B packed) among so many ports of one worker; the others' guests are connected and silent."""
    for count in (2, 8, 16, 32, 64):
        for turn in bench.alternate(Setup(guests=count)):

            def measure(switch, count=count):
                generator = Rspktgen(bench.place)
                load = Load(ring="packed")
                with silent_guests(bench, switch, range(3, count + 1)):
                    generator.wake(switch, load)
                    return generator.measure(switch, load)

            turn.figure(f"{count} ports", measure, "rspktgen")


class silent_guests:
    """Guests that connect, bring their rings up and do nothing: an rspktgen that is stopped."""

    def __init__(self, bench, switch, numbers):
        guests = [word for n in numbers for word in ("--guest", f"{switch.socket(n)},packed,timeout=20")]
        command = [bench.place.programs / "rspktgen", *guests, "--rate", "1", "--duration", "600", "--no-learn"]
        self.program = Program("rspktgen-silent", command, [bench.place.generator_cpu]) if guests else None

    def __enter__(self):
        if self.program:
            time.sleep(2.0)
            self.program.check()
            self.program.child.send_signal(19)  # SIGSTOP; Program.stop continues it

    def __exit__(self, *_):
        if self.program:
            self.program.stop()


def explosion(bench):
    """An honest pair (20 000 flows) beside a sender of frames that make as many masks as the rules allow (tuple-space
    explosion). `kept` is the honest pair's rate with the attack for its rate without."""
    path = host.directory() / "explosion.pcap"
    explosion_pcap(path)
    for turn in bench.alternate(Setup(guests=3, rules=explosion_rules()), rounds=2):

        def measure(switch):
            generator = Rspktgen(bench.place)
            load = Load(ring="packed", flows=10_000, vary="src-port", warmup=2.0, seconds=2.0)
            generator.wake(switch, load)
            alone = generator.measure(switch, load)
            command = [bench.place.programs / "rspktgen", "--guest", f"{switch.socket(3)},packed", "--no-learn"]
            command += ["--pcap", path, "--duration", "120", "--cores", bench.place.generator_cpu, "--rate"]
            attack = Program("rspktgen-attack", ["nice", "-n", "19", *command, "10K"])
            try:
                time.sleep(4.0)
                attack.check()
                beside = generator.measure(switch, load)
                attack.check()
            finally:
                attack.stop()
            # The attacker takes its share of the generator's core, not of the switch's: cycles tell, rates only hint.
            kept = 100.0 * alone["cycles"] / beside["cycles"]
            return {"cycles": beside["cycles"], "alone": alone["cycles"], "kept": kept, "mpps": beside["mpps"]}

        turn.figure("honest pair under attack", measure, "rspktgen")


def latency(bench):
    """Round trip of 64 B packed frames at parts of what goes through without loss in a closed loop."""
    for turn in bench.alternate(Setup()):

        def measure(switch, part):
            generator = Rspktgen(bench.place)
            load = Load(ring="packed")
            if not hasattr(switch, "closed"):
                generator.wake(switch, load)
                switch.closed = generator.measure(switch, load)["mpps"] * 1e6
            rate = max(int(switch.closed / 2 * part / 100), 1)
            load = replace(load, window=0, warmup=0)
            report = generator.run(switch, load, "--bidir", "--latency", "--rate", rate)
            found = report.get("latency_us") or {}
            if not found:
                raise Failed("no frame came back with a time stamp")
            values = {name: found[name] for name in ("p50", "p99", "p99_9")}
            return {**values, "lost": 100 * report["loss"], "mpps": report["total"]["rx_pps"] / 1e6}

        for part in (10, 50, 90):
            turn.figure(f"at {part} %", lambda switch, part=part: measure(switch, part), "rspktgen")


def wakeup(bench):
    """A frame every 200 ms, each the first after an idle time, and the CPU that an idle switch takes."""
    for turn in bench.alternate(Setup(sleeps=True)):

        def measure(switch):
            generator = Rspktgen(bench.place)
            load = Load(ring="packed", window=0, warmup=0, seconds=4.0)
            generator.wake(switch, Load(ring="packed"))
            report = generator.run(switch, load, "--latency", "--rate", "5")
            found = report.get("latency_us")
            if not found:
                raise Failed("no frame came back with a time stamp")
            with silent_guests(bench, switch, (1, 2)):
                before = switch.program.cpu_seconds()
                time.sleep(3.0)
                idle = (switch.program.cpu_seconds() - before) / 3.0
            return {"p50": found["p50"], "max": found["max"], "idle_cpu": 100 * idle}

        turn.figure("first frame after idle", measure, "rspktgen")


def loading(bench):
    """100 000 flows loaded through the command line tool, and one more; memory that each takes, and each port."""
    rules = many_rules(100_000)
    for turn in bench.alternate(Setup(rules=PORT_RULES), only=("ringswitch", "ovs-dpdk"), rounds=1):

        def measure(switch):
            rss, cpu, start = switch.program.rss_bytes(), switch.program.cpu_seconds(), time.monotonic()
            switch.load(rules, timeout=300)
            took, used = time.monotonic() - start, switch.program.cpu_seconds() - cpu
            grown = switch.program.rss_bytes() - rss
            start = time.monotonic()
            switch.load(["priority=7,tcp,nw_dst=192.0.2.1,actions=drop"])
            one = time.monotonic() - start
            return {"s": took, "cpu_s": used, "bytes_per_flow": grown / len(rules), "one_more_ms": 1e3 * one}

        turn.figure("100 000 flows", measure)
    for turn in bench.alternate(Setup(), only=("ringswitch", "ovs-dpdk"), rounds=1):

        def measure_ports(switch):
            rss = switch.program.rss_bytes()
            switch.stop()
            switch.start(Setup(guests=34))
            return {"kib_per_port": (switch.program.rss_bytes() - rss) / 32 / 1024}

        turn.figure("a port without guest", measure_ports)


def nic(bench):
    """Over AF_XDP on a veth pair: the generator's end is a packet socket, so it is the slower side; cycles tell."""
    makers = {
        "guest and NIC": (Setup(guests=1, netdevs=("rsb0",), rules=PORT_RULES), 1, ("rsb1",)),
        "NIC and NIC": (Setup(guests=0, netdevs=("rsb0", "rsb2"), rules=PORT_RULES), 0, ("rsb1", "rsb3")),
    }
    for case, (setup, guests, stations) in makers.items():
        for turn in bench.alternate(setup, only=("ringswitch", "ovs-dpdk")):
            for size in ("64", "1500"):

                def measure(switch, size=size):
                    load = Load(size=size, ring="packed", guests=guests, netdevs=stations, window=128)
                    return Rspktgen(bench.place).measure(switch, load)

                with veths(setup.netdevs, stations):
                    turn.figure(f"{case} {size} B", measure, "rspktgen")
                    turn.stop()


class veths:
    """Pairs of veths, one end for the switch and one for the generator, quiet: no IPv6, no ARP."""

    def __init__(self, ours, theirs):
        self.pairs = list(zip(ours, theirs))

    def __enter__(self):
        for ours, theirs in self.pairs:
            run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs])
            for name in (ours, theirs):
                run(["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"])
                run(["ip", "link", "set", name, "arp", "off", "up"])

    def __exit__(self, *_):
        for ours, _ in self.pairs:
            subprocess.run(["ip", "link", "del", ours], capture_output=True)


@dataclass(frozen=True)
class Scenario:
    run: object
    columns: tuple = THROUGHPUT

    @property
    def about(self):
        return " ".join(self.run.__doc__.split())


SCENARIOS = {
    "small": Scenario(small),
    "sizes": Scenario(sizes),
    "mrg": Scenario(mrg),
    "macs": Scenario(macs),
    "tuples": Scenario(tuples),
    "acl": Scenario(acl),
    "ports": Scenario(ports),
    "explosion": Scenario(explosion, ("cycles", "alone", "kept", "mpps")),
    "latency": Scenario(latency, ("p50", "p99", "p99_9", "mpps", "lost")),
    "wakeup": Scenario(wakeup, ("p50", "max", "idle_cpu")),
    "loading": Scenario(loading, ("s", "cpu_s", "bytes_per_flow", "one_more_ms", "kib_per_port")),
    "nic": Scenario(nic),
}
