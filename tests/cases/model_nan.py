"""Vectors with NaN or infinity are no results: eval, mine and encode stop with the first ids and
the model's fingerprint, and nothing of them is stored.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from harness import data, done, expect, in_words, model, place, whet
from safetensors.torch import load_file, save_file

VERBS = ("eval", "mine", "encode")

with place() as here:
    data(here / "data")
    # the model's name: which tensor, where in it, the number put there, the verbs to try
    changes: dict[str, tuple[str, Any, float, tuple[str, ...]]] = {
        "one_inf": ("encoder.layer.0.attention.self.query.weight", (0, 0), float("inf"), VERBS),
        "one_word": ("embeddings.word_embeddings.weight", 150, float("nan"), VERBS),
        "too_large": ("encoder.layer.0.output.LayerNorm.weight", slice(None), 3e38, ("encode",)),
    }
    for name, (tensor, where, number, verbs) in changes.items():
        path = model(here / name) / "model.safetensors"
        weights = load_file(path)
        weights[tensor][where] = number
        save_file(weights, path, metadata={"format": "pt"})
        for verb in verbs:
            refused = whet(verb, "data.path=data", f"model.name={name}", f"output={verb}_{name}")
            in_words(refused, f"{verb}, {name}")
            named = re.search(r"The vectors of '[qd]\d+'.*fingerprint [0-9a-f]{16}", refused.err)
            expect(named is not None, f"{verb}, {name}: ids and fingerprint are named")
    stored = [np.load(path) for path in (here / "cache").rglob("vectors.npy")]
    expect(all(np.isfinite(part).all() for part in stored), "nothing of it is stored")
done()
