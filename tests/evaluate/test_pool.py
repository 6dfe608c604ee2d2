"""Judging and mining in a part of the corpus: which documents it holds, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whet
from whet.bench.results import Result
from whet.bench.suites import find_suite
from whet.bench.table import columns
from whet.config import ClaimConfig, EvaluateConfig, FitConfig
from whet.config.recorded import as_it_was
from whet.data.load import Dataset, load_dataset
from whet.encoding import table
from whet.errors import CheckpointError, ConfigError
from whet.evaluation.judge import judge, judge_words
from whet.evaluation.lexical import nearest_by_words
from whet.evaluation.pool.choose import DocumentPool, choose_pool, read_part, write_part
from whet.evaluation.pool.size import PoolSize, check_pool, pool_size
from whet.model.encoder import Encoder

SMALL = EvaluateConfig(pool="60", depth=10, measures=["nDCG@10"])


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> Dataset:
    return load_dataset(str(tiny_data))


def test_a_pool_holds_what_is_judged_what_is_near_and_others(data: Dataset) -> None:
    test = data.split("test")
    pool = choose_pool(data, test, SMALL)
    assert pool is not None and pool.size == PoolSize(60, len(data.corpus)) == PoolSize(60, 120)
    assert len(pool.rows_S) == 60 and (np.diff(pool.rows_S) > 0).all()
    assert np.isin(test.doc_rows_M, pool.rows_S).all()
    again = choose_pool(data, test, SMALL)
    assert again is not None and (again.rows_S == pool.rows_S).all()
    best = nearest_by_words(data.queries.texts(test.query_rows), data.corpus, 1)
    assert np.isin(best[best >= 0], pool.rows_S).mean() > 0.9
    assert choose_pool(data, test, replace(SMALL, pool="120")) is None


@pytest.mark.parametrize("pool", ["auto", "all", "100000"])
def test_a_corpus_that_is_affordable_is_searched_whole(data: Dataset, pool: str) -> None:
    assert choose_pool(data, data.split("test"), replace(SMALL, pool=pool)) is None
    assert pool_size("auto", 1_000_001) == 50_000


@pytest.mark.parametrize("pool", ["some", "0", "-3", "1.5", ""])
def test_a_pool_that_is_no_number_is_refused(pool: str) -> None:
    with pytest.raises(ConfigError, match="Give auto, all, or a number"):
        pool_size(pool, 10)


def test_a_pool_without_room_is_refused(data: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"pool=20 has no room: \d+ documents are judged"):
        check_pool(replace(SMALL, pool="20"), data.split("test"), len(data.corpus))


def test_a_run_of_before_searched_all() -> None:
    then = as_it_was({"evaluate": {"depth": 10}}, FitConfig)
    assert then["evaluate"] == {"depth": 10, "pool": "all"}
    assert FitConfig().evaluate.pool == "auto"
    kept = {"evaluate": {"pool": "300"}}
    assert as_it_was(kept, FitConfig)["evaluate"] == kept["evaluate"]


def test_rows_are_read_as_written_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.npy"
    write_part(path, np.array([2, 5, 7]))
    assert read_part(path, 8).tolist() == [2, 5, 7]
    with pytest.raises(CheckpointError, match=r"pool\.npy is not as it was written"):
        read_part(path, 7)
    for odd in (np.array([3, 3]), np.array([0.5]), np.array([[1]]), np.array([None])):
        np.save(path, odd)
        with pytest.raises(CheckpointError):
            read_part(path, 100)


def test_a_pool_of_all_judges_as_all(data: Dataset, tiny_model: Path, tmp_path: Path) -> None:
    """To the bit, by vectors and by words."""
    test, encoder = data.split("test"), Encoder.load(str(tiny_model))
    every = DocumentPool(np.arange(len(data.corpus)), PoolSize(len(data.corpus), len(data.corpus)))
    whole = judge(encoder, data, test, store=tmp_path, config=SMALL)
    pooled = judge(encoder, data, test, store=tmp_path, config=SMALL, pool=every)
    assert (pooled.run, pooled.scores) == (whole.run, whole.scores)
    assert judge_words(data, test, SMALL, pool=every).run == judge_words(data, test, SMALL).run


def test_a_pool_ranks_its_documents_as_all_ranks_them(
    data: Dataset, tiny_model: Path, tmp_path: Path
) -> None:
    test, encoder = data.split("test"), Encoder.load(str(tiny_model))
    pool = choose_pool(data, test, SMALL)
    assert pool is not None
    deep = replace(SMALL, depth=120)
    whole = judge(encoder, data, test, store=tmp_path, config=deep)
    pooled = judge(encoder, data, test, store=tmp_path, config=deep, pool=pool)
    inside = set(data.corpus.ids_of(pool.rows_S))
    for query, scores in whole.run.items():
        assert pooled.run[query] == {doc: s for doc, s in scores.items() if doc in inside}
    assert "a pool of 60 of the 120 documents" in repr(pooled)


OPTIONS = {"max_steps": 4, "batch_size": 8}


def fitted(data: Path, model: Path, folder: Path, **options: object) -> Path:
    run = whet.fit(
        str(data),
        model=str(model),
        output=str(folder),
        trainer=dict(OPTIONS),
        **{"select": {"policy": "last"}, **options},
    )
    return run.folder


def test_a_fit_names_its_pool_everywhere(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted(tiny_data, tiny_model, tmp_path / "run", evaluate={"pool": 70})
    told = capsys.readouterr().err
    assert "Models are judged on a pool of 70 of the 120 documents" in told
    assert "\non a pool of 70 " in told and "nDCG@10 on a pool of 70 is" in told
    comparison = json.loads((run / "comparison.json").read_text())
    assert comparison["pool"] == {"documents": 70, "of": 120}
    assert "on a pool of 70" in comparison["verdict"]
    page = (run / "report.html").read_text()
    assert "nDCG@10 on a pool of 70" in page and "a pool of 70 of the 120 documents" in page
    card = (run / "model" / "README.md").read_text()
    assert "measure on a pool of 70" in card and "nDCG@10 on a pool of 70" in card
    assert "searching a pool of 70 of the 120 documents" in card
    facts = json.loads((run / "environment.json").read_text())["data"]
    assert facts["judged on"] == "a pool of 70 of the 120 documents"


def test_scope_and_pool_together_never_encode_the_whole_corpus(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, while and after the steps."""
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    encoded: list[int] = []
    encode = table.encode_tokens

    def counted(encoder: Encoder, tokens: list[list[int]], *others: Any, **named: Any) -> Any:
        encoded.append(len(tokens))
        return encode(encoder, tokens, *others, **named)

    monkeypatch.setattr(table, "encode_tokens", counted)
    run = fitted(
        tiny_data, tiny_model, tmp_path / "run",
        evaluate={"pool": "60"}, mining={"scope": "candidates", "candidates": 1},
        refresh={"policy": "steps", "every_n_steps": 2, "scope": "candidates", "max_share": 0.6},
    )  # fmt: skip
    among = np.load(run / "negatives" / "candidates.npy")
    assert max(encoded) <= max(60, len(among)) < 120
    report = json.loads((run / "mining_report.json").read_text())
    assert report["among"] <= len(among) and report["documents"] == 120
    mined = {path.name for path in (run / "negatives").glob("*.parquet")}
    assert len(mined) == 2


