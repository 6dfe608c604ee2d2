"""Every recipe, and every YAML file that says how to mine, refresh, train or judge, is run: two
steps on the tiny data with the tiny model, in place of the data and model that it names.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from transformers import ViTConfig, ViTModel

from whet.bench.suites import SUITES
from whet_launch.cli.main import main
from whet_launch.options.catalogue import choices_of

GROUPS = ("mining", "refresh", "loss", "encode", "evaluate", "trainer")
CHOICES = [(group, choice) for group in GROUPS for choice in choices_of(group)]
JUDGED = {suite.folder for suite in SUITES.values() if suite.verb == "eval"}
RECIPES = choices_of("experiment")
TO_JUDGE = [recipe for recipe in RECIPES if recipe.partition("/")[0] in JUDGED]
OF_PICTURES = ("fashion",)
TO_FIT = [recipe for recipe in RECIPES if recipe not in (*TO_JUDGE, *OF_PICTURES)]
# all pairs in a step, so that an epoch is one; what is due every so many steps is due in each
TWO_STEPS = (
    "select=last",
    "trainer.max_steps=2",
    "trainer.max_epochs=2",
    "trainer.batch_size=80",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "refresh.every_n_steps=1",
    "refresh.max_share=0.9",
)
# what a file says of MiniLM, as the tiny model can have it
SMALLER = {"loss=matryoshka": "loss.matryoshka_dims=[32,16]"}
TAUGHT = ("loss=distill_kl", "loss=margin_mse")  # where the data hold no scores, by a teacher
# what the log has of a refresh; a continuous one comes when it is done, and here training is first
SIGNS = {"steps": "refresh_overlap", "epoch": "refresh_overlap", "overlap": "probe_overlap"}


@pytest.fixture
def fit(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Any:
    """`fit("mining=naive")` runs it and returns the log of its training."""

    def run(*words: str, data: Path = tiny_data, model: Path = tiny_model) -> list[dict[str, Any]]:
        folder = tmp_path / "run"
        here = (f"data={data}", f"model.name={model}", f"output={folder}")
        assert main(["fit", *words, *here, *TWO_STEPS]) == 0
        assert json.loads((folder / "metrics.json").read_text())["tuned"]
        lines = (folder / "train_log.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        losses = [row["loss"] for row in log if "loss" in row]
        assert log[-1]["step"] == 2 and losses and all(map(math.isfinite, losses))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        mined = config["mining"]["num_negatives"] > 0
        sign = SIGNS.get(config["refresh"]["policy"]) if mined else None
        assert sign is None or any(sign in row for row in log), f"no {sign} in the log"
        return log

    return run


def one_a_folder(recipes: list[str]) -> list[Any]:
    """The first recipe of each folder for CI, the others, which differ in their data, nightly."""
    firsts = {recipe.partition("/")[0]: recipe for recipe in reversed(recipes)}
    others = [recipe for recipe in recipes if recipe not in firsts.values()]
    return [*firsts.values(), *(pytest.param(name, marks=pytest.mark.nightly) for name in others)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", one_a_folder(TO_FIT))
def test_a_recipe_fits(fit: Any, recipe: str) -> None:
    fit(f"experiment={recipe}", "claim.digest=null", "model.max_length=32")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", OF_PICTURES)
def test_a_recipe_of_pictures_fits(fit: Any, recipe: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    named = {}
    for split, count in (("train", 24), ("test", 8)):
        named[f"x_{split}"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        named[f"y_{split}"] = np.arange(count) % 2
    np.savez(tmp_path / "noise.npz", **named)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = ViTModel(ViTConfig(**sizes, intermediate_size=64, image_size=32, patch_size=8))
    model.save_pretrained(tmp_path / "vit")
    said = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps(said))
    fit(f"experiment={recipe}", data=tmp_path / "noise.npz", model=tmp_path / "vit")


@pytest.mark.slow
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_a_choice_fits(fit: Any, group: str, choice: str, tiny_model: Path) -> None:
    chosen = f"{group}={choice}"
    words = [word for name, word in SMALLER.items() if name == chosen]
    words += [f"distill.teacher={tiny_model}"] if chosen in TAUGHT else []
    fit(chosen, *words)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", one_a_folder(TO_JUDGE))
def test_a_recipe_judges(recipe: str, tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    words = ["eval", f"experiment={recipe}", "claim.digest=null", f"data={tiny_data}"]
    words += [] if recipe.startswith("bm25/") else [f"model.name={tiny_model}"]
    assert main([*words, f"output={tmp_path / 'eval'}"]) == 0
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())
