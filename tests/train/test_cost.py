"""What a fit encodes and mines is what its steps read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whet
from whet.config import FitConfig
from whet.data.load import load_dataset
from whet.run.job import learned_of
from whet.training.batches.order import Order, pairs_read, total_steps
from whet_launch.cli.main import main

FEW = {"max_steps": 3, "batch_size": 4}
ALL = {"max_steps": 3, "batch_size": 66}


@given(
    pairs=st.integers(1, 60),
    batch=st.integers(1, 70),
    steps=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_the_pairs_read_are_those_of_the_steps(
    pairs: int, batch: int, steps: int, seed: int
) -> None:
    order = Order(pairs, batch, seed)
    seen = {int(pair) for step in range(steps) for pair in order.step(step)}
    assert pairs_read(order, steps).tolist() == sorted(seen)


def test_all_that_is_relevant_to_a_query_counts_as_known(tiny_data: Path) -> None:
    """A query has one pair read and another not: both are its positives."""
    train = load_dataset(str(tiny_data)).split("train")
    config = FitConfig()
    config.trainer = replace(config.trainer, batch_size=4, max_steps=2)
    learned, relevant = learned_of(train, config), train.relevant()
    order = Order(len(relevant), 4, config.seed)
    read = {int(pair) for step in range(2) for pair in order.step(step)}
    assert total_steps(order, config.trainer) == 2
    asked = {int(relevant.query_rows_M[pair]) for pair in read}
    assert set(learned.query_rows.tolist()) == asked and len(asked) <= 8
    kept = np.isin(relevant.query_rows_M, sorted(asked))
    assert learned.doc_rows_M.tolist() == relevant.doc_rows_M[kept].tolist()
    config.trainer = replace(config.trainer, batch_size=66, max_steps=1)
    assert len(learned_of(train, config)) == len(relevant) == 66


def fitted(data: Path, model: Path, folder: Path, trainer: dict[str, int]) -> dict[str, list[str]]:
    """The negatives of each query that was mined for before the training."""
    kept: dict[str, Any] = {"select": {"policy": "last"}}
    run = whet.fit(str(data), model=str(model), output=str(folder), trainer=trainer, **kept)
    table = pq.read_table(run.folder / "negatives" / "step_00000000.parquet").to_pylist()
    return {row["query_id"]: row["negative_ids"] for row in table}


def test_a_fit_mines_for_the_queries_its_steps_read(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And finds for them what it finds when it mines for all."""
    few = fitted(tiny_data, tiny_model, tmp_path / "few", FEW)
    line = f"Negatives are mined for the {len(few)} of 60 queries that the steps read."
    assert line in capsys.readouterr().err
    config = FitConfig()
    config.trainer = replace(config.trainer, **FEW)
    data = load_dataset(str(tiny_data))
    rows = learned_of(data.split("train"), config).query_rows
    assert sorted(few) == sorted(data.queries.ids_of(rows)) and 8 < len(few) <= 12
    every = fitted(tiny_data, tiny_model, tmp_path / "every", ALL)
    assert len(every) == 60 and {query: every[query] for query in few} == few
    assert "that the steps read" not in capsys.readouterr().err


def test_refreshes_and_later_epochs_ask_for_no_other_queries(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """What is planned is encoded from the start: nothing is missing when the steps come to it."""
    run = whet.fit(
        str(tiny_data), model=str(tiny_model), output=str(tmp_path / "run"),
        trainer={"max_steps": 4, "batch_size": 4}, refresh={"policy": "steps", "every_n_steps": 2},
        select={"policy": "last"},
    )  # fmt: skip
    first, later = (
        {row["query_id"] for row in pq.read_table(path).to_pylist()}
        for path in sorted((run.folder / "negatives").glob("step_*.parquet"))
    )
    facts = json.loads((run.folder / "environment.json").read_text())["data"]
    assert first == later and len(first) == facts["train queries that the steps read"] < 60
    assert facts["train queries"] == 60
    page = (run.folder / "report.html").read_text()
    assert "Train queries that the steps read" in page
    train, config = load_dataset(str(tiny_data)).split("train"), FitConfig()
    config.trainer = replace(config.trainer, batch_size=4, max_steps=40, max_epochs=3)
    assert len(learned_of(train, config).query_rows) == 60  # two epochs and more read all


def test_a_plan_says_which_queries_are_mined(
    tiny_data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["trainer.max_steps=3", "trainer.batch_size=4", "select=last"]
    assert main(["plan", f"data={tiny_data}", f"model={tiny_model}", *options]) == 0
    assert re.search(
        r"mine .*; 1[0-2] of 60 mined, those that the steps read", capsys.readouterr().out
    )
