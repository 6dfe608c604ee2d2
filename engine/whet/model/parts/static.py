"""Word vectors without a transformer: a table of vectors, whose mean over a text's tokens is the
text's (sentence-transformers' StaticEmbedding; model2vec's folders, too).

Shape suffixes: V words, B texts, L tokens, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whet.errors import ConfigError
from whet.model.loading import library_errors
from whet.model.parts.recipe import LONGEST
from whet.model.tensors import AGAIN, WEIGHTS, check_fits, shapes_in
from whet.printable import printable

TOKENIZER = "tokenizer.json"
TABLE = "embedding.weight"
MODEL2VEC = "embeddings"  # with a row per word, or with these two: which row it has, and its weight
MAPPING, FACTORS = "mapping", "weights"


@dataclass(frozen=True)
class StaticShape:
    """What of a transformer's configuration can be said of a table."""

    hidden_size: int
    vocab_size: int
    model_type: str = "static"
    num_hidden_layers: int = 1
    num_attention_heads: int = 1


@dataclass(frozen=True)
class Looked:
    """What a transformer returns."""

    last_hidden_state: Tensor


class WordTable(nn.Module):
    """The vectors of words, in the place of a transformer."""

    def __init__(self, table_VD: Tensor) -> None:
        super().__init__()
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(table_VD, freeze=False)
        words, dimension = table_VD.shape
        self.config = StaticShape(dimension, words)

    def get_input_embeddings(self) -> nn.Embedding:
        """The table."""
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Looked:
        """The vector of each token, [B, L, D]."""
        return Looked(self.embedding(input_ids))

    def save_pretrained(self, folder: Path) -> None:
        """Write the table as sentence-transformers reads it."""
        from safetensors.torch import save_file

        table_VD = self.embedding.weight.detach().contiguous()
        save_file({TABLE: table_VD}, folder / WEIGHTS, metadata={"format": "pt"})


class WordTokenizer:
    """The tokenizer of word vectors as an encoder calls one: without special tokens, cut at a
    length.
    """

    def __init__(self, rules: Any) -> None:
        from transformers import PreTrainedTokenizerFast

        cut = rules.truncation
        self.model_max_length = cut["max_length"] if cut else LONGEST
        rules.no_padding()
        rules.no_truncation()
        self.backend_tokenizer = rules
        self.is_fast = True
        self._fast = PreTrainedTokenizerFast(tokenizer_object=rules)
        self.pad_token_id = None
        self.unk_token_id = None
        self.all_special_tokens: list[str] = []
        self.model_input_names = ["input_ids"]

    def __call__(self, texts: Any, **options: Any) -> Any:
        """Token ids, as of any tokenizer."""
        return self._fast(texts, add_special_tokens=False, **options)

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())

    def get_vocab(self) -> dict[str, int]:
        """The words and their numbers."""
        words: dict[str, int] = self.backend_tokenizer.get_vocab()
        return words

    def num_special_tokens_to_add(self) -> int:
        """None: the mean is over words alone."""
        return 0


def load_static(folder: Path) -> tuple[WordTable, WordTokenizer]:
    """The table and the tokenizer of a folder. Raises ConfigError for one that is damaged."""
    from tokenizers import Tokenizer

    table_VD = _table(folder / WEIGHTS)
    path = folder / TOKENIZER
    if not path.is_file():
        raise ConfigError(f"{printable(path)} is missing. {AGAIN}")
    with library_errors(folder):
        return WordTable(table_VD), WordTokenizer(Tokenizer.from_file(str(path)))


def _table(path: Path) -> Tensor:
    """A row per word, float32."""
    from safetensors.torch import load_file

    shapes = shapes_in(path)
    names = set(shapes)
    if names != {TABLE} and not {MODEL2VEC} <= names <= {MODEL2VEC, MAPPING, FACTORS}:
        shown = ", ".join(printable(name) for name in sorted(names)[:3])
        raise ConfigError(
            f"{printable(path)}: word vectors are a tensor {TABLE}, or {MODEL2VEC} with {MAPPING} "
            f"and {FACTORS}, and this file holds {shown or 'none'}. {AGAIN}"
        )
    name = TABLE if TABLE in names else MODEL2VEC
    if len(shapes[name]) != 2:
        raise ConfigError(f"{printable(path)} is damaged: {name} is no matrix. {AGAIN}")
    rows = (shapes.get(MAPPING) or shapes[name])[0]
    check_fits(rows * shapes[name][1], path.parent)
    tensors = load_file(path)
    table_VD = tensors[name].float()
    with library_errors(path.parent):
        if MAPPING in tensors:
            table_VD = table_VD[tensors[MAPPING].long()]
        if FACTORS in tensors:
            table_VD = table_VD * tensors[FACTORS].float()[:, None]
        if table_VD.dim() != 2:
            raise ValueError(f"{MAPPING} has {tensors[MAPPING].dim()} dimensions")
    return torch.as_tensor(table_VD).contiguous()
