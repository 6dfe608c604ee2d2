"""Base against tuned: the table of the terminal and the report, and the one sentence that sums it
up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from whet.errors import ConfigError, DataError
from whet.evaluation.measures import Scores, balanced, parse_measure
from whet.evaluation.pool.size import PoolSize
from whet.evaluation.significance import (
    bootstrap_interval,
    paired_t_test,
    randomisation_test,
    wins_ties_losses,
)
from whet.evaluation.trec import write_text

SIGNIFICANT = 0.05
HEAD = ("measure", "base", "tuned", "change", "95 % interval", "p", "won", "same", "lost")


@dataclass(frozen=True)
class MeasureRow:
    """One measure: means, their difference with its 95 % interval, p-values, queries by outcome."""

    measure: str
    base: float
    tuned: float
    difference: float
    low: float  # of the difference, bootstrap
    high: float
    p_value: float  # Fisher randomisation test
    t_test_p_value: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Comparison:
    """Both systems on the same queries; `right_first`: share with a relevant document on top."""

    main_measure: str
    queries: int
    rows: list[MeasureRow]
    right_first: tuple[float, float] | None  # base, tuned; None without a measure of the RR family
    pool: PoolSize | None = None  # None: all documents were searched
    returned: str = ""  # what of a fit came back as the tuned model, and why; empty: not chosen
    base_came_back: bool = False
    sets: dict[str, list[MeasureRow]] = field(default_factory=dict)  # of several data sets each

    @property
    def main(self) -> MeasureRow:
        """The row that decides; the other p-values are for reading, not corrected for being
        several.
        """
        return next(row for row in self.rows if row.measure == self.main_measure)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the verdict's sentence is among them."""
        first = list(self.right_first) if self.right_first else None
        plain = {**asdict(self), "right_first": first, "verdict": self.verdict()}
        if not self.sets:
            del plain["sets"]
        return plain

    def verdict(self) -> str:
        """The outcome in a few plain sentences."""
        main = self.main
        name = f"{main.measure} on {self.pool}" if self.pool else main.measure
        first_name = name
        if self.sets:
            over = f"{name} over {len(self.sets)} data sets"
            name, first_name = f"mean {over}", f"Mean {over}"
        if self.base_came_back:
            return f"{self.returned} {first_name} stays at {main.base:.3f}."
        numbers = f"is {main.tuned:.3f}, was {main.base:.3f}"
        change = f"{first_name} {numbers}"
        if self.right_first:
            shares = tuple(f"{100 * share:.0f} %" for share in self.right_first)
            first = f"Finds a right document first for {shares[1]} of queries, was {shares[0]}"
            change = f"{first}; {name} {numbers}"
        return f"{change}. {_judgement(main, self.queries)} {self.returned}".rstrip()

    def __str__(self) -> str:
        """A table for the terminal, with the verdict below it."""
        return f"{self.table()}\n{self.verdict()}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """The table of the report, for a notebook."""
        return f"{html_table(self._head(), self._lines())}<p>{escape(self.verdict())}</p>"

    def _head(self) -> tuple[str, ...]:
        return (f"on {self.pool}", *HEAD[1:]) if self.pool else HEAD

    def _lines(self) -> list[tuple[str, ...]]:
        """A row for each measure; below the one that decides a row for each of several sets."""
        cells = []
        for row in self.rows:
            cells.append(_cells(row))
            if row.measure == self.main_measure:
                cells += [(f"  {name}", *_cells(one)[1:]) for name, one in self._main_of_sets()]
        return cells

    def _main_of_sets(self) -> list[tuple[str, MeasureRow]]:
        return [
            (name, row)
            for name, rows in self.sets.items()
            for row in rows
            if row.measure == self.main_measure
        ]

    def table(self) -> str:
        """The measures, a line each, for the terminal."""
        cells = [self._head(), *self._lines()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
                for i, (cell, width) in enumerate(pairs)
            )
            for pairs in (list(zip(row, widths, strict=True)) for row in cells)
        ]
        return "\n".join(lines)


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table of a notebook, which styles it.

    >>> html_table(["a"], [["<b>"]])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """
    lines = [
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
        for tag, cells in [("th", head), *(("td", row) for row in rows)]
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def compare(
    base: Scores,
    tuned: Scores,
    main_measure: str,
    *,
    pool: PoolSize | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems query by query, both on `pool` or on all documents; the same seed gives
    the same numbers.

    Raises DataError when they were not scored on the same queries and measures, ConfigError when
    `main_measure` is not among these.
    """
    main_measure = str(parse_measure(main_measure))
    if list(base.per_query) != list(tuned.per_query):
        raise DataError(
            f"base was scored with {', '.join(base.per_query)}, "
            f"tuned with {', '.join(tuned.per_query)}. Score both with the same evaluate.measures."
        )
    if main_measure not in base.per_query:
        raise ConfigError(
            f"{main_measure} was not scored, only {', '.join(base.per_query)}. "
            "Add it to evaluate.measures."
        )
    rows = [_row(name, base, tuned, draws=draws, seed=seed) for name in base.per_query]
    queries = len(base.per_query[main_measure])
    return Comparison(main_measure, queries, rows, _right_first(base, tuned), pool)


def compare_sets(sets: Mapping[str, tuple[Scores, Scores]], main_measure: str) -> Comparison:
    """Compare two systems (base, tuned) on several data sets, of which each counts alike: the means
    are means over the sets, and so are the differences that interval and p-values are of. For the
    interval queries are drawn from all sets together, which makes it a little wider than need be.

    Raises what `compare` does.
    """
    each = {name: compare(base, tuned, main_measure) for name, (base, tuned) in sets.items()}
    first = next(iter(each.values()))
    rows = []
    for place, row in enumerate(first.rows):
        before, after = (
            balanced({name: both[side].per_query[row.measure] for name, both in sets.items()})
            for side in (0, 1)
        )
        means = [
            math.fsum(getattr(one.rows[place], side) for one in each.values()) / len(each)
            for side in ("base", "tuned")
        ]
        change = differences(before, after)
        rows.append(_row_of(row.measure, (means[0], means[1]), change, draws=10_000, seed=0))
    right_first = None
    if all(one.right_first for one in each.values()):
        shares = zip(*(one.right_first or () for one in each.values()), strict=True)
        base_share, tuned_share = (math.fsum(side) / len(each) for side in shares)
        right_first = (base_share, tuned_share)
    queries = sum(one.queries for one in each.values())
    by_name = {name: one.rows for name, one in each.items()}
    return Comparison(first.main_measure, queries, rows, right_first, sets=by_name)


def differences(base: Mapping[str, float], tuned: Mapping[str, float]) -> dict[str, float]:
    """Query id -> tuned minus base, in base's order. Raises DataError when their queries differ.

    >>> differences({"q": 0.25, "r": 0.5}, {"r": 0.5, "q": 0.75})
    {'q': 0.5, 'r': 0.0}
    """
    odd = base.keys() ^ tuned.keys()
    if odd or not base:
        raise DataError(
            f"base and tuned must be scored on the same queries: {len(base)} and {len(tuned)} are, "
            f"{len(odd)} are in one only (such as {sorted(odd)[:1]}). Use the same split."
        )
    return {query: tuned[query] - value for query, value in base.items()}


def write_per_query(path: str | Path, base: Scores, tuned: Scores) -> None:
    """Write a JSON line per query:
    `{"query_id": ..., "base": {measure: value}, "tuned": {...}}`.
    """
    query_ids = next(iter(base.per_query.values()))
    rows = (
        {
            "query_id": query_id,
            "base": {name: per_query[query_id] for name, per_query in base.per_query.items()},
            "tuned": {name: per_query[query_id] for name, per_query in tuned.per_query.items()},
        }
        for query_id in query_ids
    )
    write_text(path, (json.dumps(row, ensure_ascii=False) for row in rows))


def _row(name: str, base: Scores, tuned: Scores, *, draws: int, seed: int) -> MeasureRow:
    change = differences(base.per_query[name], tuned.per_query[name])
    return _row_of(name, (base.means[name], tuned.means[name]), change, draws=draws, seed=seed)


def _row_of(
    name: str, means: tuple[float, float], change: Mapping[str, float], *, draws: int, seed: int
) -> MeasureRow:
    change_Q = np.fromiter(change.values(), np.float64)
    low, high = bootstrap_interval(change_Q, draws=draws, seed=seed)
    wins, ties, losses = wins_ties_losses(change_Q)
    return MeasureRow(
        measure=name,
        base=means[0],
        tuned=means[1],
        difference=means[1] - means[0],
        low=low,
        high=high,
        p_value=randomisation_test(change_Q, draws=draws, seed=seed),
        t_test_p_value=paired_t_test(change_Q),
        wins=wins,
        ties=ties,
        losses=losses,
    )


def _right_first(base: Scores, tuned: Scores) -> tuple[float, float] | None:
    """From any RR, P@1 or Success@1: there 1.0 means that the first document is relevant."""
    for name in base.per_query:
        if name in ("RR", "P@1", "Success@1") or name.startswith("RR@"):
            both = [scores.per_query[name].values() for scores in (base, tuned)]
            before, after = (sum(value == 1.0 for value in values) / len(values) for values in both)
            return before, after
    return None


def _judgement(row: MeasureRow, queries: int) -> str:
    """How far the change can be trusted."""
    counts = f"{row.wins:,} of {queries:,} queries won, {row.losses:,} lost"
    if row.wins == row.losses == 0:
        return "No query changed."
    if row.p_value >= SIGNIFICANT:
        return f"The change may be chance (p = {row.p_value:.2f}; {counts})."
    better = "better" if row.difference > 0 else "worse"
    return f"That is {better}, and more than chance ({p_equation(row.p_value)}; {counts})."


def p_equation(p_value: float) -> str:
    """`p = 0.012`, or `p < 0.001`.

    >>> p_equation(0.0117), p_equation(0.0002)
    ('p = 0.012', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _cells(row: MeasureRow) -> tuple[str, ...]:
    p_value = "<0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}"
    interval = f"{row.low:+.4f} to {row.high:+.4f}"
    numbers = (f"{row.base:.4f}", f"{row.tuned:.4f}", f"{row.difference:+.4f}", interval, p_value)
    return (row.measure, *numbers, f"{row.wins:,}", f"{row.ties:,}", f"{row.losses:,}")
