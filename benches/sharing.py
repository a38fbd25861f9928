"""How guests share a port and the switch's core: weights, floods, pauses, changes while traffic flows."""

import json
import time
from dataclasses import dataclass

import host
from farend import FarEnd, address, jain, max_min
from generators import at_work
from host import Failed, Program
from switches import NORMAL, Setup

LINE = 300_000_000  # bit/s that the NIC of these scenarios takes
UPLINK = "rsb0"
FAR = "rsg0"
FULL = float("inf")


@dataclass(frozen=True)
class Guest:
    """What a guest sends."""

    frame: int = 64
    rate: int = 0  # frames per second; 0: as many as it can
    weight: int = 100

    @property
    def demand(self):
        return self.rate * self.frame * 8 if self.rate else FULL


# Small and long frames, more and less than a fair share.
MIXED = [Guest(64), Guest(1500), Guest(256), Guest(64, rate=10_000), Guest(512), Guest(1500, rate=500), Guest(1024), Guest(128)]
WEIGHTED = [Guest(g.frame, g.rate, w) for g, w in zip(MIXED, (100, 200, 300, 100, 400, 100, 200, 100), strict=True)]


def command(bench, switch, guests, *options):
    """rspktgen with these guests, all sending as `options` say."""
    words = [bench.place.programs / "rspktgen", "--json", "--cores", bench.place.generator_cpu, "--no-learn"]
    for number, guest in enumerate(guests, 1):
        own = f",rate={guest.rate}" if guest.rate else ""
        words += ["--guest", f"{switch.socket(number)},packed,size=1024,frame={guest.frame},timeout=20{own}"]
    return [*words, *options]


def fairness(bench):
    """Eight guests with frames of 64 to 1500 B, two of them asking for little, want 300 Mbit/s of a NIC (veth, AF_XDP) several times
    over. `unfair` is what Jain's index of what arrived, each against its weighted max-min share, is short of 1; `off` is the
    guest that is farthest from its share. OVS can only drop what exceeds the rate (egress-policer) and knows no weights."""
    rules = tuple(f"in_port={n},actions=output:{len(MIXED) + 1}" for n in range(1, len(MIXED) + 1))
    for turn in bench.alternate(Setup(guests=len(MIXED), netdevs=1, rules=rules), only=("ringswitch", "ovs-dpdk")):

        def measure(switch, guests):
            switch.line_rate(UPLINK, LINE)
            switch.weights({f"p{n}": guest.weight for n, guest in enumerate(guests, 1)})
            streams = [word for n in range(len(guests)) for word in ("--traffic", f"{n}->{n}")]
            with FarEnd(FAR, len(guests)) as far:
                sender = Program("rspktgen", command(bench, switch, guests, *streams, "--duration", "60"))
                with at_work(switch, sender):
                    time.sleep(1.0)
                    start, before = time.monotonic(), far.bytes()
                    time.sleep(4.0)
                    took, after = time.monotonic() - start, far.bytes()
                    sender.check()
            got = [8 * (b - a) / took for a, b in zip(before, after, strict=True)]
            ideal = max_min(LINE, [guest.weight for guest in guests], [guest.demand for guest in guests])
            parts = [one / wanted for one, wanted in zip(got, ideal, strict=True)]
            return {
                "unfair": 100 * (1 - jain(parts)),
                "off": 100 * max(abs(part - 1) for part in parts),
                "mbit": sum(got) / 1e6,
            }

        turn.figure("equal weights", lambda s, m=measure: m(s, MIXED))
        turn.figure("weights 100 to 400", lambda s, m=measure: m(s, WEIGHTED))


def noisy(bench):
    """A guest that sends 20 000 frames per second to another (64 B packed), alone and beside one that sends 64 B frames to a fourth as
    fast as it can. `p99` is that of the quiet pair beside the flood, `times` that for its p99 alone; `lost` is of the quiet pair."""
    rules = tuple(f"in_port={a},actions=output:{b}" for a, b in ((1, 2), (3, 4)))
    guests = [Guest(), Guest(), Guest(rate=20_000), Guest()]
    for turn in bench.alternate(Setup(guests=4, rules=rules), only=("ringswitch", "ovs-dpdk")):

        def measure(switch):
            def quiet(*streams):
                words = [word for stream in streams for word in ("--traffic", stream)]
                options = (*words, "--latency", "--burst", "4", "--warmup", "0.5", "--duration", "3")
                report = json.loads(host.run(command(bench, switch, guests, *options), 40))
                sender, receiver = report["stations"][2], report["stations"][3]
                if "latency_us" not in receiver:
                    raise Failed("no frame came back with a time stamp")
                lost = 100 * (1 - receiver["rx_packets"] / max(sender["tx_packets"], 1))
                return receiver["latency_us"]["p99"], lost, report["stations"][1]["rx_pps"] / 1e6

            quiet("2->3")
            alone, lost_alone, _ = quiet("2->3")
            beside, lost, flood = quiet("0->1", "2->3")
            return {"p99": beside, "p99_alone": alone, "times": beside / alone, "lost": max(lost, lost_alone), "mpps": flood}

        turn.figure("20 kpps beside a flood", measure)


