"""How fast this machine does each part of an adaptation, measured on some of the documents.

Searches are timed over two sizes of corpus: what they take grows with the documents along a line.

Shape suffixes: S documents of the sample, Q queries, D dimensions.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from whet.adaptation.clusters import LEARNED_FROM, ROUNDS, clusters_of, evenly
from whet.adaptation.hybrid_teacher import HybridTeacher
from whet.adaptation.learn import by_teacher
from whet.adaptation.planned.amounts import AdaptAmounts
from whet.adaptation.queries import PER_KIND, made_queries
from whet.adaptation.wanted import WANTED
from whet.config import UNSTEMMED, EncodeConfig
from whet.data.load import Dataset, load_dataset
from whet.data.text import sentences_of
from whet.encoding.keys import KeyIndex
from whet.encoding.store import item_keys
from whet.encoding.table import BLOCK
from whet.evaluation.lexical import Words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.evaluation.lexical.languages import word_ids
from whet.evaluation.lexical.weight import USUAL
from whet.evaluation.lexical.words import ListedTexts
from whet.feedback.learn.adapt import MATRIX_STEPS, train_matrix
from whet.feedback.learn.lessons import Pool
from whet.mining.search import search
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.plan.machine import peak_bytes
from whet.plan.probe import encode_rate, line_through, vectors_like
from whet.plan.workload import sampled
from whet.storage.places import cache_folder

SAMPLE, PART = 8_192, 2_048  # documents of the two searches that are timed
ASKED = 64  # queries of a timed search
STEPS = 12  # of a timed training
K = 30  # documents that a timed search finds
ENCODING_S, ASKING_S = 8.0, 1.0  # spent on encoding documents, and queries
POOL = 1_024  # of a timed training by judgments
READ = 2_000  # documents that are read from a file

Made = TypeVar("Made")


@dataclass(frozen=True)
class Line:
    """Seconds that are there with any number of documents, and those of each."""

    fixed_s: float
    each_s: float

    def at(self, documents: float) -> float:
        """Seconds with so many documents."""
        return self.fixed_s + self.each_s * documents


@dataclass(frozen=True)
class AdaptRates:
    """Seconds of each part: per document, per query over so many documents, per step."""

    token_s: float  # encoding a token of a document
    query_token_s: float
    read_s: float  # reading and converting a document of a jsonl file
    keyed_s: float  # reading a document's text and hashing it, to look its vector up
    lookup_s: float  # merging a document's key into a run of keys, and looking it up there
    words_s: dict[str, float]  # counting a document's words, by language
    words_bytes: dict[str, float]  # what is kept of them
    frequency_s: float  # in how many documents of a block a word stands
    hybrid: Line  # a query's search by words and vectors
    vectors: Line  # by vectors
    words: Line  # by words
    shares: Line  # what words add to all documents
    cluster_s: float  # comparing a document with a centre
    drawn_s: float  # drawing documents from clusters alike
    step_s: float = 0.0  # of a training by a teacher
    making_s: float = 0.0  # making queries
    made: int = 0  # how many
    made_words: int = 0  # distinct words of 800 documents, that keywords are drawn from
    judged_cell_s: float = 0.0  # of a judged query and a document, in a step that learns them
    held_bytes: int = 0  # by the process at most, with all libraries and little of the corpus
    seconds: float = 0.0  # that measuring took


class _Sample(NamedTuple):
    """Some documents and queries, with vectors that are like theirs."""

    texts: list[str]
    document_SD: np.ndarray
    queries: list[str]
    query_QD: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Of the corpora that are searched."""
        return [min(PART, len(self.texts)), len(self.texts)]


def probe_adapt(
    data: Dataset,
    base: Encoder | Towers,
    log: list[str],
    amounts: AdaptAmounts,
    *,
    encode: EncodeConfig,
) -> AdaptRates:
    """Encode, count, search and train a little, in about 20 seconds. The model stays as it is."""
    start = time.perf_counter()
    every = np.arange(len(data.corpus))
    token_s, document_SD = encode_rate(
        base.side("document"), data.corpus, every, "document", encode, limit_s=ENCODING_S
    )
    rows_S = np.sort(sampled(every, SAMPLE))
    texts_s, texts = _timed(lambda: data.corpus.texts(rows_S))
    keys_s, keys_S = _timed(lambda: item_keys(texts))
    asked = (log or [sentences_of(text)[0] for text in texts[:ASKED]])[:ASKED]
    queries = (asked * ASKED)[:ASKED]
    query_token_s, query_SD = encode_rate(
        base.side("query"),
        ListedTexts(queries),
        np.arange(ASKED),
        "query",
        encode,
        limit_s=ASKING_S,
    )
    vectors = vectors_like(document_SD, len(texts)), vectors_like(query_SD, ASKED)
    sample = _Sample(texts, vectors[0], queries, vectors[1])
    words, counted = _counted(sample, amounts)
    cluster_s, drawn_s = _clusters_s(sample)
    return AdaptRates(
        token_s=token_s,
        query_token_s=query_token_s,
        read_s=_read_s(texts[:READ]),
        keyed_s=(texts_s + keys_s) / len(texts),
        lookup_s=_lookup_s(keys_S[:BLOCK]),
        cluster_s=cluster_s,
        drawn_s=drawn_s,
        **counted,
        **_searches(sample, words),
        **_training(sample, words[-1], amounts),
        judged_cell_s=_judged_cell_s(sample) if amounts.judged else 0.0,
        held_bytes=peak_bytes(torch.device("cpu")),
        seconds=time.perf_counter() - start,
    )


