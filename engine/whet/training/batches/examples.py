"""From pair numbers to what a step computes on: unique texts, and which similarities may count as
negative.

Shape suffixes: P pairs in all, B pairs per step, K negatives per pair, C candidate documents of a
step, N corpus, M known positives of a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from whet.config import FitConfig
from whet.loss.infonce import Targets
from whet.training.batches.aids import Aids, Lists, gains_of
from whet.training.batches.order import Order, order_of
from whet.training.exchange import own_texts
from whet.types import Negatives, Positives, Qrels

if TYPE_CHECKING:
    from whet.data.table import TextTable
    from whet.model.encoder import Encoder


JUDGED_AT_MOST = 8  # documents judged not relevant that join a pair's mined negatives


@dataclass(frozen=True)
class Batch:
    """One step: its distinct texts (queries first, then documents), and how they belong together.

    `tokens` are those of the texts this process encodes (exchange.own_texts). `query_B` says which
    of the queries each pair has; candidates are the documents in order. With `doc_CD` they have
    these vectors, and the queries alone are encoded.
    """

    tokens: list[list[int]]
    texts: int
    queries: int
    query_B: torch.Tensor
    targets: Targets
    pair_ids: list[str]
    doc_CD: torch.Tensor | None = None


def known_positives(
    positives: Positives, query_rows_B: np.ndarray, candidate_groups_C: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The candidates that are known positives of each query, or duplicates of one or of the query
    itself.

    CSR: offsets [B + 1] and candidate numbers [M]. `candidate_groups_C` are ascending group
    numbers; they may come from any number of devices.

    >>> positives = Positives(np.array([0, 1]), np.array([2]), np.array([0, 1, 0, 2]))
    >>> known_positives(positives, np.array([0]), np.array([0, 2]))  # candidate 0 has that text
    (array([0, 1]), array([0]))
    """
    groups = [_no_negatives(positives, int(row)) for row in query_rows_B]
    row_X = np.repeat(np.arange(len(groups)), [len(part) for part in groups])
    group_X = np.concatenate(groups) if groups else np.empty(0, np.int64)
    column_X = np.minimum(
        np.searchsorted(candidate_groups_C, group_X), max(0, len(candidate_groups_C) - 1)
    )
    hit_X = candidate_groups_C[column_X] == group_X
    offsets_B1 = np.searchsorted(row_X[hit_X], np.arange(len(groups) + 1))
    return offsets_B1, column_X[hit_X]


def _no_negatives(positives: Positives, query_row: int) -> np.ndarray:
    """The groups of a query's positives, and that of its own text."""
    groups: np.ndarray = positives.group_of_N[positives.of(query_row)]
    own = positives.own_of(query_row)
    return groups if own < 0 or own in groups else np.append(groups, own)


def _judged_negatives(qrels: Qrels, query_rows_P: np.ndarray) -> np.ndarray:
    """The first few documents judged not relevant to each pair's query, -1 where there are
    fewer.
    """
    judged = qrels.only(qrels.relevance_M < 1)
    first_P = np.searchsorted(judged.query_rows_M, query_rows_P, side="left")
    last_P = np.searchsorted(judged.query_rows_M, query_rows_P, side="right")
    width = min(JUDGED_AT_MOST, int((last_P - first_P).max(initial=0)))
    place_PJ = first_P[:, None] + np.arange(width)
    padded = np.append(judged.doc_rows_M, -1)
    return padded[np.where(place_PJ < last_P[:, None], place_PJ, len(judged))].astype(np.int64)


