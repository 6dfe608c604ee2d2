"""`mine`: from vectors and known positives to hard negatives and a report of how they were found.

Shape suffixes: Q queries, P positives, N corpus rows, R rows of negatives, K negatives per row, k
survivors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from whet.config import MiningConfig
from whet.errors import ConfigError, MiningError
from whet.mining.policy import (
    References,
    check_policy,
    exclusions,
    positive_queries,
    references,
    thresholds,
)
from whet.mining.propose import (
    Rescore,
    Survivors,
    rescored,
    survivors_by_cross_encoder,
    survivors_by_vector,
)
from whet.mining.report import MiningReport, report_of
from whet.mining.sample import Streams, choose, uniform_rows
from whet.mining.search import named_error
from whet.mining.search.backend import Task, search_task
from whet.mining.search.sharded import corpus_scores
from whet.types import CorpusShard, Embeddings, Negatives, Positives
from whet_kernels.topk.exact import VectorError, norms
from whet_kernels.topk.window import Exclude


@dataclass(frozen=True)
class Mined:
    """Negatives, and the report of how they were found."""

    negatives: Negatives
    report: MiningReport

    def __repr__(self) -> str:
        return self.report.headline()

    def renumbered(self, query_rows_Q: np.ndarray) -> Mined:
        """The same with query i called `query_rows_Q[i]`: from rows of a selection to those of its
        table.
        """
        rows_R = query_rows_Q[self.negatives.query_rows_R]
        negatives = replace(self.negatives, query_rows_R=rows_R)
        return Mined(negatives, self.report.renumbered(query_rows_Q))


def mine(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    positives: Positives,
    policy: MiningConfig,
    *,
    refresh: int = 0,
    rescore: Rescore | None = None,
    previous: Negatives | None = None,
) -> Mined:
    """Hard negatives for every query under a policy (docs/mining.md).

    `queries` is [Q, D], row i judged by row i of `positives` (`table.take(rows)` aligns them);
    `corpus` is [N, D], whole or this process's part of it (then every process must call this, with
    the same queries, and each gets the result over all parts). `query_rows_R` of the result indexes
    `queries`, ascending: one row per query, or with reference=each one per positive in the order of
    `positives.of(query)`. A query without positives is mined too, with no ceiling but max_score.
    `rescore(query_rows, doc_rows)` gives a cross-encoder's scores of pairs; they then replace the
    dot products. `refresh` numbers the random choices of one training run; `previous` are the
    negatives of the refresh before, which make this one faster and change nothing. The result of a
    query does not depend on the others.
    Raises MiningError for vectors that do not fit (NaN names the id), ConfigError for the policy.
    """
    began = time.perf_counter()
    check_policy(policy)
    _check_inputs(queries, corpus, positives, policy, rescore)
    score_P = _positive_scores(queries, corpus, positives, rescore)
    reference = references(positives, score_P, policy.reference)
    task = _task(queries, corpus, positives, reference, policy)
    # Hints lift the bound the search starts from; a bad one costs time and changes nothing.
    task = replace(task, hint_QC=_hints(previous, reference))
    streams = Streams(
        policy.seed,
        refresh,
        [queries.ids[int(row)] for row in reference.query_rows_R],
        reference.ordinal_R,
    )
    survivors = _survivors(task, reference, policy, rescore)
    picked = _pick(survivors, task, reference, policy, streams)
    # Counted before on_short drops or fills: the report says what the policy left.
    short_R = policy.num_negatives - picked.found_R
    final = _on_short(picked, task, policy, streams, rescore)
    report = report_of(
        final,
        survivors,
        positives,
        policy=policy,
        query_rows_R=reference.query_rows_R,
        ids_Q=queries.ids,
        short_R=short_R,
        documents=len(corpus),
        seconds=time.perf_counter() - began,
    )
    return Mined(final, report)


def _check_inputs(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    positives: Positives,
    policy: MiningConfig,
    rescore: Rescore | None,
) -> None:
    if len(queries) != len(positives):
        raise MiningError(
            f"{len(queries):,} queries but positives of {len(positives):,}. Align them: "
            "positives.take(query_rows)."
        )
    if len(corpus) != len(positives.group_of_N):
        raise MiningError(
            f"{len(corpus):,} document vectors but positives over {len(positives.group_of_N):,} "
            "documents. "
            "Encode the whole corpus the positives were read with."
        )
    if queries.vectors.shape[1:] != corpus.vectors.shape[1:]:
        raise MiningError(
            f"queries have {queries.vectors.shape[1:]} dimensions, the corpus "
            f"{corpus.vectors.shape[1:]}. "
            "Encode both with one model."
        )
    if policy.cross_encoder and rescore is None:
        raise ConfigError(
            f"mining.cross_encoder={policy.cross_encoder} needs texts, and mine() sees vectors. "
            "Give rescore=: whet.mining.crossencoder.mining_rescorer makes one."
        )
    # Before any score: a query's NaN would be blamed on its positive's vector.
    try:
        norms(queries.vectors, side="query")
    except VectorError as error:
        raise named_error(error, queries) from error


def _positive_scores(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    positives: Positives,
    rescore: Rescore | None,
) -> np.ndarray:
    """Exact scores of all positives, float32 [P], by the dot product or the cross-encoder."""
    query_P, row_P = positive_queries(positives), positives.doc_rows_P
    if rescore is not None:
        return rescored(rescore, query_P, row_P)
    with np.errstate(over="ignore", invalid="ignore"):
        score_P = corpus_scores(queries.vectors, corpus, query_P, row_P)
    bad = np.flatnonzero(~np.isfinite(score_P))
    if len(bad):
        problem = "the vector holds NaN, infinity, or numbers too large for a float32 score"
        raise named_error(VectorError("corpus", int(row_P[bad[0]]), problem), corpus)
    return score_P


def _task(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    positives: Positives,
    reference: References,
    policy: MiningConfig,
) -> Task:
    rows_R = reference.query_rows_R
    every = exclusions(positives)
    if len(rows_R) == len(queries):  # one row per query, in order
        query_RD, exclude = np.asarray(queries.vectors), every
    else:
        table = Positives(every.offsets_Q1, every.rows_E, positives.group_of_N).take(rows_R)
        query_RD, exclude = (
            np.asarray(queries.vectors[rows_R]),
            Exclude(table.offsets_Q1, table.doc_rows_P),
        )
    ceiling_R, floor_R = thresholds(reference.score_R, policy)
    return search_task(query_RD, corpus, ceiling_Q=ceiling_R, floor_Q=floor_R, exclude=exclude)


def _hints(previous: Negatives | None, reference: References) -> np.ndarray | None:
    """The previous negatives of each row, if they are rows of the same queries."""
    if previous is None or not np.array_equal(previous.query_rows_R, reference.query_rows_R):
        return None
    return previous.doc_rows_RK


def _survivors(
    task: Task, reference: References, policy: MiningConfig, rescore: Rescore | None
) -> Survivors:
    """As many survivors as the rank window can need."""
    if rescore is not None:
        return survivors_by_cross_encoder(task, reference.query_rows_R, policy, rescore)
    asked = policy.range_min + policy.num_negatives
    last = policy.range_max
    if policy.sampling == "random":
        k = max(1, policy.range_min) if last is None else last
    else:
        k = asked if last is None else min(asked, last)
    return survivors_by_vector(task, k, policy.backend)


def _pick(
    survivors: Survivors,
    task: Task,
    reference: References,
    policy: MiningConfig,
    streams: Streams,
) -> Negatives:
    """Take from the rank window; random without an end of the window draws from all that is
    allowed.
    """
    # Without an end of the window the draw is over all that is allowed, more than a search lists.
    if policy.sampling == "random" and policy.range_max is None and survivors.all_proposed:
        return _sample_all(survivors, task, reference, policy, streams)
    random = streams if policy.sampling == "random" else None
    chosen_Rk = choose(survivors.eligible(policy), policy.num_negatives, random)
    # A stable sort of booleans moves the chosen to the front and keeps their order.
    order = np.argsort(~chosen_Rk, axis=1, kind="stable")[:, : policy.num_negatives]

    def taken(values_Rk: np.ndarray, missing: float) -> np.ndarray:
        out = np.full((len(values_Rk), policy.num_negatives), missing, values_Rk.dtype)
        out[:, : order.shape[1]] = np.take_along_axis(
            np.where(chosen_Rk, values_Rk, missing).astype(values_Rk.dtype), order, 1
        )
        return out

    return Negatives(
        reference.query_rows_R,
        taken(survivors.rows_Rk, -1),
        taken(survivors.scores_Rk, np.nan),
        taken(survivors.ranks_Rk, -1),
        reference.score_R,
    )


def _sample_all(
    survivors: Survivors,
    task: Task,
    reference: References,
    policy: MiningConfig,
    streams: Streams,
) -> Negatives:
    """A uniform sample of all survivors past `range_min`; their raw ranks stay unknown."""
    place_Rk = np.broadcast_to(np.arange(survivors.rows_Rk.shape[1]), survivors.rows_Rk.shape)
    rank_Rk = survivors.ranks_Rk if policy.rank_window == "raw" else place_Rk
    skipped_Rk = (survivors.rows_Rk >= 0) & (rank_Rk < policy.range_min)
    counted_R = survivors.excluded_R + survivors.above_R + survivors.below_R
    allowed_R = len(task.corpus) - counted_R - skipped_Rk.sum(1)
    rest = replace(task, window=task.window.without(np.where(skipped_Rk, survivors.rows_Rk, -1)))
    want_R = np.minimum(policy.num_negatives, allowed_R)
    rows_Rn = _padded(
        uniform_rows(rest, want_R, allowed_R=allowed_R, streams=streams, purpose="all"),
        policy.num_negatives,
    )
    rows_RK, scores_RK = _scored(task, rows_Rn)
    ranks_RK = np.full(rows_RK.shape, -1, np.int64)
    return Negatives(reference.query_rows_R, rows_RK, scores_RK, ranks_RK, reference.score_R)


def _padded(rows_Rn: np.ndarray, width: int) -> np.ndarray:
    """The rows widened with -1 to `width` columns."""
    more = np.full((len(rows_Rn), width - rows_Rn.shape[1]), -1, np.int64)
    return np.concatenate([rows_Rn, more], axis=1)


def _scored(
    task: Task,
    rows_Rn: np.ndarray,
    rescore: Rescore | None = None,
    queries: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows best first with their scores; -1 and NaN last."""
    score_Rn = np.full(rows_Rn.shape, np.nan, np.float32)
    places = np.nonzero(rows_Rn >= 0)
    if rescore is not None and queries is not None:
        score_Rn[places] = rescored(rescore, queries[places[0]], rows_Rn[places])
    else:
        score_Rn[places] = corpus_scores(task.query_QD, task.corpus, places[0], rows_Rn[places])
    order = np.lexsort((rows_Rn, -score_Rn, rows_Rn < 0), axis=1)
    return np.take_along_axis(rows_Rn, order, 1), np.take_along_axis(score_Rn, order, 1)


