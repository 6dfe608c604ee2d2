"""A model with one encoder for queries and another for documents, as tuning the query side alone
leaves it.

Its folder is sentence-transformers' Router with the routes "query" and "document", which version
5.0 and later open. In one that Whet wrote each route's transformer lies in a folder that is a whole
model by itself; in others the parts of a route lie side by side.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from whet.config import EncodeConfig, ModelConfig
from whet.config.ranges import check_options
from whet.errors import ConfigError, UnsupportedModel
from whet.model.contained import check_files, inner_path
from whet.model.encoder import Encoder
from whet.model.folder import find_folder, write_draft_json, write_prompts
from whet.model.parts.layout import (
    LIBRARY,
    ROUTER,
    SIDES,
    Layout,
    kind_of,
    layout_of,
    listed_parts,
    refuse_keys,
    routes_of,
    whole_sides,
)
from whet.model.parts.words import ENGLISH, WordsBeside, words_of, write_words
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.progress import say
from whet.storage.commit import commit_folder
from whet.storage.readable import readable_json
from whet.types import Item

if TYPE_CHECKING:
    import numpy as np


class Towers:
    """An encoder per side. Both give vectors of one space and dimension.

    `words` is how much words in common count in a search (evaluation/lexical/hybrid.py), 0 for not
    at all, and `language` whose stems they have; vectors know nothing of them.
    """

    def __init__(
        self, query: Encoder, document: Encoder, words: float = 0.0, language: str = ENGLISH
    ) -> None:
        if query.dimension != document.dimension:
            raise ConfigError(
                f"queries become {query.dimension} numbers and documents {document.dimension}. "
                "Both encoders of a model must give vectors of one dimension."
            )
        self.query = query
        self.document = document
        self.words, self.language = words, language
        self.dimension = document.dimension

    def side(self, kind: str) -> Encoder:
        """The encoder of texts of a kind ("query" or "document")."""
        return self.query if kind == "query" else self.document

    def encode(
        self, texts: Sequence[Item], *, kind: str = "document", config: EncodeConfig | None = None
    ) -> np.ndarray:
        """Vectors float32 [N, D] of texts or pictures of one kind ("query" or "document")."""
        return self.side(kind).encode(texts, kind=kind, config=config)

    def fingerprint(self) -> str:
        """A hash of all that decides a vector except the text."""
        both = f"{self.query.fingerprint()} {self.document.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()

    def save(self, target: str | Path, card: str = "") -> Path:
        """Write the model to a new folder, whole or not at all.

        `card` becomes its README.md. Raises ConfigError when the folder is there already.
        """
        target = Path(target)
        if target.exists():
            raise ConfigError(f"{target} exists already. Choose another folder, or move it away.")
        with commit_folder(target, {"fingerprint": self.fingerprint()}) as draft:
            routes = {kind: _write_side(draft, self.side(kind), kind) for kind in SIDES}
            names = [name for route in routes.values() for name in route]
            types = {name: f"{LIBRARY}.{name.rpartition('_')[2]}" for name in names}
            parameters = {"default_route": "document", "allow_empty_key": True}
            router = {"types": types, "structure": routes, "parameters": parameters}
            write_draft_json(draft / ROUTER, router)
            module = {"idx": 0, "name": "0", "path": "", "type": f"{LIBRARY}.Router"}
            write_draft_json(draft / "modules.json", [module])
            write_prompts(draft, self.query.recipe, self.document.recipe)
            write_words(draft, WordsBeside(self.words, self.language))
            (draft / "README.md").write_text(card, encoding="utf-8")
        return target


def one_or_two(model: Towers) -> Encoder | Towers:
    """The encoder alone, with its words, where both sides are the same one; else the model."""
    if model.query is not model.document:
        return model
    encoder = copy.copy(model.document)
    encoder.words, encoder.language = model.words, model.language
    return encoder


def _write_side(draft: Path, encoder: Encoder, kind: str) -> list[str]:
    """Write a route's modules; their names in order."""
    encoder = copy.copy(encoder)
    encoder.words = 0.0  # the whole model's say how much they count
    whole = encoder.save(draft / f"{kind}_0_Transformer")
    names = [whole.name]
    for module in json.loads((whole / "modules.json").read_text(encoding="utf-8"))[1:]:
        names.append(f"{kind}_{module['path']}")
        shutil.copytree(whole / module["path"], draft / names[-1])
    return names


def open_model(model: ModelConfig | str = "minilm") -> Encoder | Towers:
    """Open any model that can search: one encoder for all texts, or one per side. A pooler that its
    folder lacks, which decides no vector, is drawn alike each time, so that it is saved alike.

    Raises what `Encoder.load` raises.
    """
    config = ModelConfig(name=model) if isinstance(model, str) else model
    with torch.random.fork_rng(devices=[]):  # nobody else's random numbers are touched
        torch.default_generator.manual_seed(0)
        return _opened(config, find_folder(config))


def _opened(config: ModelConfig, folder: Path) -> Encoder | Towers:
    if not (folder / ROUTER).is_file():
        encoder = Encoder.load(config)
        encoder.words, encoder.language = words_of(folder)
        return encoder
    check_options(config, "model.")
    check_files(folder)
    routes = routes_of(folder)
    whole = whole_sides(folder)
    if whole:
        query, document = (Encoder.load(replace(config, name=str(whole[kind]))) for kind in SIDES)
    else:
        query, document = (Encoder.of_layout(_side(folder, routes[kind]), config) for kind in SIDES)
    return Towers(query, document, *words_of(folder))


def _side(folder: Path, names: list[str]) -> Layout:
    """The parts of a side whose Router another tool wrote, and those that follow the Router."""
    path = folder / ROUTER
    said = readable_json(path, remedy=AGAIN, error=ConfigError)
    refuse_keys(path, said, {"types", "structure", "parameters"})
    types, parameters = said.get("types"), said.get("parameters") or {}
    if not isinstance(types, dict) or not isinstance(parameters, dict):
        raise ConfigError(f'{printable(path)} is damaged: "types" should be an object. {AGAIN}')
    refuse_keys(path, parameters, {"default_route", "allow_empty_key", "route_mappings"})
    if parameters.get("route_mappings"):
        raise UnsupportedModel(
            f'{printable(path)}: "route_mappings" are not supported. Use a model without them.'
        )
    parts = []
    for name in names:
        place = inner_path(folder, name, path)
        if not isinstance(types.get(name), str):
            raise ConfigError(
                f'{printable(path)} is damaged: "types" has no class for {printable(repr(name))}. '
                f"{AGAIN}"
            )
        parts.append((kind_of(types[name], path), place))
    listed = listed_parts(folder) if (folder / "modules.json").exists() else []
    if any(kind == "Router" for kind, _ in [*parts, *listed[1:]]):
        raise UnsupportedModel(
            f"{printable(path)}: a Router within or behind another layer is not supported. Use a "
            "model with one."
        )
    return layout_of(folder, [*parts, *listed[1:]], path)


def tell_vectors_alone(model: Encoder | Towers) -> None:
    """Say that a use of a model's vectors goes without the words that count in its searches."""
    if model.words:
        say(WordsBeside(model.words, model.language).sentence())
