"""model.train=query: documents keep the base model's vectors, and the folder is a Router."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whet
from whet.model.encoder import Encoder
from whet.model.towers import Towers


def fitted(folder: Path, data: Path, model: Path, **options: Any) -> Any:
    trainer = {"max_steps": 4, "batch_size": 8, "log_every_n_steps": 1, "accelerator": "cpu"}
    return whet.fit(
        str(data),
        model={"name": str(model), "train": "query", "dropout": 0.0},
        trainer={**trainer, "learning_rate": 1e-3},
        output=str(folder),
        select={"policy": "last"},
        **options,
    )


def losses(folder: Path) -> list[float]:
    lines = (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data, tiny_model):
    """With negatives mined again on the way."""
    folder = tmp_path_factory.mktemp("query") / "run"
    refresh = {"policy": "steps", "every_n_steps": 2}
    return fitted(folder, tiny_data, tiny_model, refresh=refresh)


def test_documents_keep_their_vectors_and_queries_learn(run, tiny_model):
    model, base = run.encoder(), Encoder.load(str(tiny_model))
    assert isinstance(model, Towers)
    texts = ["bace difo", "guka lemi nopu"]
    assert np.array_equal(model.encode(texts), base.encode(texts, kind="document"))
    moved = model.encode(texts, kind="query") - base.encode(texts, kind="query")
    assert np.abs(moved).max() > 1e-3


def test_it_is_judged_and_searched_as_it_is(run, tiny_data):
    """By the vectors of the two sides, not of one of them."""
    judged = whet.evaluate(str(run.model), str(tiny_data))
    main = run.comparison.main
    assert judged.scores.means[main.measure] == pytest.approx(main.tuned, abs=1e-6)
    assert len(run.search("bace difo", k=3)) == 3


def test_sentence_transformers_opens_it(run):
    from sentence_transformers import SentenceTransformer

    theirs, ours = SentenceTransformer(str(run.model), device="cpu"), run.encoder()
    texts = ["bace difo", "guka"]
    assert np.allclose(theirs.encode_query(texts), ours.encode(texts, kind="query"), atol=1e-5)
    assert np.allclose(theirs.encode_document(texts), ours.encode(texts), atol=1e-5)
    assert "of the query side alone" in (run.model / "README.md").read_text(encoding="utf-8")


def test_in_chunks_and_by_tiles_alike(tmp_path, tiny_data, tiny_model):
    plain = fitted(tmp_path / "plain", tiny_data, tiny_model, loss={"cache": "never"})
    loss = {"cache": "always", "chunk_tokens": 32, "fused": "always"}
    other = fitted(tmp_path / "other", tiny_data, tiny_model, loss=loss)
    assert losses(other.folder) == pytest.approx(losses(plain.folder), rel=1e-4)