def reaction(bench):
    """Two guests share 100 Mbit/s of a NIC; the second one begins and stops. Milliseconds from its first frame at the far end until it has 90 % of
    its half, and from its last one until the first has 90 % of all, over windows of 4 ms; 0 is less than a step, the time between two looks."""
    rules = tuple(f"in_port={n},actions=output:3" for n in (1, 2))
    for turn in bench.alternate(Setup(guests=2, netdevs=1, rules=rules), only=("ringswitch",)):

        def measure(switch):
            line = 100_000_000
            switch.line_rate(UPLINK, line)
            nice = ["nice", "-n", "19"]
            own = f"{switch.socket(1)},packed,size=4096,timeout=20"
            other = f"{switch.socket(2)},packed,size=4096,timeout=20,mac={address(1)}"
            words = [*nice, bench.place.programs / "rspktgen", "--cores", bench.place.generator_cpu, "--no-learn", "--traffic", "0->0"]
            first = Program("rspktgen-first", [*words, "--guest", own, "--duration", "60"])
            with at_work(switch, first):
                time.sleep(1.0)
                second = Program("rspktgen-second", [*words, "--guest", other, "--duration", "1"])
                try:
                    samples = switch.sample(("p1", "p2"), 3.0)
                finally:
                    second.stop()
                first.check()
            steps = sorted(later[0] - now[0] for now, later in zip(samples, samples[1:], strict=False))
            return {**reactions(samples, line / 8), "step_ms": 1e3 * steps[len(steps) // 2]}

        turn.figure("a guest comes and goes", measure)


WINDOW = 0.004


def reactions(samples, line):
    """From `(time, bytes of the first, bytes of the second)`: when the second began and stopped, and when the shares followed."""
    came = [now for now, _, second in samples if second > samples[0][2]]
    last = samples[-1][2]
    went = next((now for now, _, second in samples if second == last), None)
    if not came or went is None:
        raise Failed("the second guest sent nothing")

    def reached(since, column, wanted):
        """The end of the first window that begins after `since` at this rate, minus its length."""
        for at, (now, *_) in enumerate(samples):
            if now < since:
                continue
            end = next((later for later in samples[at:] if later[0] >= now + WINDOW), None)
            if end and (end[column] - samples[at][column]) / (end[0] - now) >= wanted:
                return max(now - since, 0.0)
        raise Failed("the share was never reached")

    return {"come_ms": 1e3 * reached(came[0], 2, 0.9 * line / 2), "gone_ms": 1e3 * reached(went, 1, 0.9 * line)}


def sorting(bench):
    """64 guests with an address each behind one NIC of two queues (veth), which sends ten million 64 B frames, a flow to each; sorted by the XDP
    program or in the worker. `wrong` are frames that reached another guest than theirs; cycles are measured afterwards, as fast as the sender can."""
    count = 64
    setup = Setup(guests=count, netdevs=1, netdev_queues=2, rules=NORMAL)
    for sorter in ("xdp", "software"):
        for turn in bench.alternate(setup, only=("ringswitch",), rounds=2):

            def measure(switch, sorter=sorter):
                switch.sorter(UPLINK, sorter)
                for n in range(count):
                    switch.pool_filter(f"p{n + 1}", address(n))
                guests = [word for n in range(1, count + 1) for word in ("--guest", f"{switch.socket(n)},packed,timeout=20")]
                streams = [word for n in range(count) for word in ("--traffic", f"{count}->{n}")]
                words = [bench.place.programs / "rspktgen", "--json", "--cores", bench.place.generator_cpu, *guests]
                words += ["--netdev", FAR, *streams, "--flows", count]
                numbered = [*words, "--check", "--window", "512", "--count", "10M", "--duration", "200"]
                report = json.loads(host.run(numbered, 260, codes=(0, 1)))
                before = switch.usage()
                host.run([*words, "--duration", "3"], 30)
                usage, check = switch.usage().since(before), report["check"]
                for pool, sorting in switch.sorters(UPLINK).items():
                    if sorting["sorter"] != sorter:
                        raise Failed(f"{pool} is sorted by {sorting['sorter']}: {sorting['why_not']}")
                return {
                    "cycles": usage.busy_cycles / max(usage.packets, 1),
                    "mframes": check["good"] / 1e6,
                    "wrong": check["stray"],
                    "lost": 100 * report["loss"],
                }

            turn.figure(f"64 pools, {sorter} sorter", measure)


def changes(bench):
    """Frames between a NIC (veth) and eight guests in both directions, numbered, in a closed loop, while ten times a second the sorter, the pools'
    weights, or the placement of their queues on two workers changes."""
    guests = 8
    setup = Setup(guests=guests, netdevs=1, netdev_queues=2, rules=NORMAL, workers=2)
    for turn in bench.alternate(setup, only=("ringswitch",), rounds=2):

        def measure(switch, change):
            switch.sorter(UPLINK, "auto")
            sockets = [word for n in range(1, guests + 1) for word in ("--guest", f"{switch.socket(n)},packed,timeout=20")]
            streams = [word for n in range(guests) for word in ("--traffic", f"{guests}->{n}")]
            words = [bench.place.programs / "rspktgen", "--json", "--cores", bench.place.generator_cpu, *sockets, "--netdev", FAR]
            words += [*streams, "--bidir", "--flows", 64, "--check", "--window", "256", "--duration", "10"]
            program = Program("rspktgen-check", words)
            with at_work(switch, program):
                made = 0
                while program.alive():
                    change(switch, made)
                    made += 1
                    time.sleep(0.1)
                said = program.text()
            report = json.loads(said[said.index("{") :])
            check = report["check"]
            values = {name: check[name] for name in ("duplicate", "reordered")}
            return {"lost_frames": report["lost"], **values, "changes": made, "mframes": check["good"] / 1e6}

        def weights(switch, made):
            switch.weights({f"p{n}": 100 + 100 * ((made + n) % 4) for n in range(1, guests + 1)})

        turn.figure("sorter", lambda s, m=measure: m(s, lambda s, made: s.sorter(UPLINK, ("software", "xdp")[made % 2])))
        turn.figure("weights", lambda s, m=measure, c=weights: m(s, c))
        turn.figure("placement", lambda s, m=measure: m(s, lambda s, made: s.pin(f"p{1 + made % guests}", (made // guests) % 2)))
