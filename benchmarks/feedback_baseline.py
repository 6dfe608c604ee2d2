"""sentence-transformers on the marks of a simulated person: the baseline of feedback.py."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from whet.feedback.events.event import Event


def baseline_of(collection: Any, events: list[Event]) -> dict[str, Any]:
    """sentence-transformers on the same marks: MultipleNegativesRankingLoss with hard negatives."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )

    from whet.feedback.events.judgments import judgments
    from whet.feedback.learn.checks import JudgedQueries
    from whet.types import Embeddings

    data = collection.data

    def texts(names: list[str]) -> list[str]:
        found: list[str] = data.corpus.texts(data.corpus.rows_of(names))
        return found

    pairs = []
    for one in judgments(events):
        bad = one.irrelevant or one.relevant
        for good, other in zip(one.relevant, bad * len(one.relevant), strict=False):
            if good != other:
                pairs.append((one.query, *texts([good, other])))
    columns = zip(
        ("anchor", "positive", "negative"), map(list, zip(*pairs, strict=True)), strict=True
    )
    start = time.monotonic()
    model = SentenceTransformer(str(collection.model.source), device="cpu")
    model.max_seq_length = collection.model.recipe.max_length
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=10,
            per_device_train_batch_size=16,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(dict(columns)),
            loss=losses.MultipleNegativesRankingLoss(model),
        ).train()
    trained = time.monotonic()
    document_ND = model.encode_document(data.corpus.texts(range(len(data.corpus))))
    encoded = time.monotonic()
    test: JudgedQueries = replace(collection.test, corpus=Embeddings(data.corpus.ids, document_ND))
    score = test.scores(np.asarray(model.encode_query(test.texts)))
    return {
        "test": round(float(score.mean()), 4),
        "guard": None,  # its corpus would have to be encoded, too
        "gestures": len(events),
        "seconds": round(trained - start, 1),
        "encoding seconds": round(encoded - trained, 1),
    }
