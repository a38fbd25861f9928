"""From cells to tables: medians over rounds, ratios, multiples of the hardware floor; Markdown for people."""

from statistics import median

import host
from scenarios import SCENARIOS
from switches import OURS

DOCUMENT = host.ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NAMES = {
    "cycles": "cycles/packet", "mpps": "Mpps", "busy": "busy %", "lost": "lost %", "softirq": "softirq cycles/packet", "user": "user cycles/packet",
    "alone": "cycles/packet alone", "kept": "kept %", "p50": "p50 us", "p99": "p99 us", "p99_9": "p99.9 us", "max": "max us",
    "idle_cpu": "idle CPU %", "raw": "bare wake-up, p50 us", "kflows": "1000 flows/s", "s": "seconds", "cpu_s": "CPU seconds", "bytes_per_flow": "B/flow",
    "one_more_ms": "one more, ms", "kib_per_port": "KiB/port", "off": "off by %", "rate": "rate",
    "dropped": "dropped %", "unfair": "unfair %", "mbit": "Mbit/s", "p99_alone": "p99 us alone", "times": "times", "come_ms": "coming, ms",
    "gone_ms": "gone, ms", "step_ms": "step, ms", "mframes": "million frames", "wrong": "frames to a wrong guest", "lost_frames": "frames lost",
    "duplicate": "duplicated", "reordered": "reordered", "changes": "changes",
}  # fmt: skip


def number(value):
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


class Row:
    """One case with one generator: medians by switch, or why there is none."""

    def __init__(self, case, generator):
        self.case, self.generator = case, generator
        self.samples, self.why = {}, {}

    def add(self, cell):
        if "values" in cell:
            self.samples.setdefault(cell["switch"], []).append(cell["values"])
        else:
            self.why[cell["switch"]] = cell["why"]

    def value(self, switch, name):
        found = [values[name] for values in self.samples.get(switch, []) if name in values]
        return median(found) if found else None

    def spread(self, switch, name):
        found = [values[name] for values in self.samples.get(switch, []) if name in values]
        return (min(found), max(found)) if found else None


def rows(cells, scenario):
    found = {}
    for cell in cells:
        if cell["scenario"] == scenario:
            key = (cell["case"], cell["generator"])
            found.setdefault(key, Row(*key)).add(cell)
    return list(found.values())


def table(cells, scenario, switches):
    """A scenario as a Markdown table: what is compared, a column for each switch, the ratios, and the rest in a column for
    each figure. The reasons for gaps are below."""
    about = SCENARIOS[scenario]
    listed = rows(cells, scenario)
    switches = [name for name in switches if any(name in row.samples or name in row.why for row in listed)]
    if not listed:
        return ""
    first, *more = about.columns
    others = [name for name in switches if name != OURS] if OURS in switches else []
    with_floor = any(row.value(OURS, "floor") for row in listed)
    heads = [f"{name}, {NAMES[first]}" for name in switches] + [f"{OURS} : {name}" for name in others]
    heads += ["floor, cycles/frame", f"{OURS} : floor"] if with_floor else []
    heads += [f"{NAMES[name]} ({' / '.join(switches)})" for name in more]
    notes = {}
    lines = [["case", "generator", *heads]]
    for row in listed:
        line = [row.case, row.generator or "-"]
        line += [shown(row, switch, first, notes) for switch in switches]
        line += [ratio(row.value(OURS, first), row.value(other, first)) for other in others]
        line += [shown(row, OURS, "floor", {}), ratio(row.value(OURS, "times_floor"), 1)] if with_floor else []
        line += [" / ".join(shown(row, switch, name, {}) for switch in switches) for name in more]
        lines.append(line)
    below = "".join(f"\n[{mark}] {why}  " for why, mark in notes.items())
    return f"### {scenario}\n{about.about}\n\n{markdown(lines)}{below}\n"


def shown(row, switch, name, notes):
    """A figure, the number of the note why there is none, or a dash where the switch cannot play."""
    value = row.value(switch, name)
    if value is not None:
        return number(value)
    return f"[{notes.setdefault(f'{switch}: {row.why[switch]}', len(notes) + 1)}]" if switch in row.why else "-"


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours is not None and theirs else "-"


def markdown(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = [
        "| "
        + " | ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (w + 2) if i < 2 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([shown[0], rule, *shown[1:]]) + "\n"


def header(facts):
    versions = "".join(f"- {name}: {version}\n" for name, version in facts["versions"].items())
    return (
        f"{facts['date']}, commit {facts['commit']}; {facts['cpu']}{', virtual' if facts['virtual'] else ''}; "
        f"{facts['memory_gib']} GiB, {facts['free_hugepages']} free hugepages; Linux {facts['kernel']}; "
        f"load before {facts['load_before']}\n\n{versions}"
    )


def document(bench, scenarios, plots=()):
    """Everything as Markdown."""
    cells = list(bench.cells.values())
    tables = []
    for name in scenarios:
        text = table(cells, name, bench.options.switches)
        tables.append(text + (f"\n![{name}](bench/{name}.svg)\n" if name in plots else ""))
    return header(bench.facts) + "\n" + "\n".join(text for text in tables if text)


def update_docs(text):
    """Puts the results between the marks of docs/benchmarks.md."""
    page = DOCUMENT.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