class Examples:
    """The training pairs of a split, each with its current hard negatives."""

    def __init__(
        self,
        qrels: Qrels,
        positives: Positives,
        *,
        queries: TextTable,
        corpus: TextTable,
        aids: Aids | None = None,
    ) -> None:
        judged = qrels.relevant()
        self.query_rows_P = np.asarray(judged.query_rows_M)
        self.doc_rows_P = np.asarray(judged.doc_rows_M)
        self.judged_PJ = _judged_negatives(qrels, self.query_rows_P)
        self.positives = positives
        self.queries = queries
        self.corpus = corpus
        self.negatives_PK = np.empty((len(self), 0), np.int64)
        self.aids = aids or Aids(FitConfig())
        self.gain_P = gains_of(judged.relevance_M, self.aids.config.loss.gains)

    def __len__(self) -> int:
        return len(self.query_rows_P)

    def order(self, config: FitConfig) -> Order:
        """In which order a job reads the pairs."""
        return order_of(self.query_rows_P, config, self.queries)

    def set_negatives(self, negatives: Negatives | None) -> None:
        """Train against these from now on; a query's row serves each of its pairs, or each pair its
        own. None: there are none. Every process calls it alike.

        `negatives.query_rows_R` are rows of the query table, ascending. Several rows per query are
        its positives in ascending order.
        """
        if negatives is not None:
            self._place(negatives)
        if self.aids.wanted:
            read = self._lists(self.aids.pairs(self.order(self.aids.config)))
            self.aids.prepare(read, self.positives.group_of_N)

    def _place(self, negatives: Negatives) -> None:
        first_P = np.searchsorted(negatives.query_rows_R, self.query_rows_P, side="left")
        last_P = np.searchsorted(negatives.query_rows_R, self.query_rows_P, side="right")
        nth_P = np.arange(len(self)) - np.searchsorted(self.query_rows_P, self.query_rows_P)
        row_P = np.minimum(first_P + nth_P, last_P - 1)
        has_P = last_P > first_P
        padded_RK = np.vstack([negatives.doc_rows_RK, np.full(negatives.doc_rows_RK.shape[1], -1)])
        self.negatives_PK = padded_RK[np.where(has_P, row_P, len(negatives))]

    def _lists(self, pairs_B: np.ndarray) -> Lists:
        rows = (self.doc_rows_P[pairs_B, None], self.negatives_PK[pairs_B], self.judged_PJ[pairs_B])
        return Lists(self.query_rows_P[pairs_B], np.hstack(rows))

    def _targets(self, pairs_B: np.ndarray, group_C: np.ndarray) -> Targets:
        """What is positive among the candidates of these groups, and what else is known of them."""
        group_of_N = self.positives.group_of_N
        positive_B = group_of_N[self.doc_rows_P[pairs_B]]
        offsets_B1, columns_M = known_positives(self.positives, self.query_rows_P[pairs_B], group_C)
        targets = Targets(
            torch.from_numpy(np.searchsorted(group_C, positive_B)),
            torch.from_numpy(offsets_B1),
            torch.from_numpy(columns_M),
        )
        if self.gain_P is not None:
            targets = replace(targets, gain_B=torch.from_numpy(self.gain_P[pairs_B]))
        if not self.aids.wanted:
            return targets
        lists = self._lists(pairs_B)
        column_BL = np.searchsorted(group_C, group_of_N[lists.doc_rows_BL])
        # a row of -1 is no document: any candidate may stand there
        column_BL = np.where(lists.doc_rows_BL < 0, column_BL[:, :1], column_BL)
        return self.aids.added(targets, lists, column_BL, group_C)

    def batch(self, pairs_B: np.ndarray, encoder: Encoder) -> Batch:
        """Tokens and targets of a global batch's pairs; every distinct text is encoded once, by one
        process.
        """
        group_of_N = self.positives.group_of_N
        query_rows_B = self.query_rows_P[pairs_B]
        query_rows, query_B = np.unique(query_rows_B, return_inverse=True)
        positive_B = group_of_N[self.doc_rows_P[pairs_B]]
        negative_rows = np.hstack([self.negatives_PK[pairs_B], self.judged_PJ[pairs_B]]).ravel()
        negative_groups = group_of_N[negative_rows[negative_rows >= 0]]
        group_C = np.unique(np.concatenate([positive_B, negative_groups]))
        fixed = self.aids.documents
        # A group's number is the row of its first document, so it also finds the text.
        doc_CD = None if fixed is None else fixed.of("document", group_C)
        encoded_C = group_C if fixed is None else group_C[:0]
        own = own_texts(len(query_rows) + len(encoded_C))
        own_queries, own_docs = np.split(own, [np.searchsorted(own, len(query_rows))])
        tokens = encoder.tokenize(self.queries.items(query_rows[own_queries]), "query")
        own_groups = encoded_C[own_docs - len(query_rows)]
        tokens += encoder.tokenize(self.corpus.items(own_groups), "document")
        targets = self._targets(pairs_B, group_C)
        ids = [
            f"{self.queries.id(int(q))} -> {self.corpus.id(int(d))}"
            for q, d in zip(query_rows_B[:5], self.doc_rows_P[pairs_B][:5], strict=True)
        ]
        texts, query_of_B = len(query_rows) + len(encoded_C), torch.from_numpy(query_B)
        return Batch(tokens, texts, len(query_rows), query_of_B, targets, ids, doc_CD)
