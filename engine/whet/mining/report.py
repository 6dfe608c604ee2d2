"""What a mining run did: how many documents fell to which rule, where the negatives lie, and rows
to read.

Shape suffixes: R rows of negatives, K negatives per row, N documents, M values.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from whet.config import MiningConfig
from whet.mining.propose import Survivors
from whet.types import Negatives, Positives, Texts

# Histogram bins, [edge, next edge): ranks over the whole corpus before any filter, and gaps s+ - s.
RANK_EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)
GAP_EDGES = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0)
SAMPLED_ROWS = 20
METRICS = ("count", "mean", "median", "std", "min", "25%", "75%", "max")


@dataclass(frozen=True)
class MiningReport:
    """Everything a mining run has to say. Plain numbers and lists, so that it is JSON as it is.

    The lists by row are over the rows mined, before `on_short` dropped any: of the N documents
    excluded + above + below + unproposed + allowed = N for each. `rank_counts` has a count for each
    bin of RANK_EDGES (the last is open) and one more, last, for unknown ranks; `gap_counts` one
    below the first edge, then each bin.
    """

    queries: int
    documents: int
    rows: int
    negatives: int
    without_positives: int
    query_rows: list[int]
    query_ids: list[str]
    excluded: list[int]
    above: list[int]
    below: list[int]
    unproposed: list[int]
    allowed: list[int]
    short: list[int]
    dropped_rows: int
    filled: int
    rank_counts: list[int]
    gap_counts: list[int]
    scores: dict[str, dict[str, float | None]]
    backend: str
    why: str
    seconds: float
    policy: dict[str, Any]
    sample: list[dict[str, Any]]
    among: int | None = None  # documents looked at; None: all

    @property
    def short_rows(self) -> int:
        """How many rows mined found fewer negatives than asked, before `on_short` did anything."""
        return sum(count > 0 for count in self.short)

    def totals(self) -> dict[str, int]:
        """Documents over all rows mined, by what became of them."""
        names = ("excluded", "above", "below", "unproposed", "allowed")
        return {name: sum(getattr(self, name)) for name in names}

    def renumbered(self, query_rows_Q: np.ndarray) -> MiningReport:
        """The report with query row i called `query_rows_Q[i]`."""
        sample = [{**row, "query_row": int(query_rows_Q[row["query_row"]])} for row in self.sample]
        rows = [int(query_rows_Q[row]) for row in self.query_rows]
        return replace(self, query_rows=rows, sample=sample)

    def of_part(self, rows_S: np.ndarray, documents: int) -> MiningReport:
        """The report of a mining among the documents `rows_S` of a corpus as one of that corpus:
        the others are unproposed, and no rank is known.
        """
        others = documents - len(rows_S)
        # A rank within the part says nothing of the corpus: all go to the bin of unknown ones.
        counts = [0] * len(RANK_EDGES) + [sum(self.rank_counts)]
        sample = [
            {
                **row,
                "positive_rows": rows_S[row["positive_rows"]].tolist(),
                "rows": rows_S[row["rows"]].tolist(),
                "ranks": [-1] * len(row["ranks"]),
            }
            for row in self.sample
        ]
        return replace(
            self,
            documents=documents,
            among=len(rows_S),
            unproposed=[count + others for count in self.unproposed],
            rank_counts=counts,
            sample=sample,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MiningReport:
        """The report that gave `to_dict`."""
        return cls(**values)

    def __str__(self) -> str:
        return "\n".join([*self._summary(), "", *self._table(), "", *self._histograms()])

    def headline(self) -> str:
        """The run in one sentence."""
        short = f", {self.short_rows:,} of them short" if self.short_rows else ""
        return (
            f"Mined {self.negatives:,} negatives in {self.rows:,} rows{short}, over "
            f"{self._documents()}, in {self.seconds:.1f} s by {self.backend}."
        )

    def __repr__(self) -> str:
        return self.headline()

    def _documents(self) -> str:
        looked_at = f"{self.among:,} of " if self.among is not None else ""
        return f"{looked_at}{self.documents:,} documents"

    def _summary(self) -> list[str]:
        totals = self.totals()
        every = max(1, sum(totals.values()))
        parts = [f"{name} {100 * count / every:.2f} %" for name, count in totals.items() if count]
        mined = len(self.query_ids)
        lines = [
            f"Mined {self.negatives:,} negatives in {self.rows:,} rows "
            f"for {self.queries:,} queries over {self._documents()} "
            f"in {self.seconds:.2f} s.",
            f"Backend {self.backend}: {self.why}.",
            f"Documents a row: {', '.join(parts) or 'none'}.",
            f"Short rows {self.short_rows:,} of {mined:,} "
            f"({100 * self.short_rows / max(1, mined):.1f} %); "
            f"on_short={self.policy['on_short']} dropped {self.dropped_rows:,} and filled in "
            f"{self.filled:,} negatives.",
        ]
        if self.without_positives:
            lines.append(
                f"{self.without_positives:,} queries without positives: mined with no ceiling "
                "but max_score."
            )
        return lines

    def _table(self) -> list[str]:
        lines = [f"{'Metric':<10}{'Positive':>12}{'Negative':>12}{'Difference':>12}"]
        for metric in METRICS:
            cells = [self.scores[name][metric] for name in ("positive", "negative", "difference")]
            lines.append(
                f"{metric:<10}" + "".join(f"{_number(cell, metric):>12}" for cell in cells)
            )
        return lines

    def _histograms(self) -> list[str]:
        ranks = [_bin(RANK_EDGES, i) for i in range(len(RANK_EDGES))] + ["unknown"]
        gaps = [f"< {GAP_EDGES[0]}"] + [_bin(GAP_EDGES, i) for i in range(len(GAP_EDGES))]
        return [
            *_bars("Rank in the corpus", ranks, self.rank_counts),
            "",
            *_bars("Gap to the positive", gaps, self.gap_counts),
        ]

    def sample_rows(self, queries: Texts, corpus: Texts, count: int = 3) -> str:
        """The first `count` of the sampled rows with their texts, to read.

        `queries` is any table that holds the mined queries' ids, `corpus` the one that was mined.
        """
        blocks = []
        for row in self.sample[:count]:
            query = int(queries.rows_of([row["query_id"]])[0])
            lines = [_line("query", None, queries, query)]
            lines += [
                _line("positive", row["positive_score"], corpus, p) for p in row["positive_rows"]
            ]
            for doc, score, rank in zip(row["rows"], row["scores"], row["ranks"], strict=True):
                label = "negative" if rank < 0 else f"rank {rank}"
                lines.append(_line(label, score, corpus, doc))
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)


def report_of(
    final: Negatives,
    survivors: Survivors,
    positives: Positives,
    *,
    policy: MiningConfig,
    query_rows_R: np.ndarray,
    ids_Q: Sequence[str],
    short_R: np.ndarray,
    documents: int,
    seconds: float,
) -> MiningReport:
    """The report of one run: `final` are the negatives given out, `short_R` what each row lacked
    before.

    `query_rows_R` are the rows mined, as in `final` before `on_short`; `ids_Q` the ids of the
    queries.
    """
    counts = {
        "excluded": survivors.excluded_R,
        "above": survivors.above_R,
        "below": survivors.below_R,
        "unproposed": survivors.unproposed_R,
    }
    allowed_R = documents - np.sum(list(counts.values()), axis=0)
    kept_short_R = policy.num_negatives - final.found_R
    # Compared row by row, which only on_short=random allows: drop leaves other rows.
    filled = int((short_R - kept_short_R).sum()) if policy.on_short == "random" else 0
    return MiningReport(
        queries=len(positives),
        documents=documents,
        rows=len(final),
        negatives=int(final.found_R.sum()),
        without_positives=int((np.diff(positives.offsets_Q1) == 0).sum()),
        query_rows=query_rows_R.tolist(),
        query_ids=[ids_Q[int(row)] for row in query_rows_R],
        **{name: values.tolist() for name, values in counts.items()},
        allowed=allowed_R.tolist(),
        short=short_R.tolist(),
        dropped_rows=len(short_R) - len(final),
        filled=filled,
        rank_counts=_rank_counts(final),
        gap_counts=_gap_counts(final),
        scores=score_table(final),
        backend=survivors.backend,
        why=survivors.why,
        seconds=seconds,
        policy=asdict(policy),
        sample=_sample(final, positives, policy.seed, ids_Q),
    )


def _rank_counts(negatives: Negatives) -> list[int]:
    rank_M = negatives.ranks_RK[negatives.doc_rows_RK >= 0]
    known = np.histogram(rank_M[rank_M >= 0], [*RANK_EDGES, np.inf])[0]
    return [*known.tolist(), int((rank_M < 0).sum())]


def _gap_counts(negatives: Negatives) -> list[int]:
    gap_M = _gaps(negatives)
    counts: list[int] = np.histogram(gap_M, [-np.inf, *GAP_EDGES, np.inf])[0].tolist()
    return counts


def _gaps(negatives: Negatives) -> np.ndarray:
    """s+ - s of every negative that has both, float64 [M]."""
    gap_RK = negatives.positive_scores_R[:, None].astype(np.float64) - negatives.scores_RK
    gap_M: np.ndarray = gap_RK[np.isfinite(gap_RK)]
    return gap_M


def score_table(negatives: Negatives) -> dict[str, dict[str, float | None]]:
    """Positive, negative and difference by METRICS, as sentence-transformers reports them; None
    where there is none.
    """
    positive_M = np.repeat(negatives.positive_scores_R, negatives.found_R)
    score_M = negatives.scores_RK[negatives.doc_rows_RK >= 0]
    columns = {"positive": positive_M, "negative": score_M, "difference": _gaps(negatives)}
    return {name: _statistics(values[np.isfinite(values)]) for name, values in columns.items()}


def _statistics(value_M: np.ndarray) -> dict[str, float | None]:
    if not len(value_M):
        return {metric: 0.0 if metric == "count" else None for metric in METRICS}
    value_M = value_M.astype(np.float64)
    low, median, high = np.percentile(value_M, (25, 50, 75))
    std = value_M.std(ddof=1) if len(value_M) > 1 else 0.0
    numbers = (len(value_M), value_M.mean(), median, std, value_M.min(), low, high, value_M.max())
    return {metric: float(number) for metric, number in zip(METRICS, numbers, strict=True)}


def _sample(
    negatives: Negatives, positives: Positives, seed: int, ids_Q: Sequence[str]
) -> list[dict[str, Any]]:
    """A few rows drawn evenly, the same for the same seed."""
    found_R = negatives.found_R
    filled = np.flatnonzero(found_R > 0)
    # Raw words of Philox, as for all draws: numpy promises their values for ever.
    words = np.array(np.random.Philox(key=seed % 2**64).random_raw(len(filled)), np.uint64)
    chosen = filled[np.argsort(words, kind="stable")[:SAMPLED_ROWS]]
    return [
        {
            "query_row": int(negatives.query_rows_R[row]),
            "query_id": ids_Q[int(negatives.query_rows_R[row])],
            "positive_rows": positives.of(int(negatives.query_rows_R[row])).tolist(),
            "positive_score": None
            if np.isnan(negatives.positive_scores_R[row])
            else float(negatives.positive_scores_R[row]),
            "rows": negatives.doc_rows_RK[row, : found_R[row]].tolist(),
            "scores": negatives.scores_RK[row, : found_R[row]].tolist(),
            "ranks": negatives.ranks_RK[row, : found_R[row]].tolist(),
        }
        for row in chosen.tolist()
    ]


def overlap(previous: Negatives, current: Negatives) -> float:
    """overlap@k of two minings: of each query in both, |common| / the larger of the two sets; their
    mean, 0 to 1.

    NaN where no query is in both with a negative in either.

    >>> nothing = np.full((1, 2), np.nan, np.float32)
    >>> two = [Negatives(np.array([0]), np.array([rows]), nothing, nothing, nothing[0, :1])
    ...        for rows in ([4, 7], [4, 9])]
    >>> overlap(*two)
    0.5
    """
    docs = 1 + max(previous.doc_rows_RK.max(initial=0), current.doc_rows_RK.max(initial=0))
    both = np.intersect1d(previous.query_rows_R, current.query_rows_R)

    def pairs(negatives: Negatives) -> np.ndarray:
        query_RK = np.broadcast_to(negatives.query_rows_R[:, None], negatives.doc_rows_RK.shape)
        valid = (negatives.doc_rows_RK >= 0) & np.isin(query_RK, both)
        # A pair as one number, so that sets of pairs are sorted arrays.
        return np.unique(query_RK[valid] * docs + negatives.doc_rows_RK[valid])

    def sizes(pair_M: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(both, pair_M // docs), minlength=len(both))

    before, now = pairs(previous), pairs(current)
    common = np.intersect1d(before, now, assume_unique=True)
    # By the larger set: a query that lost all its negatives counts as changed, not as left out.
    larger = np.maximum(sizes(before), sizes(now))
    counted = larger > 0
    return (
        float((sizes(common)[counted] / larger[counted]).mean()) if counted.any() else float("nan")
    )


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if metric == "count" else f"{value:.4f}"


def _bin(edges: Sequence[float], i: int) -> str:
    if i + 1 == len(edges):
        return f">= {edges[i]:,}"
    return f"{edges[i]:,}" if edges[i + 1] - edges[i] == 1 else f"{edges[i]:,} to {edges[i + 1]:,}"


def _bars(title: str, names: list[str], counts: list[int]) -> list[str]:
    total = max(1, sum(counts))
    lines = [title]
    for name, count in zip(names, counts, strict=True):
        if count:
            lines.append(
                f"  {name:>18} {100 * count / total:5.1f} % {'#' * round(40 * count / total)}"
            )
    return lines


def _line(label: str, score: float | None, table: Texts, row: int) -> str:
    shown = textwrap.shorten(table.text(row), 200, placeholder=" ...")
    number = "" if score is None else f" {score:.3f}"
    return f"{label:>10}{number:>7}  [{table.id(row)}] {shown}"
