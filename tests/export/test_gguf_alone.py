"""A GGUF file by itself: BERT computed from it alone, in float64, gives the model's vectors."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import whet.export.checks
from whet.config import ModelConfig
from whet.errors import ConfigError, WhetError
from whet.export.checks import check_llama, check_same, cosines, mixed_vectors
from whet.export.gguf_file import check_gguf, write_gguf
from whet.export.measure import SystemRow, table
from whet.export.readme import _prompt_sentences
from whet.model.encoder import Encoder
from whet.model.parts.recipe import Recipe

TEXTS = ["bace difo", "", "guka lemi nopu rase", "zu x7!", "Tivo BACE", "lemi " * 40]


class Gguf:
    """The keys and tensors of a file, and a BERT that is computed from them in numpy."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader
        from gguf.quants import dequantize

        reader = GGUFReader(path)
        self.said = {name: field.contents() for name, field in reader.fields.items()}
        self.kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        self.weights = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            for tensor in reader.tensors
        }

    def linear(self, name: str, row_LD: np.ndarray) -> np.ndarray:
        return row_LD @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, row_LD: np.ndarray) -> np.ndarray:
        centred_LD = row_LD - row_LD.mean(1, keepdims=True)
        variance_L1 = (centred_LD**2).mean(1, keepdims=True)
        unit_LD = centred_LD / np.sqrt(variance_L1 + self.said["bert.attention.layer_norm_epsilon"])
        return unit_LD * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, block: str, row_LD: np.ndarray) -> np.ndarray:
        heads = self.said["bert.attention.head_count"]
        q, k, v = (
            np.split(self.linear(f"{block}.attn_{part}", row_LD), heads, axis=1) for part in "qkv"
        )
        mixed = []
        for q_LH, k_LH, v_LH in zip(q, k, v, strict=True):
            share_LL = np.exp(q_LH @ k_LH.T / math.sqrt(q_LH.shape[1]))
            mixed.append(share_LL / share_LL.sum(1, keepdims=True) @ v_LH)
        return self.linear(f"{block}.attn_output", np.concatenate(mixed, axis=1))

    def vector(self, ids: Sequence[int]) -> np.ndarray:
        """A text's vector, of unit length."""
        row_LD = self.weights["token_embd.weight"][list(ids)]
        row_LD = row_LD + self.weights["position_embd.weight"][: len(ids)]
        row_LD = self.norm("token_embd_norm", row_LD + self.weights["token_types.weight"][0])
        for number in range(self.said["bert.block_count"]):
            block = f"blk.{number}"
            mixed_LD = self.attention(block, row_LD)
            row_LD = self.norm(f"{block}.attn_output_norm", row_LD + mixed_LD)
            wide_LF = self.linear(f"{block}.ffn_up", row_LD)
            erf = np.vectorize(math.erf)
            wide_LF = wide_LF * 0.5 * (1 + erf(wide_LF / math.sqrt(2)))
            down_LD = self.linear(f"{block}.ffn_down", wide_LF)
            row_LD = self.norm(f"{block}.layer_output_norm", row_LD + down_LD)
        pooled_D = {1: row_LD.mean(0), 2: row_LD[0], 3: row_LD[-1]}[self.said["bert.pooling_type"]]
        return pooled_D / np.linalg.norm(pooled_D)

    def ids(self, text: str) -> list[int]:
        """Its tokens by the longest pieces of the file's own list."""
        pieces = {piece: row for row, piece in enumerate(self.said["tokenizer.ggml.tokens"])}
        lower = self.said["tokenizer.ggml.normalizer.lowercase"]
        found = [self.said["tokenizer.ggml.bos_token_id"]]
        for word in (text.lower() if lower else text).replace("!", " ! ").split():
            found += self._pieces(f"\u2581{word}", pieces)
        most = self.said["bert.context_length"]
        return [*found[: most - 1], self.said["tokenizer.ggml.seperator_token_id"]]

    def _pieces(self, rest: str, pieces: dict[str, int]) -> list[int]:
        found = []
        while rest:
            sizes = [size for size in range(len(rest), 0, -1) if rest[:size] in pieces]
            if not sizes or rest[: sizes[0]] == "\u2581":
                return [self.said["tokenizer.ggml.unknown_token_id"]]
            found.append(pieces[rest[: sizes[0]]])
            rest = rest[sizes[0] :]
        return found


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(("kind", "near"), [("f16", 2e-3), ("q8_0", 2e-2)])
def test_the_file_alone_gives_the_vectors(
    tiny_model: Path, tmp_path: Path, pooling: str, kind: str, near: float
) -> None:
    encoder = Encoder.load(ModelConfig(str(tiny_model), pooling=pooling, max_length=20))
    write_gguf(encoder, tmp_path / "m.gguf", kind)
    file = Gguf(tmp_path / "m.gguf")
    wanted_ND = encoder.encode(TEXTS)
    for text, ids, wanted_D in zip(
        TEXTS, encoder.tokenize(TEXTS, "document"), wanted_ND, strict=True
    ):
        assert file.ids(text) == ids
        assert np.abs(file.vector(ids) - wanted_D).max() < near


