"""Missing weights are refused in words, not filled with random numbers: how many there are and the
first of them. A pooler, which decides no vector, may lack.
"""

from __future__ import annotations

import torch
from harness import data, done, expect, in_words, model, place, whet
from safetensors.torch import load_file, save_file

with place() as here:
    data(here / "data")
    whole = load_file(model(here / "whole") / "model.safetensors")
    broken = {
        "no_layer": {name: part for name, part in whole.items() if ".layer.0." not in name},
        "one_missing": dict(list(whole.items())[1:]),
        "other_prefix": {f"model.encoder.{name}": part for name, part in whole.items()},
        "nothing_fits": {"a": torch.zeros(1)},
        "other_shape": whole | {"embeddings.LayerNorm.bias": torch.zeros(7)},
    }
    for name, kept in broken.items():
        save_file(kept, model(here / name) / "model.safetensors", metadata={"format": "pt"})
        refused = whet("eval", "data.path=data", f"model.name={name}", f"output=out_{name}")
        in_words(refused, name)
        expect("tensor" in refused.last, f"{name}: tensors are named ({refused.last})")
    for verb in ("encode", "fit"):
        refused = whet(verb, "data.path=data", "model.name=no_layer", f"output={verb}")
        in_words(refused, f"{verb}, no_layer")
        expect("lack 16 tensors" in refused.err, f"{verb}: they are counted")
    taken = whet("eval", "data.path=data", "model.name=whole", "output=out_whole")
    expect(taken.code == 0, f"a whole model is read, its pooler not saved ({taken.state})")
done()
