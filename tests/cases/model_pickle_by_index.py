"""Weights are read from safetensors files of the model's folder alone, also by way of an index: no
pickle, no path that leads out, neither in an index, modules.json nor a router.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from harness import data, done, in_words, model, place, whet
from safetensors.torch import load_file


def index(folder: Path, file: str) -> None:
    """An index that finds every tensor in one file."""
    names = load_file(folder / "other.safetensors")
    said = {"metadata": {}, "weight_map": dict.fromkeys(names, file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(said))


def refused(name: str, what: str) -> None:
    in_words(whet("eval", "data.path=data", f"model.name={name}", f"output=o_{name}"), what)


def change(path: Path, place_of: Any, value: str) -> None:
    """Set one path in modules.json."""
    modules = json.loads(path.read_text())
    modules[place_of]["path"] = value
    path.write_text(json.dumps(modules))


with place() as here:
    data(here / "data")
    model(here / "elsewhere")
    for name, file in {"bin": "w.bin", "out": "../outside.safetensors"}.items():
        folder = model(here / name)
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        torch.save(load_file(folder / "other.safetensors"), folder / "w.bin")
        (here / "outside.safetensors").write_bytes((folder / "other.safetensors").read_bytes())
        index(folder, file)
        refused(name, f"an index that names {file}")
    for at, path in enumerate(("../elsewhere", str(here / "elsewhere" / "1_Pooling"))):
        name = f"away_{at}"
        change(model(here / name) / "modules.json", at, path)
        refused(name, f"modules.json that leads out, layer {at}")
    routes = {"structure": {"query": ["../elsewhere"], "document": ["../elsewhere"]}}
    (model(here / "router") / "router_config.json").write_text(json.dumps(routes))
    refused("router", "a router that leads out")
    adapter = model(here / "adapter")
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1}')
    torch.save({}, adapter / "adapter_model.bin")
    refused("adapter", "a pickled adapter beside the weights")
done()
