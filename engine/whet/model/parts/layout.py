"""What a model's folder is made of: its transformer, its pooling and the layers after, in order.

The layout is that of sentence-transformers, versions 2 to 6: modules.json lists the layers. What it
lists is understood, or refused by its name; nothing is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.errors import ConfigError, UnsupportedModel
from whet.model.contained import inner_path
from whet.model.tensors import AGAIN
from whet.printable import printable
from whet.storage.readable import readable_json

LIBRARY = "sentence_transformers.models"  # the name of its layers that all of its versions read
ROUTER = "router_config.json"  # of a model with an encoder per side (whet.model.towers)
ADAPTER = "adapter_config.json"  # of peft
SIDES = ("query", "document")  # of a Router
TRANSFORMER, STATIC, POOLING = "Transformer", "StaticEmbedding", "Pooling"
FIRST = (TRANSFORMER, STATIC, "Router")
AFTER = ("Dense", "LayerNorm", "Dropout", "Normalize")  # whet.model.layers has them
ENTRY = {"idx", "name", "path", "type", "kwargs"}


@dataclass(frozen=True)
class Layout:
    """A model's parts by their folders. `listed` says that a modules.json lists them; a plain
    transformer of Hugging Face has none.
    """

    folder: Path  # with modules.json and config_sentence_transformers.json
    backbone: Path
    static: bool = False
    pooling: Path | None = None
    after: tuple[tuple[str, Path], ...] = ()  # kind and folder of each layer after the pooling
    listed: bool = True


def read_layout(folder: Path) -> Layout:
    """The parts of a model of one encoder.

    Raises UnsupportedModel for a layer, an order or a key that is not understood, ConfigError for a
    damaged modules.json and for a model with an encoder per side, which has two of each.
    """
    path = folder / "modules.json"
    if (folder / ROUTER).is_file():
        raise UnsupportedModel(
            f"{printable(folder)} has an encoder for queries of its own (a Router). It can search, "
            "be judged and be labelled with; to train, mine, plan or export, give a model with one "
            "encoder for both sides: if `whet tune` made this one, the model it came from."
        )
    if not path.exists():
        _refuse_adapter(folder)
        return Layout(folder, folder, listed=False)
    parts = listed_parts(folder)
    if parts and parts[0][0] == "Router":
        raise _wrong(path, f"it lists a Router, and {ROUTER} is not beside it")
    return layout_of(folder, parts, path)


def layout_of(folder: Path, parts: list[tuple[str, Path]], named_in: Path) -> Layout:
    """The layout of parts in their order, which a file (`named_in`) lists.

    Raises UnsupportedModel for an order that is not: a transformer, its pooling, layers after it.
    """
    kinds = [kind for kind, _ in parts]
    order = ", ".join(kinds)
    if not kinds or kinds[0] not in (TRANSFORMER, STATIC):
        if TRANSFORMER in kinds or STATIC in kinds:
            raise UnsupportedModel(
                f"{printable(named_in)}: layers in the order {order} are not supported. Use a "
                "model that begins with its transformer."
            )
        raise _wrong(named_in, "it lists no Transformer")
    static = kinds[0] == STATIC
    rest = parts[1:]
    pooling = rest[0][1] if rest and rest[0][0] == POOLING and not static else None
    after = rest[1:] if pooling else rest
    misplaced = next((kind for kind, _ in after if kind not in AFTER), None)
    if misplaced:
        twice = kinds.count(misplaced) > 1
        raise UnsupportedModel(
            f"{printable(named_in)}: two {misplaced} layers. Use a model with one."
            if twice
            else f"{printable(named_in)}: layers in the order {order} are not supported. Use a "
            "model with a transformer, its pooling, and dense layers and normalisations after it."
        )
    _refuse_adapter(parts[0][1])
    return Layout(folder, parts[0][1], static, pooling, tuple(after))


def listed_parts(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of each layer that modules.json lists, in its order.

    Raises UnsupportedModel for layers of another kind and ConfigError for a damaged file.
    """
    path = folder / "modules.json"
    parts = []
    for module in readable_json(path, remedy=AGAIN, kind=list, error=ConfigError):
        entry = module if isinstance(module, dict) else {}
        type_, place = entry.get("type"), entry.get("path")
        if not isinstance(type_, str) or not isinstance(place, str):
            raise _wrong(path, 'each layer must have a "type" and a "path"')
        refuse_keys(path, entry, ENTRY)
        if entry.get("kwargs"):
            raise UnsupportedModel(
                f'{printable(path)}: a layer asks by "kwargs" for values with each text, which is '
                "not supported. Use a model without it."
            )
        # A path that leads out of the folder is refused here, before anything is opened.
        parts.append((kind_of(type_, path), inner_path(folder, place, path)))
    return parts


