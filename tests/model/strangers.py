"""Model folders as other tools leave them: random weights of a few kilobytes, letters as words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from whet.model.encoder import Encoder
from whet.model.towers import Towers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!'-"
WORDS = SPECIAL + list(LETTERS) + [f"##{letter}" for letter in LETTERS]
SIZE = 32  # numbers of a token's vector
TEXTS = [
    "How do I reset the router?",
    "HOW DO I RESET THE ROUTER?",
    "lunch",
    "",
    "Hold the small button on the back for ten seconds until all lights blink, then let go. " * 3,
]
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS) + 3,  # some tokenizers add a word of their own
    "hidden_size": SIZE,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
# Kind, what its config.json says, and its tensors.
Part = tuple[str, dict[str, Any] | None, dict[str, torch.Tensor]]
PARTS_OF_6 = {
    "Transformer": "base.modules.transformer",
    "Dense": "base.modules.dense",
    "Normalize": "base.modules.normalize",
    "Pooling": "sentence_transformer.modules.pooling",
    "LayerNorm": "sentence_transformer.modules.layer_norm",
    "StaticEmbedding": "sentence_transformer.modules.static_embedding",
}
PROMPTS = {"query": "Find the page: ", "document": "Page: "}
USED_BY_6 = {
    "__version__": {"sentence_transformers": "6.0.0"},
    "default_prompt_name": None,
    "model_type": "SentenceTransformer",
    "prompts": {"document": "", "query": ""},
    "similarity_fn_name": "cosine",
}
Make = Callable[[Path], Path]
FLAGS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")


def put(path: Path, value: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def tokenizer(folder: Path, *, lower: bool = True, most: int | None = 64) -> None:
    """A WordPiece tokenizer; `most` is its own limit in tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    rules = Tokenizer(models.WordPiece({t: i for i, t in enumerate(WORDS)}, unk_token="[UNK]"))
    rules.normalizer = normalizers.BertNormalizer(lowercase=lower)
    rules.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rules.decoder = decoders.WordPiece()
    rules.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named: dict[str, Any] = {f"{t[1:-1].lower()}_token": t for t in SPECIAL}
    if most is not None:
        named["model_max_length"] = most
    PreTrainedTokenizerFast(tokenizer_object=rules, **named).save_pretrained(folder)


