"""`whet bench`: recipes run, go on where they stopped, and are held against published figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from whet_launch.cli.main import main

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Bench:
    """`bench("mining", "only=[naive]", "a=1")` -> (exit code, stdout, stderr): recipes on a tiny
    collection in the place of theirs, with a=1 changed.
    """
    shutil.copytree(tiny_data, tmp_path / "collections" / "nl2bash")

    def run(suite: str, only: str, *changed: str, seeds: int = 1) -> tuple[int, str, str]:
        changes = ["claim.digest=null", *changed]
        if suite != "bm25":
            changes.append(f"model.name={tiny_model}")
        if suite in ("mining", "refresh"):
            changes.append("trainer.max_steps=2")
        words = [f"collections={tmp_path / 'collections'}", f"output={tmp_path / 'out'}"]
        words += [only, f"seeds={seeds}", f"change={' '.join(changes)}"]
        code = main(["bench", suite, *words])
        return code, *capfd.readouterr()

    return run


def _results(tmp_path: Path) -> list[dict]:
    return json.loads((tmp_path / "out" / "results.json").read_text())


@pytest.mark.slow
def test_an_evaluation_gives_what_whet_eval_gives(
    bench: Bench, tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    import whet

    code, out, err = bench("zero-shot", "only=[nl2bash]")
    assert code == 0, err
    (row,) = _results(tmp_path)
    expected = whet.evaluate(str(tiny_model), str(tiny_data)).scores.means
    assert row["means"] == expected
    assert row["mean"] == pytest.approx(expected["nDCG@10"], abs=1e-12)
    assert row["interval"][0] <= row["mean"] <= row["interval"][1]
    assert row["queries"] == 20
    assert f"{row['mean']:.4f}" in out
    (theirs,) = (tmp_path / "out" / "mteb").rglob("nl2bash.json")
    (scores,) = json.loads(theirs.read_text())["scores"]["test"]
    assert scores["ndcg_at_10"] == pytest.approx(row["mean"], abs=1e-6)
    page = (tmp_path / "out" / "results.html").read_text()
    assert "<svg" in page and "nl2bash" in page and "<script" not in page


@pytest.mark.parametrize(
    ("value", "code", "said"), [(0.0, 1, "differs by +"), (1.0, 1, "differs by -")]
)
def test_a_figure_that_does_not_come_again_is_told(
    bench: Bench, tiny_model: Path, value: float, code: int, said: str
) -> None:
    claim = f"claim.value={value}", f"claim.model={tiny_model}"
    found, out, _ = bench("zero-shot", "only=[nl2bash]", *claim)
    assert (found, said in out) == (code, True)


def test_a_reason_or_a_tolerance_lets_a_figure_pass(
    bench: Bench, tmp_path: Path, tiny_model: Path
) -> None:
    claim = ["claim.value=0.5", f"claim.model={tiny_model}"]
    code, out, _ = bench("zero-shot", "only=[nl2bash]", *claim, "claim.tolerance=0.5")
    assert code == 0
    assert "published  0.5000: reproduced" in out  # as `whet eval` tells it
    assert _results(tmp_path)[0]["verdict"] == "reproduced"
    shutil.rmtree(tmp_path / "out")
    code, out, _ = bench(
        "zero-shot", "only=[nl2bash]", *claim, "claim.tolerance=0", "claim.reason=another_dump"
    )
    assert code == 0
    assert "differs by" in out and "another_dump" in out


def test_a_figure_of_another_model_is_not_compared(bench: Bench) -> None:
    code, out, _ = bench("zero-shot", "only=[nl2bash]", "claim.value=0.0")
    assert code == 0
    assert "verdict" not in out


def test_other_data_than_the_recipe_is_about_are_refused(bench: Bench) -> None:
    code, _, err = bench("zero-shot", "only=[nl2bash]", "claim.digest=0123456789abcdef")
    assert code == 3
    assert "the recipe is about data of the digest 0123456789ab" in err


@pytest.mark.slow
def test_strategies_are_compared_over_seeds_and_the_suite_goes_on(
    bench: Bench, tmp_path: Path
) -> None:
    code, out, err = bench("mining", "only=[naive,in_batch]", seeds=2)
    assert code == 0, err
    in_batch, naive = _results(tmp_path)
    assert [row["recipe"] for row in (in_batch, naive)] == ["in_batch", "naive"]
    assert len(naive["values"]) == 2 and naive["spread"] is not None
    assert naive["base"] == in_batch["base"] is not None
    assert "p against naive" in out and "± " in out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/seed*/model/*")}
    shutil.rmtree(tmp_path / "out" / "naive" / "seed1" / "model")  # as if killed near its end
    code, _, err = bench("mining", "only=[naive,in_batch]", seeds=2)
    assert code == 0, err
    assert "4 runs, 3 of them done" in err
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*/seed*/model/*")}
    again = {path.parts[-4:-2] for path in after if after[path] != before[path]}
    assert again == {("naive", "seed1")}
    assert _results(tmp_path)[1]["values"] == naive["values"]  # to the bit


def test_a_folder_of_other_options_is_refused(bench: Bench) -> None:
    assert bench("zero-shot", "only=[nl2bash]")[0] == 0
    code, _, err = bench("zero-shot", "only=[nl2bash]", "evaluate.depth=50")
    assert code == 2
    assert "was run with evaluate.depth=100, and this asks for 50" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "zero_shots"], "there is no suite 'zero_shots'. Did you mean zero-shot?"),
        (["bench", "mining", "only=[nave]"], "only=nave: mining has no such recipe. It has"),
        (["bench", "mining", "collections=nowhere"], "nowhere/nl2bash: no such collection."),
        (["bench"], "suite must be set"),
        (["bench", "mining", "launch=job"], "a suite runs here or on a Ray cluster"),
        (["bench", "mining", "seeds=0"], "seeds=0 is out of range"),
        (["eval", "experiment=zero_shot/scifct"], "Did you mean experiment=zero_shot/scifact?"),
    ],
)
def test_a_wrong_word_gets_one_line(
    capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) in (2, 3)
    err = capfd.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_task_of_mteb_needs_a_name_and_its_data(
    capfd: pytest.CaptureFixture[str], tiny_model: Path, tmp_path: Path
) -> None:
    assert main(["bench", "mteb"]) == 2
    assert "suite mteb runs the tasks you name: only=[SciFact,NFCorpus]" in capfd.readouterr().err
    words = [f"model={tiny_model}", f"output={tmp_path / 'out'}"]
    assert main(["bench", "mteb", "only=[SciFact]", *words]) == 4
    err = capfd.readouterr().err
    assert "mteb's task SciFact: its data, mteb/scifact, comes from the Hugging Face hub" in err
