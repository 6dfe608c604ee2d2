"""From documents, and a log of queries where there is one, to a search that is adapted to them.

What is done follows from gates (gates.py) and from judged queries; nothing else chooses, least of
all a score on made queries, which rises whether or not the search gets better.

Shape suffixes: N documents, D dimensions, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from whet.adaptation.gates import Gate, log_gate, prose_gate, weight_of_words, words_gate
from whet.adaptation.generate.generated import KIND, Generated
from whet.adaptation.generate.reranked import Judge, RerankedTeacher
from whet.adaptation.hybrid_teacher import HybridTeacher
from whet.adaptation.judged import ENOUGH, MOST, Decided, Proof, decided, judged_split
from whet.adaptation.learn import KEPT, STEPS, by_source, by_teacher
from whet.adaptation.queries import MadeQuery, made_queries
from whet.config import UNSTEMMED, EncodeConfig
from whet.data.load import Dataset
from whet.data.table import TextTable
from whet.evaluation.lexical import Words, corpus_words
from whet.feedback.learn.adapt import Weights, changed
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.progress import ReportProgress, counted
from whet.types import Embeddings

if TYPE_CHECKING:
    from whet.adaptation.planned.within import SomeEncoded

LOOKED_AT = 2_000  # documents that say whether they are prose
ENCODED = 512  # queries between two lines of progress
LOG = "log"  # its queries are a kind beside those that are made


@dataclass(frozen=True)
class Given:
    """What a search is adapted to, and by which options."""

    data: Dataset
    corpus: Embeddings
    words: Words
    log: list[str] = field(default_factory=list)
    search: str = "hybrid"  # or "vectors": words do not count
    seed: int = 0
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    train_split: str = "train"
    generated: Generated | None = None  # queries that a language model wrote
    judge: Judge | None = None  # a cross-encoder that scores what those find
    some: SomeEncoded | None = None  # where not all documents are: nothing is judged among a part


@dataclass(frozen=True)
class Adapted:
    """A model that searches, what was looked at and done to make it, and what is proved of it.

    `done` and `helps` are sentences; `trained` is what was learned from: log, generated, made,
    judged or None.
    """

    model: Towers
    gates: list[Gate]
    done: list[str]
    helps: list[str]
    trained: str | None = None
    made: dict[str, int] = field(default_factory=dict)
    proof: Proof | None = None
    judged: int = 0


def adapt(base: Encoder | Towers, given: Given, report_progress: ReportProgress) -> Adapted:
    """Adapt a search; the model given stays as it is, and so do the documents' vectors."""
    gate = words_gate(given.log, given.words)
    if given.search == "hybrid":
        free = _by_words(base, gate, given.words.language)
    else:
        gates = training_gates(given.data.corpus, len(given.log), given.words.language)
        free = _by_vectors(base, given, [gate, *gates], report_progress)
    judged = judged_split(given.data, given.train_split)
    if judged is None or given.some is not None:
        return _unproved(free, given)
    choice = decided(
        given.data,
        judged,
        base,
        free.model,
        given.corpus,
        words=given.words,
        encode=given.encode,
        seed=given.seed,
        report_progress=report_progress,
    )
    return _proved(free, choice, len(judged[1].query_rows))


def _by_words(base: Encoder | Towers, gate: Gate, language: str) -> Adapted:
    weight, why = weight_of_words(gate), gate.why
    if base.words:
        weight, why = base.words, "that is the weight the model came with"
    model = Towers(base.side("query"), base.side("document"), weight, language)
    done = [
        f"A document's score is its cosine plus {weight:g} times its share of the query's words "
        f"(BM25): {why}.",
        "Without judgments nothing was trained: beside words, no such training was found to help.",
    ]
    return Adapted(model, [gate], done, [])


def training_gates(corpus: TextTable, queries: int, language: str) -> list[Gate]:
    """Those that say whether anything is trained without judgments, by how many queries the log has
    and what a sample of the documents looks like.
    """
    step = max(1, len(corpus) // LOOKED_AT)
    rows = np.arange(0, len(corpus), step)[:LOOKED_AT]
    return [log_gate(queries), prose_gate(corpus.texts(rows), language)]


def _by_vectors(
    base: Encoder | Towers,
    given: Given,
    gates: list[Gate],
    report_progress: ReportProgress,
) -> Adapted:
    """A matrix on the query vectors, where the gates allow one."""
    _, log, prose = gates
    same = Towers(base.side("query"), base.side("document"))
    if not (log.open or prose.open or _generated(given)):
        done = [f"Without judgments nothing was trained: {log.why}; {prose.why}."]
        return Adapted(same, gates, done, [_more_queries(), _with_words()])
    learned, made = _learned(base, given, gates, report_progress)
    if learned is None:
        done = ["Nothing was learned: no made query finds the document that it was made from."]
        return Adapted(same, gates, done, [_more_queries(), _with_words()], made=made)
    model = Towers(changed(base.side("query"), learned), base.side("document"))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in made.items())
    if _generated(given):
        done = [_from_generated(given, kinds, log.open)]
    elif log.open:
        done = [
            f"A matrix on the query vectors learned from {len(given.log):,} queries of the log and "
            f"from made ones ({kinds}) to rank as vectors and words together do, in {STEPS} steps: "
            f"{log.why}."
        ]
    else:
        done = [
            f"A matrix on the query vectors learned to find the documents that queries were made "
            f"from ({kinds}), in {STEPS} steps, and {KEPT['source']:.0%} of the change is kept: "
            f"{prose.why}; {log.why}."
        ]
    done.append("The documents' vectors stay as they were.")
    helps = [_with_words()] if log.open else [_more_queries(), _with_words()]
    source = KIND if _generated(given) else "made"
    return Adapted(model, gates, done, helps, LOG if log.open else source, made)


