"""A transformer that torch compiles gives the same vectors, by one graph for all texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo

from whet.config import EncodeConfig
from whet.encoding.table import open_store
from whet.errors import EnvironmentRefused
from whet.model.encoder import Encoder
from whet.model.inference import encode_texts

WORDS = "bace difo guka lemi".split()
TEXTS = [" ".join(WORDS[: 1 + row % 4] * (1 + row % 3)) for row in range(40)]
COMPILED = EncodeConfig(compile=True, batch_tokens=64)


class Backend:
    """In the place of the compiler: runs each graph as it is, and counts them."""

    def __init__(self) -> None:
        self.graphs: Counter[str] = Counter()

    def __call__(self, graph: torch.fx.GraphModule, _: Any) -> Any:
        self.graphs["all"] += 1
        return graph.forward


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    made = Backend()
    real = torch.nn.Module.compile
    torch._dynamo.reset()
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: real(self, backend=made, **options)
    )
    return made


def test_one_graph_serves_batches_of_all_lengths_and_calls(
    tiny_model: Path, backend: Backend
) -> None:
    """A text alone is another one: torch takes 1 for a number of its own."""
    encoder = Encoder.load(str(tiny_model))
    wanted_ND = encode_texts(encoder, TEXTS, "document", EncodeConfig(batch_tokens=64))
    for _ in range(2):  # blocks of a table come one after the other
        ours_ND = encode_texts(encoder, TEXTS, "document", COMPILED)
        assert np.array_equal(ours_ND, wanted_ND)
    masked_and_not = 2
    assert backend.graphs["all"] <= masked_and_not, backend.graphs
    assert backend.graphs["all"] >= 1
    # and the encoder itself is as it was
    encode_texts(encoder, TEXTS[:1], "document", EncodeConfig())
    assert encoder.backbone._compiled_call_impl is None
    assert backend.graphs["all"] <= masked_and_not


def test_its_vectors_have_a_place_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    plain, compiled = (
        open_store(encoder, kind="document", store=tmp_path, config=config).folder
        for config in (EncodeConfig(batch_tokens=64), COMPILED)
    )
    assert plain != compiled


@pytest.mark.slow
def test_what_cannot_be_compiled_is_refused_in_a_line(
    tiny_model: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler on this machine\nand a long trace")

    monkeypatch.setattr(Backend, "__call__", broken)
    encoder = Encoder.load(str(tiny_model))
    with pytest.raises(EnvironmentRefused, match=r"encode\.compile=true: .*no compiler.*Leave it"):
        encode_texts(encoder, TEXTS, "document", COMPILED)


@pytest.mark.slow
def test_the_compiler_itself(tiny_model: Path) -> None:
    torch._dynamo.reset()
    encoder = Encoder.load(str(tiny_model))
    ours_ND, wanted_ND = (
        encode_texts(encoder, TEXTS, "document", config) for config in (COMPILED, EncodeConfig())
    )
    assert np.abs(ours_ND - wanted_ND).max() < 1e-6
