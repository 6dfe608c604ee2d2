"""The records as one page: goals, stages, figures and plots, for each commit and device."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from folders import HERE
from goals import Verdict, counts, judged
from lines import newest
from stages import STAGES

Line = dict[str, Any]
LEFT, WIDTH, BAR, GAP = 300, 900, 14, 5  # pixels
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;"
    "color:#222}table{border-collapse:collapse;font-size:13px}td,th{padding:2px 10px 2px 0;"
    "text-align:left;vertical-align:top;border-bottom:1px solid #e3e5e8}"
    ".missed,.failed,.wrong{color:#b42318}.met,.ok{color:#16703c}svg{max-width:100%}"
)
SVG_STYLE = (
    "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#333}.bar{fill:#2563a8}"
    ".bad{fill:#c2410c}.mark{stroke:#333;stroke-width:1.5;stroke-dasharray:4 3}"
)


class Bar(NamedTuple):
    """A row of a plot; `words` stand at its end."""

    label: str
    value: float
    words: str
    bad: bool = False


def page(found: list[Line], tables: Iterable[Path] = ()) -> str:
    """HTML that stands alone, of lines as lines.py keeps them, the newest commit and device first;
    `tables` are results of the mining benchmark, whose plot is drawn where they are.
    """
    places = dict.fromkeys((line["commit"], line["device"]) for line in reversed(found))
    parts = [_place(newest(found, *place), *place) for place in places]
    if not parts:
        parts = ["<p>Nothing has been measured yet. <code>make gpu</code> does it.</p>"]
    parts += [f"<h2>Mining</h2>{drawn}" for drawn in map(_mining, tables) if drawn]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Whet on a GPU</title>'
        f"<style>{STYLE}</style><h1>Whet on a GPU</h1>{''.join(parts)}</html>\n"
    )


def _place(lines: dict[str, Line], commit: str, device: str) -> str:
    last = max(lines.values(), key=lambda line: line["time"])
    versions = last["machine"].get("versions", {})
    told = ", ".join(f"{name} {value}" for name, value in versions.items())
    verdicts = judged(lines)
    tally = ", ".join(f"{count} {word}" for word, count in counts(verdicts).items())
    plots = [
        _plot("Model FLOP utilisation (dashed: the goal)", _shares(lines), mark=0.45),
        _plot("Over sentence-transformers in fp16 (dashed: as fast)", _over(lines), mark=1.0),
    ]
    return (
        f"<h2>{escape(device)}, {escape(commit)}</h2><p>{escape(last['time'])}. {escape(told)}</p>"
        f"<h3>Goals: {tally}</h3>{_goal_plot(verdicts)}{_goal_table(verdicts)}"
        f"<h3>Stages</h3>{_stage_table(lines)}{''.join(plots)}"
        f"<h3>All figures</h3>{_figure_tables(lines)}"
    )


def _table(head: list[str], rows: Iterable[list[str]], words: int = -1) -> str:
    """A table; the column `words` decides the colour of its cell."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = []
    for row in rows:
        kinds = [f' class="{escape(cell)}"' if at == words else "" for at, cell in enumerate(row)]
        each = zip(kinds, row, strict=True)
        body.append("<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in each))
    return f"<table><tr>{cells}</tr>{''.join(body)}</table>"


def _goal_table(verdicts: list[Verdict]) -> str:
    rows = [
        [
            goal.name,
            f"{'≥' if goal.at_least else '≤'} {goal.bound:g}",
            _short(value),
            word,
            goal.why,
        ]
        for goal, value, word in verdicts
    ]
    return _table(["goal", "bound", "measured", "verdict", "what it is"], rows, 3)


def _goal_plot(verdicts: list[Verdict]) -> str:
    """How far each is on the way: 1 is the bound, more is better."""
    rows = []
    for goal, value, word in verdicts:
        if value is None:
            continue
        way = value / goal.bound if goal.at_least else goal.bound / max(value, 1e-9)
        rows.append(Bar(goal.name, way, _short(value), word == "missed"))
    return _plot("Measured over the bound (dashed: the bound; longer is better)", rows, mark=1.0)


def _stage_table(lines: dict[str, Line]) -> str:
    rows = []
    for stage in STAGES:
        line = lines.get(stage.name)
        if line is None:
            rows.append([stage.name, "not yet", "", ""])
            continue
        told = "; ".join(filter(None, [line["why"], *line["notes"]]))
        rows.append([stage.name, line["status"], f"{line['seconds']:.1f}", told])
    return _table(["stage", "ended", "seconds", "said"], rows, 1)


def _figure_tables(lines: dict[str, Line]) -> str:
    parts = []
    for stage in STAGES:
        figures = lines.get(stage.name, {}).get("figures", {})
        if figures:
            rows = [[name, _short(value)] for name, value in figures.items()]
            parts.append(f"<h4>{escape(stage.name)}</h4>{_table(['figure', 'value'], rows)}")
    return "".join(parts)


def _named(lines: dict[str, Line], stages: tuple[str, ...], ending: str) -> list[Bar]:
    return [
        Bar(f"{stage}: {name.removesuffix(ending)}", float(value), _short(value))
        for stage in stages
        for name, value in lines.get(stage, {}).get("figures", {}).items()
        if name.endswith(ending) and isinstance(value, int | float)
    ]


def _shares(lines: dict[str, Line]) -> list[Bar]:
    return _named(lines, ("encode", "train"), ", MFU")


def _over(lines: dict[str, Line]) -> list[Bar]:
    return _named(lines, ("encode beside others",), ", over sentence-transformers fp16")


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _plot(title: str, bars: list[Bar], *, mark: float) -> str:
    """Bars from 0, and a dashed line at `mark`; those far over it are cut, and say so. SVG."""
    if not bars:
        return ""
    limit = min(4 * mark, max(1.2 * mark, *(bar.value for bar in bars)))
    scale = (WIDTH - LEFT - 110) / limit
    parts = []
    for at, bar in enumerate(bars):
        y = 30 + at * (BAR + GAP)
        length = round(min(bar.value, limit) * scale, 1)
        kind = "bad" if bar.bad else "bar"
        cut = " →" if bar.value > limit else ""
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length}" height="{BAR}"/>'
            f'<text x="{LEFT + length + 5}" y="{y + 11}">{escape(bar.words)}{cut}</text>'
        )
    height = 36 + len(bars) * (BAR + GAP)
    x = round(LEFT + mark * scale, 1)
    parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="26" y2="{height - 4}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{SVG_STYLE}</style>"
        f'<text x="8" y="16" font-weight="600">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def _mining(results: Path) -> str:
    """The plot of the mining benchmark, by its own hand."""
    import csv

    if not results.exists():
        return ""
    mine = str(HERE.parent / "mine")
    sys.path.append(mine)
    try:
        from table import plot
    finally:
        sys.path.remove(mine)
    with results.open(newline="", encoding="utf-8") as file:
        return plot(list(csv.DictReader(file)))
