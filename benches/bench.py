"""Runs scenarios: switches in turn, round after round, every figure saved as soon as it is there."""

import contextlib
import json
import time

import floor
import host
from generators import GENERATORS, Rspktgen
from host import Failed
from scenarios import SCENARIOS
from switches import OURS, SWITCHES, Place


class Bench:
    """What scenarios measure with, and what they measured.

    A *cell* is one measurement: scenario, case, switch, generator, round. Cells that an earlier run saved are not measured
    again with `resume`; a cell that fails says why, and the others go on.
    """

    def __init__(self, options, path):
        self.options = options
        self.place = Place(
            switch_cpu=options.switch_cpu,
            generator_cpu=options.generator_cpu,
            ovs_prefix=options.ovs_prefix,
            hugepages=options.hugepages,
            seconds=options.seconds,
        )
        self.path = path
        self.end = time.monotonic() + options.minutes * 60
        self.scenario = ""
        self.cells = {}
        self.facts = host.facts()
        if options.resume and path.exists():
            saved = json.loads(path.read_text())
            self.cells = {tuple(cell["key"]): cell for cell in saved["cells"]}
            self.facts["resumed"] = saved["facts"]["date"]

    def ask_versions(self):
        versions = self.facts["versions"] = {}
        for name in self.options.switches:
            try:
                versions[name] = SWITCHES[name](self.place).version()
            except Failed as error:
                versions[name] = str(error)

    def save(self):
        host.save_json(self.path, {"facts": self.facts, "cells": list(self.cells.values())})

    def run_all(self):
        for name in self.options.scenario:
            self.scenario = name
            SCENARIOS[name].run(self)

    def alternate(self, setup, only=None, rounds=None):
        """Each switch that can play in turn, started with this setup at its first measurement: A B A B ... `rounds` is
        the most that the scenario has time for."""
        switches = [SWITCHES[name](self.place) for name in self.options.switches if name in (only or SWITCHES)]
        for number in range(min(rounds or self.options.rounds, self.options.rounds)):
            for switch in switches:
                if switch.plays(setup):
                    turn = Turn(self, switch, setup, number)
                    try:
                        yield turn
                    finally:
                        turn.stop()

    def generators(self):
        return [GENERATORS[name](self.place) for name in self.options.generators]

    def record(self, case, switch, generator, number, size, measure):
        """Measures a cell and saves it; `size` is the length of its frames where that is one number."""
        key = (self.scenario, case, switch, generator, number)
        old = self.cells.get(key)
        if old and "values" in old:
            return
        cell = {"key": key, "scenario": self.scenario, "case": case, "switch": switch, "generator": generator, "size": size}
        self.cells[key] = cell
        if self.options.dry_run:
            print(f"{self.scenario:>10}  {case:<34} {switch:<12} {generator:<9} {number + 1}")
            return
        start = time.monotonic()
        try:
            if time.monotonic() > self.end:
                raise Failed("out of time (--minutes)")
            cell["values"] = measure()
        except Failed as error:
            cell["why"] = str(error)
        cell["took"] = round(time.monotonic() - start, 2)
        self.save()
        said = cell.get("why") or "  ".join(f"{name} {value:.4g}" for name, value in cell["values"].items())
        print(f"{self.scenario:>10}  {case:<34} {switch:<12} {generator:<9} {number + 1}  {said}", flush=True)


class Turn:
    """One switch in one round, started when it is needed."""

    def __init__(self, bench, switch, setup, number):
        self.bench, self.switch, self.setup, self.number = bench, switch, setup, number
        self.running = False
        self.broken = None
        self.warm = set()

    def start(self):
        if self.broken:
            raise Failed(self.broken)
        if not self.running:
            self.running = True
            try:
                self.switch.dir.mkdir(exist_ok=True)
                host.make_veths(self.setup.veths(), self.setup.netdev_queues)
                # Behind a NIC is another machine, which is the generator's: what it receives is none of the switch's work.
                for _, theirs in self.setup.veths():
                    host.steer(theirs, self.bench.place.generator_cpu)
                self.switch.start(self.setup)
            except Failed as error:
                self.broken = str(error)
                self.stop()
                raise

    def stop(self):
        if self.running:
            with contextlib.suppress(Failed):
                self.switch.stop()
            host.remove_veths(self.setup.veths())
        self.running = False

    def figure(self, case, measure, generator="", size=None):
        """A cell by `measure(switch)`, which returns values by name."""

        def started():
            self.start()
            return measure(self.switch)

        self.bench.record(case, self.switch.name, generator, self.number, size, started)

    def load(self, case, load):
        """A cell for each generator that can make this load: throughput and cycles under it."""
        for generator in self.bench.generators():
            if generator.plays(self.setup, load):

                def measure(switch, generator=generator):
                    if load not in self.warm:
                        Rspktgen(self.bench.place).warm_up(switch, load)
                        self.warm.add(load)
                    values = generator.measure(switch, load)
                    if self.bench.options.floor and switch.name == OURS and floor.plays(load):
                        values |= floor.beside(switch, load, generator)
                    return values

                self.figure(case, measure, generator.name, load.size)
