"""The mining report as things to show: facts, what became of the documents, histograms, rows to
read.

It reads the dict form of `whet.mining.report.MiningReport`; whatever is missing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from whet.data.load import Dataset
from whet.mining.miner import Mined
from whet.report.charts import histogram, number
from whet.report.words import duration, is_number, label
from whet.storage.commit import write_json
from whet.types import Texts

MOST_SAMPLES = 6
TEXT_LIMIT = 2_000  # characters of a text that are kept
FATES = {
    "excluded": "Known positives and their duplicates",
    "above": "Above the ceiling: too like a positive",
    "below": "Below the floor",
    "unproposed": "Not proposed to the cross-encoder",
    "allowed": "Allowed as negatives",
}
STATISTICS = ("mean", "std", "min", "25%", "median", "75%", "max")


class Item(NamedTuple):
    """A text to read, and its small print such as "rank 3 · score 0.61"."""

    text: str
    note: str


@dataclass(frozen=True)
class MiningView:
    """What the page's mining section holds."""

    facts: list[tuple[str, str]]
    fates: list[
        tuple[str, int, float]
    ]  # what became of the documents: name, count, share of the largest
    scores: list[tuple[str, list[str]]]  # name, values of STATISTICS
    charts: list[Markup]
    policy: list[tuple[str, str]]
    samples: list[tuple[Item, list[Item], list[Item]]]  # query, positives, negatives


def view_minings(mining: Mapping[str, Any]) -> list[tuple[str, MiningView]]:
    """What the page shows of each of several data sets, by its name; of one without a name."""
    sets = mining.get("sets")
    if not isinstance(sets, Mapping):
        return [("", view_mining(mining))]
    return [(str(name), view_mining(one)) for name, one in sets.items() if isinstance(one, Mapping)]


def view_mining(mining: Mapping[str, Any]) -> MiningView:
    """Sort a mining report's parts into what the page shows."""
    scores = [
        (label(name), _statistics(numbers)) for name, numbers in mining.get("scores", {}).items()
    ]
    policy = [(label(k), str(v)) for k, v in mining.get("policy", {}).items() if v is not None]
    rows = [row for row in mining.get("sample", []) if "query" in row]
    return MiningView(
        facts=_facts(mining),
        fates=_fates(mining),
        scores=[(name, values) for name, values in scores if values],
        charts=_histograms(mining),
        policy=policy,
        samples=[_sample(row) for row in rows[:MOST_SAMPLES]],
    )


def with_texts(mining: Mapping[str, Any], queries: Texts, corpus: Texts) -> dict[str, Any]:
    """The report with ids and texts in its first sampled rows, so that the page needs no tables.

    `queries` and `corpus` are the tables that were mined. Call it before writing
    mining_report.json.
    """
    sample = [
        {
            **row,
            "query": _document(queries, row["query_row"]),
            "positives": [_document(corpus, document) for document in row["positive_rows"]],
            "negatives": [
                {**_document(corpus, document), "rank": rank, "score": score}
                for document, rank, score in zip(
                    row["rows"], row["ranks"], row["scores"], strict=True
                )
            ],
        }
        for row in mining["sample"][:MOST_SAMPLES]
    ]
    return {**mining, "sample": [*sample, *mining["sample"][MOST_SAMPLES:]]}


def _document(table: Texts, row: int) -> dict[str, Any]:
    text = table.text(row)
    cut = text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
    return {"id": table.id(row), "text": cut}


def _facts(mining: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = ("negatives", "rows", "queries", "documents", "among")
    names_shown = {"among": "Documents looked at"}
    facts = [
        (names_shown.get(name, label(name)), number(mining[name]))
        for name in names
        if is_number(mining.get(name))
    ]
    short = mining.get("short", [])
    if short:
        count = sum(lack > 0 for lack in short)
        words = f"{count:,} of {len(short):,} ({100 * count / len(short):.1f} %)"
        facts.append(("Rows that came back short", words))
    for name in ("dropped_rows", "filled", "without_positives"):
        facts += [(label(name), number(mining[name]))] if mining.get(name) else []
    if mining.get("backend"):
        facts.append(("Backend", f"{mining['backend']}: {mining.get('why', '')}".rstrip(": ")))
    if is_number(mining.get("seconds")):
        facts.append(("Time", duration(mining["seconds"])))
    return facts


def _fates(mining: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Documents over all rows mined, by what became of them."""
    totals = {name: sum(mining.get(name, [])) for name in FATES}
    most = max(totals.values())
    return [(FATES[name], count, count / most) for name, count in totals.items() if count]


def _statistics(numbers: Mapping[str, float | None]) -> list[str]:
    """Values in the order of STATISTICS; none when there is nothing to tell."""
    values = [numbers.get(name) for name in STATISTICS]
    return [] if None in values else [f"{value:.3f}" for value in values if value is not None]


def _histograms(mining: Mapping[str, Any]) -> list[Markup]:
    """Where the negatives stand in the ranking, and how far below the positive they score."""
    from whet.mining.report import GAP_EDGES, RANK_EDGES

    ranks = [str(a) if b == a + 1 else f"{a:,}-{b - 1:,}" for a, b in pairwise(RANK_EDGES)]
    ranks += [f"{RANK_EDGES[-1]:,}+", "unknown"]
    gaps = [f"< {number(GAP_EDGES[0])}", *(number(edge) for edge in GAP_EDGES)]
    charts = [
        ("Rank of the negatives in the corpus", "rank, counted from 0", ranks, "rank_counts"),
        ("Gap to the positive's score", "positive minus negative, from", gaps, "gap_counts"),
    ]
    return [
        histogram(bins, title=title, x_label=x_label)
        for title, x_label, names, key in charts
        if (bins := _bins(names, mining.get(key, [])))
    ]


def _bins(names: Sequence[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The bins from the first to the last that holds anything; none if the bins are not these."""
    held = [place for place, count in enumerate(counts) if count]
    if len(names) != len(counts) or not held:
        return []
    bins = [(name, float(count)) for name, count in zip(names, counts, strict=True)]
    return bins[held[0] : held[-1] + 1]


def _sample(row: Mapping[str, Any]) -> tuple[Item, list[Item], list[Item]]:
    score = row.get("positive_score")
    note = "" if score is None else f" · reference score {score:.3f}"
    positives = [
        Item(document["text"], f"{document['id']}{note}") for document in row.get("positives", [])
    ]
    negatives = [Item(document["text"], _note(document)) for document in row.get("negatives", [])]
    return Item(row["query"]["text"], row["query"]["id"]), positives, negatives


def _note(negative: Mapping[str, Any]) -> str:
    rank = f"rank {negative['rank']:,} · " if negative["rank"] >= 0 else ""
    return f"{negative['id']} · {rank}score {negative['score']:.3f}"


def write_mining_reports(path: Path, sets: Mapping[str, tuple[Mined, Dataset]]) -> None:
    """Write the reports of several data sets, by their names, to one file."""
    write_json(
        path,
        {
            "sets": {
                name: with_texts(mined.report.to_dict(), data.queries, data.corpus)
                for name, (mined, data) in sets.items()
            }
        },
    )


def write_mining_report(path: Path, mined: Mined, data: Dataset) -> None:
    """Write the report as JSON, with a few rows' texts to read."""
    write_json(path, with_texts(mined.report.to_dict(), data.queries, data.corpus))