def test_a_choice_among_weights_searches_the_pool_too(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The held-out queries are asked of the pool and of what answers them: not of the corpus."""
    run = fitted(
        tiny_data,
        tiny_model,
        tmp_path / "run",
        evaluate={"pool": 70},
        select={"policy": "dev", "moments": 1},
    )
    told = capsys.readouterr().err
    assert "Models are judged on a pool of 70 of the 120 documents" in told
    verdict = json.loads((run / "comparison.json").read_text())["verdict"]
    assert "nDCG@10 on a pool of 70" in verdict and "dev queries" in verdict
    assert (run / "selection.json").exists()


def test_a_benchs_table_names_the_pool_and_compares_with_no_published_figure() -> None:
    """Published figures are on all documents."""
    about = {"name": "d", "digest": "0" * 12}
    pooled = {**about, "judged on": "a pool of 60 of the 120 documents"}
    claim = ClaimConfig(value=0.5)
    results = [
        Result("r", data, "minilm", claim, [{"q": 0.5}], None, {"nDCG@10": 0.5}, [1.0])
        for data in (about, pooled)
    ]
    shown = dict(columns(find_suite("zero-shot"), results))
    assert shown["searched"] == ["", "a pool of 60 of the 120 documents"]
    assert shown["published"] == ["0.5000", ""] and results[1].kept
    assert "searched" not in dict(columns(find_suite("zero-shot"), results[:1]))
