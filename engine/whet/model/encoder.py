"""An encoder: texts or pictures in, vectors out, trainable, saved so that sentence-transformers
opens it.

Shape suffixes: B texts or pictures, L tokens, D dimensions, N texts or pictures in all.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whet.config import EncodeConfig, ModelConfig
from whet.config.ranges import check_options
from whet.errors import ConfigError
from whet.model import folder as folders
from whet.model.backbone import merged, open_texts, save_adapter, set_dropout, with_lora
from whet.model.contained import check_files
from whet.model.loading import check_vocabulary, library_errors, odd_tensor
from whet.model.parts.layers import IDENTITY, Dense, layers_after_pooling, width_of
from whet.model.parts.layout import Layout, read_layout
from whet.model.parts.padding import padded
from whet.model.parts.pictures.opening import open_pictures
from whet.model.parts.pictures.picture_kinds import CLS, POOLER, picture_type
from whet.model.parts.pictures.picture_reader import PictureReader, place_vectors, stacked_pixels
from whet.model.parts.pictures.picture_recipe import picture_reading
from whet.model.parts.recipe import Recipe, text_reading
from whet.model.parts.static import WordTable
from whet.model.parts.text_reader import TextReader, own_files
from whet.model.parts.unpadded import Unpadded, unpadded_on, unpadded_vectors, unpads
from whet.model.parts.words import ENGLISH, WordsBeside, write_words
from whet.model.pooling import pooled, to_unit_length
from whet.printable import printable
from whet.processes.devices import sent
from whet.storage.commit import commit_folder
from whet.types import Item

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
    """A model of texts or of pictures, its tokenizer (of pictures a PictureReader), and the recipe
    that makes one vector of the vectors that it gives of tokens or places.
    """

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
        self.hidden = _hidden(backbone, tokenizer)
        self.width = width_of(self.hidden, recipe, layers)
        self.dimension = min(self.width, recipe.truncate or self.width)
        self.pad_id: int = getattr(tokenizer, "pad_token_id", None) or 0
        self.eval()  # as its backbone comes; whoever trains says so

    @classmethod
    def load(cls, model: ModelConfig | str = "minilm") -> Encoder:
        """Open a sentence-transformers or Hugging Face folder or name, or one of the packaged
        models: "minilm" reads texts, "lite0" pictures.

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
        kind = None if layout.static else picture_type(inner)
        backbone, tokenizer, recipe = (
            open_texts(layout, config) if kind is None else open_pictures(layout, kind, config)
        )
        with library_errors(inner):
            hidden = _hidden(backbone, tokenizer)
            layers, matrix_DD = layers_after_pooling(layout, recipe, config, hidden)
            encoder = cls(backbone, tokenizer, recipe, inner, layers)
            if matrix_DD is not None:
                encoder.with_matrix(matrix_DD)
            # What drops a whole layer of a model of pictures does so where that is asked for alone.
            if config.dropout is not None or kind is not None:
                set_dropout(encoder, config.dropout or 0.0)
            encoder._try()
        return encoder.with_lora(config) if config.lora_rank else encoder

    def _try(self) -> None:
        """Encode something: what fails at all is to fail here, where its folder is named."""
        if "texts" in self.reads:
            embedding = self.backbone.get_input_embeddings()  # type: ignore[operator]
            if isinstance(getattr(embedding, "weight", None), Tensor):
                check_vocabulary(self.tokenizer, len(embedding.weight), self.source)
        with torch.no_grad():  # no inference_mode: what a model keeps of it could not be trained
            vector_BD = self.forward_tokens(self.tokenize([self.filler], "query"))
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

    def train(self, mode: bool = True) -> Encoder:
        """Set what differs while training. The means that a batch norm divides by stay those that
        the model came with: else a batch's vectors would depend on how it is cut into chunks.
        """
        super().train(mode)
        for part in self.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
        return self

    @property
    def reader(self) -> TextReader | PictureReader:
        """How what is to be encoded is read."""
        if isinstance(self.tokenizer, PictureReader):
            return self.tokenizer
        return TextReader(self.tokenizer, self.recipe, self.source)

    @property
    def reads(self) -> tuple[str, ...]:
        """What it makes vectors of: "texts" or "pictures"."""
        return self.reader.reads

    @property
    def filler(self) -> Item:
        """Something short to encode, where it does not matter what."""
        return self.reader.filler

    @property
    def typical(self) -> Item:
        """Something as long as much of what is encoded, to see how long it takes."""
        return self.reader.typical

    @overload
    def tokenize(self, items: Sequence[str], kind: str) -> list[list[int]]: ...

    @overload
    def tokenize(self, items: Sequence[Item], kind: str) -> list[Any]: ...

    def tokenize(self, items: Sequence[Item], kind: str) -> list[Any]:
        """Token ids of each text behind its prompt, cut to the recipe's length, where a prompt's
        token that the pooling does not count is its id's complement, ~id, below 0; of a picture its
        `Pixels`. Their length is what they cost.

        ConfigError for what the model does not read, DataError for a picture that cannot be opened.
        """
        return self.reader.tokens(items, kind)

    def forward_tokens(self, tokens: Sequence[Any]) -> Tensor:
        """Vectors [B, D] of what `tokenize` gave. On a GPU that computes in 16 bits texts lie one
        behind the other, where the transformer is of a type that allows it; else they are padded on
        the right: to the longest of them, on a GPU to a multiple of 8 tokens.
        """
        device = self.device
        if isinstance(self.tokenizer, PictureReader):
            seen_BD: Tensor = self(sent(stacked_pixels(tokens), device))
            return seen_BD
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
        mask_BL: Tensor | None = None,
        *,
        full: bool | None = None,
        unpadded: Unpadded | None = None,
    ) -> Tensor:
        """Vectors [B, D], float32, of unit length where the recipe says so. `full` says that no
        text is padded, for a caller that knows: on a GPU the question would wait for it. Texts that
        are not padded come as a whole. Pictures come alone, as pixels, uint8 [B, 3, H, W].
        """
        if isinstance(self.tokenizer, PictureReader):
            framing, pooling = self.tokenizer.framing, self.recipe.pooling
            place_BLD = place_vectors(self.backbone, ids_BL, framing, pooling)
            return self.pool(place_BLD, place_BLD.new_ones(place_BLD.shape[:2]))
        assert mask_BL is not None
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
        names = CLS if recipe.pooling == POOLER else recipe.pooling  # there it is the only one
        vector_BD = pooled(token_BLD.float(), mask_BL, names, prompt=recipe.include_prompt)
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
        self, texts: Sequence[Item], *, kind: str = "document", config: EncodeConfig | None = None
    ) -> np.ndarray:
        """Vectors float32 [N, D] of texts or pictures of one kind ("query" or "document")."""
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
        digest = self._digest_of_reading()
        for name, tensor in sorted(self.state_dict().items()):
            if name.startswith("backbone.pooler."):  # decides no vector, and random where not saved
                continue
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().flatten()
            digest.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
        whole: str = digest.hexdigest()
        return whole

    def _digest_of_reading(self) -> Any:
        """A running hash of what becomes of a text or picture before the model, and of the
        pooling.
        """
        digest = hashlib.sha256(repr(sorted(self.recipe.deciding().items())).encode())
        digest.update(self.reader.digest())
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
        layers = list(self.layers)
        if self.matrix is not None:
            last = Dense(self.width, self.width, bias=False, activation=IDENTITY)
            last.linear = self.matrix
            layers.append(last)
        if isinstance(self.tokenizer, PictureReader):
            self.tokenizer.write(draft)
            reading = picture_reading(self.recipe.pooling)
        else:
            folders.copy_tokenizer(self.source, draft, own_files(self.tokenizer))
            reading = text_reading(self.recipe)
        static = isinstance(self.backbone, WordTable)
        folders.write_recipe(draft, self.recipe, self.hidden, layers, None if static else reading)
        write_words(draft, WordsBeside(self.words, self.language))
        (draft / "README.md").write_text(card, encoding="utf-8")


def _hidden(backbone: nn.Module, tokenizer: Any) -> int:
    """How many numbers a token's or a place's vector has."""
    if isinstance(tokenizer, PictureReader):
        return tokenizer.hidden
    size: int = backbone.config.hidden_size  # type: ignore[union-attr,assignment]
    return int(size)
