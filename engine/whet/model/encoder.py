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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whet.config import EncodeConfig, ModelConfig
from whet.config.ranges import check_options
from whet.errors import ConfigError
from whet.model import folder as folders
from whet.model.backbone import (
    check_plain,
    load_backbone,
    longest_text,
    merged,
    own_files,
    prepare,
    save_adapter,
    set_dropout,
    with_lora,
)
from whet.model.contained import check_files
from whet.model.loading import check_vocabulary, library_errors, load_tokenizer, odd_tensor
from whet.model.parts.layers import IDENTITY, Dense, Unit, read_layers
from whet.model.parts.layout import Layout, read_layout
from whet.model.parts.padding import padded
from whet.model.parts.recipe import LONGEST, Recipe, read_recipe
from whet.model.parts.static import WordTable, load_static
from whet.model.parts.unpadded import Unpadded, unpadded_on, unpadded_vectors, unpads
from whet.model.parts.words import ENGLISH, WordsBeside, write_words
from whet.model.pooling import pooled, to_unit_length
from whet.printable import printable
from whet.processes.devices import sent
from whet.storage.commit import commit_folder

ADAPTER = "adapter"  # the folder of a LoRA's own weights, in the folder of the merged model
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

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        recipe: Recipe,
        source: Path,
        layers: Sequence[nn.Module] = (),
    ):
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.source = source
        self._looked: tuple[int, str | None] | None = None  # at how many changes of the weights
        self.layers = nn.Sequential(*layers)  # after the pooling
        self.matrix: nn.Linear | None = None  # after these, where the model has one
        self.words, self.language = 0.0, ENGLISH  # `open_model` reads words.json
        self.width = _width(backbone, recipe, layers)
        self.dimension = min(self.width, recipe.truncate or self.width)
        self.pad_id: int = tokenizer.pad_token_id or 0
        self.eval()  # as its backbone comes; whoever trains says so

    @classmethod
    def load(cls, model: ModelConfig | str = "minilm") -> Encoder:
        """Open a sentence-transformers or Hugging Face folder or name, or the packaged "minilm".

        Weights are read from safetensors only. Raises ConfigError for a folder that is no such
        model or has what is not understood, and EnvironmentRefused where the model hub cannot be
        reached.
        """
        config = ModelConfig(name=model) if isinstance(model, str) else model
        check_options(config, "model.")
        folder = folders.find_folder(config)
        check_files(folder)
        return cls.of_layout(read_layout(folder), config)

    @classmethod
    def of_layout(cls, layout: Layout, config: ModelConfig) -> Encoder:
        """The encoder of a model's parts. Raises what `load` raises of them."""
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
            size = int(backbone.config.hidden_size)
        recipe = read_recipe(layout, config, longest=longest, most=most)
        prepare(tokenizer, recipe)
        layers, matrix_DD = _layers(layout, recipe, config, size)
        with library_errors(inner):
            encoder = cls(backbone, tokenizer, recipe, inner, layers)
            if matrix_DD is not None:
                encoder.with_matrix(matrix_DD)
            if config.dropout is not None:
                set_dropout(encoder, config.dropout)
            encoder._try()
        return encoder.with_lora(config) if config.lora_rank else encoder

    def _try(self) -> None:
        """Encode a first text: what fails at all is to fail here, where its folder is named."""
        embedding = self.backbone.get_input_embeddings()  # type: ignore[operator]
        if isinstance(getattr(embedding, "weight", None), Tensor):
            check_vocabulary(self.tokenizer, len(embedding.weight), self.source)
        with torch.no_grad():  # no inference_mode: what a model keeps of it could not be trained
            vector_BD = self.forward_tokens(self.tokenize(["a first text"], "query"))
        if vector_BD.shape != (1, self.dimension):
            raise ConfigError(
                f"{printable(self.source)} gives vectors of {vector_BD.shape[-1]} numbers, and its "
                f"config.json says {self.dimension}. Give another model."
            )

    def with_lora(self, config: ModelConfig) -> Encoder:
        """Freeze the weights and train low-rank updates of every linear layer (LoRA, arXiv
        2106.09685) that the token vectors come from.
        """
        self.backbone = with_lora(self.backbone, config, self.source)
        # saved with the adapter: by default the path of a folder of this machine
        for adapter in self.backbone.peft_config.values():  # type: ignore[operator]
            adapter.base_model_name_or_path = folders.public_name(config)
        return self

    def with_matrix(self, matrix_DD: Tensor) -> Encoder:
        """Multiply each vector by one more matrix, before it gets unit length: vector_BD @
        matrix_DD.T.
        """
        whole_DD = torch.eye(self.width, device=matrix_DD.device)
        whole_DD[: len(matrix_DD), : len(matrix_DD)] = matrix_DD
        if self.matrix is not None:
            first_DD = self.matrix.weight.detach()
            whole_DD = whole_DD.to(first_DD.device) @ first_DD
        self.matrix = nn.Linear(self.width, self.width, bias=False, device=self.device)
        self.matrix.weight.data.copy_(whole_DD)
        return self

    def in_16_bits(self, dtype: torch.dtype) -> Encoder:
        """A copy for encoding, whose transformer has its weights in bfloat16 or float16; what
        makes one vector of its token vectors stays in float32.
        """
        twin = copy.copy(self)
        twin._modules = dict(self._modules)  # a shallow copy shares it
        twin.backbone = copy.deepcopy(self.backbone).to(dtype)
        return twin

    def compiled(self) -> Encoder:
        """A copy for encoding, whose transformer torch compiles at its first texts, once for all
        lengths and numbers of them.
        """
        twin = copy.copy(self)
        quick = copy.copy(self.backbone)
        quick.compile(dynamic=True)
        twin._modules = {**self._modules, "backbone": quick}  # a shallow copy shares it
        return twin

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def side(self, kind: str) -> Encoder:
        """The encoder of texts of a kind: this one for all (`whet.model.towers` has two)."""
        return self

    def tokenize(self, texts: Sequence[str], kind: str) -> list[list[int]]:
        """Token ids of each text behind its prompt, cut to the recipe's length. A prompt's token
        that the pooling does not count is its id's complement, ~id, below 0.
        """
        prompt = self.recipe.prompt(kind)
        batch = [prompt + text for text in texts] if prompt else list(texts)
        if not batch:
            return []
        tokens = self._tokens(batch)
        if prompt and not self.recipe.include_prompt:
            (ahead,) = self._tokens([prompt])
            # without the special token at its end, behind which the text would stand
            count = len(ahead) - (bool(ahead) and ahead[-1] in self.tokenizer.all_special_ids)
            return [[*(~number for number in ids[:count]), *ids[count:]] for ids in tokens]
        return tokens

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        if self.recipe.lower_case and not self.tokenizer.is_fast:
            texts = [text.lower() for text in texts]
        tokens: list[list[int]] = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.recipe.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return tokens

    def forward_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Vectors [B, D] of tokenised texts. On a GPU that computes in 16 bits they lie one behind
        the other, where the transformer is of a type that allows it; else they are padded on the
        right: to the longest of them, on a GPU to a multiple of 8 tokens.
        """
        device = self.device
        if unpads(self.backbone, device):
            texts = unpadded_on(device, tokens, self.backbone)
            unpadded_BD: Tensor = self(texts.ids_T, texts.counted_BL, unpadded=texts)
            return unpadded_BD
        most = self.recipe.max_length if device.type == "cuda" else 0
        ids_BL, mask_BL = padded(tokens, self.pad_id, most=most)
        ids, mask = (sent(torch.from_numpy(part), device) for part in (ids_BL, mask_BL))
        vector_BD: Tensor = self(ids, mask, full=bool(mask_BL.all()))
        return vector_BD

    def forward(
        self,
        ids_BL: Tensor,
        mask_BL: Tensor,
        *,
        full: bool | None = None,
        unpadded: Unpadded | None = None,
    ) -> Tensor:
        """Vectors [B, D], float32, of unit length where the recipe says so. `full` says that no
        text is padded, for a caller that knows: on a GPU the question would wait for it. Texts that
        are not padded come as a whole.
        """
        if unpadded is not None:
            return self.pool(unpadded_vectors(self.backbone, unpadded), unpadded.counted_BL)
        counted_BL = mask_BL
        if not self.recipe.include_prompt:
            counted_BL = mask_BL * (ids_BL >= 0)
            ids_BL = torch.where(ids_BL < 0, ~ids_BL, ids_BL)
        if full is None:
            full = bool(mask_BL.all())
        # Without padding attention can take its fast path.
        token_BLD = self.backbone(
            input_ids=ids_BL, attention_mask=None if full else mask_BL
        ).last_hidden_state
        return self.pool(token_BLD, counted_BL)

    def pool(self, token_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Vectors [B, D], float32, of the token vectors of texts, as the recipe says; the mask
        says which tokens count.
        """
        recipe = self.recipe
        vector_BD = pooled(token_BLD.float(), mask_BL, recipe.pooling, prompt=recipe.include_prompt)
        if self.matrix is not None or len(self.layers):
            # Under autocast the products would keep 8 bits of every number.
            with torch.autocast(vector_BD.device.type, enabled=False):
                vector_BD = self.layers(vector_BD)
                if self.matrix is not None:
                    vector_BD = self.matrix(vector_BD)
        if recipe.truncate:
            vector_BD = vector_BD[:, : recipe.truncate]
        return to_unit_length(vector_BD) if recipe.normalize else vector_BD

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
        digest = hashlib.sha256(repr(sorted(self.recipe.deciding().items())).encode())
        if not self.tokenizer.is_fast:
            digest.update(type(self.tokenizer).__name__.encode())
            for name in own_files(self.tokenizer):
                if (self.source / name).is_file():
                    digest.update((self.source / name).read_bytes())
            digest.update(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
            return digest
        pipeline = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for transient in ("truncation", "padding"):  # set anew by every call
            pipeline.pop(transient, None)
        digest.update(json.dumps(pipeline, sort_keys=True).encode())
        return digest

    def save(self, target: str | Path, card: str = "") -> Path:
        """Write the model to a new folder, whole or not at all. LoRA weights are merged, and kept
        as peft reads them in `adapter/`.

        `card` becomes its README.md. Raises ConfigError when the folder is there already.
        """
        target = Path(target)
        if target.exists():
            raise ConfigError(f"{target} exists already. Choose another folder, or move it away.")
        if not torch.cuda.is_available():  # transformers imports DeepSpeed, which would warn
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        with commit_folder(target, {"fingerprint": self.fingerprint()}) as draft:
            with folders.disk_errors(draft):
                merged(self.backbone).save_pretrained(draft)
                if hasattr(self.backbone, "peft_config"):
                    save_adapter(self.backbone, draft / ADAPTER)
            self.describe(draft, card)
        return target

    def describe(self, draft: Path, card: str) -> None:
        """Write into a draft all of a saved model but the transformer."""
        folders.copy_tokenizer(self.source, draft, own_files(self.tokenizer))
        layers = list(self.layers)
        if self.matrix is not None:
            last = Dense(self.width, self.width, bias=False, activation=IDENTITY)
            last.linear = self.matrix
            layers.append(last)
        size: int = self.backbone.config.hidden_size  # type: ignore[union-attr,assignment]
        static = isinstance(self.backbone, WordTable)
        folders.write_recipe(draft, self.recipe, size, layers, static=static)
        write_words(draft, WordsBeside(self.words, self.language))
        (draft / "README.md").write_text(card, encoding="utf-8")


def _layers(
    layout: Layout, recipe: Recipe, config: ModelConfig, size: int
) -> tuple[list[nn.Module], Tensor | None]:
    """The layers after the pooling, and the matrix [D, D] that is the last of them, if it is one;
    a token's vector has `size` numbers. That the finished vector has unit length the recipe says.
    """
    layers = read_layers(layout.after, size * len(recipe.pooling.split("+")))
    cut_as_it_is = recipe.truncate and not recipe.normalize and config.normalize is None
    if layers and isinstance(layers[-1], Unit) and not cut_as_it_is:
        del layers[-1]
    last = layers[-1] if layers else None
    if isinstance(last, Dense) and last.plain:
        return layers[:-1], last.linear.weight.detach()
    return layers, None


def _width(backbone: nn.Module, recipe: Recipe, layers: Sequence[nn.Module]) -> int:
    """How many numbers a vector has before it is cut."""
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    if dense:
        return dense[-1].linear.out_features
    size: int = backbone.config.hidden_size  # type: ignore[union-attr,assignment]
    return size * len(recipe.pooling.split("+"))
