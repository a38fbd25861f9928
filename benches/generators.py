"""What sends and receives as the guests: rspktgen, and DPDK's testpmd so that nobody has to trust ours.

`measure(switch, load)` drives one running switch and returns figures:
  mpps     frames that arrived, millions per second
  cycles   of the switch's core, in passes that found packets, per packet
  busy     part of its time that the switch's core spent in such passes, percent: far below 100 the generator was the
           slower one, and `mpps` says little about the switch
  lost     frames lost, percent
"""

import json
import time
from dataclasses import dataclass

import host
from host import Failed, Program
from switches import Setup

ATTEMPTS = 60  # looks, 50 ms apart, for a switch that starts to move packets


@dataclass(frozen=True)
class Load:
    """What is sent."""

    size: str = "64"
    ring: str = "split"
    mrg: bool = False
    flows: int = 1
    vary: str = "src-ip,src-port"
    options: tuple = ()  # more of rspktgen's
    netdevs: tuple = ()  # stations behind the guests
    guests: int = 2
    window: int = 256
    warmup: float = 0.3
    seconds: float = 1.5


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

    def command(self, switch, load):
        kind = (",packed" if load.ring == "packed" else "") + (",mrg" if load.mrg else "")
        command = [self.place.programs / "rspktgen", "--json", "--cores", self.place.generator_cpu]
        for number in range(1, load.guests + 1):
            command += ["--guest", f"{switch.socket(number)}{kind},timeout=20"]
        for name in load.netdevs:
            command += ["--netdev", name]
        return [*command, "--size", load.size, "--flows", load.flows, "--vary", load.vary, *load.options]

    def wake(self, switch, load):
        """OVS makes its packet pools when the first guest comes, which takes seconds: that is not to be measured."""
        program = Program("rspktgen-wake", [*self.command(switch, load), "--bidir", "--duration", "60"])
        try:
            moved(switch, program)
        finally:
            program.stop()

    def run(self, switch, load, *options, timeout=None):
        """One run to its end: rspktgen's own report."""
        command = [*self.command(switch, load), *options]
        if load.window:
            command += ["--window", load.window]
        timed = load.warmup + load.seconds
        text = host.run([*command, "--duration", load.seconds, "--warmup", load.warmup], timeout or timed + 30)
        return json.loads(text)

    def measure(self, switch, load):
        command = [*self.command(switch, load), "--bidir", "--duration", load.seconds, "--warmup", load.warmup]
        if load.window:
            command += ["--window", load.window]
        program = Program("rspktgen", command)
        try:
            moved(switch, program)
            # The middle of the measured trial: warm-up ends, its stragglers arrive (30 ms), the trial starts.
            time.sleep(load.warmup + 0.15)
            before = switch.usage()
            time.sleep(max(load.seconds - 0.5, 0.2))
            usage = switch.usage().since(before)
            program.wait_until("its end", lambda: not_running(program), load.seconds + 20)
        finally:
            program.stop()
        text = program.text()
        if "{" not in text:
            raise Failed(f"rspktgen: {text.strip().splitlines()[-1] if text.strip() else 'said nothing'}")
        report = json.loads(text[text.index("\n{") if "\n{" in text else text.index("{") :])
        if report["total"]["rx_packets"] == 0:
            raise Failed("no frame arrived")
        return figures(usage, report["total"]["rx_pps"], report["loss"])


def not_running(program):
    # `wait_until` calls a program that ended a failure; here its end is what is waited for.
    if not program.alive():
        program.check = lambda: None
        return True
    return False


def moved(switch, program):
    """Waits until the switch moves packets."""
    first = switch.usage().packets
    for _ in range(ATTEMPTS * 4):
        if not program.alive():
            program.check()
        time.sleep(0.05)
        if switch.usage().packets > first + 1000:
            return
    raise Failed("the switch moves no packets")


class Testpmd:
    """Two `net_virtio_user` devices; what arrives at one is sent by the other, so that 512 frames go round and round. Their
    addresses do not change on the way, so the switch must forward by port."""

    name = "testpmd"

    def __init__(self, place):
        self.place = place

    def refuses(self, setup, load):
        if load.flows > 1 or load.netdevs or load.options or load.guests != 2 or not load.size.isdigit():
            return "testpmd sends frames of one size and one flow"
        if setup.rules != Setup().rules:
            return "testpmd's frames go round: only port to port"
        return "testpmd's buffers hold 2 kB" if int(load.size) > 2000 else None

    def wake(self, switch, load):
        self.measure(switch, load, 0.2)

    def measure(self, switch, load, seconds=None):
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
        program = Program("testpmd", command, stdin=-1)
        try:
            moved(switch, program)
            time.sleep(load.warmup)
            before, start = switch.usage(), time.monotonic()
            time.sleep(seconds or load.seconds)
            usage, took = switch.usage().since(before), time.monotonic() - start
            program.check()
        finally:
            program.stop()
        return figures(usage, usage.packets / took, 0.0)


GENERATORS = {generator.name: generator for generator in (Rspktgen, Testpmd)}
