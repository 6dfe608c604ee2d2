"""Whose scores a distillation learns from: those in the data, or a model's.

A model scores exactly the (query, document) pairs that the steps read, before they do. Scores are
kept in `$WHET_CACHE/teacher` by what made them and by their texts, a block at a time: a killed job
goes on where it was, and the next one with the same negatives scores nothing.

Shape suffixes: X asked for, M distinct pairs, N rows, D dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from whet.config import EncodeConfig, FitConfig, ModelConfig
from whet.encoding.store import EmbeddingStore, item_keys
from whet.encoding.table import encode_table
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.model.folder import find_folder, is_cross_encoder
from whet.processes.world import concatenated, share, together
from whet.progress import track
from whet.storage.places import cache_folder

if TYPE_CHECKING:
    from whet.data.load import Dataset
    from whet.data.scores import TeacherScores
    from whet.data.table import TextTable

OPTION = "distill.teacher"
BLOCK = 2048  # pairs that a cross-encoder scores between two commits: what a kill can cost
PRODUCTS = 1 << 16  # pairs of vectors multiplied at a time


class Teacher(Protocol):
    """Scores of (query, positive, document), rows of the tables."""

    def prepare(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> None:
        """Know the scores of these from now on; every process calls it alike. Rows of -1 are
        none.
        """
        ...

    def scores(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> np.ndarray:
        """Float32 [X], divided by the teacher's temperature, NaN where there is none."""
        ...