def _generated(given: Given) -> list[MadeQuery]:
    """The queries that a language model wrote."""
    return [] if given.generated is None else given.generated.queries


def _from_generated(given: Given, kinds: str, with_log: bool) -> str:
    """What was learned, where a language model wrote queries."""
    assert given.generated is not None
    besides = [f"{len(given.log):,} of the log"] if with_log else []
    besides += [f"made ones ({kinds})"] if kinds else []
    order = f"; their lists as {given.generated.judge} orders them" if given.judge else ""
    return (
        f"A matrix on the query vectors learned from {len(_generated(given)):,} queries that "
        f"{given.generated.writer.model} wrote"
        + "".join(f", from {part}" for part in besides)
        + f" to rank as vectors and words together do{order}, in {STEPS} steps."
    )


def _learned(
    base: Encoder | Towers,
    given: Given,
    gates: list[Gate],
    report_progress: ReportProgress,
) -> tuple[Weights | None, dict[str, int]]:
    """The matrix (None: nothing to learn from), and how many queries of each kind were made."""
    written, made = _generated(given), []
    if gates[1].open or gates[2].open:
        corpus = given.data.corpus
        as_they_stand = corpus_words(corpus, UNSTEMMED)  # shows its own progress
        report_progress("Making queries", 0, 1)
        made = made_queries(corpus, given.corpus.vectors, as_they_stand, seed=given.seed)
    numbers = {kind: 0 for kind in dict.fromkeys(query.kind for query in made)}
    for query in made:
        numbers[query.kind] += 1
    of_log = given.log if gates[1].open else []
    texts = [*(query.text for query in [*made, *written]), *of_log]
    kinds = [*(query.kind for query in [*made, *written]), *(LOG for _ in of_log)]
    if not texts:
        return None, numbers
    query_QD = _encoded(texts, base.side("query"), given.encode, report_progress)
    report_progress("Finding what the teacher prefers", 0, 1)
    teacher = _teacher(
        given, texts, kinds, query_QD, weight_of_words(gates[0]), report_progress=report_progress
    )
    step_done = counted("Training a matrix on the query vectors", STEPS, report_progress)
    if of_log or written:
        after = by_teacher(teacher, kinds, steps=STEPS, seed=given.seed, step_done=step_done)
        return after, numbers
    source_Q = np.array([query.row for query in made])
    group_of_N = np.asarray(given.data.corpus.group_of_N())
    halved = by_source(
        teacher,
        kinds,
        source_Q,
        group_of_N,
        steps=STEPS,
        seed=given.seed,
        step_done=step_done,
    )
    return halved, numbers


def _teacher(
    given: Given,
    texts: list[str],
    kinds: list[str],
    query_QD: np.ndarray,
    weight: float,
    *,
    report_progress: ReportProgress,
) -> HybridTeacher:
    """What is learned from: vectors and words; of generated queries a judge's order where there is
    one.
    """
    vector_ND = given.corpus.vectors
    if given.judge is None:
        return HybridTeacher(texts, query_QD, vector_ND, given.words, weight)
    places = [place for place, kind in enumerate(kinds) if kind == KIND]
    return RerankedTeacher(
        texts,
        query_QD,
        vector_ND,
        given.words,
        weight,
        places=places,
        judge=given.judge,
        judged=counted("Judging what they find", len(places), report_progress),
    )


def _encoded(
    texts: list[str], encoder: Encoder, config: EncodeConfig, report_progress: ReportProgress
) -> np.ndarray:
    """Vectors of queries, float32 [Q, D], telling how far it is."""
    step_done = counted("Encoding queries", len(texts), report_progress)
    parts = []
    for start in range(0, len(texts), ENCODED):
        part = texts[start : start + ENCODED]
        parts.append(encoder.encode(part, kind="query", config=config))
        step_done(len(part))
    return np.concatenate(parts)


def _unproved(free: Adapted, given: Given) -> Adapted:
    judged = [len(qrels.relevant().query_rows) for qrels in given.data.splits.values()]
    count = max(judged, default=0)
    if count >= ENOUGH:  # and not all documents are encoded
        helps = [f"With time for all documents {count:,} judged queries decide: leave budget out."]
    else:
        helps = [f"Judge {ENOUGH} queries: that proves or disproves it, and teaches more."]
    helps += free.helps
    return Adapted(free.model, free.gates, free.done, helps, free.trained, free.made, judged=count)


def _proved(free: Adapted, choice: Decided, judged: int) -> Adapted:
    done = [*free.done, f"{choice.why[0].upper()}{choice.why[1:]}."]
    if choice.model.words != free.model.words:
        done.append(f"Words count {choice.model.words:g} beside a cosine, as that is best there.")
    helps = list(free.helps)
    if judged >= MOST:
        helps.insert(0, f"With {judged:,} judged queries `whet fit` learns more than a matrix can.")
    kept = free.trained if choice.model is free.model else None
    trained = "judged" if choice.learned else kept
    return Adapted(choice.model, free.gates, done, helps, trained, free.made, choice.proof, judged)


def _more_queries() -> str:
    return "A log of 300 queries that people asked (queries=FILE) is a safer teacher."


def _with_words() -> str:
    return "A search that can add words gains more: leave out search=vectors."
