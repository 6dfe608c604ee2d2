"""Texts of a batch one behind the other, without padding between them: attention on a GPU then
costs what their own tokens cost, and needs no mask.

Torch's FlashAttention kernel takes the tokens of all texts and where each text begins (Dao, arXiv
2307.08691). It is reached by what transformers has for such kernels: a name among the attentions,
and the arguments of packed texts. A model's layers know nothing of it, so gradients, GradCache and
layers that are computed again go through it as through padded attention.

Shape suffixes: B texts, L tokens of the longest, T tokens of all, X = B L places for them, H heads,
D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from whet.model.parts.padding import packed
from whet.printable import printable
from whet.processes.devices import sent
from whet.progress import say

NAME = "whet_unpadded"  # among transformers' attentions
# Types of models that ask a position of each token and nothing of their distances, or turn queries
# and keys by it (tests/model/test_unpadded.py has each). MPNet and T5 add a number per distance to
# the scores, which the kernel cannot.
FROM_ZERO = {"bert", "distilbert", "electra", "modernbert", "nomic_bert"}
DECODERS = {"llama", "mistral", "qwen2", "qwen3"}
FROM_PADDING = {"roberta", "xlm-roberta", "camembert"}  # positions count from the padding's number
LARGEST_HEAD, HEAD_STEP = 256, 8  # dimensions of a head that the kernel takes
APART = 0.02  # of a value, which bfloat16 rounds by a 256th


def unpads(backbone: nn.Module, device: torch.device) -> bool:
    """Whether texts go through a transformer without padding: where it is of a type that allows it
    and computes in 16 bits on a GPU on which torch's kernel does what it should, tried once.
    """
    if device.type != "cuda":
        return False
    dtype = next(backbone.parameters()).dtype
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
    size = _head(backbone)
    return dtype in (torch.bfloat16, torch.float16) and size > 0 and _works(device, dtype, size)


class Unpadded(NamedTuple):
    """Texts one behind the other, on a device: `whet.model.parts.padding.Packed` without what
    stays on the host.
    """

    ids_T: Tensor
    position_T: Tensor
    start_B1: Tensor
    place_T: Tensor
    counted_BL: Tensor
    longest: int


def unpadded_on(
    device: torch.device, tokens: Sequence[Sequence[int]], backbone: nn.Module
) -> Unpadded:
    """Tokenised texts on a device, with positions as a transformer counts them."""
    settings: Any = backbone.config
    from_padding = settings.model_type in FROM_PADDING
    texts = packed(tokens, settings.pad_token_id if from_padding else None)
    ids_T, position_T, start_B1, place_T, counted_BL = (
        sent(torch.from_numpy(part), device)
        for part in (
            texts.ids_T,
            texts.position_T,
            texts.start_B1,
            texts.place_T,
            texts.counted_BL,
        )
    )
    return Unpadded(ids_T, position_T, start_B1, place_T, counted_BL, texts.longest)


def unpadded_vectors(backbone: nn.Module, texts: Unpadded) -> Tensor:
    """A transformer's token vectors [B, L, D], 0 behind a text's end."""
    _attend_by_kernel(backbone)
    token_TD: Tensor = backbone(
        input_ids=texts.ids_T[None],
        position_ids=texts.position_T[None],
        # A mask of four dimensions is passed on as it is: of one row of tokens transformers would
        # make one of T x T. `attend` reads it from the others, which it has by name.
        attention_mask=texts.start_B1.view(1, 1, 1, -1),
        cu_seq_lens_q=texts.start_B1,
        cu_seq_lens_k=texts.start_B1,
        max_length_q=texts.longest,
        max_length_k=texts.longest,
    ).last_hidden_state[0]
    size = token_TD.shape[1]
    token_XD = token_TD.new_zeros(texts.counted_BL.numel(), size)
    token_XD = token_XD.index_copy(0, texts.place_T, token_TD)
    return token_XD.view(*texts.counted_BL.shape, size)


def attend(
    module: nn.Module,
    query_BHLD: Tensor,
    key_BHLD: Tensor,
    value_BHLD: Tensor,
    attention_mask: Tensor | None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: by the kernel where the texts lie one behind the
    other, else torch's for padded ones. Vectors [B, L, H, D].
    """
    start_B1 = given.get("cu_seq_lens_q")
    if start_B1 is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        padded: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_BHLD, key_BHLD, value_BHLD, attention_mask, **given
        )
        return padded
    # Some models turn queries and keys in float32; autocast, which would cast them, knows no kernel
    # but torch's own function.
    query_THD, key_THD, value_THD = (
        part[0].transpose(0, 1).to(value_BHLD.dtype) for part in (query_BHLD, key_BHLD, value_BHLD)
    )
    vector_THD = flash(
        query_THD,
        key_THD,
        value_THD,
        start_B1,
        given["max_length_q"],
        dropout=given.get("dropout", 0.0),
        scale=given.get("scaling"),
        causal=bool(module.is_causal),
        window=given.get("sliding_window"),
    )
    return vector_THD[None], None