class DataTeacher:
    """The scores that came with the data."""

    def __init__(self, scores: TeacherScores, temperature: float) -> None:
        self._scores = scores
        self._temperature = temperature

    def prepare(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> None:
        """All are there."""

    def scores(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> np.ndarray:
        """As they were given, divided by the temperature."""
        score_X: np.ndarray = self._scores.of(query_X, positive_X, doc_X)
        return score_X / np.float32(self._temperature)


class ModelTeacher:
    """A cross-encoder's logits, or the similarities of an encoder's vectors.

    The model is loaded where there is something to prepare, and let go of afterwards.
    """

    def __init__(self, config: FitConfig, data: Dataset, store: Path) -> None:
        """`store` is where vectors of an encoder are kept."""
        name = str(config.distill.teacher)
        self._model = ModelConfig(name=name)
        self._reads_both = is_cross_encoder(find_folder(self._model, OPTION))
        usual = 1.0 if self._reads_both else config.loss.temperature
        self._temperature = np.float32(config.distill.temperature or usual)
        self._encode = config.encode
        self._queries, self._corpus = data.queries, data.corpus
        self._store = store
        self._key_M = np.empty(0, np.int64)
        self._score_M = np.empty(0, np.float32)

    def prepare(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> None:
        """Score what has no score yet, shared out among the processes."""
        key_M = np.unique((query_X * len(self._corpus) + doc_X)[doc_X >= 0])
        new_M = key_M[~np.isin(key_M, self._key_M)]
        if not len(new_M):
            return
        query_M, doc_M = np.divmod(new_M, len(self._corpus))
        score = self._cross_encoded if self._reads_both else self._multiplied
        score_M = score(query_M, doc_M)
        order = np.argsort(np.concatenate([self._key_M, new_M]), kind="stable")
        self._score_M = np.concatenate([self._score_M, score_M])[order]
        self._key_M = np.concatenate([self._key_M, new_M])[order]

    def scores(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> np.ndarray:
        """What the model said, whatever the positive."""
        score_X = np.full(len(doc_X), np.nan, np.float32)
        asked = np.flatnonzero(doc_X >= 0)
        key_A = query_X[asked] * len(self._corpus) + doc_X[asked]
        place_A = np.minimum(np.searchsorted(self._key_M, key_A), max(0, len(self._key_M) - 1))
        assert len(self._key_M) and (self._key_M[place_A] == key_A).all(), "prepare comes first"
        score_X[asked] = self._score_M[place_A] / self._temperature
        return score_X

    def _cross_encoded(self, query_M: np.ndarray, doc_M: np.ndarray) -> np.ndarray:
        own = share(len(query_M))  # every process has the same pairs
        return concatenated(together(lambda: self._kept_scores(query_M[own], doc_M[own])))

    def _kept_scores(self, query_M: np.ndarray, doc_M: np.ndarray) -> np.ndarray:
        model = CrossEncoder(self._model.name, device=self._encode.device, option=OPTION)
        store = EmbeddingStore(
            cache_folder() / "teacher", model.fingerprint(), prompt="", precision="", dimension=1
        )
        keys_M = _pair_keys(self._queries, self._corpus, query_M, doc_M)
        missing = np.flatnonzero(store.find(keys_M)[0] < 0)
        with track("Scoring by the teacher", len(keys_M), "pairs") as advance:
            advance(len(keys_M) - len(missing))
            for start in range(0, len(missing), BLOCK):
                block = missing[start : start + BLOCK]
                queries = self._queries.texts(query_M[block])
                logit_M = model.logits(queries, self._corpus.texts(doc_M[block]))
                store.add(keys_M[block], logit_M[:, None])
                advance(len(block))
        score_M1 = np.empty((len(keys_M), 1), np.float32)
        store.gather(keys_M, score_M1)
        return score_M1[:, 0]

    def _multiplied(self, query_M: np.ndarray, doc_M: np.ndarray) -> np.ndarray:
        encoder = together(lambda: Encoder.load(self._model))
        vectors = [
            vectors_of(encoder, table, rows, kind=kind, store=self._store, config=self._encode)
            for kind, table, rows in (
                ("query", self._queries, query_M),
                ("document", self._corpus, doc_M),
            )
        ]
        score_M = np.empty(len(query_M), np.float32)
        for start in range(0, len(query_M), PRODUCTS):
            part = slice(start, start + PRODUCTS)
            query_PD, doc_PD = vectors[0].of(query_M[part]), vectors[1].of(doc_M[part])
            score_M[part] = np.einsum("pd,pd->p", query_PD, doc_PD)
        return score_M


class RowVectors:
    """Vectors of some rows of a table, float32."""

    def __init__(self, rows_N: np.ndarray, vector_ND: np.ndarray) -> None:
        self._rows_N = rows_N
        self._vector_ND = vector_ND

    def of(self, rows_X: np.ndarray) -> np.ndarray:
        """Those of the rows, which must be among these, [X, D]."""
        vector_XD: np.ndarray = self._vector_ND[np.searchsorted(self._rows_N, rows_X)]
        return vector_XD


def vectors_of(
    encoder: Encoder,
    table: TextTable,
    rows: np.ndarray,
    *,
    kind: str,
    store: Path,
    config: EncodeConfig,
) -> RowVectors:
    """Vectors of some rows of a table, each once: every process encodes a part, and all get all."""
    rows_N = np.unique(rows)
    own = rows_N[share(len(rows_N))]
    encoded = together(
        lambda: encode_table(encoder, table, kind=kind, rows=own, store=store, config=config)
    )
    return RowVectors(rows_N, concatenated(np.asarray(encoded.vectors)))


def _pair_keys(
    queries: TextTable, corpus: TextTable, query_M: np.ndarray, doc_M: np.ndarray
) -> np.ndarray:
    """A 16-byte hash of each pair of texts."""
    parts = [item_keys([])]
    for start in range(0, len(query_M), BLOCK):
        block = slice(start, start + BLOCK)
        pairs = zip(queries.texts(query_M[block]), corpus.texts(doc_M[block]), strict=True)
        parts.append(item_keys([f"{len(query)} {query}{document}" for query, document in pairs]))
    return np.concatenate(parts)


def teacher_of(config: FitConfig, data: Dataset, store: Path) -> Teacher | None:
    """The teacher of a job; None where its loss learns from none."""
    if config.loss.name == "infonce":
        return None
    if config.distill.teacher is not None:
        return ModelTeacher(config, data, store)
    assert data.scores is not None, "refused before (whet.run.early.check_teacher)"
    return DataTeacher(data.scores, config.distill.temperature or 1.0)
