"""Mining among some of the documents: which, and what their negatives are in the whole corpus.

Shape suffixes: Q queries, L lists of C candidates, N documents, S of them chosen, R rows of
negatives, K negatives per row.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from whet.config import MiningConfig
from whet.errors import ConfigError
from whet.mining.miner import Mined, mine
from whet.mining.policy import exclusions
from whet.mining.propose import Rescore
from whet.mining.search import windowed_search
from whet.mining.search.backend import search_task
from whet.types import CorpusShard, Embeddings, Negatives, Positives


def candidates_of(
    queries: Embeddings,
    corpus: Embeddings | CorpusShard,
    positives: Positives,
    policy: MiningConfig,
    count: int,
) -> np.ndarray:
    """Documents that may become negatives, int32 [L, count], the best first in each of L lists, -1
    where there are fewer.

    A query has two lists or more: the best that the policy's margins allow now, and the best of
    all. A positive that scores low today has its negatives in the first, far down the ranking; when
    training has lifted it they come from the second.
    """
    margins = replace(
        policy,
        num_negatives=count,
        range_min=0,
        range_max=None,
        rank_window="survivors",
        sampling="top",
        on_short="keep",
        cross_encoder=None,
    )
    allowed = mine(queries, corpus, positives, margins).negatives.doc_rows_RK
    task = search_task(queries, corpus, exclude=exclusions(positives))
    search = windowed_search(task, count, policy.backend)
    return np.vstack([allowed, search.top.rows_Qk]).astype(np.int32)


def chosen_rows(candidate_LC: np.ndarray, always: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` documents, ascending: those of `always`, then those that stand highest in any
    list of candidates, of equal place those that stand there in more of them.

    >>> chosen_rows(np.array([[7, 3], [7, 5], [2, -1]]), np.array([9]), 3)
    array([2, 7, 9])
    """
    always = np.unique(always)
    row_M, place_M = candidate_LC.ravel(), np.arange(candidate_LC.size) % candidate_LC.shape[1]
    keep_M = (row_M >= 0) & ~np.isin(row_M, always)
    row_M, place_M = row_M[keep_M], place_M[keep_M]
    row_U, at_M = np.unique(row_M, return_inverse=True)
    place_U = np.full(len(row_U), candidate_LC.shape[1])
    np.minimum.at(place_U, at_M, place_M)
    fans_U = np.bincount(at_M[place_M == place_U[at_M]], minlength=len(row_U))
    best = np.lexsort((row_U, -fans_U, place_U))[: max(0, limit - len(always))]
    return np.sort(np.concatenate([always, row_U[best]])).astype(np.int64)


def positives_within(positives: Positives, rows_S: np.ndarray) -> Positives:
    """The table over the chosen documents alone, renumbered; all positives must be among them."""
    doc_rows_P = np.searchsorted(rows_S, positives.doc_rows_P)
    group_of_S = np.asarray(positives.group_of_N[rows_S])
    return Positives(positives.offsets_Q1, doc_rows_P, group_of_S, positives.own_Q)


def mine_part(
    queries: Embeddings,
    part: Embeddings | CorpusShard,
    rows_S: np.ndarray,
    positives: Positives,
    policy: MiningConfig,
    *,
    refresh: int = 0,
    rescore: Rescore | None = None,
    previous: Negatives | None = None,
) -> Mined:
    """`mine` among the documents `rows_S` (ascending, every positive among them) of a corpus.

    `part` holds their vectors; `positives`, `previous`, `rescore` and the result speak of the whole
    corpus. Ranks are unknown (-1); documents that are not in the part count as unproposed.
    """
    check_for_part(policy)

    def of_pairs(query_M: np.ndarray, row_M: np.ndarray) -> np.ndarray:
        assert rescore is not None
        # The search counts within the part; a cross-encoder knows the corpus's rows alone.
        return rescore(query_M, rows_S[row_M])

    mined = mine(
        queries,
        part,
        positives_within(positives, rows_S),
        policy,
        refresh=refresh,
        rescore=of_pairs if rescore is not None else None,
        previous=None if previous is None else _within(previous, rows_S),
    )
    return _in_corpus(mined, rows_S, len(positives.group_of_N))


def check_for_part(policy: MiningConfig) -> None:
    """ConfigError for a policy that needs every document's score."""
    if policy.rank_window == "raw":
        raise ConfigError(
            "mining.rank_window=raw counts ranks over the whole corpus, which a cheap refresh does "
            "not look at. Set refresh.scope=all, or rank_window=survivors."
        )
    if policy.sampling == "random" and policy.range_max is None:
        raise ConfigError(
            "mining.sampling=random draws from all that is allowed, which a cheap refresh does not "
            "know. Give range_max, or set refresh.scope=all."
        )


def _within(negatives: Negatives, rows_S: np.ndarray) -> Negatives:
    """Negatives by their place among the chosen documents, -1 for those that are not."""
    place_RK = np.minimum(np.searchsorted(rows_S, negatives.doc_rows_RK), len(rows_S) - 1)
    place_RK = np.where(rows_S[place_RK] == negatives.doc_rows_RK, place_RK, -1)
    return replace(negatives, doc_rows_RK=place_RK)


def _in_corpus(mined: Mined, rows_S: np.ndarray, documents: int) -> Mined:
    place_RK = mined.negatives.doc_rows_RK
    negatives = replace(
        mined.negatives,
        doc_rows_RK=np.where(place_RK >= 0, rows_S[place_RK], -1),
        ranks_RK=np.full_like(place_RK, -1),
    )
    return Mined(negatives, mined.report.of_part(rows_S, documents))
