"""From counts and rates to seconds, bytes and money of an adaptation.

Shape suffixes: N documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from whet.adaptation.hybrid_teacher import CELLS
from whet.adaptation.learn import BATCH, STEPS
from whet.adaptation.planned.amounts import AdaptAmounts
from whet.adaptation.planned.measured import AdaptRates, compared_with_centres
from whet.adaptation.queries import CLUSTERS, MOST_DOCUMENTS
from whet.adaptation.wanted import WANTED
from whet.encoding.store import KEY
from whet.encoding.table import BLOCK, MEMORY_BYTES
from whet.evaluation.lexical import counts, hybrid
from whet.feedback.learn.adapt import MATRIX_STEPS
from whet.feedback.learn.checks import GUARDED
from whet.feedback.learn.lessons import HARD, POOL
from whet.feedback.learn.trials import SHARES, WEIGHTS
from whet.plan.footprint import FLOAT, SEARCH_BYTES
from whet.plan.machine import Machine
from whet.plan.prices import Price

ANSWER_S = 2.0  # that a language model takes for an answer: taken as given, for nothing is sent
MAKING_PARTS = 4  # times that the words of 800 documents are looked up to make keywords
GUARD_LOOKS = 2  # shares of what was learned, looked at until one forgets no more than it may
COPIES = 8  # of the similarities of judged queries and their pool, masks among them
ROW_BYTES = 150  # of a document, in memory at the widest moment: keys, orders, rows, scores


@dataclass(frozen=True)
class Surroundings:
    """What costs depend on besides the work: the machine, and sizes."""

    machine: Machine
    price: Price | None
    dimension: int
    model_bytes: int  # of the weights
    opened_s: float  # to open the data and the model
    table_bytes: float  # of a document in the cache
    free_bytes: int  # on the cache's disk
    requests: int  # that a language model answers at a time


@dataclass(frozen=True)
class AdaptCost:
    """What an adaptation to so many documents takes: seconds by the stages of environment.json,
    bytes in memory, on disk afterwards, in a file while it runs, and of the disk what must be free
    for that; money.
    """

    documents: int
    stages: dict[str, float]
    memory_bytes: float
    kept_bytes: float
    passing_bytes: float
    free_bytes: float
    hours: float
    usd: float | None

    @property
    def seconds(self) -> float:
        """From the command to the report."""
        return sum(self.stages.values())


def cost_of(amounts: AdaptAmounts, rates: AdaptRates, place: Surroundings) -> AdaptCost:
    """Seconds, bytes and money of one adaptation."""
    work = _Adapting(amounts, rates, place)
    stages = {
        "load": place.opened_s + amounts.unread * rates.read_s,
        "encode": work.encoding_s(),
        "words": sum(n * rates.words_s[name] for name, n in amounts.uncounted.items()),
        "generate": work.generating_s(),
        "adapt": work.gates_s() + work.learning_s() + work.deciding_s(),
        "ask": work.asking_s(),
        "write": work.writing_s(),
    }
    if amounts.bill is None:
        stages.pop("generate")
    hours = sum(stages.values()) / 3600
    return AdaptCost(
        documents=amounts.documents,
        stages=stages,
        memory_bytes=work.memory(),
        kept_bytes=work.kept(),
        passing_bytes=work.passing(),
        free_bytes=work.new() + work.passing(),
        hours=hours,
        usd=None if place.price is None else hours * place.price.usd_an_hour,
    )


def around_some_s(amounts: AdaptAmounts, rates: AdaptRates, *, some: int) -> tuple[float, float]:
    """Seconds to find the documents that are nearest by words to what is asked; and, when some of
    all are encoded, to choose which judgments are wanted.
    """
    words_s = rates.words.at(amounts.documents)
    vectors_s = rates.vectors.at(min(some, amounts.documents))
    encoded_s = amounts.query_tokens * rates.query_token_s
    return amounts.asked * words_s, amounts.asked * (encoded_s + vectors_s + words_s)


@dataclass(frozen=True)
class _Adapting:
    amounts: AdaptAmounts
    rates: AdaptRates
    place: Surroundings

    @property
    def vectors(self) -> float:
        """Bytes of all vectors."""
        return float(FLOAT * self.place.dimension * self.amounts.documents)

    @property
    def mapped(self) -> bool:
        """Whether they are searched in a file of their own."""
        return self.vectors > MEMORY_BYTES

    def encoding_s(self) -> float:
        """Encode, store, and gather what is searched. A key is looked up in each of the sorted runs
        that the store has, and merged into the next as often (whet.encoding.keys).
        """
        work, rates, machine = self.amounts, self.rates, self.place.machine
        documents, new = work.documents, work.corpus.missing
        runs = 1 + math.log2(max(1.0, documents / BLOCK))
        row_bytes = FLOAT * self.place.dimension + KEY.itemsize
        written = new * row_bytes + self.passing()
        return (
            new * work.corpus.tokens * rates.token_s
            + documents * (rates.keyed_s + runs * rates.lookup_s)
            + written / machine.disk_bytes_s
        )

    def generating_s(self) -> float:
        bill = self.amounts.bill
        return 0.0 if bill is None else bill.requests * ANSWER_S / self.place.requests

    def gates_s(self) -> float:
        """Which words of the log the documents have: they are looked up in each block."""
        blocks = -(-self.amounts.documents // counts.BLOCK)
        distinct = min(self.amounts.log * self.amounts.query_tokens, self.rates.made_words)
        return distinct * blocks * self.rates.frequency_s

    def learning_s(self) -> float:
        """What a matrix learns without judgments."""
        work, rates, documents = self.amounts, self.rates, self.amounts.documents
        if not work.trains:
            return 0.0
        queries = self.learned
        seconds = queries * (work.query_tokens * rates.query_token_s + self.hybrid_s())
        if work.makes or work.bill is not None:
            compared = compared_with_centres(min(documents, MOST_DOCUMENTS))
            seconds += compared * CLUSTERS * rates.cluster_s
        if work.makes:
            blocks = -(-documents // counts.BLOCK)
            looked_up = MAKING_PARTS * rates.made_words * blocks * rates.frequency_s
            seconds += rates.making_s + looked_up
        if queries * documents <= CELLS:
            return seconds + queries * rates.shares.at(documents) + STEPS * rates.step_s
        return seconds + STEPS * (rates.step_s + BATCH * rates.shares.at(documents))

    @property
    def learned(self) -> int:
        """Queries that are learned from without judgments."""
        made = min(self.rates.made, 4 * self.amounts.documents) if self.amounts.makes else 0
        return self.amounts.given + made

    def deciding_s(self) -> float:
        """What judged queries decide: a matrix is learned from them three times, two halves and
        all, and what it finds is scored beside what was found before.
        """
        work, rates, count = self.amounts, self.rates, self.amounts.judged
        if not count:
            return 0.0
        documents = work.documents
        seconds = 2 * MATRIX_STEPS * self.judged_cells * rates.judged_cell_s
        tokens = count * (4 + len(SHARES)) * work.judged_tokens
        tokens += (1 + GUARD_LOOKS) * GUARDED * work.sentence_tokens
        seconds += tokens * rates.query_token_s
        searches = count * (5 + len(SHARES)) + (1 + GUARD_LOOKS) * GUARDED
        one_s = self.hybrid_s() if work.by_words else rates.vectors.at(documents)
        seconds += searches * one_s
        seconds += count * rates.vectors.at(documents)  # of what is hard
        if work.by_words:
            seconds += len(WEIGHTS) * GUARDED * one_s
            seconds += 2 * count * rates.shares.at(documents)
        return seconds

    @property
    def judged_cells(self) -> int:
        """Judged queries times the documents of their pool."""
        hard = self.amounts.judged * HARD * (2 if self.amounts.by_words else 1)
        return self.amounts.judged * min(self.amounts.documents, POOL + hard)

    def asking_s(self) -> float:
        """Which judgments are wanted, and what some queries found before and after."""
        work, rates, documents = self.amounts, self.rates, self.amounts.documents
        encoded_s = work.query_tokens * rates.query_token_s
        seconds = work.asked * (encoded_s + rates.vectors.at(documents) + rates.words.at(documents))
        if not work.log:
            compared = compared_with_centres(documents)
            seconds += compared * WANTED * rates.cluster_s + documents * rates.drawn_s
        after_s = self.hybrid_s() if work.by_words else rates.vectors.at(documents)
        tokens = work.query_tokens if work.log else work.judged_tokens
        return seconds + work.compared * (
            2 * tokens * rates.query_token_s + rates.vectors.at(documents) + after_s
        )

    def hybrid_s(self) -> float:
        """Of a query: of many documents fewer queries go together, and each passes over all
        vectors; those that do not fit in memory come from the disk.
        """
        documents, machine = self.amounts.documents, self.place.machine
        together = max(1, min(hybrid.AT_ONCE, hybrid.CELLS // max(1, documents)))
        fits = self.vectors + self.rates.held_bytes < machine.host_bytes
        passed_s = self.vectors / (machine.copy_bytes_s if fits else machine.disk_bytes_s)
        return self.rates.hybrid.at(documents) + passed_s * (1 / together - 1 / hybrid.AT_ONCE)

    def writing_s(self) -> float:
        """The model: of two encoders where the queries' one was changed."""
        copies = 2 if self.amounts.trains or self.amounts.judged else 1
        return copies * self.place.model_bytes / self.place.machine.disk_bytes_s + 1.0

    def memory(self) -> float:
        """At the widest moment, vectors in a file left out."""
        documents = self.amounts.documents
        held = 0.0 if self.mapped else self.vectors
        scores = FLOAT * max(documents, min(hybrid.CELLS, documents * hybrid.AT_ONCE))
        cells = self.learned * documents
        shares = FLOAT * cells if self.amounts.trains and cells <= CELLS else 0
        searching = min(SEARCH_BYTES, self.vectors)
        judged = COPIES * FLOAT * self.judged_cells
        busy = max(scores + shares + searching, judged)
        return self.rates.held_bytes + held + busy + ROW_BYTES * documents

    def kept(self) -> float:
        """On disk afterwards: the tables, the counted words, the vectors, the model."""
        work, documents = self.amounts, self.amounts.documents
        words = dict.fromkeys(work.uncounted, documents)
        return self._disk(documents, words, work.corpus.distinct)

    def new(self) -> float:
        """Of that, what is not there yet."""
        work = self.amounts
        return self._disk(work.unread, work.uncounted, work.corpus.missing)

    def passing(self) -> float:
        """In a file, while it runs."""
        return self.vectors if self.mapped else 0.0

    def _disk(self, read: int, counted: dict[str, int], encoded: int) -> float:
        words = sum(count * self.rates.words_bytes[name] for name, count in counted.items())
        vectors = encoded * (FLOAT * self.place.dimension + KEY.itemsize)
        return read * self.place.table_bytes + words + vectors + 2 * self.place.model_bytes