def kind_of(type_: str, named_in: Path) -> str:
    """The kind of a layer by the name of its class; libraries have moved these classes between
    modules, so that the last part counts. UnsupportedModel for one that is not known, or of another
    library: a class of the same name there is another layer.
    """
    kind = type_.rpartition(".")[2]
    if not type_.startswith("sentence_transformers.") or kind not in (*FIRST, POOLING, *AFTER):
        raise UnsupportedModel(
            f"{printable(named_in)}: a {printable(type_)} layer is not supported. Use a model made "
            f"of sentence-transformers' {', '.join((TRANSFORMER, STATIC, POOLING, *AFTER))}."
        )
    return kind


def refuse_keys(path: Path, content: dict[str, Any], known: set[str]) -> None:
    """UnsupportedModel for the first key that is not known: it may change every vector."""
    for key in content:
        if key not in known:
            raise UnsupportedModel(
                f'{printable(path)}: "{printable(key[:100])}" is not understood, and may change '
                "every vector. Use a model without it, or remove that line if it says nothing of "
                "the vectors."
            )


def refuse_values(path: Path, content: dict[str, Any], plain: dict[str, tuple[Any, ...]]) -> None:
    """UnsupportedModel for the first key whose value is none of those that change nothing here."""
    for key, values in plain.items():
        if key in content and not any(_same(content[key], value) for value in values):
            shown = printable(repr(content[key])[:60])
            raise UnsupportedModel(
                f'{printable(path)}: "{key}" of {shown} is not supported. Use a model without it.'
            )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)  # 1 and true are not


def backbone_folder(folder: Path) -> Path:
    """Where the transformer's own files lie: the folder, or its `0_Transformer`. Raises what
    `read_layout` raises.
    """
    return read_layout(folder).backbone


def whole_sides(folder: Path) -> dict[str, Path] | None:
    """The folders of both sides' models, where each is a whole model: in what Whet wrote. Raises
    what `open_model` raises of a Router.
    """
    # A route is a path of a stranger's file: it must lie in the folder, and not be the folder.
    routes = routes_of(folder)
    sides = {kind: inner_path(folder, routes[kind][0], folder / ROUTER) for kind in SIDES}
    whole = all(side != folder and (side / "modules.json").is_file() for side in sides.values())
    return sides if whole else None


def routes_of(folder: Path) -> dict[str, list[str]]:
    """The names of the parts of each side, as a Router lists them. ConfigError for one that is
    damaged, UnsupportedModel for other sides.
    """
    path = folder / ROUTER
    said = readable_json(path, remedy=AGAIN, error=ConfigError)
    routes = said.get("structure")
    if not isinstance(routes, dict):
        raise ConfigError(f'{printable(path)} is damaged: it should hold "structure". {AGAIN}')
    if set(routes) != set(SIDES):
        raise UnsupportedModel(
            f"{printable(path)}: its routes are {printable(', '.join(routes))}. Whet opens models "
            "with the routes query and document."
        )
    for names in routes.values():
        plain = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not plain or not names:
            raise ConfigError(f"{printable(path)} is damaged: a route is no list of names. {AGAIN}")
    return routes


def _refuse_adapter(folder: Path) -> None:
    """An adapter beside whole weights: either may be the model."""
    if (folder / ADAPTER).exists():
        raise UnsupportedModel(
            f"{printable(folder)} holds an adapter beside the config.json of a whole model. Put "
            f"{ADAPTER} and its weights into a folder of their own, or remove them."
        )


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{printable(path)} is damaged: {what}. {AGAIN}")
