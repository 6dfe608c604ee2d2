"""`whet search`, and a run that is asked from Python."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest

import whet
from whet.config import FitConfig
from whet.errors import ConfigError
from whet.evaluation.comparison import Comparison, MeasureRow
from whet.model.encoder import Encoder
from whet.run.folder import write_config
from whet.verbs.fit import Run
from whet_launch.cli.main import main

QUERY = "baba cedi fogu"


@pytest.fixture
def run(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """A folder as a fit leaves it, as far as a search looks."""
    config = FitConfig()
    config.data.path = str(tiny_data)
    write_config(tmp_path, config)
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path


def _best(data: Path, model: Path, k: int) -> tuple[list[str], np.ndarray]:
    corpus, encoder = whet.load_dataset(str(data)).corpus, Encoder.load(str(model))
    scores = (
        encoder.encode(corpus.texts(range(len(corpus)))) @ encoder.encode([QUERY], kind="query")[0]
    )
    rows = np.argsort(-scores, kind="stable")[:k]
    return corpus.ids_of(rows), scores[rows]


def test_the_shell_shows_the_best_documents(
    run: Path, tiny_data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(run), QUERY, "k=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ids, scores = _best(tiny_data, tiny_model, 3)
    assert [line.split()[:3] for line in lines] == [
        [str(place), f"{score:.4f}", id_]
        for place, (id_, score) in enumerate(zip(ids, scores, strict=True), 1)
    ]
    assert main(["search", str(tiny_model), QUERY, "k=3", f"data={tiny_data}"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_what_cannot_be_searched_is_refused(
    run: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "model")
    for words, message in (
        ([str(run), "how", "do", "I"], "Put them in quotes: whet search"),
        ([str(run)], "query must be set"),
        ([str(run), " "], "The query is empty"),
        ([str(run), "words"], "that run is not finished. Go on with: whet fit resume="),
        ([str(tiny_model), "words"], "names no documents. Add data=PATH."),
        ([str(run), "words", "k=0"], "k=0 is out of range"),
        ([str(run), "how to set x=1"], "that run is not finished"),
    ):
        assert main(["search", *words]) in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line, (words, line)


def test_a_run_is_asked_from_python(run: Path, tiny_data: Path, tiny_model: Path) -> None:
    figures = (0.5, 0.75, 0.25, 0.1, 0.4, 0.01, 0.02, 3, 1, 0)
    asked = Run(run, Comparison("RR@10", 4, [MeasureRow("RR@10", *figures)], (0.5, 0.75)))
    assert repr(asked) == f"Run({str(run)!r}: RR@10 0.7500, was 0.5000)"
    ids, scores = _best(tiny_data, tiny_model, 10)
    hits = asked.search(QUERY)
    assert [hit.doc_id for hit in hits] == ids and len(hits) == 10
    assert np.allclose([hit.score for hit in hits], scores, atol=1e-5)
    assert hits[0].text == whet.load_dataset(str(tiny_data)).corpus.text(
        whet.load_dataset(str(tiny_data)).corpus.rows_of([ids[0]])[0]
    )
    assert asked.search(QUERY, k=2)[1] == hits[1]
    assert asked.encoder().encode([QUERY]).shape == (1, 32)
    page = asked._repr_html_()
    assert "<td>RR@10</td><td>0.5000</td><td>0.7500</td><td>+0.2500</td>" in page
    assert "<td>" + ids[0] + "</td>" in hits._repr_html_()


def test_signatures_name_every_option() -> None:
    names = inspect.signature(whet.fit).parameters
    assert list(names)[:2] == ["data", "model"] and {"trainer", "mining", "seed"} <= set(names)
    evaluate = inspect.signature(whet.evaluate).parameters
    assert {"measures", "depth", "examples"} <= set(evaluate) and evaluate["depth"].default == 100
    assert not any(p.kind is p.VAR_KEYWORD for p in [*names.values(), *evaluate.values()])
    with pytest.raises(ConfigError, match=r"no option 'dept'\. Did you mean depth"):
        whet.evaluate("minilm", [{"query": "a", "positive": "b"}], dept=3)
