"""A model with one encoder for queries and another for documents, as tuning the query side alone
leaves it.

Its folder is sentence-transformers' Router with the routes "query" and "document", which version
5.0 and later open. Each route's transformer lies in a folder that is a whole model by itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from whet.config import EncodeConfig, ModelConfig
from whet.errors import CheckpointError, ConfigError
from whet.model.contained import check_files, inner_path
from whet.model.encoder import Encoder
from whet.model.folder import (
    LIBRARY,
    ROUTER,
    UnsupportedModel,
    find_folder,
    write_draft_json,
    write_prompts,
)
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.progress import say
from whet.storage.commit import commit_folder
from whet.storage.readable import readable_json

if TYPE_CHECKING:
    import numpy as np

SIDES = ("query", "document")
WORDS = "words.json"  # beside the model: how much words count in a search


class Towers:
    """An encoder per side. Both give vectors of one space and dimension.

    `words` is how much words in common count in a search (evaluation/hybrid.py), 0 for not at all;
    vectors know nothing of it.
    """

    def __init__(self, query: Encoder, document: Encoder, words: float = 0.0) -> None:
        if query.dimension != document.dimension:
            raise ConfigError(
                f"queries become {query.dimension} numbers and documents {document.dimension}. "
                "Both encoders of a model must give vectors of one dimension."
            )
        self.query = query
        self.document = document
        self.words = words
        self.dimension = document.dimension

    def side(self, kind: str) -> Encoder:
        """The encoder of texts of a kind ("query" or "document")."""
        return self.query if kind == "query" else self.document

    def encode(
        self, texts: Sequence[str], *, kind: str = "document", config: EncodeConfig | None = None
    ) -> np.ndarray:
        """Vectors float32 [N, D] of texts of one kind ("query" or "document")."""
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
            write_prompts(draft, self.query.recipe.query_prompt, self.document.recipe)
            if self.words:
                write_draft_json(draft / WORDS, {"weight": self.words})
            (draft / "README.md").write_text(card, encoding="utf-8")
        return target


def _write_side(draft: Path, encoder: Encoder, kind: str) -> list[str]:
    """Write a route's modules; their names in order."""
    whole = encoder.save(draft / f"{kind}_0_Transformer")
    names = [whole.name]
    for module in json.loads((whole / "modules.json").read_text(encoding="utf-8"))[1:]:
        names.append(f"{kind}_{module['path']}")
        shutil.copytree(whole / module["path"], draft / names[-1])
    return names


def open_model(model: ModelConfig | str = "minilm") -> Encoder | Towers:
    """Open any model that can search: one encoder for all texts, or one per side.

    Raises what `Encoder.load` raises.
    """
    config = ModelConfig(name=model) if isinstance(model, str) else model
    folder = find_folder(config)
    if not (folder / ROUTER).is_file():
        return Encoder.load(config)
    sides = _routes(folder)
    query, document = (Encoder.load(replace(config, name=str(sides[kind]))) for kind in SIDES)
    return Towers(query, document, _words_of(folder))


def _routes(folder: Path) -> dict[str, Path]:
    """The folder of the model of each side, as a Router says. ConfigError for one that is damaged
    or that Whet did not write.
    """
    path = folder / ROUTER
    check_files(folder)
    routes = readable_json(path, remedy=AGAIN, error=ConfigError).get("structure")
    if not isinstance(routes, dict):
        raise ConfigError(f'{printable(path)} is damaged: it should hold "structure". {AGAIN}')
    if set(routes) != set(SIDES):
        raise UnsupportedModel(
            f"{printable(path)}: its routes are {printable(', '.join(routes))}. Whet opens models "
            "with the routes query and document."
        )
    for names in routes.values():
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise ConfigError(f"{printable(path)} is damaged: a route is no list of names. {AGAIN}")
    # A route is a path of a stranger's file: it must lie in the folder, and not be the folder.
    sides = {kind: inner_path(folder, routes[kind][0], path) for kind in SIDES}
    if any(side == folder or not (side / "modules.json").is_file() for side in sides.values()):
        raise UnsupportedModel(
            f"{printable(folder)}: a Router that Whet did not write. Give the model of one of its "
            "routes."
        )
    return sides


def tell_vectors_alone(model: Encoder | Towers) -> None:
    """Say that a use of a model's vectors goes without the words that count in its searches."""
    if isinstance(model, Towers) and model.words:
        say(
            f"This model's searches add words in common (BM25) with weight {model.words:g}; its "
            "vectors know nothing of them."
        )


def _words_of(folder: Path) -> float:
    path = folder / WORDS
    if not path.exists():
        return 0.0
    remedy = (
        'It should say {"weight": 0.2} or the like. Tune again, or remove it to search by vectors '
        "alone."
    )
    weight = readable_json(path, remedy=remedy).get("weight")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 <= weight < float("inf"):
        raise CheckpointError(f"{printable(path)} is damaged: no weight. {remedy}")
    return float(weight)
