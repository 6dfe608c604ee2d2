"""What comes after a fit takes what came back for what it is: tuned, the base, or two sides; with
words that count beside its vectors, as they do on these data, or without.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from learnable import Fit

from whet.bundle.checking.outcome import BIT_EQUAL
from whet.bundle.making.make import make_bundle
from whet.config import BundleConfig
from whet.model.parts.words import words_of
from whet.verbs.fit import fit_job
from whet_launch.cli.main import main

BACK: dict[str, dict[str, Any]] = {
    "the tuned model": {},
    "the base model": {"trainer": {"learning_rate": 1.0}},
    "the query side": {"model": {"train": "query"}},
    "vectors alone": {"select": {"words": "off"}},
}


@pytest.fixture(params=list(BACK))
def back(request: pytest.FixtureRequest) -> str:
    """What comes back of a fit."""
    name: str = request.param
    return name


@pytest.fixture
def run(back: str, fit: Fit) -> Path:
    """The run folder of such a fit."""
    run = fit_job(fit(**BACK[back])).folder
    told = json.loads((run / "selection.json").read_text())
    assert (told["returned"] == "the base model") == (back == "the base model")
    weight = 0 if back == "vectors alone" else told["words"]["weight"]
    assert words_of(run / "model").weight == weight
    assert (weight == 0) == (back == "vectors alone")
    return run


@pytest.mark.slow
def test_it_is_bundled_and_made_again_to_the_bit(
    run: Path, back: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, again = tmp_path / "bundle", tmp_path / "again"
    known = {"data_licence": "MIT", "base_licence": "MIT"}
    if back == "the query side":
        assert main(["bundle", str(run), f"output={bundle}"]) == 2
        assert "a bundle holds a model with one encoder" in capsys.readouterr().err
        return
    make_bundle(BundleConfig(str(run), str(bundle), include=["data", "base"], **known))
    assert main(["verify", str(bundle)]) == 0
    assert main(["reproduce", str(bundle), f"output={again}"]) == 0, capsys.readouterr()
    kept = json.loads((again / "reproduction.json").read_text())
    assert kept["verdict"] == BIT_EQUAL and kept["differences"] == []
    files = ["selection.json", "metrics.json", "train_log.jsonl"]
    if back != "vectors alone":
        files.append("model/words.json")
        assert words_of(bundle) == words_of(run / "model")
    for name in files:
        assert (again / name).read_bytes() == (run / name).read_bytes(), name


@pytest.mark.slow
def test_it_is_pushed_searched_and_exported(
    run: Path, back: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["push", str(run), "owner/name", "dry_run=true"])
    listed = capsys.readouterr()
    if back == "the query side":
        assert code == 2 and "Publish its folder model/ itself." in listed.err
    else:
        assert code == 0
        assert "model.safetensors" in listed.out and "rejected" not in listed.out
        assert ("words.json" in listed.out) == (back != "vectors alone")
    assert main(["search", str(run), "bace difo", "k=3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 3
    code = main(["export", str(run), f"output={tmp_path / 'onnx'}", "formats=[onnx]"])
    told = capsys.readouterr().err
    if back == "the query side":
        assert code == 2 and "Export its two sides one by one: model=" in told
    else:
        assert code == 0 and (tmp_path / "onnx/onnx/model.onnx").is_file()
        said = (tmp_path / "onnx/README.md").read_text()
        assert ("searches add words in common" in said) == (back != "vectors alone")