def _timed(action: Callable[[], Made]) -> tuple[float, Made]:
    """Seconds, and what was made."""
    start = time.perf_counter()
    made = action()
    return time.perf_counter() - start, made


def _read_s(texts: list[str]) -> float:
    """Seconds per document, from a jsonl file."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        rows = (json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts))
        home = Path(folder) / "data"
        home.mkdir()
        (home / "corpus.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        read = partial(load_dataset, str(home), on_problem="drop", cache_dir=Path(folder))
        return _timed(read)[0] / len(texts)


def _lookup_s(keys_S: np.ndarray) -> float:
    """Seconds per key and run: to merge it, and to find it, once to encode and once to gather."""

    def kept_and_found() -> None:
        keys = KeyIndex()
        keys.add(keys_S, 0)
        for _ in range(2):
            keys.find(keys_S)

    return min(_timed(kept_and_found)[0] for _ in range(3)) / len(keys_S)


def _counted(sample: _Sample, amounts: AdaptAmounts) -> tuple[list[Words], dict[str, Any]]:
    """The words of the sample at its two sizes, and what counting took."""
    seconds: dict[str, float] = {}
    kept: dict[str, float] = {}
    found: dict[str, Words] = {}
    for language in amounts.uncounted:
        taken_s, found[language] = _timed(partial(Words, sample.texts, language))
        seconds[language] = taken_s / len(sample.texts)
        kept[language] = found[language].nbytes / len(sample.texts)
    words = found[amounts.language]
    names = list(word_ids(sample.texts[:PER_KIND], amounts.language)[1])
    asked_s = _timed(lambda: words.frequencies(names))[0]
    rates = {
        "words_s": seconds,
        "words_bytes": kept,
        "made_words": len(names),
        "frequency_s": asked_s / max(1, len(names)),
    }
    return [Words(sample.texts[: sample.sizes[0]], amounts.language), words], rates


def _searches(sample: _Sample, words: list[Words]) -> dict[str, Any]:
    """Seconds of a query as a line through the two sizes, by way of searching."""
    found: dict[str, list[float]] = {name: [] for name in ("hybrid", "vectors", "words", "shares")}
    for size, counted in zip(sample.sizes, words, strict=True):
        document_ND = sample.document_SD[:size]
        ways: dict[str, Callable[[], Any]] = {
            "hybrid": partial(
                HybridSearch(sample.queries, counted, USUAL), sample.query_QD, document_ND, K
            ),
            "vectors": partial(search, sample.query_QD, document_ND, K),
            "words": partial(counted.best, sample.queries, K),
            "shares": partial(counted.shares, sample.queries),
        }
        for name, way in ways.items():
            way()  # loads and compiles
            found[name].append(_timed(way)[0] / ASKED)
    return {name: Line(*line_through(sample.sizes, spent)) for name, spent in found.items()}


def _clusters_s(sample: _Sample) -> tuple[float, float]:
    """Seconds to compare a document with a centre, and to draw it from its cluster."""
    spent_s, cluster_S = _timed(lambda: clusters_of(sample.document_SD, WANTED, seed=0))
    drawn_s = _timed(lambda: evenly(cluster_S, len(cluster_S), seed=0))[0]
    compared = compared_with_centres(len(cluster_S))
    return spent_s / (compared * WANTED), drawn_s / len(cluster_S)


def compared_with_centres(documents: int) -> int:
    """How often a document is compared with all centres when so many are clustered."""
    return ROUNDS * min(documents, LEARNED_FROM) + documents


def _training(sample: _Sample, words: Words, amounts: AdaptAmounts) -> dict[str, Any]:
    """Seconds of a step, and of making queries, and how many there are; where there are such."""
    rates: dict[str, Any] = {}
    if amounts.makes:
        plain = Words(sample.texts, UNSTEMMED)
        make = partial(made_queries, ListedTexts(sample.texts), sample.document_SD, plain, seed=0)
        rates["making_s"], made = _timed(make)
        rates["made"] = len(made)
    if amounts.trains:
        teacher = HybridTeacher(sample.queries, sample.query_QD, sample.document_SD, words, USUAL)
        learn = partial(
            by_teacher, teacher, [""] * ASKED, steps=STEPS, seed=0, step_done=lambda count: None
        )
        rates["step_s"] = _timed(learn)[0] / STEPS
    return rates


def _judged_cell_s(sample: _Sample) -> float:
    """Seconds of a step that learns from judged queries, per query and document of their pool."""
    vectors_PD = torch.from_numpy(sample.document_SD[:POOL])
    none_FP = torch.zeros(ASKED, len(vectors_PD), dtype=torch.bool)
    relevant_FP = none_FP.clone()
    relevant_FP[:, 0] = True
    no_pairs = torch.empty((0, 3), dtype=torch.long)
    pool = Pool(vectors_PD, relevant_FP, none_FP, none_FP, no_pairs, torch.zeros(none_FP.shape))
    learn = partial(train_matrix, torch.from_numpy(sample.query_QD), pool, lambda count: None)
    return _timed(learn)[0] / (MATRIX_STEPS * none_FP.numel())
