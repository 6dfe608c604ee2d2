"""The results as a table in Markdown and as a drawing."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

Line = dict[str, str]
KEY = ("part", "device", "group", "what", "data", "Q", "N", "D", "k", "filters", "against")
HEAD = "what,data,Q,N,D,k,filters,seconds,x floor,set against,ratio,exact,full,extra,goal,met"
LEFT, RIGHT, WIDTH, BAR, GAP, TOP = 330, 190, 960, 13, 4, 54


def latest(lines: Iterable[Line]) -> list[Line]:
    """The last measurement of each row, in the order they were first measured."""
    found: dict[tuple[str, ...], Line] = {}
    for line in lines:
        case = {**line, "what": line["what"].split(" (auto")[0]}  # whatever auto chose that time
        found[tuple(case[name] for name in KEY)] = line
    return list(found.values())


def table(lines: list[Line]) -> str:
    """One table a machine and group of rows, from the last measurement of each row."""
    out: list[str] = []
    before: tuple[str, ...] = ()
    ordered = sorted(latest(lines), key=lambda line: (line["part"], line["device"]))
    for line in ordered:
        title = tuple(line[name] for name in ("part", "device", "features", "group"))
        if title[:2] != before[:2]:
            out += ["", f"## {line['part'].upper()}: {_machine(line)}"]
        if title != before:
            head = HEAD.split(",")
            out += ["", f"### {line['group']}", "", _cells(head), _cells(["---"] * len(head))]
        before = title
        out.append(_cells(_line(line)))
    return "\n".join(out).strip() or "No results yet."


def _machine(line: Line) -> str:
    versions = ("torch", "faiss", "triton", "numba", "numpy")
    named = ", ".join(f"{name} {line[name]}" for name in versions if line[name] != "none")
    return f"{line['device']} ({line['features']}), {line['threads']} threads, {named}"


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(line: Line) -> list[str]:
    sizes = [f"{int(line[name]):,}" for name in ("Q", "N", "D", "k")]
    seconds = f"{_short(line['p50'])} ({_short(line['p20'])} to {_short(line['p80'])})"
    return [
        line["what"],
        line["data"],
        *sizes,
        line["filters"],
        seconds if line["p50"] else "",
        _both(line, "x_floor", "x_floor_cpu"),
        line["against"],
        f"{_both(line, 'ratio', 'ratio_cpu')} {line['is_']}".strip(),
        line["exact"],
        line["full"],
        _extra(line),
        line["goal"],
        line["met"],
    ]


def _both(line: Line, wall: str, cpu: str) -> str:
    """Wall, and CPU seconds in brackets where they are compared."""
    if not line[wall]:
        return ""
    on_cpu = line["part"] == "cpu" and line[cpu]
    return _short(line[wall]) + (f" [{_short(line[cpu])}]" if on_cpu else "")


def _extra(line: Line) -> str:
    parts = [f"{float(line['extra_mib']):,.0f} MiB"] if line["extra_mib"] else []
    parts += [f"{float(line['micros']):.2f} µs a query"] if line["micros"] else []
    return ", ".join(parts)


def _short(number: str) -> str:
    return f"{float(number):.3g}" if number else ""


def plot(lines: list[Line]) -> str:
    """Time over the floor's, a bar a method, for every searched case: SVG that stands alone."""
    shown = [line for line in latest(lines) if line["group"] == "search" and line["x_floor"]]
    shown = [line for line in shown if not line["what"].startswith("floor")]
    cases: dict[str, dict[str, Line]] = {}
    for line in sorted(shown, key=lambda line: (line["part"], line["device"])):
        cases.setdefault(_case(line), {})[line["what"]] = line  # once, whatever it is set against
    parts, y = [], TOP
    for case, methods in cases.items():
        bars = list(methods.values())
        parts.append(f'<text class="case" x="8" y="{y + 12}">{escape(case)}</text>')
        y += 20
        limit = _limit(bars)
        for line in bars:
            parts.append(_bar(line, y, limit))
            y += BAR + GAP
        parts.append(_mark(y, len(bars), limit))
        y += 12
    return _svg("".join(parts), y + 8)


def _case(line: Line) -> str:
    sizes = ", ".join(f"{name} {int(line[name]):,}" for name in "QNDk")
    return f"{line['data']}: {sizes} ({line['device']})"


def _value(line: Line) -> float:
    """CPU seconds on a CPU: what else the machine does counts least there."""
    return float(line["x_floor_cpu"] if line["part"] == "cpu" else line["x_floor"])


def _limit(bars: list[Line]) -> float:
    """The axis's end: bars over four times the floor are cut, and say so."""
    return min(4.0, max(1.25, *(_value(line) for line in bars)))


def _place(value: float, limit: float) -> float:
    return round(LEFT + min(value, limit) / limit * (WIDTH - LEFT - RIGHT), 1)


def _bar(line: Line, y: int, limit: float) -> str:
    value = _value(line)
    end = _place(value, limit)
    kind = "ours" if line["what"].startswith("whet") else "theirs"
    cut = " →" if value > limit else ""
    exact = "" if line["exact"] == "yes" else f" ({line['exact']})"
    return (
        f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(line["what"])}</text>'
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{round(end - LEFT, 1)}" height="{BAR}"/>'
        f'<text x="{end + 5}" y="{y + 11}">{value:.2f}{cut}{escape(exact)}</text>'
    )


def _mark(y: int, bars: int, limit: float) -> str:
    """The floor's line through a case's bars."""
    x, top = _place(1.0, limit), y - bars * (BAR + GAP) - 2
    return f'<line class="floor" x1="{x}" x2="{x}" y1="{top}" y2="{y}"/>'


def _svg(body: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        "<title>Time of a search over the time of its matrix product alone</title>"
        "<style>svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#333}"
        ".case,.head{font-weight:600}.ours{fill:#2563a8}.theirs{fill:#b9bec6}"
        ".floor{stroke:#c2410c;stroke-width:1.5}</style>"
        '<text class="head" x="8" y="20">Time over that of the matrix product alone (the line '
        "at 1); shorter is faster</text>"
        '<text x="8" y="38">On a CPU by CPU seconds, on a GPU by time; dark: Whet</text>'
        f"{body}</svg>\n"
    )