def seeded(make: Callable[[], Any]) -> Any:
    """What is made of random numbers, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return make()


def bert(folder: Path, **said: Any) -> Path:
    """A plain BERT of Hugging Face."""
    from transformers import BertConfig, BertModel

    seeded(lambda: BertModel(BertConfig(**SMALL))).save_pretrained(folder)
    tokenizer(folder, **said)
    return folder


def pooling(mode: str = "mean", **said: Any) -> Part:
    """A pooling in the spelling of versions 2 to 5."""
    flags = {f"pooling_mode_{flag}": flag == f"{mode}_tokens" for flag in FLAGS}
    flags |= {"pooling_mode_cls_token": mode == "cls", "pooling_mode_lasttoken": mode == "last"}
    return "Pooling", {"word_embedding_dimension": SIZE, **flags, **said}, {}


def dense(outputs: int = SIZE, inputs: int = SIZE, *, seed: int = 0, **said: Any) -> Part:
    """A dense layer; what is said goes before what a plain one says."""
    draw = torch.Generator().manual_seed(seed)
    config: dict[str, Any] = {"in_features": inputs, "out_features": outputs, "bias": False}
    config |= {"activation_function": "torch.nn.modules.linear.Identity", **said}
    config = {key: value for key, value in config.items() if value is not None}
    tensors = {"linear.weight": torch.randn(outputs, inputs, generator=draw) / inputs**0.5}
    if config.get("bias", True):
        tensors["linear.bias"] = torch.randn(outputs, generator=draw)
    if config.get("use_residual") and inputs != outputs:
        tensors["residual.weight"] = torch.randn(outputs, inputs, generator=draw)
    return "Dense", config, tensors


def layer_norm(size: int = SIZE) -> Part:
    """A LayerNorm that is not the neutral one."""
    draw = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(size, generator=draw) for name in ("norm.weight", "norm.bias")}
    return "LayerNorm", {"dimension": size}, weights


TRANSFORMER: Part = ("Transformer", None, {})
NORMALIZE: Part = ("Normalize", None, {})
USUAL = (TRANSFORMER, pooling(), NORMALIZE)


def sentence(
    folder: Path,
    parts: Sequence[Part] = USUAL,
    *,
    reading: dict[str, Any] | None = None,
    use: dict[str, Any] | None = None,
    version: int = 3,
) -> Path:
    """Make a folder one of sentence-transformers, in the spelling of a version."""
    modules = []
    for at, (kind, config, tensors) in enumerate(parts):
        place = f"{at}_{kind}" if at else ""
        inner = f"{PARTS_OF_6[kind]}.{kind}" if version == 6 else f"models.{kind}"
        type_ = f"sentence_transformers.{inner}"
        modules.append({"idx": at, "name": str(at), "path": place, "type": type_})
        (folder / place).mkdir(parents=True, exist_ok=True)
        if config is not None:
            put(folder / place / "config.json", config)
        if tensors:
            save_file(tensors, folder / place / "model.safetensors")
    put(folder / "modules.json", modules)
    if reading is None:
        reading = {"max_seq_length": 48, "do_lower_case": False}
    if reading:
        put(folder / "sentence_bert_config.json", reading)
    if use is not None:
        put(folder / "config_sentence_transformers.json", use)
    return folder


def of_bert(*parts: Part, **said: Any) -> Make:
    """A BERT with these parts after it."""
    return lambda folder: sentence(bert(folder), [TRANSFORMER, *parts], **said)


def static(*after: Part, table: dict[str, torch.Tensor] | None = None, version: int = 3) -> Make:
    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        tokenizer(folder)
        draw = torch.Generator().manual_seed(3)
        words = table or {"embedding.weight": torch.randn(len(WORDS), SIZE, generator=draw)}
        first: Part = ("StaticEmbedding", None, words)
        return sentence(folder, [first, *after], reading={}, version=version)

    return make


def router(folder: Path, *, shared: bool = False) -> Path:
    """As sentence-transformers saves one: a transformer and a pooling for each side."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Router, Transformer

    base = str(bert(folder.parent / f"{folder.name}_base"))
    one = Transformer(base)
    sides = [
        [one if shared else Transformer(base), Pooling(SIZE, mode)] for mode in ("cls", "mean")
    ]
    parts = Router.for_query_document(query_modules=sides[0], document_modules=sides[1])
    model = SentenceTransformer(modules=[parts, Normalize()], prompts=PROMPTS, device="cpu")
    model.save_pretrained(str(folder))
    return folder


def unit(vector_ND: np.ndarray) -> np.ndarray:
    """Rows of unit length, and rows of zeros."""
    norm_N1 = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    unit_ND: np.ndarray = vector_ND / np.maximum(norm_N1, 1e-9)
    return unit_ND


def difference(folder: Path, ours: Encoder | Towers, texts: Sequence[str] = TEXTS) -> float:
    """The greatest difference of a number between our vectors and sentence-transformers', of
    queries and documents; of directions where ours have unit length.
    """
    from sentence_transformers import SentenceTransformer

    theirs: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found = []
    for kind, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        wanted_ND, vector_ND = encode(list(texts)), ours.encode(texts, kind=kind)
        if ours.side(kind).recipe.normalize:
            wanted_ND = unit(wanted_ND)
            assert np.allclose(unit(vector_ND), vector_ND, atol=1e-5)
        assert vector_ND.shape == wanted_ND.shape
        found.append(float(np.abs(wanted_ND - vector_ND).max()))
    return max(found)


def learn(encoder: Encoder) -> None:
    """One large step of training, as a fit takes many small ones. Every weight that is trained
    must have a gradient: processes that train together wait for it.
    """
    encoder.train()
    tokens = encoder.tokenize(TEXTS[:3], "query") + encoder.tokenize(TEXTS[2:], "document")
    vector_BD = encoder.forward_tokens(tokens)
    sim_QC = vector_BD[:3] @ vector_BD[3:].T
    (sim_QC.logsumexp(1) - sim_QC.diagonal()).sum().backward()
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if weight.requires_grad:
                assert weight.grad is not None, name
                weight.sub_(0.1 * weight.grad / (weight.grad.norm() + 1e-9))
                weight.grad = None
    encoder.eval()
