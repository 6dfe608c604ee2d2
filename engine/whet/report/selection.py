"""The report's view of what came back: the curves of dev and guard, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from whet.report.charts import line_chart
from whet.report.words import is_number, label, p_text, signed

CURVES = {"dev": "Dev: {measure} on the pool", "guard": "Guard set: nDCG@10"}


@dataclass(frozen=True)
class SelectionView:
    """What the page's section holds: the sentence, small print, the curves, rows of (name, dev,
    change, p, change on guard, outcome), and what was found of words beside vectors.
    """

    sentence: str
    note: str
    charts: list[Markup]
    rows: list[tuple[str, str, str, str, str, str]]
    words: WordsView | None = None


@dataclass(frozen=True)
class WordsView:
    """Words beside vectors: what dev says, the heading, and rows of (model, by vectors, with
    words).
    """

    sentence: str
    measure: str
    heading: str
    rows: list[tuple[str, str, str]]


def view_selection(record: Mapping[str, Any]) -> SelectionView:
    """Sort the parts of selection.json into what the page shows."""
    dev, pool, guard = (record.get(name, {}) for name in ("dev", "pool", "guard"))
    measure = str(record.get("measure", "score"))
    charts = []
    for key, title in CURVES.items():
        moments = record.get("moments", [])
        points = [(row["step"], row[key]) for row in moments if is_number(row.get(key))]
        if len(points) > 1:
            words = title.format(measure=measure)
            charts.append(line_chart(points, title=words, x_label="step", dots=True))
    note = (
        f"{dev.get('queries', 0):,} dev queries decide, searching all documents. At the moments "
        f"{pool.get('queries', 0):,} of them searched a pool of {pool.get('documents', 0):,} "
        "documents, where every model looks better: compare its figures with each other alone."
    )
    if guard.get("queries"):
        note += (
            f" The guard set has {guard['queries']:,} queries of other data; on it a model may "
            f"lose {guard.get('max_drop', 0):g}."
        )
    return SelectionView(
        str(record.get("sentence", "")),
        note,
        charts,
        [_row(row) for row in record["trials"]],
        _words(record["words"]) if record.get("words") else None,
    )


def _words(record: Mapping[str, Any]) -> WordsView:
    names = {"base": "Before", "tuned": "After"}
    rows = [(names[name], *(f"{value:.4f}" for value in record["judged"][name])) for name in names]
    return WordsView(
        str(record["sentence"]),
        str(record["measure"]),
        label(str(record["heading"])),
        [(name, vectors, words) for name, vectors, words in rows],
    )


def _row(trial: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    change = trial.get("guard_change")
    where = "" if trial["searched"] == "corpus" else " (pool)"
    return (
        str(trial["name"]),
        f"{trial['dev']:.4f}{where}",
        signed(trial["change"]),
        p_text(trial["p_value"]) if not where else "",
        "" if change is None else signed(change),
        str(trial["why"]) or "comes back",
    )
