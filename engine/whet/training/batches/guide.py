"""Encoders that do not learn, and their vectors of the texts that the steps read.

A guide says which negatives are likely positives. The base model gives the documents their vectors
where the query side learns alone. The vectors are made before the steps, and kept in the embedding
store like all others.

Shape suffixes: B pairs per step, C candidate documents, D dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from whet.config import FitConfig, ModelConfig
from whet.config.losses import START
from whet.loss.guided import GuideVectors
from whet.model.encoder import Encoder
from whet.processes.world import together
from whet.training.batches.teacher import RowVectors, vectors_of

if TYPE_CHECKING:
    from whet.data.load import Dataset


class FixedEncoder:
    """An encoder's vectors of rows of the tables, made once. It is loaded to make them, and let go
    of afterwards.
    """

    def __init__(self, model: ModelConfig, config: FitConfig, data: Dataset, store: Path) -> None:
        """`store` is where the vectors are kept."""
        self._model = model
        self._encode = config.encode
        self._tables = {"query": data.queries, "document": data.corpus}
        self._store = store
        self._vectors: dict[str, RowVectors] = {}

    def prepare(self, **rows: np.ndarray) -> None:
        """Have the vectors of these rows of each `query` and `document`, and of no others; every
        process calls it alike.
        """
        encoder = together(lambda: Encoder.load(self._model))
        for kind, rows_N in rows.items():
            self._vectors[kind] = vectors_of(
                encoder,
                self._tables[kind],
                rows_N,
                kind=kind,
                store=self._store,
                config=self._encode,
            )

    def of(self, kind: str, rows_X: np.ndarray) -> Tensor:
        """Float32 [X, D] of rows that are ready."""
        return torch.from_numpy(self._vectors[kind].of(rows_X))

    def guiding(self, query_rows_B: np.ndarray, doc_rows_C: np.ndarray) -> GuideVectors:
        """Those of a batch's pairs and candidates."""
        return GuideVectors(self.of("query", query_rows_B), self.of("document", doc_rows_C))


def guide_of(config: FitConfig, data: Dataset, store: Path) -> FixedEncoder | None:
    """The guide of a job; None where it has none."""
    name = config.loss.guide
    if name is None:
        return None
    model = before_training(config.model) if name == START else ModelConfig(name=name)
    return FixedEncoder(model, config, data, store)


def documents_of(config: FitConfig, data: Dataset, store: Path) -> FixedEncoder | None:
    """Who gives the documents of a job their vectors; None where the encoder that learns does."""
    if config.model.train != "query":
        return None
    return FixedEncoder(before_training(config.model), config, data, store)


def before_training(model: ModelConfig) -> ModelConfig:
    """The model as it was: a new LoRA changes no vector, and a second would be drawn at random."""
    return replace(model, lora_rank=0)
