"""A broken model folder ends in one line that names the file and what is wrong, exit 1, 2 or 4.

tests/model/test_broken_folders.py has over a hundred kinds; here are some by command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from harness import data, done, expect, in_words, model, place, whet


def text(name: str, content: str) -> Callable[[Path], object]:
    """Put other content into a file."""
    return lambda folder: (folder / name).write_text(content)


def config(**changed: object) -> Callable[[Path], object]:
    """Change fields of config.json."""

    def change(folder: Path) -> None:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(said | changed))

    return change


def fifo(folder: Path) -> None:
    (folder / "modules.json").unlink()
    os.mkfifo(folder / "modules.json")


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "modules_cut": ("modules.json", text("modules.json", "{")),
    "modules_a_dict": ("modules.json", text("modules.json", '{"a": 1}')),
    "modules_without_type": ("modules.json", text("modules.json", '[{"idx": 0}]')),
    "modules_a_fifo": ("modules.json", fifo),
    "config_null": ("config.json", text("config.json", "null")),
    "layers_100000": ("config.json", config(num_hidden_layers=10**5)),
    "words_a_bomb": ("words_a_bomb", config(vocab_size=2 * 10**9)),
    "weights_cut": (
        "model.safetensors",
        lambda folder: os.truncate(folder / "model.safetensors", 9_000),
    ),
    "weights_empty": ("model.safetensors", text("model.safetensors", "")),
    "tokenizer_missing": ("tokenizer", lambda folder: (folder / "tokenizer.json").unlink()),
    "prompt_of_10_MB": (
        "config_sentence_transformers.json",
        text(
            "config_sentence_transformers.json",
            json.dumps({"prompts": {"query": "a" * 10**7}}),
        ),
    ),
    "router_empty": ("router_config.json", text("router_config.json", "{}")),
}

with place() as here:
    data(here / "data")
    for name, (file, change) in BROKEN.items():
        change(model(here / name))
        words = ("data.path=data", f"model.name={name}", f"output=o_{name}")
        refused = whet("eval", *words, timeout=60)
        in_words(refused, name)
        expect(file in refused.err and refused.code in (1, 2, 4), f"{name}: {file} is named")
        expect(len(refused.err.strip().splitlines()) == 1, f"{name}: in one line")
done()
