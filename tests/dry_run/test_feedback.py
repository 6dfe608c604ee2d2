"""Learning from judgments, and searching with what was learned, on a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pretend_cuda import Gpu, pretend_cuda

from whet.config import EncodeConfig, TuneConfig
from whet.data.load import Dataset, load_dataset
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.evaluation.lexical import corpus_words
from whet.feedback.events.judgments import Judged
from whet.feedback.learn import adapt
from whet.feedback.learn.checks import guard_check
from whet.feedback.learn.lessons import lessons_of
from whet.feedback.learn.tune import Tuned, tune
from whet.feedback.serve.searcher import Searcher
from whet.model.encoder import Encoder
from whet.model.towers import Towers

pytestmark = pytest.mark.usefixtures("few_steps")
FULL = EncodeConfig(precision="fp32")


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> Dataset:
    return load_dataset(str(tiny_data))


def tuned(data: Dataset, model: Encoder | Towers, method: str) -> Tuned:
    """The model after it learned from twelve judged queries."""
    train = data.split("train").relevant()
    judged = [
        Judged(
            data.queries.text(row),
            relevant=list(data.corpus.ids_of(train.doc_rows_M[train.query_rows_M == row])),
        )
        for row in range(12)
    ]
    lessons, _ = lessons_of(judged, data.corpus)
    store, words = embeddings_folder(), corpus_words(data.corpus)
    corpus = encode_table(model, data.corpus, kind="document", store=store, config=FULL)
    guard = guard_check(data, corpus, model, other=None, avoid=set(), encode=FULL, words=words)
    config = TuneConfig(method=method)
    told = lambda *_: None  # noqa: E731
    return tune(model, lessons, corpus, guard, words=words, config=config, report_progress=told)


@pytest.mark.slow
def test_a_tune_learns_what_it_learns_on_a_cpu(data: Dataset, tiny_model: Path) -> None:
    cpu = tuned(data, Encoder.load(str(tiny_model)), "encoder")
    with pretend_cuda():
        gpu = tuned(data, Encoder.load(str(tiny_model)), "encoder")
        assert gpu.model.side("document").device.type == "cuda"
        gpu_D = gpu.model.encode(["bace difo"], kind="query", config=FULL)
    cpu_D = cpu.model.encode(["bace difo"], kind="query", config=FULL)
    assert np.abs(gpu_D - cpu_D).max() < 0.02


@pytest.mark.slow
def test_a_model_with_a_matrix_can_learn_another(gpu: Gpu, data: Dataset, tiny_model: Path) -> None:
    once = tuned(data, Encoder.load(str(tiny_model)), "matrix")
    twice = tuned(data, once.model, "matrix")
    assert twice.model.side("query").matrix is not None


def test_a_tuned_model_is_served(gpu: Gpu, data: Dataset, tiny_model: Path) -> None:
    """With an encoder of queries of its own and words that count: what a tune makes."""
    encoder = Encoder.load(str(tiny_model))
    query = adapt.changed(encoder, {"matrix": torch.linalg.qr(torch.randn(32, 32)).Q})
    searcher = Searcher(1, Towers(query, encoder, 0.3), data, EncodeConfig())
    asked = [data.queries.text(3)]
    searcher.vectors(asked)  # looks at the weights once
    with gpu.during("search"):
        query_1D = searcher.vectors(asked)
        _, row_1k = searcher.best(asked, query_1D, 5)
    assert row_1k.shape == (1, 5)
    assert gpu.waits("search") <= 1, gpu.report()  # for the vector
    text = data.corpus.text(int(row_1k[0, 0]))
    assert searcher.best_sentence(query_1D, int(row_1k[0, 0]), text) in text
