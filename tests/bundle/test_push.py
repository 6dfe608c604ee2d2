"""What is put on the hub, and what is not; the hub's own client talks to a hub of this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import make_bundle
from hub import TOKEN, Hub, hub_here
from huggingface_hub import constants

from whet.model.parts.words import WordsBeside, write_words
from whet.run.licences_found import statements_in
from whet.run.model_card import adapted_card
from whet.storage.commit import read_manifest, seal
from whet.training.batches.order import Order
from whet_launch.cli.main import main

NAME = "owner/name"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with hub_here() as hub:
        yield hub


@pytest.fixture
def push(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`whet push` with the real client, which reads its environment when it is first imported."""
    hub.files.clear()
    hub.asked.clear()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def run(*words: str, token: str = TOKEN) -> tuple[int, str]:
        monkeypatch.setenv("HF_TOKEN", token)
        code = main(["push", *words])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def head(card: bytes | str) -> dict[str, Any]:
    text = card.decode() if isinstance(card, bytes) else card
    front: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return front


def test_a_run_goes_to_a_private_repository_that_opens(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path, tmp_path: Path
) -> None:
    (run / "model" / "notes.txt").write_text("a stray, which the run did not write")
    try:
        code, text = push(str(run), NAME, "language=[en]", "data_licence=MIT")
    finally:
        (run / "model" / "notes.txt").unlink()
    assert code == 0, text
    assert TOKEN not in text and f"Pushed: {hub.address}/{NAME}" in text
    assert hub.private == {NAME: True}
    held = hub.files[NAME]
    assert {"model.safetensors", "config.json", "modules.json", "README.md"} <= held.keys()
    assert "notes.txt" not in held and "manifest.json" not in held
    assert held["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    front = head(held["README.md"])
    assert front["language"] == ["en"]
    assert front["license"] == "other" and front["license_name"] == "MIT AND Apache-2.0"
    assert f'SentenceTransformer("{NAME}")' in held["README.md"].decode()
    for name, content in held.items():
        (tmp_path / "back" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "back" / name).write_bytes(content)
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tmp_path / "back"), device="cpu")
    assert model.encode(["bace"]).shape == (1, 32)


