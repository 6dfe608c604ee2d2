"""What an adaptation has to do: documents to encode and to count, queries to ask, steps to train.

Shape suffixes: N documents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from whet.adaptation.adapted import training_gates
from whet.adaptation.examples import LOOKED_AT as COMPARED
from whet.adaptation.generate.bill import Bill, estimated
from whet.adaptation.generate.generated import shown_examples
from whet.adaptation.judged import MOST, judged_split
from whet.adaptation.log import QueryLog
from whet.adaptation.wanted import LOOKED_AT as ASKED
from whet.config import UNSTEMMED, AdaptConfig
from whet.data.load import Dataset
from whet.data.table import TextTable
from whet.data.text import sentences_of
from whet.encoding.store import embeddings_folder, item_keys
from whet.encoding.table import open_store
from whet.evaluation.lexical import corpus_language
from whet.evaluation.lexical.kept import uncounted
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.plan.workload import COUNTED, SAMPLED, TextCount, sampled


@dataclass(frozen=True)
class AdaptAmounts:
    """What one adaptation does. `uncounted` are the documents whose words are not kept yet, by the
    language they are counted in.

    `asked` and `compared` are the queries that the wanted judgments and the examples are found
    with. What is trained without judgments learns from made queries, where it `makes` such, and
    from others (`given`: of the log, and of a language model). `judged` queries are learned from, 0
    where there are too few.
    """

    documents: int
    corpus: TextCount
    uncounted: dict[str, int]
    language: str
    log: int
    query_tokens: float  # of one that is asked
    sentence_tokens: float  # of the first sentence of a document
    asked: int
    compared: int
    by_words: bool  # search=hybrid
    makes: bool = False
    given: int = 0
    judged: int = 0
    judged_tokens: float = 0.0  # of one query of the data
    bill: Bill | None = None  # of a language model
    unread: int = 0  # documents that are not in the cache yet

    @property
    def trains(self) -> bool:
        """Whether a matrix is trained without judgments."""
        return self.makes or self.given > 0

    def of_size(self, documents: int) -> AdaptAmounts:
        """The same with so many documents of the kind, none of them encoded or counted yet."""
        share = self.corpus.distinct / max(1, self.documents)
        distinct = round(share * documents)
        return replace(
            self,
            documents=documents,
            corpus=TextCount(distinct, distinct, self.corpus.tokens),
            uncounted=dict.fromkeys(self.uncounted, documents),
            unread=documents,
        )


def amounts_of(
    data: Dataset, log: QueryLog, base: Encoder | Towers, config: AdaptConfig
) -> AdaptAmounts:
    """Count it. Reads every text once, up to two million; tokenises a few thousand."""
    language = base.language if base.words else corpus_language(data.corpus)
    gates = training_gates(data.corpus, len(log), language)
    vectors = config.search == "vectors"
    writes = vectors and (config.generate.url or config.generate.local) is not None
    shown = shown_examples(log.queries, config.generate, seed=config.seed) if writes else []
    bill = estimated(data.corpus, shown, config.generate) if writes else None
    of_log, of_prose = (vectors and gate.open for gate in gates)
    makes = of_log or of_prose
    written = min(config.generate.documents, len(data.corpus)) if writes else 0
    judged = judged_split(data, config.data.train_split)
    needed = [language, *([UNSTEMMED] if makes else [])]
    sentences = [sentences_of(text)[0] for text in _some(data.corpus, ASKED)]
    asked, encoder = log.queries or sentences, base.side("query")
    return AdaptAmounts(
        documents=len(data.corpus),
        corpus=_counted(data, base.side("document"), config),
        uncounted={name: uncounted(data.corpus, name) for name in needed},
        language=language,
        log=len(log),
        query_tokens=_tokens(encoder, asked[:ASKED], "query"),
        sentence_tokens=_tokens(encoder, sentences, "query"),
        asked=min(ASKED, len(asked)),
        compared=min(COMPARED, len(log) or len(data.queries)),
        by_words=not vectors,
        makes=makes,
        given=written + (len(log) if of_log else 0),
        judged=0 if judged is None else min(MOST, len(judged[1].query_rows)),
        judged_tokens=_tokens(encoder, _some(data.queries, ASKED), "query"),
        bill=bill,
    )


def _some(table: TextTable, count: int) -> list[str]:
    return table.texts(sampled(np.arange(len(table)), count))


def _tokens(encoder: Encoder, texts: list[str], kind: str) -> float:
    """The mean of a text; 0 of none."""
    return sum(map(len, encoder.tokenize(texts, kind))) / len(texts) if texts else 0.0


def _counted(data: Dataset, encoder: Encoder, config: AdaptConfig) -> TextCount:
    """Of the documents; beyond two million all count as new, as in the plan of a fit."""
    count = len(data.corpus)
    tokens = _tokens(encoder, _some(data.corpus, SAMPLED), "document")
    if count > COUNTED:
        return TextCount(count, count, tokens)
    parts = [item_keys(texts) for _, texts in data.corpus.blocks()]
    keys = np.unique(np.concatenate(parts))
    store = open_store(encoder, kind="document", store=embeddings_folder(), config=config.encode)
    return TextCount(len(keys), int((store.find(keys)[0] < 0).sum()), tokens)