def _on_short(
    picked: Negatives,
    task: Task,
    policy: MiningConfig,
    streams: Streams,
    rescore: Rescore | None,
) -> Negatives:
    """Keep short rows, drop them, or fill them from the corpus, never from the exclusions."""
    want_R = policy.num_negatives - picked.found_R
    if policy.on_short == "keep" or not want_R.any():
        return picked
    if policy.on_short == "drop":
        full_R = want_R == 0
        return Negatives(
            picked.query_rows_R[full_R],
            picked.doc_rows_RK[full_R],
            picked.scores_RK[full_R],
            picked.ranks_RK[full_R],
            picked.positive_scores_R[full_R],
        )
    anywhere = search_task(task.queries, task.corpus, exclude=task.window.exclude)
    anywhere = replace(anywhere, window=anywhere.window.without(picked.doc_rows_RK))
    allowed_R = len(task.corpus) - anywhere.window.excluded_Q
    want_R = np.minimum(want_R, allowed_R)
    rows_Rn = uniform_rows(anywhere, want_R, allowed_R=allowed_R, streams=streams, purpose="fill")
    rows_Rn, scores_Rn = _scored(task, rows_Rn, rescore, picked.query_rows_R)
    # After the found ones: a filler was not chosen by the policy, and may score above the ceiling.
    rows = np.concatenate([picked.doc_rows_RK, rows_Rn], axis=1)
    scores = np.concatenate([picked.scores_RK, scores_Rn], axis=1)
    ranks = np.concatenate([picked.ranks_RK, np.full(rows_Rn.shape, -1, np.int64)], axis=1)
    order = np.argsort(rows < 0, axis=1, kind="stable")[:, : policy.num_negatives]
    rows, scores, ranks = (np.take_along_axis(part, order, 1) for part in (rows, scores, ranks))
    return Negatives(picked.query_rows_R, rows, scores, ranks, picked.positive_scores_R)
