"""The transformer of an encoder and its tokenizer, as far as they are looked at and set up before
an encoder is made of them.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whet.config import ModelConfig
from whet.errors import ConfigError, EnvironmentRefused, UnsupportedModel
from whet.model.loading import TextModel, library_errors, load_tokenizer, load_transformer
from whet.model.parts.layout import Layout
from whet.model.parts.recipe import LONGEST, Recipe, read_recipe
from whet.model.parts.static import WordTable, load_static
from whet.printable import printable
from whet.version import install_line

UNUSED = r"(.*\.)?pooler(\..*)?"  # modules behind the token vectors, which decide no vector here
POSITIONS = ("position_embeddings", "embed_positions", "wpe")  # tables with a row per position


def open_texts(layout: Layout, config: ModelConfig) -> tuple[nn.Module, Any, Recipe]:
    """The transformer, the tokenizer and the recipe of a model of texts. Raises what
    `Encoder.load` raises of them.
    """
    inner = layout.backbone
    # A first time, for what is to be refused before the weights are read.
    read_recipe(layout, config, longest=LONGEST)
    backbone: Any
    tokenizer: Any
    if layout.static:
        backbone, tokenizer = load_static(inner)
    else:
        backbone = load_backbone(inner, trust=config.trust_remote_code)
        tokenizer = load_tokenizer(inner, trust=config.trust_remote_code)
        check_plain(layout, backbone, tokenizer, config)
    with library_errors(inner):
        longest, most = longest_text(backbone, tokenizer)
    recipe = read_recipe(layout, config, longest=longest, most=most)
    prepare(tokenizer, recipe)
    return backbone, tokenizer, recipe


def load_backbone(folder: Path, *, trust: bool) -> nn.Module:
    """The transformer of a folder, float32. Raises what `load_transformer` raises."""
    backbone: nn.Module = load_transformer(
        folder,
        TextModel,
        trust=trust,
        dtype=torch.float32,
        may_lack=("pooler.",),  # after the token vectors we pool: it decides no vector
    )
    for name in unused(backbone):  # processes that train together wait for a gradient of whatever
        backbone.get_submodule(name).requires_grad_(False)  # asks for one
    return backbone


def unused(backbone: nn.Module) -> list[str]:
    """Names of the modules that decide no vector here."""
    return [name for name, _ in backbone.named_modules() if re.fullmatch(UNUSED, name)]


def with_lora(backbone: nn.Module, config: ModelConfig, source: Path) -> nn.Module:
    """A transformer whose weights are frozen, with low-rank updates of every linear layer that its
    token vectors come from. EnvironmentRefused without peft, ConfigError for one without layers.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise EnvironmentRefused(
            f"model.lora_rank needs the package peft. Run `{install_line('lora')}`."
        ) from error
    if isinstance(backbone, WordTable):
        raise ConfigError(
            f"model.lora_rank={config.lora_rank}: {printable(source)} is a table of word vectors "
            "without linear layers. Leave it out: all of it is trained."
        )
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        exclude_modules=unused(backbone) or None,
    )
    wrapped: nn.Module = get_peft_model(backbone, lora)
    return wrapped


def merged(backbone: Any) -> Any:
    """A transformer with its low-rank updates in its weights, itself where it has none."""
    return (
        copy.deepcopy(backbone).merge_and_unload() if hasattr(backbone, "peft_config") else backbone
    )


def save_adapter(backbone: Any, folder: Path) -> None:
    """What peft reads: the low-rank updates alone, without the card that peft makes up."""
    backbone.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def prepare(tokenizer: Any, recipe: Recipe) -> None:
    """Set a tokenizer up as the recipe says."""
    if recipe.lower_case and tokenizer.is_fast:
        _lower_case(tokenizer.backend_tokenizer)


def check_plain(layout: Layout, backbone: nn.Module, tokenizer: Any, config: ModelConfig) -> None:
    """UnsupportedModel for a transformer that would be given something else than other tools do:
    the parts of a text by number, or, where no modules.json says how texts are read, messages.
    """
    place = printable(layout.folder)
    if any(tokenizer("a text", return_token_type_ids=True).get("token_type_ids") or ()):
        kind = backbone.config.model_type  # type: ignore[union-attr]
        raise UnsupportedModel(
            f"{place}: the tokenizer of a model of type {kind} numbers the parts of a text "
            "(token_type_ids), which is not supported. Give another model."
        )
    if layout.listed or config.pooling is not None:
        return
    kinds = getattr(backbone.config, "architectures", None) or [""]
    causal = kinds[0].endswith("ForCausalLM") and getattr(backbone.config, "is_causal", True)
    if causal or getattr(tokenizer, "chat_template", None):
        raise UnsupportedModel(
            f"{place} is a language model without a modules.json, which would say how texts become "
            "vectors. Set model.pooling: last, of a decoder, or mean; texts are then read as they "
            "are, without the template of a chat."
        )


def _lower_case(rules: Any) -> None:
    """Put texts into lower case before all that a tokenizer does."""
    from tokenizers import normalizers

    others = [] if rules.normalizer is None else [rules.normalizer]
    rules.normalizer = normalizers.Sequence([normalizers.Lowercase(), *others])


def longest_text(backbone: nn.Module, tokenizer: Any) -> tuple[int, int]:
    """How many tokens transformer and tokenizer say they take, and how many have a position."""
    most = LONGEST
    for name, part in backbone.named_modules():
        if isinstance(part, nn.Embedding) and name.endswith(POSITIONS):
            # RoBERTa and its kin count from the padding's number on, OPT from an offset of its own.
            first = getattr(part, "offset", 0)
            if part.padding_idx is not None:
                first = part.padding_idx + 1
            most = min(most, part.num_embeddings - first)
    said = getattr(backbone.config, "max_position_embeddings", None)
    limits = [int(min(tokenizer.model_max_length, LONGEST)), most]
    if isinstance(said, int) and said > 0:  # XLNet says -1 for no limit
        limits.append(said)
    return min(limits), most


def set_dropout(backbone: nn.Module, dropout: float) -> None:
    """Let every module drop this share of its numbers while it trains."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name in (
            "attention_dropout",
            "dropout_prob",
            "drop_prob",
        ):  # some attentions read a plain number
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, dropout)
