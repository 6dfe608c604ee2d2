"""Texts as an encoder reads them: cut into tokens behind their prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.errors import ConfigError
from whet.model.loading import check_known
from whet.model.parts.recipe import Recipe
from whet.printable import printable
from whet.types import Picture

FILLER = "a first text"
TYPICAL = "a text as long as many a paragraph is, to see how many of them go by " * 4


@dataclass(frozen=True)
class TextReader:
    """A tokenizer that is set up as its recipe says."""

    tokenizer: Any
    recipe: Recipe
    source: Path

    reads = ("texts",)
    filler, typical = FILLER, TYPICAL

    def tokens(self, texts: Sequence[Any], kind: str) -> list[list[int]]:
        """Token ids of each text behind its prompt, cut to the recipe's length. A prompt's token
        that the pooling does not count is its id's complement, ~id, below 0. ConfigError for a
        picture.
        """
        if any(isinstance(text, Picture) for text in texts):
            raise ConfigError(
                f"{printable(self.source)} reads texts, and was given a picture. Give a model of "
                "pictures, such as model.name=lite0."
            )
        prompt = self.recipe.prompt(kind)
        batch = [prompt + text for text in texts] if prompt else list(texts)
        if not batch:
            return []
        tokens = self._cut(batch)
        if prompt and not self.recipe.include_prompt:
            (ahead,) = self._cut([prompt])
            # without the special token at its end, behind which the text would stand
            count = len(ahead) - (bool(ahead) and ahead[-1] in self.tokenizer.all_special_ids)
            return [[*(~number for number in ids[:count]), *ids[count:]] for ids in tokens]
        return tokens

    def _cut(self, texts: list[str]) -> list[list[int]]:
        if self.recipe.lower_case and not self.tokenizer.is_fast:
            texts = [text.lower() for text in texts]
        tokens: list[list[int]] = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.recipe.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return tokens

    def check_known(self, tokens: Sequence[Sequence[int]]) -> None:
        """ConfigError where the tokenizer does not know most of the words of many texts."""
        check_known(self.tokenizer, tokens, self.source)

    def digest(self) -> bytes:
        """What decides what becomes of a text before the transformer, beside the recipe."""
        if not self.tokenizer.is_fast:
            parts = [type(self.tokenizer).__name__.encode()]
            for name in own_files(self.tokenizer):
                if (self.source / name).is_file():
                    parts.append((self.source / name).read_bytes())
            parts.append(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
            return b"".join(parts)
        pipeline = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for transient in ("truncation", "padding"):  # set anew by every call
            pipeline.pop(transient, None)
        return json.dumps(pipeline, sort_keys=True).encode()


def own_files(tokenizer: Any) -> list[str]:
    """Names of the files of a tokenizer that is Python alone, in order."""
    return [] if tokenizer.is_fast else sorted(tokenizer.vocab_files_names.values())