def test_words_beside_the_vectors_go_along_and_the_card_says_so(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    model = tmp_path / "run" / "model"
    facts = read_manifest(model)["facts"]
    (model / "manifest.json").unlink()
    write_words(model, WordsBeside(0.3))
    seal(model, facts)
    code, text = push(str(tmp_path / "run"), NAME)
    assert code == 0, text
    assert hub.files[NAME]["words.json"] == (model / "words.json").read_bytes()
    assert b"add words in common (BM25) with weight 0.3" in hub.files[NAME]["README.md"]
    make_bundle(tmp_path / "run", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "words.json").read_bytes() == (model / "words.json").read_bytes()
    assert "(BM25) with weight 0.3" in (tmp_path / "bundle" / "README.md").read_text()


def test_cards_name_the_language_model_that_the_base_learned_from(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path, tmp_path: Path
) -> None:
    wrote = {"model": "writer-7b", "where": "a.b:8000", "licence": "Llama 3.1", "kept": 900}
    facts = {"data": "manuals", "documents": 1000, "done": [], "proved": "", "not_proved": ""}
    facts |= {"trained": "generated", "generated": wrote}
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text(adapted_card(facts, "minilm"))
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    origin = json.loads((run / "origin.json").read_text())
    origin["model"]["statements"] = [asdict(statement) for statement in statements_in(base)]
    (tmp_path / "run" / "origin.json").write_text(json.dumps(origin))
    code, text = push(str(tmp_path / "run"), NAME, "base_licence=Apache-2.0")
    assert code == 0, text
    make_bundle(tmp_path / "run", tmp_path / "bundle", base_licence="Apache-2.0")
    for card in (
        hub.files[NAME]["README.md"].decode(),
        (tmp_path / "bundle/README.md").read_text(),
    ):
        assert "- base weights, README.md: that of `writer-7b` (Llama 3.1)" in card


def test_a_dry_run_asks_nobody(push: Callable[..., tuple[int, str]], hub: Hub, run: Path) -> None:
    code, text = push(str(run), NAME, "--dry-run")
    assert code == 0 and hub.asked == []
    assert f"to {NAME} (private):" in text and "model.safetensors" in text
    assert "library_name: sentence-transformers" in text and "Nothing was sent" in text
    assert push(str(run), NAME, "dry_run=true", "private=false")[1].count("(public)") == 1


def test_a_bundle_goes_as_it_is(
    push: Callable[..., tuple[int, str]], hub: Hub, copied: Path, tmp_path: Path
) -> None:
    code, text = push(str(copied), NAME, "private=false")
    assert code == 0, text
    held = {name: content for name, content in hub.files[NAME].items() if name != ".gitattributes"}
    there = {p.relative_to(copied).as_posix(): p for p in copied.rglob("*") if p.is_file()}
    assert held == {name: path.read_bytes() for name, path in there.items()}
    assert hub.private == {NAME: False}
    code, text = push(str(copied), NAME, "language=[en]")
    assert code == 2 and "language is written into a bundle when it is made" in text
    (copied / "README.md").write_text("changed")
    code, text = push(str(copied), "owner/other")
    assert code == 5 or "is not what its record says: README.md differs" in text
    assert "owner/other" not in hub.files


def test_what_the_repository_holds_is_replaced_only_when_asked(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path
) -> None:
    hub.files[NAME] = {".gitattributes": b"", "theirs.bin": b"x"}
    hub.private[NAME] = True
    code, text = push(str(run), NAME)
    assert code == 2 and "holds 1 files already, such as theirs.bin. Add replace=true" in text
    assert hub.files[NAME].keys() == {".gitattributes", "theirs.bin"}
    assert push(str(run), NAME, "replace=true")[0] == 0
    assert "theirs.bin" not in hub.files[NAME] and "config.json" in hub.files[NAME]


def test_nothing_private_goes_to_a_public_repository(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path
) -> None:
    hub.files[NAME], hub.private[NAME] = {".gitattributes": b""}, False
    code, text = push(str(run), NAME)
    assert code == 2 and "is there already, and public. Add private=false" in text
    assert "config.json" not in hub.files[NAME]


def test_the_token_is_never_printed(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path
) -> None:
    """Not even where the hub says it back."""
    wrong = "hf_another_secret"
    code, text = push(str(run), NAME, token=wrong)
    assert code == 4 and "hf auth login" in text and wrong not in text
    assert "Traceback" not in text and NAME not in hub.files


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["name"], "to=name is no name on the hub. Write OWNER/NAME"),
        (["a/b/c"], "is no name on the hub"),
        (["-a/b"], "There is no flag"),
        ([NAME, "language=[english]"], "language=english is no code of a language"),
        ([NAME, "data_licence=mine"], "data_licence=mine is no SPDX expression"),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_asked(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path, words: list[str], line: str
) -> None:
    code, text = push(str(run), *words)
    assert code == 2 and line in text and hub.asked == []


def test_a_path_of_this_machine_is_not_sent(
    push: Callable[..., tuple[int, str]], hub: Hub, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    environment = tmp_path / "run" / "model" / "README.md"
    environment.write_text(environment.read_text() + f"\n{tmp_path / 'run'}\n")
    code, text = push(str(tmp_path / "run"), NAME)
    assert code != 0 and "damaged" in text and hub.asked == []  # the manifest knows the card


def test_the_card_of_a_run_says_what_hubs_ask_for(run: Path) -> None:
    text = (run / "model" / "README.md").read_text()
    front = head(text)
    assert str(run.parent) not in text and "# base, sharpened on" in text
    assert front["library_name"] == "sentence-transformers"
    assert "base_model" not in front  # a folder: the hub has no such model
    (index,) = front["model-index"]
    (results,) = index["results"]
    metrics = {metric["name"]: metric["value"] for metric in results["metrics"]}
    rows = yaml.safe_load((run / "comparison.json").read_text())["rows"]
    assert metrics == {row["measure"]: round(row["tuned"], 4) for row in rows}
    # 4 steps of 16 over 66 pairs: two thirds of the judgments of the data are in train
    assert "64 of the 66 (query, relevant document) pairs of" in " ".join(text.split())


@pytest.mark.parametrize(
    ("pairs", "batch", "steps"), [(10, 4, 3), (10, 4, 8), (7, 7, 2), (5, 9, 2)]
)
def test_pairs_seen_are_counted_as_the_steps_see_them(pairs: int, batch: int, steps: int) -> None:
    order = Order(pairs, batch, seed=0)
    assert order.seen(steps) == sum(len(order.step(step)) for step in range(steps))
