"""What is measured. Each scenario is a function that starts switches (`bench.alternate`) and records cells.

`SCENARIOS` says for each what its columns are; the first one is compared between switches (less is better).
"""

import signal
import time
from dataclasses import dataclass, replace
from statistics import median

import host
import sharing
from generators import Load, Rspktgen
from host import Failed, Program
from openflow import times_to_effect
from rules import acl_rules, exact_rules, explosion_pcap, explosion_rules, many_rules, tuple_rules
from switches import NORMAL, Setup

THROUGHPUT = ("cycles", "mpps", "busy")
RINGS = ("split", "packed")
VIRTUAL = ("ringswitch", "ovs-dpdk")  # switches with flow tables


def small(bench):
    """64 B and 1500 B, both ways between two guests, port to port: the table of `benches/vs-ovs`."""
    for turn in bench.alternate(Setup()):
        for size in ("64", "1500"):
            for ring in RINGS:
                turn.load(f"{size} B {ring}", Load(size=size, ring=ring))


def sizes(bench):
    """Frame sizes, between two guests, port to port; both ways unless the case says otherwise."""
    for setup, list_of in ((Setup(), "64 128 256 512 1024 1500 imix"), (Setup(mtu=9100), "9000")):
        for turn in bench.alternate(setup):
            for size in list_of.split():
                for ring in RINGS:
                    case = f"{size}{' B' if size != 'imix' else ''} {ring}"
                    turn.load(case, Load(size=size, ring=ring))
                    if size in ("64", "1500"):
                        turn.load(f"{case} one way", Load(size=size, ring=ring, one_way=True))


def touched(bench):
    """Frame sizes between two guests that write every frame they send and read every one they get; port to port, both ways. The
    floor's guests do so too."""
    for turn in bench.alternate(Setup()):
        for size in ("64", "512", "1500"):
            for ring in RINGS:
                turn.load(f"{size} B {ring}", Load(size=size, ring=ring, touch=True))


def mrg(bench):
    """Mergeable receive buffers on and off, both ways between two guests, port to port."""
    for turn in bench.alternate(Setup(), rounds=2):
        for size in ("64", "1500"):
            for ring in RINGS:
                for on in (False, True):
                    load = Load(size=size, ring=ring, mrg=on)
                    turn.load(f"{size} B {ring} mrg {'on' if on else 'off'}", load)


def counted(flows):
    return f"{flows:,} flow{'s' if flows > 1 else ''}".replace(",", " ")


