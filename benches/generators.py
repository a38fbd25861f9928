"""What sends and receives as the guests: rspktgen, and DPDK's testpmd so that nobody has to trust ours.

`measure(switch, load)` drives one running switch and returns figures:
  mpps     frames that arrived, millions per second
  cycles   of the switch's core, in passes that found packets, per packet
  busy     part of its time that the switch's core spent in such passes, percent: far below 100 the generator was the
           slower one, and `mpps` says little about the switch
  lost     frames lost, percent
  user     over netdevs: cycles without those that its core spent in the kernel
  softirq  over netdevs: what all CPUs together spent in the kernel's softirqs, cycles per packet
"""

import contextlib
import json
import time
from dataclasses import dataclass

import host
from host import Failed, Program
from switches import PORT_RULES

STARTED = 200  # frames that tell that a switch moves them
FIRST = 10.0  # seconds that a switch may take to move its first packets
FILL = 60.0  # seconds that it may take to see each of many flows


@dataclass(frozen=True)
class Load:
    """What is sent."""

    size: str = "64"
    ring: str = "split"
    mrg: bool = False
    flows: int = 1
    vary: str = "src-ip,src-port"
    one_way: bool = False
    netdevs: tuple = ()  # stations behind the guests
    guests: int = 2
    window: int = 256
    warmup: float = 0.3
    times: float = 1.0  # the usual time of measuring
    touch: bool = False  # guests write what they send and read what they get

    def frames(self):
        """That show every flow to the switch a few times."""
        return max(3 * self.flows * (1 if self.one_way else 2), 1000)


def figures(usage, pps, lost):
    total = usage.busy_cycles + usage.idle_cycles
    return {
        "mpps": pps / 1e6,
        "cycles": usage.busy_cycles / max(usage.packets, 1),
        "busy": 100.0 * usage.busy_cycles / max(total, 1),
        "lost": 100.0 * lost,
    }


class Rspktgen:
    """A closed loop by default: `window` frames on their way, so a switch is never asked for more than it can do and
    never drops. One thread plays all stations."""

    name = "rspktgen"

    def __init__(self, place):
        self.place = place

    def plays(self, _setup, _load):
        return True

    def command(self, switch, load):
        kind = (",packed" if load.ring == "packed" else "") + (",mrg" if load.mrg else "")
        # Switches learn from the frames themselves: an announcement for each of a million addresses would take its time.
        command = [self.place.programs / "rspktgen", "--json", "--no-learn", "--cores", self.place.generator_cpu]
        for number in range(1, load.guests + 1):
            command += ["--guest", f"{switch.socket(number)}{kind},timeout=20"]
        for name in load.netdevs:
            command += ["--netdev", name]
        command += [] if load.one_way else ["--bidir"]
        command += ["--window", load.window] if load.window else []
        command += ["--touch"] if load.touch else []
        return [*command, "--size", load.size, "--flows", load.flows, "--vary", load.vary]

    def running(self, switch, load):
        """In the background, as soon as packets move."""
        return at_work(switch, Program("rspktgen-running", [*self.command(switch, load), "--duration", "120"]))

    def warm_up(self, switch, load):
        """Until the switch has seen every flow. OVS makes its packet pools when the first guest comes, which takes seconds."""
        with self.running(switch, load) as program:
            end = time.monotonic() + FILL
            wanted = switch.usage().packets + load.frames()
            while switch.usage().packets < wanted and time.monotonic() < end:
                program.check()
                time.sleep(0.1)

    def run(self, switch, load, *options, seconds=None):
        """One run to its end: rspktgen's own report."""
        seconds = seconds or self.place.seconds * load.times
        command = [*self.command(switch, load), "--duration", seconds, "--warmup", load.warmup, *options]
        return json.loads(host.run(command, load.warmup + seconds + 30))

    def measure(self, switch, load):
        seconds = self.place.seconds * load.times
        program = Program("rspktgen", [*self.command(switch, load), "--duration", seconds, "--warmup", load.warmup])
        with at_work(switch, program):
            # The middle of the measured trial: warm-up ends, its stragglers arrive (30 ms), the trial starts.
            time.sleep(load.warmup + 0.15)
            before, kernel = switch.usage(), kernel_cycles(switch)
            time.sleep(max(seconds - 0.5, 0.2))
            usage = switch.usage().since(before)
            its_own, softirqs = (now - then for now, then in zip(kernel_cycles(switch), kernel, strict=True))
            program.wait_until("its end", lambda: not_running(program), seconds + 20)
        text = program.text()
        if "{" not in text:
            raise Failed(f"rspktgen: {text.strip().splitlines()[-1] if text.strip() else 'said nothing'}")
        report = json.loads(text[text.index("\n{") if "\n{" in text else text.index("{") :])
        if report["total"]["rx_packets"] == 0:
            raise Failed("no frame arrived")
        values = figures(usage, report["total"]["rx_pps"], report["loss"])
        if not load.netdevs:
            return values
        packets = max(usage.packets, 1)
        # An idle core makes next to no system calls, so the kernel's part is that of packets.
        return {**values, "user": max(usage.busy_cycles - its_own, 0) / packets, "softirq": softirqs / packets}


