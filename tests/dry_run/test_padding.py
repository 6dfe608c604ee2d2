"""How long texts are made for a GPU that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_checks import TEXTS
from pretend_cuda import pretend_cuda

from whet.config import EncodeConfig
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts


@pytest.mark.parametrize("longest", [512, 22])
def test_padded_texts_are_of_few_lengths(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    """Of a multiple of 8 tokens, or of as many as the model reads; texts that are equally long stay
    as they are, without a mask. On a CPU all stay so. Vectors are the same.
    """
    encoder = Encoder.load(str(tiny_model))
    encoder.recipe = replace(encoder.recipe, max_length=min(longest, encoder.recipe.max_length))
    masked: list[int] = []
    free: list[int] = []
    forward = encoder.backbone.forward

    def watched(**given: Any) -> Any:
        (free if given["attention_mask"] is None else masked).append(given["input_ids"].shape[1])
        return forward(**given)

    monkeypatch.setattr(encoder.backbone, "forward", watched)
    config = EncodeConfig(precision="fp32", batch_tokens=512)
    on_cpu_ND = encode_texts(encoder, TEXTS, "document", config)
    assert any(length % 8 and length != longest for length in masked)
    masked.clear()
    with pretend_cuda():
        on_gpu_ND = encode_texts(encoder, TEXTS, "document", config)
        assert masked and all(length % 8 == 0 or length == longest for length in masked)
        assert max(masked + free) <= longest
        encoder.forward_tokens([[5, 6, 7], [5, 8, 7]])
        assert free[-1] == 3
        encoder.to("cpu")
    assert np.abs(on_gpu_ND - on_cpu_ND).max() < 1e-6