def many_flows(turn, flows, vary, touch=False):
    """Half the flows each way."""
    # Guests come anew for a measurement, and some switches have to learn again what they remembered.
    warmup = 0.5 if flows <= 100_000 else 10.0
    load = Load(ring="packed", flows=max(flows // 2, 1), vary=vary, warmup=warmup, touch=touch)
    turn.load(counted(flows) + (", touched" if touch else ""), load)


def learning(bench):
    """Learning bridge (NORMAL) between two guests of one address each, 64 B packed, so many 5-tuple flows. The generator writes
    what differs into its frames when there are several flows, so these come from its CPU's cache, and a single flow's do not; where
    they are `touched` all frames are written and read by the guests."""
    for turn in bench.alternate(Setup(rules=NORMAL), rounds=5):
        for flows in (1, 1000, 100_000):
            many_flows(turn, flows, "src-ip,src-port")
            many_flows(turn, flows, "src-ip,src-port", touch=True)
    for turn in bench.alternate(Setup(rules=NORMAL), rounds=1):
        many_flows(turn, 1_000_000, "src-ip,src-port")


def macs(bench):
    """Learning bridge (NORMAL), 64 B packed, so many flows each with two MAC addresses of its own; `touched` as in `learning`."""
    for flows in (1, 1000, 100_000, 1_000_000):
        # Every address must fit; 2^20 is the most that ringswitch takes.
        setup = Setup(rules=NORMAL, mac_table=min(max(8192, 2 * flows), 1 << 20))
        for turn in bench.alternate(setup, rounds=1 if flows > 100_000 else 3):
            many_flows(turn, flows, "src-mac,dst-mac")
            if flows <= 100_000:
                many_flows(turn, flows, "src-mac,dst-mac", touch=True)


def tuples(bench):
    """Rules that look at all of the 5-tuple, 64 B packed, so many flows."""
    by_rules(bench, tuple_rules())


def acl(bench):
    """10 000 rules with 50 masks, 64 B packed, so many 5-tuple flows."""
    by_rules(bench, acl_rules(10_000, 50))


def by_rules(bench, rules):
    """From one flow to a million, in each direction; for the million, the operator has enlarged the cache."""
    for turn in bench.alternate(Setup(rules=rules), rounds=2):
        for flows in (1, 1000, 100_000):
            many_flows(turn, flows, "src-ip,src-port")
    for turn in bench.alternate(Setup(rules=rules, flow_cache=1 << 21), rounds=2):
        many_flows(turn, 1_000_000, "src-ip,src-port")


def flow_setup(bench):
    """New flows: 100 000 rules, each of one address and port, and one frame for each of them, which misses every cache;
    64 B packed. Cycles are those of a new flow."""
    flows = 100_000
    for turn in bench.alternate(Setup(rules=exact_rules(flows)), only=VIRTUAL):

        def measure(switch):
            generator = Rspktgen(bench.place)
            one = Load(ring="packed", one_way=True, warmup=0)
            generator.warm_up(switch, one)
            before = switch.usage()
            # Long enough for a switch that sets up 2 000 flows a second.
            report = generator.run(switch, replace(one, flows=flows), "--count", flows, seconds=50)
            usage = switch.usage().since(before)
            return {
                "cycles": usage.busy_cycles / max(usage.packets, 1),
                "kflows": report["total"]["rx_pps"] / 1e3,
                "lost": 100 * report["loss"],
            }

        turn.figure("100 000 new flows", measure, "rspktgen")


def ports(bench):
    """One busy pair (64 B packed) among so many ports of one worker; the others' guests are connected and silent."""
    for count in (2, 8, 16, 32, 64):
        for turn in bench.alternate(Setup(guests=count), rounds=2):

            def measure(switch, count=count):
                generator = Rspktgen(bench.place)
                load = Load(ring="packed")
                with silent_guests(bench, switch, range(3, count + 1)):
                    generator.warm_up(switch, load)
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
            self.program.child.send_signal(signal.SIGSTOP)  # Program.stop continues it

    def __exit__(self, *_):
        if self.program:
            self.program.stop()


def explosion(bench):
    """An honest pair (20 000 flows) beside a sender of frames that make as many masks as the rules allow (tuple-space
    explosion). Cycles are all that the switch was busy with, per frame of the pair; `kept` is what a frame cost without the
    attack for what it costs with it."""
    for turn in bench.alternate(Setup(guests=3, rules=explosion_rules()), rounds=2):

        def measure(switch):
            generator = Rspktgen(bench.place)
            load = Load(ring="packed", flows=10_000, vary="src-port", times=2.0)
            generator.warm_up(switch, load)
            alone = per_frame(generator.measure(switch, load))
            path = host.directory() / "explosion.pcap"
            explosion_pcap(path)
            command = [bench.place.programs / "rspktgen", "--guest", f"{switch.socket(3)},packed", "--no-learn"]
            command += ["--pcap", path, "--duration", "120", "--cores", bench.place.generator_cpu, "--rate"]
            attack = Program("rspktgen-attack", ["nice", "-n", "19", *command, "10K"])
            try:
                time.sleep(4.0)
                attack.check()
                values = generator.measure(switch, load)
                attack.check()
            finally:
                attack.stop()
            beside = per_frame(values)
            return {"cycles": beside, "alone": alone, "kept": 100.0 * alone / beside, "mpps": values["mpps"]}

        turn.figure("honest pair under attack", measure, "rspktgen")


def per_frame(values):
    """Cycles that the switch was busy for each frame that arrived; `cycles` counts a stranger's frames, too. The rate alone
    does not tell, for the stranger shares the generator's core."""
    return values["busy"] / 100 * host.cycles_per_second() / (values["mpps"] * 1e6)


def latency(bench):
    """Round trip of 64 B packed frames at parts of what goes through without loss in a closed loop, time stamps included."""
    for turn in bench.alternate(Setup()):
        closed = {}

        def measure(switch, part, closed=closed):
            generator = Rspktgen(bench.place)
            load = Load(ring="packed")
            if not closed:
                generator.warm_up(switch, load)
                closed.update(generator.run(switch, load, "--latency")["total"])
            rate = max(int(closed["rx_pps"] / 2 * part / 100), 1)
            report = generator.run(switch, replace(load, window=0, warmup=0), "--latency", "--rate", rate)
            found = report.get("latency_us") or {}
            if not found:
                raise Failed("no frame came back with a time stamp")
            values = {name: found[name] for name in ("p50", "p99", "p99_9")}
            return {**values, "lost": 100 * report["loss"], "mpps": report["total"]["rx_pps"] / 1e6}

        for part in (10, 50, 90):
            turn.figure(f"at {part} %", lambda switch, part=part, measure=measure: measure(switch, part), "rspktgen")


def shaping(bench):
    """A guest that sends as fast as it can and may send less (`max_rate`, `max_packet_rate`): how far what arrives is from
    that, over four seconds. The rest waits in the guest's ring; OVS could only drop it."""
    rates = [("1 Mbit/s", 1_000_000, 0), ("100 Mbit/s", 100_000_000, 0), ("1 Gbit/s", 1_000_000_000, 0)]
    rates += [("10 kpps", 0, 10_000), ("1 Mpps", 0, 1_000_000)]
    for turn in bench.alternate(Setup(), only=("ringswitch",), rounds=2):

        def measure(switch, size, bits, packets):
            switch.limit("p1", bits, packets)
            generator = Rspktgen(bench.place)
            load = Load(size=str(size), ring="packed", one_way=True, window=0)
            try:
                with generator.running(switch, load) as sender:
                    time.sleep(2.0)
                    start, before, dropped = time.monotonic(), switch.counts("p2"), switch.counts("p1")[2]
                    time.sleep(4.0)
                    took, after, dropped = time.monotonic() - start, switch.counts("p2"), switch.counts("p1")[2] - dropped
                    sender.check()
            finally:
                switch.limit("p1")
            arrived, got = after[0] - before[0], after[1] - before[1]
            rate, wanted = (got * 8 / took, bits) if bits else (arrived / took, packets)
            off, lost = 100.0 * abs(rate / wanted - 1), 100.0 * dropped / max(arrived + dropped, 1)
            return {"off": off, "rate": rate, "dropped": lost}

        for name, bits, packets in rates:
            for size in (64, 1500):
                case = f"{name}, {size} B"
                turn.figure(case, lambda s, z=size, b=bits, p=packets, m=measure: m(s, z, b, p), "rspktgen")


def wakeup(bench):
    """A frame every 200 ms, each the first after an idle time, and the CPU that an idle switch takes. A bare wake-up is that of a
    thread that sleeps in the same way and does nothing else, by the program `wakeup` in `dataplane/benches`, just after."""
    for turn in bench.alternate(Setup(sleeps=True)):
        sleeps = turn.switch.name == "ringswitch"
        turn.figure("first frame after idle", lambda s, z=sleeps: {**first_frames(bench, s, z), **idle(bench, s)}, "rspktgen")
    for turn in bench.alternate(Setup(sleeps=True, halts=False), only=("ringswitch",)):
        turn.figure("the same, CPU not halted", lambda s: {**first_frames(bench, s, True), **idle(bench, s)}, "rspktgen")
    for turn in bench.alternate(Setup(guests=64, sleeps=True), only=("ringswitch",)):

        def among_many(switch):
            with silent_guests(bench, switch, range(3, 65)):
                return first_frames(bench, switch, True)

        turn.figure("the same, 64 ports", among_many, "rspktgen")
    for turn in bench.alternate(Setup(), only=("ringswitch",)):
        turn.figure("the same, polling", lambda switch: first_frames(bench, switch, False), "rspktgen")


def first_frames(bench, switch, sleeps):
    generator = Rspktgen(bench.place)
    load = Load(ring="packed", one_way=True, warmup=0, times=3.0)
    generator.warm_up(switch, load)
    report = generator.run(switch, replace(load, window=0), "--latency", "--rate", "5")
    found = report.get("latency_us")
    if not found:
        raise Failed("no frame came back with a time stamp")
    seconds = bench.place.seconds * load.times
    bare = {"raw": bench.place.part("wakeup", seconds + 20, "--seconds", seconds)["p50"]} if sleeps else {}
    return {"p50": found["p50"], "max": found["max"], **bare}


def idle(bench, switch):
    with silent_guests(bench, switch, (1, 2)):
        before = switch.program.cpu_seconds()
        time.sleep(3.0)
        return {"idle_cpu": 100 * (switch.program.cpu_seconds() - before) / 3.0}


def loading(bench):
    """100 000 flows loaded through ovs-ofctl, and one more; the CPU and memory that they take."""
    rules = many_rules(100_000)
    for turn in bench.alternate(Setup(), only=VIRTUAL, rounds=2):

        def measure(switch):
            rss, cpu, start = switch.program.rss_bytes(), switch.program.cpu_seconds(), time.monotonic()
            switch.load_by_openflow(rules, timeout=300)
            took, used = time.monotonic() - start, switch.program.cpu_seconds() - cpu
            grown = switch.program.rss_bytes() - rss
            start = time.monotonic()
            switch.load_by_openflow(["priority=7,tcp,nw_dst=192.0.2.1,actions=drop"])
            one = time.monotonic() - start
            return {"s": took, "cpu_s": used, "bytes_per_flow": grown / len(rules), "one_more_ms": 1e3 * one}

        turn.figure("100 000 flows", measure)


def flow_mods(bench):
    """Flow-mods on a connection that stays, and the first frame that obeys each, while two guests keep the switch busy (64 B
    packed), without and with
    100 000 other flows. The way of a frame through two veths and a Python program is a part of it."""
    setup = Setup(netdevs=2)
    near, far = (theirs for _, theirs in setup.veths())
    for turn in bench.alternate(setup, only=VIRTUAL, rounds=2):

        def measure(switch, rules):
            if rules:
                switch.load(rules, timeout=300)
            generator = Rspktgen(bench.place)
            generator.warm_up(switch, Load(ring="packed"))
            with busy_guests(bench, switch):
                times = times_to_effect(switch.management(), near, far, (3, 4), 100)
            return {"p50": 1e6 * median(times), "max": 1e6 * max(times)}

        turn.figure("2 flows", lambda switch, measure=measure: measure(switch, ()))
        turn.figure("100 000 flows", lambda switch, measure=measure: measure(switch, many_rules(100_000)))


class busy_guests:
    """The pair of guests at work, in the background."""

    def __init__(self, bench, switch):
        guests = [word for n in (1, 2) for word in ("--guest", f"{switch.socket(n)},packed")]
        command = [bench.place.programs / "rspktgen", *guests, "--duration", "120", "--cores", bench.place.generator_cpu]
        self.program = Program("rspktgen-busy", command)

    def __enter__(self):
        time.sleep(1.0)
        self.program.check()

    def __exit__(self, *_):
        self.program.stop()


def memory(bench):
    """Memory of a port: that of 34 ports without that of two, before and after their guests come."""
    for turn in bench.alternate(Setup(), only=VIRTUAL, rounds=2):

        def grown(switch, connected):
            rss = []
            for count in (2, 34):
                switch.stop()
                switch.start(Setup(guests=count))
                with silent_guests(bench, switch, range(1, count + 1) if connected else ()):
                    rss.append(switch.program.rss_bytes())
            return {"kib_per_port": (rss[1] - rss[0]) / 32 / 1024}

        turn.figure("a port without guest", lambda switch, grown=grown: grown(switch, False))
        turn.figure("a port with a guest", lambda switch, grown=grown: grown(switch, True))


def nic(bench):
    """Network devices (veths; by AF_XDP, but for the Linux bridge). The generator's end is a packet socket, so it is the
    slower side; cycles tell. Sending through a veth is a system call that copies, most of the cycles: `user` is what is left
    without the kernel. Softirqs are mostly those of the generator's end."""
    places = {
        "guest and NIC": (Setup(guests=1, netdevs=1), 1),
        "NIC and NIC": (Setup(guests=0, netdevs=2), 0),
    }
    for case, (setup, guests) in places.items():
        stations = tuple(theirs for _, theirs in setup.veths())
        for turn in bench.alternate(setup):
            for size in ("64", "1500"):
                load = Load(size=size, ring="packed", guests=guests, netdevs=stations, window=128, times=2.0)
                turn.load(f"{case} {size} B", load)


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
    "touched": Scenario(touched),
    "mrg": Scenario(mrg),
    "learning": Scenario(learning),
    "macs": Scenario(macs),
    "tuples": Scenario(tuples),
    "acl": Scenario(acl),
    "setup": Scenario(flow_setup, ("cycles", "kflows", "lost")),
    "ports": Scenario(ports),
    "explosion": Scenario(explosion, ("cycles", "alone", "kept", "mpps")),
    "latency": Scenario(latency, ("p50", "p99", "p99_9", "mpps", "lost")),
    "shaping": Scenario(shaping, ("off", "rate", "dropped")),
    "fairness": Scenario(sharing.fairness, ("unfair", "off", "mbit")),
    "noisy": Scenario(sharing.noisy, ("p99", "p99_alone", "times", "lost", "mpps")),
    "reaction": Scenario(sharing.reaction, ("come_ms", "gone_ms", "step_ms")),
    "sorting": Scenario(sharing.sorting, ("cycles", "mframes", "wrong", "lost")),
    "changes": Scenario(sharing.changes, ("lost_frames", "duplicate", "reordered", "changes", "mframes")),
    "wakeup": Scenario(wakeup, ("p50", "raw", "max", "idle_cpu")),
    "loading": Scenario(loading, ("s", "cpu_s", "bytes_per_flow", "one_more_ms")),
    "flow_mods": Scenario(flow_mods, ("p50", "max")),
    "memory": Scenario(memory, ("kib_per_port",)),
    "nic": Scenario(nic, ("cycles", "user", "mpps", "busy", "softirq")),
}
