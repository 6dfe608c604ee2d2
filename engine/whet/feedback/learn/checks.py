"""Sets of queries to score a query encoder by, while the documents' vectors stay.

Shape suffixes: C queries of a check, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whet.config import EncodeConfig, EvaluateConfig
from whet.data.load import Dataset, load_dataset
from whet.data.splits import eval_split_name
from whet.data.text import sentences_of
from whet.encoding.store import embeddings_folder
from whet.encoding.table import encode_table
from whet.errors import DataError
from whet.evaluation.judge import evaluate_run
from whet.evaluation.lexical import Words, corpus_words
from whet.evaluation.lexical.hybrid import HybridSearch
from whet.feedback.learn.lessons import Lessons
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.types import Embeddings

MEASURE = "nDCG@10"
GUARDED = 200  # queries that must not get worse


@dataclass(frozen=True)
class JudgedQueries:
    """Queries, and which documents answer each. Of a corpus in passages, whose `home_N` is that of
    the data, each document is scored by its best passage.
    """

    texts: list[str]
    relevant: list[dict[str, int]]  # document id: grade
    corpus: Embeddings
    words: Words | None = None  # of the corpus, where they may count
    home_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def scores(self, query_CD: np.ndarray, weight: float = 0.0) -> np.ndarray:
        """nDCG@10 of each query over all documents, words counting so much; float64 [C]."""
        ids = [str(number) for number in range(len(self.texts))]
        judgments = dict(zip(ids, self.relevant, strict=True))
        config = EvaluateConfig(measures=[MEASURE], depth=10)
        search = None
        if weight:
            assert self.words is not None
            search = HybridSearch(self.texts, self.words, weight)
        evaluation = evaluate_run(
            Embeddings(ids, query_CD),
            self.corpus,
            judgments,
            config,
            home_N=self.home_N,
            search=search,
        )
        return np.array([evaluation.scores.per_query[MEASURE][name] for name in ids])


def feedback_check(lessons: Lessons, corpus: Embeddings, words: Words | None) -> JudgedQueries:
    """The judged queries with an answer. What was not judged counts as not relevant, so
    that a model which finds better documents than those judged gets no credit for them.
    """
    places = np.flatnonzero(lessons.gains)
    chosen = lessons.take(places)
    home_N = lessons.home_N
    answers = [rows if home_N is None else home_N[rows] for rows in chosen.answers]
    relevant = [{corpus.ids[int(row)]: 1 for row in rows} for rows in answers]
    return JudgedQueries(chosen.queries, relevant, corpus, words, home_N)


def guard_check(
    data: Dataset,
    corpus: Embeddings,
    model: Encoder | Towers,
    *,
    other: str | None,
    avoid: set[str],
    encode: EncodeConfig,
    words: Words | None = None,
) -> JudgedQueries:
    """Queries the model must not lose: of `other` (a data set with judgments) where one is named,
    else those judged in the data itself, else its own documents, each by its first sentence.

    `avoid` are texts of queries that are learned from, `words` those of the corpus where they may
    count. DataError if `other` has no judgments.
    """
    if other is not None:
        data = load_dataset(other, on_problem="drop")
        corpus = encode_table(
            model, data.corpus, kind="document", store=embeddings_folder(), config=encode
        )
        words = None if words is None else corpus_words(data.corpus, words.language)
    split = eval_split_name(data) or ("train" if "train" in data.splits else None)
    if split is not None:
        judged = _judged(data, corpus, words, split=split, avoid=avoid)
        if len(judged):
            return judged
    if other is not None:
        raise DataError(
            f"tune.guard={other}: no query of it is judged, so it guards nothing. Give a data set "
            "with judgments."
        )
    return _own_documents(data, corpus, words)


def _judged(
    data: Dataset, corpus: Embeddings, words: Words | None, *, split: str, avoid: set[str]
) -> JudgedQueries:
    relevant = data.split(split).relevant()
    rows = relevant.query_rows
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = [int(row) for row in rows[order] if data.queries.text(int(row)).strip() not in avoid]
    chosen = sorted(chosen[:GUARDED])
    grades: dict[int, dict[str, int]] = {row: {} for row in chosen}
    columns = (relevant.query_rows_M, relevant.doc_rows_M, relevant.relevance_M)
    for query, document, grade in zip(*(column.tolist() for column in columns), strict=True):
        if query in grades:
            grades[query][corpus.ids[document]] = max(1, round(grade))
    texts = data.queries.texts(chosen) if chosen else []
    return JudgedQueries(texts, list(grades.values()), corpus, words, data.home_N)


def _own_documents(data: Dataset, corpus: Embeddings, words: Words | None) -> JudgedQueries:
    rows = np.sort(np.random.default_rng(0).permutation(len(data.corpus))[:GUARDED])
    groups = data.corpus.group_of_N()
    twins: dict[int, dict[str, int]] = {int(groups[row]): {} for row in rows}
    for row in np.flatnonzero(np.isin(groups, list(twins))):
        home = row if data.home_N is None else data.home_N[row]
        twins[int(groups[row])][corpus.ids[int(home)]] = 1
    texts = [sentences_of(text)[0] for text in data.corpus.texts(rows)]
    relevant = [twins[int(groups[row])] for row in rows]
    return JudgedQueries(texts, relevant, corpus, words, data.home_N)
