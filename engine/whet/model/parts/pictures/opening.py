"""A model of pictures as its folder says: its backbone, how pictures are read, its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whet.config import ModelConfig
from whet.errors import ConfigError
from whet.model.loading import library_errors, load_transformer
from whet.model.parts.layout import Layout
from whet.model.parts.pictures.framing import Framing, read_framing
from whet.model.parts.pictures.picture_kinds import POOLER
from whet.model.parts.pictures.picture_reader import PictureReader, place_vectors
from whet.model.parts.pictures.picture_recipe import read_picture_recipe
from whet.model.parts.pictures.pixels import cost_of
from whet.model.parts.recipe import Recipe


def open_pictures(
    layout: Layout, kind: str, config: ModelConfig
) -> tuple[nn.Module, PictureReader, Recipe]:
    """The parts of a model of pictures of a type, float32. Raises what `Encoder.load` raises."""
    folder = layout.backbone
    framing = read_framing(folder, config.image_size)
    recipe = read_picture_recipe(layout, config, kind=kind, cost=cost_of(*framing.size))
    from transformers import AutoModel

    backbone: Any = load_transformer(
        folder,
        AutoModel,
        dtype=torch.float32,
        may_lack=() if recipe.pooling == POOLER else ("pooler.",),
    )
    with library_errors(folder):
        if config.image_size is not None:
            _fit_positions(backbone, config.image_size)
        first = _first_look(backbone.eval(), framing, recipe.pooling)
    return backbone, PictureReader(framing, folder, first.hidden, first.held), recipe


def _fit_positions(backbone: Any, edge: int) -> None:
    """Give a transformer whose places have learned positions those of pictures of another size,
    as transformers interpolates them; they are saved so.
    """
    embeddings: Any = getattr(backbone, "embeddings", None)
    patches: Any = getattr(embeddings, "patch_embeddings", None)
    # Those that have no size of their own interpolate in each forward.
    if not hasattr(embeddings, "position_embeddings") or not hasattr(patches, "num_patches"):
        return
    size = int(backbone.config.patch_size)
    if edge % size:
        raise ConfigError(
            f"model.image_size={edge}: this model cuts pictures into squares of {size} pixels. "
            f"Choose a multiple, such as {max(1, round(edge / size)) * size}."
        )
    if edge == backbone.config.image_size or "dinov2" in backbone.config.model_type:
        return
    first = embeddings.position_embeddings.shape[1] - patches.num_patches  # [CLS] and its kin
    places = (edge // size) ** 2
    empty = torch.empty(1, places + first, embeddings.position_embeddings.shape[2])
    with torch.no_grad():
        positions = embeddings.interpolate_pos_encoding(empty, edge, edge)
    embeddings.position_embeddings = nn.Parameter(positions.contiguous())
    backbone.config.image_size = edge
    embeddings.image_size = patches.image_size = (edge, edge)
    patches.num_patches = places


@dataclass(frozen=True)
class _Look:
    """How many numbers a vector has, and the bytes that the backward of one picture needs."""

    hidden: int
    held: int


def _first_look(backbone: nn.Module, framing: Framing, pooling: str) -> _Look:
    """See a black picture go through a model. The weights that its vectors do not come from are
    frozen: processes that train together wait for a gradient of whatever asks for one.
    """
    weights = {part.untyped_storage().data_ptr() for part in backbone.parameters()}
    held: dict[int, int] = {}

    def keep(part: Tensor) -> Tensor:
        storage = part.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return part

    _freeze_constants(backbone)
    pixels_13HW = torch.zeros((1, 3, *framing.size), dtype=torch.uint8)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
        place_1LD = place_vectors(backbone, pixels_13HW, framing, pooling)
    used = _leaves(place_1LD)
    for part in backbone.parameters():
        if id(part) not in used:
            part.requires_grad_(False)
    return _Look(place_1LD.shape[-1], sum(held.values()))


def _leaves(result: Tensor) -> set[int]:
    """The ids of the weights that a result was computed with."""
    found: set[int] = set()
    seen: set[Any] = set()
    left: list[Any] = [result.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        left.extend(below for below, _ in node.next_functions)
    return found


def _freeze_constants(backbone: nn.Module) -> None:
    """Freeze the gates of an EfficientNet that are 1 for every picture, such as lite0's: no
    gradient could move them.
    """
    for part in backbone.modules():
        expand: Any = getattr(part, "expand", None)
        if type(part).__name__.endswith("SqueezeExciteLayer") and isinstance(expand, nn.Conv2d):
            assert expand.bias is not None
            if not expand.weight.any() and bool((expand.bias.sigmoid() == 1).all()):
                part.requires_grad_(False)