def test_what_is_small_stays_exact_and_what_is_large_is_rounded_by_half_a_step(
    tiny_model: Path, tmp_path: Path
) -> None:
    """q8_0: 32 weights of a row share a scale, the largest of them by 127."""
    encoder = Encoder.load(str(tiny_model))
    write_gguf(encoder, tmp_path / "q", "q8_0")
    write_gguf(encoder, tmp_path / "f", "f16")
    small, half = Gguf(tmp_path / "q"), Gguf(tmp_path / "f")
    for file in (small, half):
        for name, weight in file.weights.items():
            plain = weight.ndim == 1 or name in ("position_embd.weight", "token_types.weight")
            assert (file.kinds[name] == "F32") == plain
    words = encoder.backbone.get_input_embeddings().weight.detach().numpy()  # type: ignore[operator]
    assert np.array_equal(half.weights["token_embd.weight"], words.astype(np.float16))
    blocks = words.reshape(-1, 32).astype(np.float64)
    step = np.abs(blocks).max(1, keepdims=True) / 127
    off = np.abs(small.weights["token_embd.weight"].reshape(-1, 32) - blocks)
    assert (off <= 0.5 * step + 1e-3 * np.abs(blocks).max(1, keepdims=True)).all()
    assert off.max() > 0.2 * step.min()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "relu"}, "computes BERT with gelu, and this model has relu"),
        ({"model_type": "roberta"}, "this model is roberta, WordPiece"),
        ({"matrix": True}, "this model is bert, WordPiece, a matrix after the pooling"),
    ],
)
def test_models_that_gguf_would_make_another_of_are_refused(
    tiny_model: Path, change: dict[str, Any], words: str
) -> None:
    encoder = Encoder.load(str(tiny_model))
    check_gguf(encoder)
    if "matrix" in change:
        encoder.with_matrix(torch.eye(32))
    else:
        encoder.backbone.config = SimpleNamespace(
            **{**encoder.backbone.config.to_dict(), **change}  # type: ignore[union-attr,operator]
        )
    with pytest.raises(ConfigError, match=words):
        check_gguf(encoder)


