"""Made-up models, texts and data: random weights cost what trained ones do, and every made-up word
is one token, so that texts have a known number of tokens. Needs no network.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

SHAPES = {  # hidden, layers, heads, intermediate
    "tiny": (32, 2, 2, 64),
    "minilm": (384, 6, 12, 1536),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
}
LONGEST = 512  # tokens
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SYLLABLES = [a + b for a in "bcdfghjklmnprstvz" for b in "aeiou"]
WORDS = [a + b for a in SYLLABLES for b in SYLLABLES]  # 7,225
AROUND = 2  # [CLS] and [SEP]


def texts_of(count: int, tokens: int, *, seed: int = 0, spread: float = 0.0) -> list[str]:
    """Texts of so many tokens each, [CLS] and [SEP] counted; with `spread` of between
    (1 - spread) and 1 times as many, as real texts differ.
    """
    pick = random.Random(seed)
    sizes = [round(tokens * (1 - spread * pick.random())) - AROUND for _ in range(count)]
    return [" ".join(pick.choices(WORDS, k=max(1, size))) for size in sizes]


def model(folder: Path, shape: str, *, length: int = LONGEST) -> Path:
    """A random BERT of one of SHAPES that cuts at `length` tokens, as a sentence-transformers
    folder; made once.
    """
    import torch
    from transformers import BertConfig, BertModel

    target = folder / f"{shape}-{length}"
    if (target / "modules.json").exists():
        return target
    hidden, layers, heads, wide = SHAPES[shape]
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=wide,
        max_position_embeddings=LONGEST,
    )
    torch.manual_seed(7)
    BertModel(config, add_pooling_layer=False).save_pretrained(target)
    _tokenizer(target, length)
    _recipe(target, hidden, length)
    return target


def _tokenizer(target: Path, length: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    vocabulary = {word: at for at, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")],
    )
    fast = BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=length)
    fast.save_pretrained(target)


def _recipe(target: Path, hidden: int, length: int) -> None:
    """Mean pooling and unit length, as sentence-transformers writes them; modules.json last."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    for path, _ in kinds[1:]:
        (target / path).mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    cut = {"max_seq_length": length, "do_lower_case": False}
    (target / "sentence_bert_config.json").write_text(json.dumps(cut))
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    (target / "modules.json").write_text(json.dumps(modules))


def data(folder: Path, documents: int, *, tokens: int = 24) -> Path:
    """A BEIR folder of documents of so many tokens, and half as many queries, each some words of
    its document; made once.
    """
    target = folder / f"data-{documents}-{tokens}"
    if (target / "qrels" / "test.tsv").exists():
        return target
    (target / "qrels").mkdir(parents=True, exist_ok=True)
    pick = random.Random(1)
    docs = texts_of(documents, tokens, seed=2)
    queries = [" ".join(pick.sample(text.split(), 4)) for text in docs[: documents // 2]]
    _lines(
        target / "corpus.jsonl",
        ({"_id": f"c{n}", "title": "", "text": text} for n, text in enumerate(docs)),
    )
    _lines(
        target / "queries.jsonl",
        ({"_id": f"q{n}", "text": text} for n, text in enumerate(queries)),
    )
    cut = len(queries) * 4 // 5
    for split, rows in (("train", range(cut)), ("test", range(cut, len(queries)))):
        judged = ["query-id\tcorpus-id\tscore", *(f"q{n}\tc{n}\t1" for n in rows)]
        (target / "qrels" / f"{split}.tsv").write_text("\n".join(judged) + "\n")
    return target


def _lines(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
