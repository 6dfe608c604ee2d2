"""How a model of pictures makes one vector of each: what its folder says of it, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whet.config import ModelConfig
from whet.errors import ConfigError, UnsupportedModel
from whet.model.parts.layout import Layout, refuse_keys, refuse_values
from whet.model.parts.pictures.picture_kinds import CHOICES, POOLER, POOLINGS, picture_type
from whet.model.parts.recipe import (
    LONGEST,
    PLAIN_READING,
    READING,
    READING_KEYS,
    SPELLINGS,
    Recipe,
    check_use,
    json_of,
    normalizes,
    pooling_of,
    read_recipe,
    similarity_of,
)
from whet.model.tensors import AGAIN
from whet.printable import printable

TEXT_OPTIONS = ("max_length", "query_prompt", "document_prompt")


def _of_picture(output: str, name: str) -> dict[str, Any]:
    image = {"method": "forward", "method_output_name": output}
    return {
        "transformer_task": "feature-extraction",
        "modality_config": {"image": image},
        "module_output_name": name,
    }


# What the same file says of a model of pictures whose places are pooled, and of one that pools.
PICTURE = _of_picture("last_hidden_state", "token_embeddings")
POOLED_PICTURE = _of_picture("pooler_output", "sentence_embedding")


def picture_reading(pooling: str) -> dict[str, Any]:
    """What the file that says how a picture is read has to say."""
    return POOLED_PICTURE if pooling == POOLER else PICTURE


def recipe_in(layout: Layout, config: ModelConfig) -> Recipe:
    """What the folder of a model of texts or pictures says, as far as it is known before weights
    are read. Raises what `read_recipe` raises.
    """
    kind = None if layout.static else picture_type(layout.backbone)
    if kind is None:
        return read_recipe(layout, config, longest=LONGEST)
    return read_picture_recipe(layout, config, kind=kind, cost=1)


def read_picture_recipe(layout: Layout, config: ModelConfig, *, kind: str, cost: int) -> Recipe:
    """What the folder of a model of pictures of a type says, with the user's options on top.

    `cost` is how many tokens a picture counts as. Raises what `read_recipe` raises.
    """
    usual = POOLINGS[kind]
    choices = CHOICES[usual]
    _check_options(layout.backbone, config, kind)
    use = json_of(layout.folder / "config_sentence_transformers.json")
    prompts = check_use(layout, use)
    if any(prompts.values()):
        raise UnsupportedModel(
            f"{printable(layout.folder)}: prompts before pictures are not supported. Use a model "
            "without them."
        )
    output = _picture_output(layout.backbone)
    pooling = usual
    if layout.pooling is not None:
        pooling, _ = pooling_of(layout, config)
    elif layout.listed and output != POOLED_PICTURE:
        raise ConfigError(f"{printable(layout.folder / 'modules.json')} lists no Pooling. {AGAIN}")
    pooling = config.pooling or pooling
    # Both say whether the vectors of places are pooled here, or come pooled from the model.
    said = output or (POOLED_PICTURE if usual == POOLER else PICTURE)
    if pooling not in choices or (pooling == POOLER) != (said == POOLED_PICTURE):
        raise UnsupportedModel(
            f"{printable(layout.folder)}: {printable(pooling)} of what this model gives for a "
            f"picture is not supported. Use a model with {' or '.join(choices)}."
        )
    similarity = similarity_of(layout, use, config)
    normalize = normalizes(layout, use, config, similarity)
    return Recipe(
        pooling=pooling,
        normalize=normalize,
        max_length=cost,
        query_prompt="",
        document_prompt="",
        truncate=use.get("truncate_dim"),
        similarity=similarity if normalize else "dot",
    )


def _check_options(folder: Path, config: ModelConfig, kind: str) -> None:
    for name in TEXT_OPTIONS:
        if getattr(config, name) is not None:
            raise ConfigError(
                f"model.{name}: {printable(folder)} is a model of pictures, which has none. Leave "
                "it out."
            )
    choices = CHOICES[POOLINGS[kind]]
    if config.pooling is not None and config.pooling not in choices:
        raise ConfigError(
            f"model.pooling={config.pooling}: a model of pictures of type {kind} gives "
            f"{' or '.join(choices)}. Leave it out."
        )


def _picture_output(folder: Path) -> dict[str, Any] | None:
    """What of the model's output is used, where the folder says."""
    path = folder / READING[0]
    said = json_of(path)
    refuse_keys(path, said, {*READING_KEYS, *PLAIN_READING, *SPELLINGS} - {"unpad_inputs"})
    plain = {name: values for name, values in PLAIN_READING.items() if "output" not in name}
    refuse_values(path, said, plain | {"max_seq_length": (None,), "do_lower_case": (False, None)})
    if not said:
        return None
    output = (said.get("modality_config"), said.get("module_output_name"))
    for known in (PICTURE, POOLED_PICTURE):
        if output == (known["modality_config"], known["module_output_name"]):
            return known
    raise UnsupportedModel(
        f"{printable(path)}: this output of a model of pictures is not supported. Use a model that "
        "says last_hidden_state as token_embeddings, or pooler_output as sentence_embedding."
    )