def flash(
    query_THD: Tensor,
    key_THD: Tensor,
    value_THD: Tensor,
    start_B1: Tensor,
    longest: int,
    *,
    dropout: float = 0.0,
    scale: float | None = None,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """Each token's vector [T, H, D] by the tokens of its own text; `causal`: by those up to itself,
    and with a window by those less than so many tokens away.

    Keys and values may have fewer heads than queries. torch.nn.attention.varlen, the public way to
    this kernel, has no dropout; torch's nested tensors call it as it is called here.
    """
    reach = None if window is None or window >= longest else window - 1
    vector_THD: Tensor = torch.ops.aten._flash_attention_forward(
        query_THD,
        key_THD,
        value_THD,
        start_B1,
        start_B1,
        longest,
        longest,
        dropout,
        causal,
        False,
        scale=scale,
        window_size_left=reach,
        window_size_right=0 if causal and reach is not None else reach,
    )[0]
    return vector_THD


def _attend_by_kernel(backbone: nn.Module) -> None:
    """Have a transformer ask `attend`, which pads nothing where it need not; once."""
    plain: Any = _plain(backbone)
    if plain.config._attn_implementation != NAME:
        _register()
        plain.set_attn_implementation(NAME)


@cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _plain(backbone: Any) -> Any:
    """The transformer, also of one with low-rank updates around it."""
    return backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone


def _head(backbone: nn.Module) -> int:
    """Dimensions of a head; 0 for a model that has to be padded."""
    plain = _plain(backbone)
    settings: Any = plain.config
    kind = getattr(settings, "model_type", None)
    # Code that comes with a model may call itself by any type.
    if not type(plain).__module__.startswith("transformers."):
        return 0
    if kind not in FROM_ZERO | FROM_PADDING | DECODERS:
        return 0
    if kind in DECODERS and not getattr(settings, "is_causal", True):
        return 0
    if settings._attn_implementation not in ("sdpa", NAME):
        return 0
    given = getattr(settings, "head_dim", None)
    size = int(given or settings.hidden_size // settings.num_attention_heads)
    return size if size <= LARGEST_HEAD and size % HEAD_STEP == 0 else 0


@cache
def _works(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether the kernel gives on this device what plain attention does, forward and backward."""
    try:
        plain = torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), plain:
            apart = _apart(device, dtype, size)
    except (RuntimeError, AttributeError, TypeError) as error:
        # A GPU before Ampere, a torch without the kernel, one that takes other arguments.
        reason = printable(str(error).partition("\n")[0])
    else:
        if apart <= APART:
            return True
        reason = f"its values are {apart:.2g} apart from plain attention's"
    say(f"Texts are padded: torch's attention without padding does not work here ({reason}).")
    return False


def _apart(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """The largest difference of a value or a gradient between the kernel and plain attention, of
    two texts and two heads.
    """
    start_B1 = torch.tensor([0, 5, 24], dtype=torch.int32)
    # no random numbers: those of a training are drawn as if nobody had asked
    number_THD = torch.arange(3 * 24 * 2 * size, dtype=torch.float64).sin().view(3, 24, 2, size)
    made: list[tuple[Tensor, Tensor]] = []
    for by_kernel in (True, False):
        parts = number_THD.to(dtype).to(device).requires_grad_()
        if by_kernel:
            query_THD, key_THD, value_THD = parts
            vector_THD = flash(query_THD, key_THD, value_THD, start_B1.to(device), 19)
        else:
            texts = [parts[:, a:b].transpose(1, 2) for a, b in pairwise(start_B1.tolist())]
            vector_THD = torch.cat(
                [
                    nn.functional.scaled_dot_product_attention(*text).transpose(0, 1)
                    for text in texts
                ]
            )
        vector_THD.square().sum().backward()
        assert parts.grad is not None
        made.append((vector_THD.detach().float(), parts.grad.float()))
    ours, theirs = made
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
