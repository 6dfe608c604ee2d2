"""A suite's results as a table: markdown, csv, plain values, and a page with a plot."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whet.bench.results import Result, model_label
from whet.bench.suites import Suite
from whet.report.charts import dot_rows
from whet.report.render import page
from whet.report.words import duration, p_text, signed
from whet.run.folder import package_versions
from whet.storage.commit import write_atomically, write_json

Column = tuple[str, list[str]]  # heading, a cell per row


def write_results(folder: Path, suite: Suite, results: Sequence[Result]) -> list[Path]:
    """Write results.md, results.csv, results.json and results.html; their paths."""
    shown = columns(suite, results)
    plot = dot_rows(
        [(result.recipe, result.interval, result.value, result.published) for result in results],
        title=f"{measure_of(results)}: a dot with its 95 % interval over queries, | as published",
    )
    facts = {"machine": platform.processor() or platform.machine(), **package_versions()}
    heading = {"title": f"whet bench {suite.name}", "question": suite.question}
    written = {
        "results.md": f"{suite.question}\n\n{markdown(shown)}\n",
        "results.csv": _csv(shown),
        "results.html": page("bench.html", **heading, columns=shown, plot=plot, facts=facts),
    }
    for name, text in written.items():
        write_atomically(folder / name, text)
    write_json(folder / "results.json", [result.to_dict() for result in results])
    return [folder / name for name in (*written, "results.json")]


def measure_of(results: Sequence[Result]) -> str:
    """The measure, or the measures, of the rows."""
    return ", ".join(dict.fromkeys(result.claim.measure for result in results))


def columns(suite: Suite, results: Sequence[Result]) -> list[Column]:
    """What the table says; columns in which nothing stands are left out."""
    against = next((result for result in results if result.recipe == suite.against), None)
    cells: dict[str, list[str]] = {}

    def add(heading: str, text: str) -> None:
        cells.setdefault(heading, []).append(text)

    for result in results:
        low, high = result.interval
        p = result.p_value(against) if against else None
        add("recipe", result.recipe)
        add("data", f"{result.data['name']} {result.data['digest'][:8]}")
        add("model", model_label(result.model))
        add("queries", f"{len(result.per_query):,}")
        add("searched", result.searched or "")
        add("published", _number(result.published))
        add("before", _number(result.base))
        add(result.claim.measure, _number(result.value))
        add("over seeds", "" if result.spread is None else f"± {result.spread:.4f}")
        add("95 % interval", f"{low:.4f} to {high:.4f}")
        add("change", "" if result.base is None else signed(result.value - result.base))
        add(f"p against {suite.against}", "" if p is None else p_text(p))
        add("verdict", "" if result.published is None else result.verdict)
        add("seeds", str(len(result.values)))
        add("time a run", duration(sum(result.seconds) / len(result.seconds)))
    return [(heading, column) for heading, column in cells.items() if any(column)]


def markdown(shown: Sequence[Column]) -> str:
    """The table in markdown.

    >>> print(markdown([("recipe", ["a", "b"]), ("nDCG@10", ["0.5000", "0.6000"])]))
    | recipe | nDCG@10 |
    | --- | --- |
    | a | 0.5000 |
    | b | 0.6000 |
    """
    heads = [heading for heading, _ in shown]
    rows = zip(*(column for _, column in shown), strict=True)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in lines
    )


def _csv(shown: Sequence[Column]) -> str:
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow([heading for heading, _ in shown])
    table.writerows(zip(*(column for _, column in shown), strict=True))
    return file.getvalue()


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"
