"""Whether an exported file gives the vectors of the model it came from, found by running it.

Shape suffixes: N texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from whet.errors import WhetError
from whet.model.encoder import Encoder

SAME = 1e-4  # the greatest difference of a component that float32 ONNX may have
MIXED = 10  # texts per batch, as they come: long beside short, so that padding counts
LOWEST_COSINE = {"f16": 0.999, "q8_0": 0.99}
SAME_TOKENS = 0.8  # of the texts; less is a vocabulary that was not understood
KIND = "document"


def mixed_vectors(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Vectors float32 [N, D] of documents, in batches of texts of different lengths."""
    tokens = encoder.tokenize(texts, KIND)
    with torch.inference_mode():
        parts = [
            encoder.forward_tokens(tokens[start : start + MIXED]).cpu().numpy()
            for start in range(0, len(tokens), MIXED)
        ]
    return np.concatenate(parts)


def check_same(encoder: Encoder, exported: Encoder, texts: Sequence[str]) -> float:
    """The greatest difference of a component over all texts. WhetError from 1e-4 on."""
    difference = np.abs(mixed_vectors(encoder, texts) - mixed_vectors(exported, texts)).max()
    if not difference < SAME:
        raise WhetError(
            f"the ONNX file's vectors differ from the model's by {difference:.1e} (allowed: "
            f"{SAME:g}), so it was deleted. Please report which model it was."
        )
    return float(difference)


def cosines(one_ND: np.ndarray, other_ND: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows, float64 [N].

    >>> cosines(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]]))
    array([0.6])
    """
    first, second = one_ND.astype(np.float64), other_ND.astype(np.float64)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine_N: np.ndarray = (first * second).sum(1) / np.maximum(norms, 1e-12)
    return cosine_N


@dataclass(frozen=True)
class LlamaCheck:
    """What llama.cpp made of the texts: cosines of those it cut into the same tokens as the model,
    and the texts it cut otherwise with the cosine of each. Those too long for the model were left
    out, since llama.cpp's callers are to shorten them.
    """

    texts: int
    cosine_mean: float
    cosine_min: float
    cut_otherwise: dict[str, float]
    too_long: int


def llama_is_here() -> bool:
    """Whether llama.cpp's Python package is installed."""
    return find_spec("llama_cpp") is not None


def check_llama(encoder: Encoder, path: Path, kind: str, texts: Sequence[str]) -> LlamaCheck:
    """Run a GGUF file in llama.cpp's embedding mode on documents. WhetError if a vector is another,
    or if more than a fifth of the texts are cut into other tokens.
    """
    token_ids = encoder.tokenize(texts, KIND)
    # Texts cut at the limit say nothing of the file: each side may cut in its own way.
    fitting = [row for row, ids in enumerate(token_ids) if len(ids) < encoder.recipe.max_length]
    texts = [texts[row] for row in fitting]
    prompt = encoder.recipe.prompt(KIND)
    llama_ids, vectors_ND = _run_llama(path, [prompt + text for text in texts], encoder)
    cosine_N = cosines(mixed_vectors(encoder, texts), vectors_ND)
    same_N = np.array([token_ids[row] == ids for row, ids in zip(fitting, llama_ids, strict=True)])
    lowest = float(cosine_N[same_N].min(initial=1))
    if same_N.mean() < SAME_TOKENS or not lowest > LOWEST_COSINE[kind]:
        raise WhetError(
            f"llama.cpp reads {path.name} otherwise than the model: the same tokens for "
            f"{same_N.sum()} of {len(texts)} texts, cosine {lowest:.4f} or more for these (wanted: "
            f"{LOWEST_COSINE[kind]}). It was deleted; please report which model it was."
        )
    other = {texts[row]: float(cosine_N[row]) for row in np.flatnonzero(~same_N).tolist()}
    mean, too_long = float(cosine_N[same_N].mean()), len(token_ids) - len(texts)
    return LlamaCheck(len(texts), mean, lowest, other, too_long)


def _run_llama(
    path: Path, texts: Sequence[str], encoder: Encoder
) -> tuple[list[list[int]], np.ndarray]:
    """Tokens of each text and vectors [N, D]."""
    from llama_cpp import Llama

    length = encoder.recipe.max_length
    model = Llama(
        str(path),
        embedding=True,
        n_ctx=length,
        n_batch=length,
        n_ubatch=length,
        n_threads=torch.get_num_threads(),
        verbose=False,
    )
    tokens = [model.tokenize(text.encode()) for text in texts]
    vectors = [model.embed(text) for text in texts]
    model.close()
    return tokens, np.array(vectors, np.float32)
