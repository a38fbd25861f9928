"""Runs scenarios: switches in turn, round after round, every figure saved as soon as it is there."""

import contextlib
import json
import time

import host
from generators import GENERATORS
from host import Failed
from switches import SWITCHES, Place


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
        self.facts["versions"] = self.versions()

    def versions(self):
        versions = {}
        for name in self.options.switches:
            try:
                versions[name] = SWITCHES[name](self.place).version()
            except Failed as error:
                versions[name] = str(error)
        return versions

    def save(self):
        host.save_json(self.path, {"facts": self.facts, "cells": list(self.cells.values())})

    def alternate(self, setup, only=None, rounds=None):
        """Each switch in turn, started with this setup at its first measurement: A B A B ..."""
        for number in range(rounds or self.options.rounds):
            for name in only or self.options.switches:
                if name in self.options.switches:
                    turn = Turn(self, SWITCHES[name](self.place), setup, number)
                    try:
                        yield turn
                    finally:
                        turn.stop()

    def generators(self):
        return [GENERATORS[name](self.place) for name in self.options.generators]

    def record(self, case, switch, generator, number, measure):
        """Measures a cell and saves it."""
        key = (self.scenario, case, switch, generator, number)
        old = self.cells.get(key)
        if old and "values" in old:
            return
        cell = {"key": key, "scenario": self.scenario, "case": case, "switch": switch, "generator": generator}
        try:
            if time.monotonic() > self.end:
                raise Failed("out of time (--minutes)")
            cell["values"] = measure()
        except Failed as error:
            cell["why"] = str(error)
        self.cells[key] = cell
        self.save()
        said = cell.get("why") or "  ".join(f"{name} {value:.4g}" for name, value in cell["values"].items())
        print(f"{self.scenario:>10}  {case:<34} {switch:<11} {generator:<9} {number + 1}  {said}", flush=True)


class Turn:
    """One switch in one round, started when it is needed."""

    def __init__(self, bench, switch, setup, number):
        self.bench, self.switch, self.setup, self.number = bench, switch, setup, number
        self.running = False
        self.broken = None
        self.woken = set()

    def start(self):
        if self.broken:
            raise Failed(self.broken)
        if not self.running:
            try:
                self.switch.start(self.setup)
                self.running = True
            except Failed as error:
                self.broken = str(error)
                self.stop()
                raise

    def stop(self):
        with contextlib.suppress(Failed):
            self.switch.stop()
        self.running = False

    def figure(self, case, measure, generator=""):
        """A cell by `measure(switch)`, which returns values by name."""

        def started():
            self.start()
            return measure(self.switch)

        self.bench.record(case, self.switch.name, generator, self.number, started)

    def load(self, case, load):
        """A cell for each generator: throughput and cycles under this load."""
        for generator in self.bench.generators():

            def measure(switch, generator=generator):
                refused = getattr(generator, "refuses", lambda *_: None)(self.setup, load)
                if refused:
                    raise Failed(refused)
                if generator.name not in self.woken:
                    generator.wake(switch, load)
                    self.woken.add(generator.name)
                return generator.measure(switch, load)

            self.figure(case, measure, generator.name)
