"""What two threads, two rings and one copy need for the same frames in the same minute (`dataplane/benches/floor.rs`).

Virtual CPUs move: they share a core or its caches for some seconds and are far apart afterwards, alone or beside a stranger.
So the floor is taken just before and just after a measurement; if it moved meanwhile, so did the machine, and both are repeated.
"""

STEADY = 1.25  # times that one floor may be the other
TRIES = 4


def plays(load):
    """Frames of one length between two guests."""
    return load.guests == 2 and not load.netdevs and load.size.isdigit()


def beside(switch, load, measure):
    """What `measure()` returns, with `floor`, cycles per frame."""
    before = floor(switch, load)
    for _ in range(TRIES):
        values = measure()
        after = floor(switch, load)
        if max(before, after) < STEADY * min(before, after):
            break
        before = after
    return {**values, "floor": (before + after) / 2}


def floor(switch, load):
    options = ["--size", load.size]
    options += [] if load.one_way else ["--both-ways"]
    options += ["--touch"] if load.touch else []
    with switch.program.paused():  # it needs the switch's CPU
        return switch.place.part("floor", 30, *options)[load.size]