def test_a_vocabulary_with_holes_and_capitals_is_written_as_it_is(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    said = json.loads((folder / "tokenizer.json").read_text())
    row = said["model"]["vocab"].pop("bace")
    (folder / "tokenizer.json").write_text(json.dumps(said))
    kind = json.loads((folder / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    encoder = Encoder.load(str(folder))
    write_gguf(encoder, tmp_path / "m", "f16")
    file = Gguf(tmp_path / "m")
    assert file.said["tokenizer.ggml.tokens"][row] == f"[PAD{row}]"
    assert file.said["tokenizer.ggml.token_type"][row] == 5  # unused
    assert file.said["tokenizer.ggml.token_type"][:6] == [3, 3, 3, 3, 3, 1]  # control, normal
    assert file.said["tokenizer.ggml.normalizer.lowercase"] is False
    assert file.said["tokenizer.ggml.normalizer.strip_accents"] is False
    assert file.ids("bace Tivo") == encoder.tokenize(["bace Tivo"], "document")[0]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_cosines_are_those_of_float64(rows: int, dims: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=(rows, dims)).astype(np.float32) for _ in range(2))
    found = cosines(one * np.float32(size), other)
    for row in range(rows):
        first, second = one[row].astype(float), other[row].astype(float)
        product = sum(a * b for a, b in zip(first, second, strict=True))
        assert found[row] == pytest.approx(
            product / math.hypot(*first) / math.hypot(*second), abs=1e-5
        )
    assert cosines(one, one) == pytest.approx(np.ones(rows))
    assert cosines(one * 0, other).tolist() == [0.0] * rows


def test_a_hundredth_of_a_percent_is_the_most_that_onnx_may_be_off(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(str(tiny_model))
    vectors_ND = mixed_vectors(encoder, TEXTS)
    assert np.abs(vectors_ND - encoder.encode(TEXTS)).max() < 1e-6
    for off, allowed in ((0.9e-4, True), (1.2e-4, False), (math.nan, False)):
        given = iter([vectors_ND, vectors_ND + np.eye(len(TEXTS), 32, k=3) * off])
        monkeypatch.setattr(
            whet.export.checks, "mixed_vectors", lambda *_, given=given: next(given)
        )
        if allowed:
            assert check_same(encoder, encoder, TEXTS) == pytest.approx(off, rel=1e-2)
        else:
            with pytest.raises(WhetError, match="so it was deleted"):
                check_same(encoder, encoder, TEXTS)


def llama(encoder: Encoder, wrong: int, turn: float) -> Any:
    """What stands in for the runtime: it cuts some texts otherwise and turns every vector."""

    def run(path: Path, texts: Sequence[str], of: Encoder) -> tuple[list[list[int]], np.ndarray]:
        plain = Encoder(encoder.backbone, encoder.tokenizer, encoder.recipe, encoder.source)
        tokens = plain.tokenizer(list(texts))["input_ids"]
        with torch.inference_mode():
            parts = [plain.forward_tokens([ids]).numpy() for ids in tokens]
        vectors_ND = np.concatenate(parts)
        side_ND = np.roll(vectors_ND, 1, axis=1)
        side_ND -= (side_ND * vectors_ND).sum(1, keepdims=True) * vectors_ND
        side_ND /= np.linalg.norm(side_ND, axis=1, keepdims=True)
        turned_ND = vectors_ND * turn + side_ND * math.sqrt(1 - turn**2)
        return [ids[:-1] if n < wrong else ids for n, ids in enumerate(tokens)], turned_ND

    return run


@pytest.mark.parametrize(
    ("kind", "wrong", "turn", "good"),
    [("f16", 0, 0.9995, True), ("f16", 0, 0.9985, False), ("q8_0", 0, 0.9985, True),
     ("q8_0", 0, 0.985, False), ("f16", 2, 1.0, True), ("f16", 3, 1.0, False)],
)  # fmt: skip
def test_what_the_runtime_of_gguf_may_make_of_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str, wrong: int, turn: float,
    good: bool,
) -> None:  # fmt: skip
    """Of ten texts two may be cut otherwise; what is too long is left out; prompts count."""
    encoder = Encoder.load(ModelConfig(str(tiny_model), document_prompt="zu ", max_length=20))
    texts = [f"bace difo {word}" for word in "abcdefghij"] + ["lemi " * 40]
    monkeypatch.setattr(whet.export.checks, "_run_llama", llama(encoder, wrong, turn))
    if not good:
        with pytest.raises(WhetError, match=r"llama\.cpp reads m\.gguf otherwise than the model"):
            check_llama(encoder, Path("m.gguf"), kind, texts)
        return
    found = check_llama(encoder, Path("m.gguf"), kind, texts)
    assert (found.texts, found.too_long, list(found.cut_otherwise)) == (10, 1, texts[:wrong])
    assert found.cosine_min == pytest.approx(turn, abs=1e-5)
    assert found.cosine_mean == pytest.approx(turn, abs=1e-5)


def test_rows_of_the_table_are_told_beside_the_model() -> None:
    plain = [
        SystemRow("model", 90.0, 12.34, 1.0, 1.0, None),
        SystemRow("int8", 23.04, 100.0, 0.98765, 0.9, None),
    ]
    head, first, second = table(plain).splitlines()
    assert head.split() == ["MB", "texts/s", "mean", "cosine", "least"]
    assert first.split() == ["model", "90.0", "12.3", "1.0000", "1.0000"]
    assert second.split() == ["int8", "23.0", "100.0", "0.9877", "0.9000"]
    judged = [replace(plain[0], ndcg=0.5), replace(plain[1], ndcg=0.4)]
    head, first, second = table(judged).splitlines()
    assert head.split() == ["MB", "texts/s", "nDCG@10", "loss"]
    assert first.split()[-1] == "0.5000" and second.split()[-2:] == ["0.4000", "+0.1000"]


@pytest.mark.parametrize(
    ("query", "document", "told"),
    [
        ("", "", "Queries and documents go in as they are."),
        ("q: ", "", "Put `q: ` before every query; no file does that by itself."),
        ("q: ", "d: ", "Put `q: ` before every query and `d: ` before every document; no"),
    ],
)
def test_prompts_in_words(query: str, document: str, told: str) -> None:
    assert _prompt_sentences(Recipe("mean", True, 9, query, document)).startswith(told)
