"""How fast this machine does each part of a job, measured on a little of the user's own data.

Shape suffixes: S texts of a sample, Q queries, N documents, D dimensions.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from whet.config import EncodeConfig, FitConfig
from whet.data.load import Dataset
from whet.data.table import TextTable
from whet.evaluation.judge import evaluate_run
from whet.evaluation.lexical import nearest_by_words
from whet.evaluation.lexical.words import ListedTexts
from whet.evaluation.pool.choose import NEAR
from whet.mining.miner import mine
from whet.model.encoder import Encoder
from whet.model.inference import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, token_batches
from whet.plan.machine import forget_peak, held_bytes, peak_bytes
from whet.plan.workload import SAMPLED, Split, Workload, sampled, stand_in_examples
from whet.processes.devices import choose_device, training_device
from whet.types import Embeddings, Positives

SEARCHED = (4_096, 16_384)  # documents of the two searches that are timed
ASKED, FEW_ASKED = 256, 8  # queries of a timed search
WORDS_OF = 2_000  # documents whose words are counted
BACKWARD = 3.5  # a step's time over that of encoding its tokens, roughly: to choose its size
NEIGHBOURS = 3  # vectors mixed into one that is like them


@dataclass(frozen=True)
class EncodeRates:
    """Seconds per token of a document and of a query, and the vectors that came of it."""

    document_s: float
    query_s: float
    document_SD: np.ndarray
    query_SD: np.ndarray
    texts: int


@dataclass(frozen=True)
class SearchRates:
    """Seconds of a search: a query, and more for each document it is compared with. By words: a
    document that is counted, and more for each query; 0 where none is searched by words.
    """

    mine_query_s: float
    mine_pair_s: float
    judge_query_s: float
    judge_pair_s: float
    words_document_s: float = 0.0
    words_pair_s: float = 0.0


@dataclass(frozen=True)
class StepRates:
    """A measured step: seconds, pairs and tokens; and the bytes that steps of at most
    `most_tokens` added to what the process held: gradients, optimizer, activations.
    """

    seconds: float
    pairs: int
    tokens: int
    most_tokens: int
    grown_bytes: int


@dataclass(frozen=True)
class Rates:
    """All that was measured, how long that took, and what the process held before it trained."""

    encode: EncodeRates
    search: SearchRates
    step: StepRates
    base_bytes: int
    seconds: float


def probe(
    data: Dataset,
    split: Split,
    encoder: Encoder,
    config: FitConfig,
    work: Workload,
    *,
    limit_s: float = 12.0,
) -> Rates:
    """Encode some texts, search with their vectors, do one or two training steps.

    Takes about `limit_s` seconds. The encoder stays as it is.
    """
    start = time.perf_counter()
    encode = probe_encode(data, split, encoder, config.encode, limit_s=limit_s / 4)
    search = probe_search(encode, config, work)
    if work.by_words:
        search = with_words(search, data, split)
    base = held_bytes(torch.device("cpu"))
    left_s = limit_s - (time.perf_counter() - start)
    step = _probe_step(data, split, encoder, config, work, encode=encode, limit_s=left_s)
    return Rates(encode, search, step, base, time.perf_counter() - start)


def probe_encode(
    data: Dataset, split: Split, encoder: Encoder, config: EncodeConfig, *, limit_s: float
) -> EncodeRates:
    """Encode documents and judged queries, half of `limit_s` seconds each."""
    document_s, document_SD = encode_rate(
        encoder, data.corpus, np.arange(len(data.corpus)), "document", config, limit_s=limit_s / 2
    )
    query_s, query_SD = encode_rate(
        encoder, data.queries, split.judged.query_rows, "query", config, limit_s=limit_s / 2
    )
    texts = len(document_SD) + len(query_SD)
    return EncodeRates(document_s, query_s, document_SD, query_SD, texts)


def encode_rate(
    encoder: Encoder,
    table: TextTable | ListedTexts,
    rows: np.ndarray,
    kind: str,
    config: EncodeConfig,
    *,
    limit_s: float,
) -> tuple[float, np.ndarray]:
    """Seconds per token, and vectors. Whole batches of texts of one length, as in a real run, drawn
    from short to long until the time is up.
    """
    device = choose_device(config)
    budget = config.batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS)
    texts = table.items(sampled(rows, SAMPLED))
    lengths = [len(ids) for ids in encoder.tokenize(texts, kind)]
    batches = list(token_batches(lengths, budget))
    encoder.encode([texts[int(batches[-1][-1])]], kind=kind, config=config)  # loads and compiles
    vectors, tokens, spent = [], 0, 0.0
    for number in np.random.default_rng(0).permutation(len(batches)):
        part = [texts[int(row)] for row in batches[number]]
        start = time.perf_counter()
        vectors.append(encoder.encode(part, kind=kind, config=config))
        spent += time.perf_counter() - start
        tokens += sum(lengths[int(row)] for row in batches[number])
        if spent >= limit_s:
            break
    return spent / tokens, np.concatenate(vectors)


def probe_search(encode: EncodeRates, config: FitConfig, work: Workload) -> SearchRates:
    """Mine and judge with vectors like the real ones, over two sizes of corpus."""
    sizes = [max(1, min(size, work.documents)) for size in SEARCHED]
    mined, judged = [], []
    for documents in sizes:
        document_ND = vectors_like(encode.document_SD, documents)
        query_QD = vectors_like(encode.query_SD, min(ASKED, work.judged.distinct))
        mined.append(_mine_s(query_QD, document_ND, config) if work.mines else 0.0)
        judged.append(_judge_s(query_QD, document_ND, config))
    mine_query_s, mine_pair_s = line_through(sizes, mined)
    judge_query_s, judge_pair_s = line_through(sizes, judged)
    return SearchRates(mine_query_s, mine_pair_s, judge_query_s, judge_pair_s)


def with_words(rates: SearchRates, data: Dataset, split: Split) -> SearchRates:
    """The same with what a search by words takes: some documents, few queries and more of them."""
    rows = sampled(np.arange(len(data.corpus)), WORDS_OF)
    documents = ListedTexts(data.corpus.texts(rows))
    seconds = []
    for count in (FEW_ASKED, ASKED):
        asked = sampled(split.train.relevant().query_rows, count)
        texts = (data.queries.texts(asked) * count)[:count]
        start = time.perf_counter()
        nearest_by_words(texts, documents, NEAR)
        seconds.append(time.perf_counter() - start)
    pair_s = max(0.0, seconds[1] - seconds[0]) / (ASKED - FEW_ASKED) / len(rows)
    return replace(rates, words_document_s=seconds[0] / len(rows), words_pair_s=pair_s)


def vectors_like(vector_SD: np.ndarray, count: int) -> np.ndarray:
    """`count` vectors, each a random mixture of a few of the given ones and as long."""
    random = np.random.default_rng(0)
    drawn = random.integers(len(vector_SD), size=(count, NEIGHBOURS))
    weights = random.dirichlet(np.ones(NEIGHBOURS), count).astype(np.float32)
    mixed_ND = np.einsum("nk,nkd->nd", weights, vector_SD[drawn])
    length_S = np.linalg.norm(vector_SD, axis=1)
    length_N = np.maximum(np.linalg.norm(mixed_ND, axis=1), np.finfo(np.float32).tiny)
    like_ND: np.ndarray = mixed_ND * (length_S[drawn[:, 0]] / length_N)[:, None]
    return like_ND


def _mine_s(query_QD: np.ndarray, document_ND: np.ndarray, config: FitConfig) -> float:
    """Seconds per query."""
    documents = len(document_ND)
    owned = np.arange(len(query_QD)) % documents
    positives = Positives(np.arange(len(query_QD) + 1), owned, np.arange(documents))
    policy = replace(config.mining, cross_encoder=None)
    queries, corpus = _named(query_QD), _named(document_ND)
    mine(queries, corpus, positives, policy)  # loads and compiles
    start = time.perf_counter()
    mine(queries, corpus, positives, policy)
    return (time.perf_counter() - start) / len(query_QD)


def _judge_s(query_QD: np.ndarray, document_ND: np.ndarray, config: FitConfig) -> float:
    """Seconds per query."""
    queries, corpus = _named(query_QD), _named(document_ND)
    judgments = {name: {corpus.ids[row % len(corpus)]: 1} for row, name in enumerate(queries.ids)}
    evaluate_run(queries, corpus, judgments, config.evaluate)
    start = time.perf_counter()
    evaluate_run(queries, corpus, judgments, config.evaluate)
    return (time.perf_counter() - start) / len(query_QD)


def _named(vector_ND: np.ndarray) -> Embeddings:
    return Embeddings([str(row) for row in range(len(vector_ND))], vector_ND)


def line_through(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """What does not depend on the size, and what each unit of it adds; neither below 0."""
    if sizes[0] == sizes[1]:
        return 0.0, min(seconds) / sizes[0]
    slope = max(0.0, (seconds[1] - seconds[0]) / (sizes[1] - sizes[0]))
    return max(0.0, seconds[1] - slope * sizes[1]), slope


def _probe_step(
    data: Dataset,
    split: Split,
    encoder: Encoder,
    config: FitConfig,
    work: Workload,
    *,
    encode: EncodeRates,
    limit_s: float,
) -> StepRates:
    """The configured step if one takes at most half the time, else one of fewer pairs."""
    from whet.training.timing import timed_steps

    likely_s = BACKWARD * encode.document_s * work.step.tokens
    share = min(1.0, 0.6 * limit_s / likely_s)
    pairs = max(min(2, work.step.pairs), round(work.step.pairs * share))
    trained, device = copy.deepcopy(encoder), training_device(config.trainer)
    forget_peak(device)
    before = held_bytes(device)
    if device.type == "cuda":  # where the weights are moved first
        before += sum(p.numel() * p.element_size() for p in trained.parameters())
    examples = stand_in_examples(data, split, config)
    steps = timed_steps(trained, examples, config, pairs=pairs, enough_s=limit_s / 2)
    tokens = max(step.tokens for step in steps)
    grown = peak_bytes(device) - before
    return StepRates(steps[-1].seconds, steps[-1].pairs, steps[-1].tokens, tokens, grown)
