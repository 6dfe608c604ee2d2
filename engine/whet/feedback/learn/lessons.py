"""Judgments as numbers: for each judged query what to draw near, what to push away, and among which
documents that is decided.

Shape suffixes: F judged queries, N documents of the corpus, P documents of the pool, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from whet.config import MiningConfig
from whet.data.table import TextTable
from whet.evaluation.lexical import Words
from whet.feedback.events.judgments import Judged
from whet.mining.miner import mine
from whet.processes.devices import sent
from whet.types import Embeddings, Positives

HARD = 64  # hard negatives per query that the miner adds to the pool; as many by words
POOL = 4096  # documents drawn at random beside them


@dataclass(frozen=True)
class Lessons:
    """What was said, by corpus rows. A positive's duplicates count as it.

    `relevant` and `irrelevant` hold arrays of corpus rows, one of each per query; `preferences`
    holds int64 [n, 2] (over, under) a query. `home_N` is that of the data: for each passage its
    document's first.
    """

    queries: list[str]
    relevant: list[np.ndarray]
    irrelevant: list[np.ndarray]
    preferences: list[np.ndarray]
    home_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, places: Sequence[int] | np.ndarray) -> Lessons:
        """Those of some of the queries."""
        rows = [int(i) for i in places]
        return Lessons(
            [self.queries[i] for i in rows],
            [self.relevant[i] for i in rows],
            [self.irrelevant[i] for i in rows],
            [self.preferences[i] for i in rows],
            self.home_N,
        )

    @property
    def answers(self) -> list[np.ndarray]:
        """The documents a ranking is scored by: those marked relevant, or, where a query was only
        reordered, those put over others and under none.
        """
        best = [np.setdiff1d(pairs[:, 0], pairs[:, 1]) for pairs in self.preferences]
        return [
            rows if len(rows) else np.setdiff1d(put, bad)
            for rows, put, bad in zip(self.relevant, best, self.irrelevant, strict=True)
        ]

    @property
    def gains(self) -> np.ndarray:
        """Queries one can score a ranking by, bool [F]."""
        return np.array([len(rows) > 0 for rows in self.answers], bool)


def lessons_of(
    judged: Sequence[Judged], corpus: TextTable, home_N: np.ndarray | None = None
) -> tuple[Lessons, int]:
    """The judgments by corpus rows, and how many documents of them the corpus no longer has.

    Queries about which nothing is left are dropped. `home_N` is that of the data.
    """
    group_of_N = corpus.group_of_N()
    members: dict[int, list[int]] = {}
    for row, group in enumerate(group_of_N.tolist()):
        members.setdefault(group, []).append(row)
    lessons = Lessons([], [], [], [], home_N)
    lost = 0
    for query in judged:
        pairs = [name for pair in query.preferences for name in pair]
        rows = corpus.rows_of([*query.relevant, *query.irrelevant, *pairs])
        lost += int((rows < 0).sum())
        cut = len(query.relevant), len(query.relevant) + len(query.irrelevant)
        good, bad, both = rows[: cut[0]], rows[cut[0] : cut[1]], rows[cut[1] :].reshape(-1, 2)
        # A copy of a relevant text is relevant, too, or training would push it away.
        good = np.array(sorted({m for row in good if row >= 0 for m in members[group_of_N[row]]}))
        bad = np.setdiff1d(bad[bad >= 0], good)
        both = both[(both >= 0).all(1)]
        if len(good) or len(bad) or len(both):
            lessons.queries.append(query.query)
            lessons.relevant.append(good.astype(np.int64))
            lessons.irrelevant.append(bad)
            lessons.preferences.append(both)
    return lessons, lost


@dataclass(frozen=True)
class Pool:
    """The documents among which the judged queries are told apart: vectors float32 [P, D], and by
    place in the pool: `relevant_FP` (bool), `open_FP` (bool: may be answers, so no negatives),
    `pairs_M3` (query, over, under), `words_FP` (float32: what words add to a similarity, 0 where
    they do not count).
    """

    vectors_PD: Tensor
    relevant_FP: Tensor
    open_FP: Tensor
    irrelevant_FP: Tensor
    pairs_M3: Tensor
    words_FP: Tensor

    def weighted(self, weight: float) -> Pool:
        """The pool with its words times a weight."""
        return replace(self, words_FP=weight * self.words_FP)

    def to(self, device: torch.device) -> Pool:
        """The same on a device."""
        parts: list[Tensor] = [getattr(self, part.name) for part in fields(self)]
        return Pool(*(part if part.device == device else sent(part, device) for part in parts))

    def take(self, places: np.ndarray) -> Pool:
        """The pool for some of the queries."""
        place = {int(old): new for new, old in enumerate(places)}
        rows = [[place[q], a, b] for q, a, b in self.pairs_M3.tolist() if q in place]
        pairs_M3 = torch.tensor(rows, dtype=torch.long).reshape(-1, 3)
        at_F = torch.as_tensor(np.asarray(places))
        masks = (self.relevant_FP[at_F], self.open_FP[at_F], self.irrelevant_FP[at_F])
        return Pool(self.vectors_PD, *masks, pairs_M3, self.words_FP[at_F])


def pool_of(
    lessons: Lessons,
    query_FD: np.ndarray,
    corpus: Embeddings,
    words: Words | None,
    *,
    seed: int,
) -> Pool:
    """Everything that was judged, the hard negatives the miner finds, those of most words in
    common (if `words` count), and documents at random.

    Hard negatives score at most 95 % of the query's best relevant document (mining.md); what scores
    higher and was not judged may be relevant, and is no negative of that query. Nor is another
    passage of a document that has an answer: found by it, the document is as right.
    """
    count = len(lessons)
    judged = [np.concatenate([a, b, c.ravel()]) for a, b, c in _parts(lessons)]
    hard = [_hard(lessons, query_FD, corpus)]
    if words is not None:  # a query at a time: a corpus may be large
        hard += [_highest(words.shares([text])[0], HARD) for text in lessons.queries]
    size = min(POOL, len(corpus))
    drawn = np.random.default_rng(seed).choice(len(corpus), size, replace=False)
    rows_P = np.unique(np.concatenate([*judged, *hard, drawn]).astype(np.int64))
    vectors_PD = torch.from_numpy(np.ascontiguousarray(corpus.vectors[rows_P], np.float32))
    relevant_FP, irrelevant_FP, answer_FP, kin_FP = (
        torch.zeros(count, len(rows_P), dtype=torch.bool) for _ in range(4)
    )
    pairs: list[list[int]] = []
    for query, (good, bad, both) in enumerate(_parts(lessons)):
        relevant_FP[query, np.searchsorted(rows_P, good)] = True
        answer_FP[query, np.searchsorted(rows_P, lessons.answers[query])] = True
        irrelevant_FP[query, np.searchsorted(rows_P, bad)] = True
        pairs += [[query, *pair] for pair in np.searchsorted(rows_P, both).tolist()]
        if lessons.home_N is not None:
            home_P, answers = lessons.home_N[rows_P], lessons.answers[query]
            kin_FP[query] = torch.from_numpy(np.isin(home_P, lessons.home_N[answers]))
    score_FP = torch.from_numpy(query_FD) @ vectors_PD.T
    best_F1 = score_FP.masked_fill(~answer_FP, -torch.inf).amax(1, keepdim=True)
    # without an answer there is nothing to be near to: only what was marked is known
    near_FP = (score_FP > best_F1 - 0.05 * best_F1.abs()) & best_F1.isfinite()
    open_FP = (near_FP | kin_FP) & ~relevant_FP & ~irrelevant_FP
    pairs_M3 = torch.tensor(pairs, dtype=torch.long).reshape(-1, 3)
    words_FP = torch.zeros(count, len(rows_P))
    if words is not None:
        for row, text in enumerate(lessons.queries):
            words_FP[row] = torch.from_numpy(words.shares([text])[0, rows_P])
    return Pool(vectors_PD, relevant_FP, open_FP, irrelevant_FP, pairs_M3, words_FP)


def _highest(score_N: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` highest scores, in no order."""
    if count >= len(score_N):
        return np.arange(len(score_N))
    return np.argpartition(score_N, len(score_N) - count)[len(score_N) - count :]


def _parts(lessons: Lessons) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return list(zip(lessons.relevant, lessons.irrelevant, lessons.preferences, strict=True))


def _hard(lessons: Lessons, query_FD: np.ndarray, corpus: Embeddings) -> np.ndarray:
    """Corpus rows of hard negatives of the queries that have an answer."""
    places = np.flatnonzero(lessons.gains)
    if not len(places):
        return np.empty(0, np.int64)
    rows = [lessons.answers[int(i)] for i in places]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])]).astype(np.int64)
    positives = Positives(offsets, np.concatenate(rows), np.arange(len(corpus)))
    queries = Embeddings([str(i) for i in places], query_FD[places])
    policy = MiningConfig(num_negatives=min(HARD, len(corpus)), reference="max")
    rows_FK = mine(queries, corpus, positives, policy).negatives.doc_rows_RK
    return rows_FK[rows_FK >= 0]