def kernel_cycles(switch):
    """Of the switch's core, and of all CPUs in softirqs."""
    return switch.kernel_cycles(), host.softirq_cycles()


def not_running(program):
    # `wait_until` calls a program that ended a failure; here its end is what is waited for.
    if not program.alive():
        program.check = lambda: None
        return True
    return False


def moved(switch, program):
    """Waits until the switch moves packets."""
    first = switch.usage().packets
    end = time.monotonic() + FIRST
    while time.monotonic() < end:
        program.check()
        time.sleep(0.05)
        if switch.usage().packets > first + STARTED:
            return
    raise Failed("the switch moves no packets")


@contextlib.contextmanager
def at_work(switch, program):
    """The program, as soon as the switch moves packets for it; it is stopped afterwards."""
    try:
        moved(switch, program)
        yield program
    finally:
        program.stop()


class Testpmd:
    """Two `net_virtio_user` devices; what arrives at one is sent by the other, so that 512 frames go round and round. Their
    addresses do not change on the way, so the switch must forward by port."""

    name = "testpmd"

    def __init__(self, place):
        self.place = place

    def plays(self, setup, load):
        """Only port to port, round and round, frames of one size and one flow, which a buffer of 2 kB holds."""
        one = load.flows == 1 and load.guests == 2 and not (load.one_way or load.netdevs or load.touch)
        return one and setup.rules == PORT_RULES and load.size.isdigit() and int(load.size) < 2000

    def running(self, switch, load):
        """In the background, as soon as packets move."""
        place = self.place
        fast = "in_order=1" if load.ring == "packed" else "in_order=0"
        options = "mrg_rxbuf=1" if load.mrg else f"mrg_rxbuf=0,{fast},vectorized=1"
        packed = ",packed_vq=1" if load.ring == "packed" else ""
        command = ["dpdk-testpmd", "--lcores", f"0@{place.generator_cpu},1@{place.generator_cpu}", "--no-pci"]
        command += ["--no-huge", "-m", "256", "--no-telemetry", "--file-prefix=rsb-gen", "--log-level=user1,4"]
        command += [
            f"--vdev=net_virtio_user{n - 1},path={switch.socket(n)},queue_size=256,{options}{packed}" for n in (1, 2)
        ]
        command += ["--force-max-simd-bitwidth=512", "--", "--nb-cores=1", "--txd=256", "--rxd=256"]
        command += ["--total-num-mbufs=4096", "--no-mlockall", f"--txpkts={load.size}", "--forward-mode=io", "--tx-first"]
        return at_work(switch, Program("testpmd", command, stdin=-1))

    def measure(self, switch, load):
        with self.running(switch, load) as program:
            time.sleep(load.warmup)
            before, start = switch.usage(), time.monotonic()
            time.sleep(self.place.seconds * load.times)
            usage, took = switch.usage().since(before), time.monotonic() - start
            program.check()
        return figures(usage, usage.packets / took, 0.0)


GENERATORS = {generator.name: generator for generator in (Rspktgen, Testpmd)}
