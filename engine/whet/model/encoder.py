"""An encoder: texts in, vectors out, trainable, saved so that sentence-transformers opens it.

Shape suffixes: B texts, L tokens, D dimensions, N texts in all.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whet.config import EncodeConfig, ModelConfig
from whet.config.ranges import check_options
from whet.errors import ConfigError, EnvironmentRefused
from whet.model import folder as folders
from whet.model.contained import check_files
from whet.model.loading import (
    check_vocabulary,
    library_errors,
    load_tokenizer,
    load_transformer,
    odd_tensor,
)
from whet.model.pooling import POOLINGS, to_unit_length
from whet.printable import printable
from whet.processes.devices import sent
from whet.storage.commit import commit_folder
from whet.version import install_line

# Tokens: a mask of another width is copied into one of these in every layer's attention, and every
# width is a shape of its own, with memory of its own.
MULTIPLE = 8
_prints: ContextVar[dict[nn.Module, str] | None] = ContextVar("prints", default=None)


@contextmanager
def weights_unchanged() -> Iterator[None]:
    """In the block no encoder's weights or recipe change: each has its fingerprint made once, which
    copies all weights to the host and hashes them.
    """
    if _prints.get() is not None:
        yield
        return
    before = _prints.set({})
    try:
        yield
    finally:
        _prints.reset(before)


class Encoder(nn.Module):
    """A transformer, its tokenizer, and the recipe that makes one vector of its token vectors."""

    def __init__(self, backbone: nn.Module, tokenizer: Any, recipe: folders.Recipe, source: Path):
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.source = source
        self._looked: tuple[int, str | None] | None = None  # at how many changes of the weights
        self.matrix: nn.Linear | None = None  # after the pooling, where the model has one
        self.dimension: int = backbone.config.hidden_size  # type: ignore[union-attr,assignment]
        pad = tokenizer.pad_token_id
        self.pad_id: int = 0 if pad is None else pad
        self.eval()  # as its backbone comes; whoever trains says so

    @classmethod
    def load(cls, model: ModelConfig | str = "minilm") -> Encoder:
        """Open a sentence-transformers or Hugging Face folder or name, or the packaged "minilm".

        Weights are read from safetensors only. Raises ConfigError for a folder that is no such
        model and EnvironmentRefused where the model hub cannot be reached.
        """
        config = ModelConfig(name=model) if isinstance(model, str) else model
        check_options(config, "model.")
        folder = folders.find_folder(config)
        check_files(folder)
        inner = folders.backbone_folder(folder)
        backbone = _load_backbone(inner, config)
        tokenizer = load_tokenizer(inner, trust=config.trust_remote_code)
        with library_errors(inner):
            longest = _longest(backbone, tokenizer)
            dimension = int(backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]
        matrix_DD = folders.read_matrix(folder, dimension)
        recipe = folders.read_recipe(folder, config, longest=longest)
        with library_errors(inner):
            encoder = cls(backbone, tokenizer, recipe, inner)
            if matrix_DD is not None:
                encoder.with_matrix(matrix_DD)
            encoder._try()
        return encoder.with_lora(config) if config.lora_rank else encoder

    def _try(self) -> None:
        """Encode a first text: what fails at all is to fail here, where its folder is named."""
        embedding = self.backbone.get_input_embeddings()  # type: ignore[operator]
        if isinstance(getattr(embedding, "weight", None), Tensor):
            check_vocabulary(self.tokenizer, len(embedding.weight), self.source)
        if not hasattr(self.tokenizer, "backend_tokenizer"):
            raise ConfigError(
                f"{printable(self.source)} has no fast tokenizer, a tokenizer.json. Save it once "
                "as one with transformers."
            )
        with torch.no_grad():  # no inference_mode: what a model keeps of it could not be trained
            vector_BD = self.forward_tokens(self.tokenize(["a first text"], "query"))
        if vector_BD.shape != (1, self.dimension):
            raise ConfigError(
                f"{printable(self.source)} gives vectors of {vector_BD.shape[-1]} numbers, and its "
                f"config.json says {self.dimension}. Give another model."
            )

    def with_lora(self, config: ModelConfig) -> Encoder:
        """Freeze the weights and train low-rank updates of every linear layer (LoRA, arXiv
        2106.09685).
        """
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError as error:
            raise EnvironmentRefused(
                f"model.lora_rank needs the package peft. Run `{install_line('lora')}`."
            ) from error
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
            target_modules="all-linear",
        )
        self.backbone = get_peft_model(self.backbone, lora)
        return self

    def with_matrix(self, matrix_DD: Tensor) -> Encoder:
        """Multiply each pooled vector by a matrix: vector_BD @ matrix_DD.T."""
        size = self.dimension
        self.matrix = nn.Linear(size, size, bias=False, device=self.device)
        self.matrix.weight.data.copy_(matrix_DD)
        return self

    def in_16_bits(self, dtype: torch.dtype) -> Encoder:
        """A copy for encoding, whose transformer has its weights in bfloat16 or float16; what
        makes one vector of its token vectors stays in float32.
        """
        twin = copy.copy(self)
        twin._modules = dict(self._modules)  # a shallow copy shares it
        twin.backbone = copy.deepcopy(self.backbone).to(dtype)
        return twin

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def side(self, kind: str) -> Encoder:
        """The encoder of texts of a kind: this one for all (`whet.model.towers` has two)."""
        return self

    def tokenize(self, texts: Sequence[str], kind: str) -> list[list[int]]:
        """Token ids of each text behind its prompt, cut to the recipe's length."""
        prompt = self.recipe.prompt(kind)
        batch = [prompt + text for text in texts] if prompt else list(texts)
        if not batch:
            return []
        tokens: list[list[int]] = self.tokenizer(
            batch,
            truncation=True,
            max_length=self.recipe.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return tokens

    def forward_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Vectors [B, D] of tokenised texts, padded on the right: to the longest of them, on a GPU
        to a multiple of 8 tokens.
        """
        device = self.device
        most = self.recipe.max_length if device.type == "cuda" else 0
        ids_BL, mask_BL = padded(tokens, self.pad_id, most=most)
        ids, mask = (sent(torch.from_numpy(part), device) for part in (ids_BL, mask_BL))
        vector_BD: Tensor = self(ids, mask, full=bool(mask_BL.all()))
        return vector_BD

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, *, full: bool | None = None) -> Tensor:
        """Vectors [B, D], float32, of unit length where the recipe says so. `full` says that no
        text is padded, for a caller that knows: on a GPU the question would wait for it.
        """
        if full is None:
            full = bool(mask_BL.all())
        # Without padding attention can take its fast path.
        token_BLD = self.backbone(
            input_ids=ids_BL, attention_mask=None if full else mask_BL
        ).last_hidden_state
        return self.pool(token_BLD, mask_BL)

    def pool(self, token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Vectors [B, D], float32, of the token vectors of texts, as the recipe says."""
        vector_BD = POOLINGS[self.recipe.pooling](token_BLD.float(), mask_BL)
        if self.matrix is not None:
            # Under autocast the product would keep 8 bits of every number.
            with torch.autocast(vector_BD.device.type, enabled=False):
                vector_BD = self.matrix(vector_BD)
        return to_unit_length(vector_BD) if self.recipe.normalize else vector_BD

    def encode(
        self, texts: Sequence[str], *, kind: str = "document", config: EncodeConfig | None = None
    ) -> np.ndarray:
        """Vectors float32 [N, D] of texts of one kind ("query" or "document")."""
        from whet.model.inference import encode_texts

        if kind not in ("query", "document"):
            raise ConfigError(f"kind={kind!r} is unknown. Say 'query' or 'document'.")
        return encode_texts(self, texts, kind, config or EncodeConfig())

    def odd_tensor(self) -> str | None:
        """The first of the weights with NaN or infinity in it; looked for anew when they change."""
        changes = sum(part._version for part in self.parameters())
        if self._looked is None or self._looked[0] != changes:
            self._looked = changes, odd_tensor(self.backbone)
        return self._looked[1]

    def fingerprint(self) -> str:
        """A hash of all that decides a vector except the text: weights, tokenizer, pooling,
        prompts, length.
        """
        known = _prints.get()
        if known is None:
            return self._hashed()
        if self not in known:
            known[self] = self._hashed()
        return known[self]

    def _hashed(self) -> str:
        digest = self._digest_of_texts()
        for name, tensor in sorted(self.state_dict().items()):
            if name.startswith("backbone.pooler."):  # decides no vector, and random where not saved
                continue
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous()
            digest.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
        whole: str = digest.hexdigest()
        return whole

    def _digest_of_texts(self) -> Any:
        """A running hash of what becomes of a text before the transformer, and of the pooling."""
        digest = hashlib.sha256(repr(sorted(asdict(self.recipe).items())).encode())
        pipeline = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for transient in ("truncation", "padding"):  # set anew by every call
            pipeline.pop(transient, None)
        digest.update(json.dumps(pipeline, sort_keys=True).encode())
        return digest

    def save(self, target: str | Path, card: str = "") -> Path:
        """Write the model to a new folder, whole or not at all; LoRA weights are merged.

        `card` becomes its README.md. Raises ConfigError when the folder is there already.
        """
        target = Path(target)
        if target.exists():
            raise ConfigError(f"{target} exists already. Choose another folder, or move it away.")
        if not torch.cuda.is_available():  # transformers imports DeepSpeed, which would warn
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        with commit_folder(target, {"fingerprint": self.fingerprint()}) as draft:
            with folders.disk_errors(draft):
                _merged(self.backbone).save_pretrained(draft)
            self.describe(draft, card)
        return target

    def describe(self, draft: Path, card: str) -> None:
        """Write into a draft all of a saved model but the transformer: its tokenizer, the pooling,
        prompts and length, and the card.
        """
        folders.copy_tokenizer(self.source, draft)
        matrix = self.matrix is not None
        folders.write_recipe(draft, self.recipe, self.dimension, matrix=matrix)
        if self.matrix is not None:
            with folders.disk_errors(draft):
                folders.write_matrix(draft, self.matrix.weight)
        (draft / "README.md").write_text(card, encoding="utf-8")


def _merged(backbone: Any) -> Any:
    return (
        copy.deepcopy(backbone).merge_and_unload() if hasattr(backbone, "peft_config") else backbone
    )


def _load_backbone(folder: Path, config: ModelConfig) -> nn.Module:
    from transformers import AutoModel

    backbone: nn.Module = load_transformer(
        folder,
        AutoModel,
        trust=config.trust_remote_code,
        dtype=torch.float32,
        may_lack=("pooler.",),  # after the token vectors we pool: it decides no vector
    )
    if config.dropout is not None:
        _set_dropout(backbone, config.dropout)
    pooler = getattr(backbone, "pooler", None)
    if isinstance(pooler, nn.Module):  # after the token vectors we pool: processes that train
        pooler.requires_grad_(False)  # together wait for a gradient of whatever asks for one
    return backbone


def _longest(backbone: nn.Module, tokenizer: Any) -> int:
    """How many tokens the transformer and its tokenizer take."""
    most = int(min(tokenizer.model_max_length, 1 << 20))
    positions = getattr(backbone.config, "max_position_embeddings", None)
    return min(most, int(positions or most))


def _set_dropout(backbone: nn.Module, dropout: float) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name in ("attention_dropout", "dropout_prob"):  # some attentions read a plain number
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, dropout)


def padded(
    tokens: Sequence[Sequence[int]], pad_id: int, *, most: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, int64 [B, L], of tokenised texts, padded on the right to the longest of them;
    where they differ in length to a multiple of 8 tokens beyond it, but not to more than `most`.

    >>> ids_BL, mask_BL = padded([[5, 6, 7], [8]], pad_id=0)
    >>> ids_BL.tolist(), mask_BL.tolist()
    ([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    >>> [padded([[5, 6, 7], [8]], 0, most=most)[0].shape[1] for most in (512, 6, 2)]
    [8, 6, 3]
    """
    lengths_B = np.fromiter(map(len, tokens), np.int64, len(tokens))
    longest = int(lengths_B.max())
    if longest != lengths_B.min():  # texts of one length need no mask, which is faster still
        longest = max(longest, min(-(-longest // MULTIPLE) * MULTIPLE, most))
    inside_BL = np.arange(longest) < lengths_B[:, None]
    ids_BL = np.full(inside_BL.shape, pad_id, np.int64)
    ids_BL[inside_BL] = np.fromiter(chain.from_iterable(tokens), np.int64, lengths_B.sum())
    return ids_BL, inside_BL.astype(np.int64)
