"""From cells to tables: medians over rounds, ratios, multiples of the hardware floor; Markdown for people."""

import re
from statistics import median

import host
from scenarios import SCENARIOS

OURS = "ringswitch"
DOCUMENT = host.ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
NAMES = {
    "cycles": "cycles", "mpps": "Mpps", "busy": "busy %", "alone": "alone", "kept": "kept %", "p50": "p50 us",
    "p99": "p99 us", "p99_9": "p99.9 us", "max": "max us", "idle_cpu": "idle CPU %", "s": "s", "cpu_s": "CPU s",
    "bytes_per_flow": "B/flow", "one_more_ms": "one more ms", "kib_per_port": "KiB/port", "lost": "lost %",
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

    def ratio(self, other, name):
        ours, theirs = self.value(OURS, name), self.value(other, name)
        return ours / theirs if ours is not None and theirs else None

    def floor(self, floors):
        """The bare copy loop's cycles for frames of this length, when the case has one length and is packed."""
        size = re.match(r"(\d+) B packed", self.case)
        return floors.get(size[1]) if size and floors else None


def rows(cells, scenario):
    found = {}
    for cell in cells:
        if cell["scenario"] == scenario:
            key = (cell["case"], cell["generator"])
            found.setdefault(key, Row(*key)).add(cell)
    return list(found.values())


def table(cells, scenario, switches, floors=None):
    """A scenario as a Markdown table, with the reasons for its gaps below."""
    about = SCENARIOS[scenario]
    listed = rows(cells, scenario)
    if not listed:
        return ""
    columns = [name for name in about.columns if any(row.value(s, name) is not None for row in listed for s in switches)]
    others = [name for name in switches if name != OURS]
    heads = [f"{switch} {' / '.join(NAMES[name] for name in columns)}" for switch in switches]
    heads += [f"{OURS} : {other}" for other in others]
    floors = floors if about.columns[0] == "cycles" and any(row.floor(floors) for row in listed) else None
    heads += ["x floor"] if floors else []
    lines = [["case", "generator", *heads]]
    notes = {}
    for row in listed:
        line = [row.case, row.generator or "-"]
        for switch in switches:
            values = [row.value(switch, name) for name in columns]
            if all(value is None for value in values):
                why = row.why.get(switch, "not measured")
                mark = notes.setdefault(f"{switch}: {why}", len(notes) + 1)
                line.append(f"[{mark}]")
            else:
                line.append(" / ".join("-" if value is None else number(value) for value in values))
        ratios = [row.ratio(other, next((n for n in columns if row.value(OURS, n) is not None), columns[0])) for other in others] if columns else []
        line += ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        if floors:
            floor, ours = row.floor(floors), row.value(OURS, "cycles")
            line.append(f"{ours / floor:.1f}" if floor and ours else "-")
        lines.append(line)
    text = f"### {scenario}\n{about.about}\n\n" + markdown(lines)
    return text + "".join(f"\n[{mark}] {why}  " for why, mark in notes.items()) + "\n"


def markdown(lines):
    lines[1:] = [line + ["-"] * (len(lines[0]) - len(line)) for line in lines[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = [
        "| " + " | ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (w + 2) if i < 2 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([shown[0], rule, *shown[1:]]) + "\n"


def header(facts):
    versions = "".join(f"- {name}: {version}\n" for name, version in facts["versions"].items())
    floors = "  ".join(f"{size} B {cycles:.0f}" for size, cycles in facts.get("floor", {}).items())
    return (
        f"{facts['date']}, commit {facts['commit']}; {facts['cpu']}{', virtual' if facts['virtual'] else ''}; "
        f"{facts['memory_gib']} GiB, {facts['free_hugepages']} free hugepages; Linux {facts['kernel']}; "
        f"load before {facts['load_before']}\n\n{versions}" + (f"- floor, cycles per frame: {floors}\n" if floors else "")
    )


def document(bench, scenarios, plots=()):
    """Everything as Markdown."""
    cells = list(bench.cells.values())
    tables = []
    for name in scenarios:
        text = table(cells, name, bench.options.switches, bench.facts.get("floor"))
        tables.append(text + (f"\n![{name}](bench/{name}.svg)\n" if name in plots else ""))
    return header(bench.facts) + "\n" + "\n".join(text for text in tables if text)


def update_docs(text):
    """Puts the results between the marks of docs/benchmarks.md."""
    page = DOCUMENT.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
