"""Refreshes that encode less, and the probe that tells whether one is due."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import whet
from whet.config import (
    DataConfig,
    FitConfig,
    MiningConfig,
    ModelConfig,
    RefreshConfig,
    SelectConfig,
)
from whet.data.load import load_dataset
from whet.errors import ConfigError
from whet.mining.report import overlap
from whet.model.encoder import Encoder
from whet.refresh import Refresher
from whet.run.job import job_with_data


@pytest.fixture
def refresher(tiny_data, tiny_model, tmp_path):
    """A refresher of a job on the tiny data, started, with what it mined first and its encoder."""

    def make(**options):
        policy = options.pop("policy", "steps")
        config = FitConfig(
            select=SelectConfig("last"),
            data=DataConfig(path=str(tiny_data)),
            model=ModelConfig(name=str(tiny_model)),
            mining=MiningConfig(num_negatives=3),
            refresh=RefreshConfig(policy=policy, **{"max_share": 1.0, **options}),
        )
        job = job_with_data(config, tmp_path / "run", load_dataset(str(tiny_data)))
        made, encoder = Refresher(job), Encoder.load(str(tiny_model)).eval()
        first = made.first(encoder).negatives
        made.start(encoder)
        return made, first, encoder

    (tmp_path / "run").mkdir()
    return make


def shaken(encoder, by):
    """Move every weight a little."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += by * weight.std().nan_to_num(0.0) * torch.randn_like(weight)
    return encoder


@pytest.mark.parametrize("scope", ["all", "candidates", "mapped"])
def test_unchanged_weights_give_the_same_negatives(refresher, scope):
    made, first, encoder = refresher(scope=scope, candidates=3, max_share=0.99)
    fresh = made.again(encoder, 10, first)
    assert np.array_equal(fresh.mined.negatives.doc_rows_RK, first.doc_rows_RK)
    assert np.array_equal(fresh.mined.negatives.query_rows_R, first.query_rows_R)
    assert (made.job.folder / "negatives/step_00000010.parquet").exists()
    assert not (made.job.folder / ".scratch").exists()
    assert (fresh.encoded_share == 1) == (scope == "all")


@pytest.mark.parametrize("scope", ["candidates", "mapped"])
def test_moved_weights_are_followed(refresher, scope):
    """Most of the negatives of a full refresh are found, more than the old ones have of them."""
    made, first, encoder = refresher(scope=scope, candidates=20)
    shaken(encoder, 0.3)
    full = refresher(scope="all")[0].again(encoder, 5, first).mined.negatives
    found = made.again(encoder, 10, first).mined.negatives
    assert overlap(full, first) < 0.8
    assert overlap(full, found) > 0.9


def test_at_most_the_share_is_encoded(refresher):
    made, first, encoder = refresher(scope="mapped", max_share=0.25)
    assert made.again(encoder, 10, first).encoded_share == 0.25
    made, first, encoder = refresher(scope="candidates", max_share=0.7)
    assert made.again(encoder, 10, first).encoded_share == 0.7


def test_candidates_need_room_for_the_positives(refresher):
    with pytest.raises(ConfigError, match=r"max_share=0.5 of 120 allows 60. Raise it, or set"):
        refresher(scope="candidates", max_share=0.5)


@pytest.mark.parametrize("scope", ["all", "candidates", "mapped"])
def test_the_probe_knows_whether_the_negatives_are_still_good(refresher, scope):
    made, first, encoder = refresher(policy="overlap", scope=scope)
    assert made.overlap_now(encoder, 0, first) == 1
    little = made.overlap_now(shaken(encoder, 0.05), 0, first)
    much = made.overlap_now(shaken(encoder, 0.5), 0, first)
    assert much < little < 1
    fresh = made.again(encoder, 10, first).mined.negatives
    assert made.overlap_now(encoder, 10, fresh) == 1
    assert made.overlap_now(encoder, 11, fresh) == 0  # nothing is known about step 11


def fitted(tiny_data, tiny_model, folder, **refresh):
    whet.fit(
        str(tiny_data),
        model={"name": str(tiny_model)},
        output=str(folder),
        trainer={"max_steps": 12, "batch_size": 16, "learning_rate": 2e-3, "max_epochs": 9},
        mining={"num_negatives": 2},
        select={"policy": "last"},
        refresh={"every_n_steps": 3, **refresh},
    )
    rows = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    mined = sorted(int(path.stem[5:]) for path in (folder / "negatives").glob("*.parquet"))
    return rows, mined


def test_overlap_mines_only_when_it_has_fallen(tiny_data, tiny_model, tmp_path):
    _, mined = fitted(tiny_data, tiny_model, tmp_path / "never", policy="overlap", min_overlap=0.0)
    assert mined == [0]
    limit = 0.4  # the first steps move the tiny model so far that little is left
    rows, mined = fitted(
        tiny_data, tiny_model, tmp_path / "some", policy="overlap", min_overlap=limit
    )
    probes = {row["step"] - 1: row["probe_overlap"] for row in rows if "probe_overlap" in row}
    assert list(probes) == [3, 6, 9]
    assert mined == [0, *(step for step, value in probes.items() if value < limit)]
    assert 1 < len(mined) < 4


@pytest.mark.parametrize("scope", ["all", "candidates", "mapped"])
def test_the_log_says_what_a_refresh_cost(tiny_data, tiny_model, tmp_path, scope):
    options = {"policy": "steps", "scope": scope, "max_share": 0.6, "candidates": 4}
    rows, mined = fitted(tiny_data, tiny_model, tmp_path / "run", **options)
    refreshed = [row for row in rows if "refresh_scope" in row]
    assert mined == [0, 3, 6, 9] == [0, *(row["step"] - 1 for row in refreshed)]
    for row in refreshed:
        assert row["refresh_scope"] == scope and row["refresh_age_steps"] == 3
        assert 0 < row["refresh_overlap"] <= 1
        assert row["refresh_encoded_share"] == 1 if scope == "all" else 0.6


def test_weights_are_hashed_once_for_each_of_their_versions(
    tiny_data, tiny_model, tmp_path, monkeypatch
):
    """Before training, at each refresh with its probe, and after it: a hash takes all weights to
    the host.
    """
    hashed, count = [], Encoder._hashed
    monkeypatch.setattr(Encoder, "_hashed", lambda self: hashed.append(count(self)) or hashed[-1])
    _, mined = fitted(tiny_data, tiny_model, tmp_path / "run", policy="overlap", min_overlap=1.0)
    assert mined == [0, 3, 6, 9]
    assert len(hashed) == len(set(hashed)) == 5
