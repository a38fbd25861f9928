"""One SVG per scenario, by hand: bars of the scenario's first column for each case and switch, whiskers from the least to the
most of all rounds."""

import host
import report
from scenarios import SCENARIOS

COLOURS = {"ringswitch": "#2166ac", "ovs-dpdk": "#d6604d", "testpmd-io": "#999999", "linux-bridge": "#4d9221"}
BAR, GAP, LEFT, WIDTH = 14, 12, 230, 820


def text(x, y, words, anchor="start", colour="#222"):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def bars(rows, switches, column):
    most = max((row.spread(s, column)[1] for row in rows for s in switches if row.spread(s, column)), default=0)
    scale = (WIDTH - LEFT - 90) / most if most else 0
    y, parts = 48, []
    for row in rows:
        shown = [switch for switch in switches if row.value(switch, column) is not None]
        label = row.case + (f" ({row.generator})" if row.generator else "")
        parts.append(text(LEFT - 8, y + BAR * max(len(shown), 1) / 2 + 4, label, "end"))
        for switch in shown:
            value, (low, high) = row.value(switch, column), row.spread(switch, column)
            middle = y + BAR / 2
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{COLOURS[switch]}"/>'
                f'<path d="M{LEFT + low * scale:.1f} {middle - 1:.0f}H{LEFT + high * scale:.1f}" stroke="#222"/>'
            )
            parts.append(text(LEFT + high * scale + 6, y + BAR - 3, report.number(value)))
            y += BAR
        y += GAP + (0 if shown else BAR)
    return parts, y


def svg(title, rows, switches, column):
    parts, height = bars(rows, switches, column)
    x = LEFT
    for switch in switches:
        parts.append(f'<rect x="{x}" y="26" width="10" height="10" fill="{COLOURS[switch]}"/>')
        parts.append(text(x + 14, 35, switch))
        x += 120
    parts.append(text(LEFT, 16, f"{title}: {report.NAMES[column]}, less is better"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def write_all(bench, scenarios):
    """docs/bench/SCENARIO.svg for those that have figures; their names."""
    directory = host.ROOT / "docs" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name in scenarios:
        column = SCENARIOS[name].columns[0]
        rows = report.rows(bench.cells.values(), name)
        switches = [switch for switch in bench.options.switches if any(row.spread(switch, column) for row in rows)]
        rows = [row for row in rows if any(row.spread(switch, column) for switch in switches)]
        if rows:
            (directory / f"{name}.svg").write_text(svg(name, rows, switches, column))
            written.append(name)
    return written
