"""The command line of `vs-ovs` and `run`."""

import argparse
import json
import subprocess

import host
import plot
import report
from bench import Bench
from generators import GENERATORS
from scenarios import SCENARIOS
from switches import SWITCHES


def words(known):
    def parse(text):
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(known)}")
        return names

    return parse


def parse(about, scenarios, rounds, minutes):
    listed = "\n".join(f"  {name:<10} {SCENARIOS[name].about}" for name in scenarios)
    parser = argparse.ArgumentParser(
        description=about, epilog=f"scenarios:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenario", type=words(SCENARIOS), default=list(scenarios), metavar="NAME,...", help="default: all below")
    add("--switches", type=words(SWITCHES), default=list(SWITCHES), metavar="NAME,...", help=", ".join(SWITCHES))
    add("--generator", dest="generators", type=words(GENERATORS), default=list(GENERATORS), metavar="NAME,...")
    add("--rounds", type=int, default=rounds, help=f"the most times that switches take turns ({rounds})")
    add("--seconds", type=float, default=1.5, help="that a measurement lasts, at least 0.7 (1.5)")
    add("--minutes", type=float, default=minutes, help=f"stop measuring after so long ({minutes})")
    add("--resume", action="store_true", help="keep what an earlier run measured; measure what is missing")
    add("--dry-run", action="store_true", help="only list what would be measured")
    add("--switch-cpu", type=int, default=1)
    add("--generator-cpu", type=int, default=0)
    add("--ovs-prefix", default="", metavar="PATH", help="another Open vSwitch, installed there, instead of Debian's")
    add("--no-hugepages", dest="hugepages", action="store_false", help="OVS and testpmd do without, too")
    add("--no-floor", dest="floor", action="store_false", help="do not measure the bare copy loop beside ringswitch")
    add("--json", metavar="FILE", help="results (target/bench/NAME.json)")
    add("--plots", action="store_true", help="docs/bench/SCENARIO.svg")
    add("--update-docs", action="store_true", help="paste the tables into docs/benchmarks.md")
    return parser.parse_args()


def main(name, about, scenarios, rounds, minutes):
    options = parse(about, scenarios, rounds, minutes)
    path = host.Path(options.json) if options.json else host.ROOT / "target" / "bench" / f"{name}.json"
    if options.dry_run:
        bench = Bench(options, path)
        bench.run_all()
        print(f"{len(bench.cells)} measurements")
        return 0

    def measure():
        bench = Bench(options, path)
        bench.ask_versions()
        try:
            bench.run_all()
        finally:
            bench.save()
            finish(bench, options)
        return 0

    if not host.inside():
        build()
    return host.isolated(measure, options.hugepages)


def finish(bench, options):
    plots = plot.write_all(bench, options.scenario) if options.plots else ()
    text = report.document(bench, options.scenario, plots)
    print("\n" + text)
    print(f"figures: {bench.path}")
    if options.update_docs:
        report.update_docs(text)


def build():
    """What is measured must be built from what lies here."""
    cargo = ["cargo", "build", "--release", "--bins", "--workspace", "--quiet"]
    subprocess.run(cargo, cwd=host.ROOT, check=True)
    parts = ["cargo", "bench", "--no-run", "--quiet", "-p", "ringswitch-dataplane", "--bench", "floor", "--bench", "wakeup"]
    subprocess.run(parts, cwd=host.ROOT, check=True)
