"""What two threads, two rings and one copy need for the same frames at the same time (`dataplane/benches/floor.rs`).

Virtual CPUs move: for some seconds they share a core or its caches, then they are far apart, alone or beside a stranger, and
figures differ by a factor of two. So switch and floor take turns many times a second, while the other's programs stand still.
"""

import time
from statistics import median

SLICES = 10
SLICE = 0.15  # seconds
SETTLE = 0.02  # seconds until frames go round again


def plays(load):
    """Frames of one length between two guests, and not so many flows that they are learned for longer than the turns last."""
    return load.guests == 2 and not load.netdevs and load.size.isdigit() and load.flows <= 100_000


def beside(switch, load, generator):
    """Cycles per frame of the floor, and the switch's as a multiple of it: medians."""
    floors, multiples = [], []
    with generator.running(switch, load) as program:
        before = floor(switch, load, program)
        for _ in range(SLICES):
            time.sleep(SETTLE)
            start = switch.usage()
            time.sleep(SLICE)
            usage = switch.usage().since(start)
            after = floor(switch, load, program)
            multiples.append(usage.busy_cycles / max(usage.packets, 1) / ((before + after) / 2))
            floors.append(after)
            before = after
    return {"floor": median(floors), "times_floor": median(multiples)}


def floor(switch, load, program):
    options = ["--size", load.size, "--runs", 1, "--seconds", SLICE]
    options += [] if load.one_way else ["--both-ways"]
    options += ["--touch"] if load.touch else []
    with program.paused(), switch.program.paused():
        return switch.place.part("floor", 30, *options)[load.size]
