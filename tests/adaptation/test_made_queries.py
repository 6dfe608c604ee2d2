"""Made queries: seeded, of the documents' own words, even over the topics of a corpus."""

from collections import Counter
from math import log

import numpy as np
import pytest

from whet.adaptation.clusters import clusters_of, evenly
from whet.adaptation.queries import CROP, KEYWORDS, made_queries
from whet.config import UNSTEMMED
from whet.data.table import write_table
from whet.evaluation.lexical import Words, corpus_words
from whet.evaluation.lexical.word_counts import idf_of, words_of

TOPICS = 3
NOUNS = [
    "pump valve tank oil leak seal",
    "court judge law appeal paid fine",
    "cell gene virus host",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three topics, 300, 60 and 12 documents, a vector near the axis of each."""
    random = np.random.default_rng(5)
    texts, topic_N = [], np.repeat(np.arange(TOPICS), (300, 60, 12))
    for row, topic in enumerate(topic_N):
        words = random.choice(NOUNS[topic].split(), 4, replace=False)
        texts.append(
            f"Report {row} on the {words[0]}\n\nThe {words[1]} of the {words[2]} was seen to be a "
            f"{words[3]}. It is number {row} of them."
        )
    table = write_table(
        tmp_path_factory.mktemp("made") / "corpus.arrow",
        [(f"d{row}", text) for row, text in enumerate(texts)],
    )
    vector_ND = np.eye(TOPICS, 8)[topic_N] + 0.02 * random.normal(size=(len(texts), 8))
    return table, vector_ND.astype(np.float32), topic_N, corpus_words(table, UNSTEMMED)


def test_made_queries_are_a_function_of_the_seed(corpus):
    table, vector_ND, _, counted = corpus
    once = made_queries(table, vector_ND, counted, seed=1)
    assert once == made_queries(table, vector_ND, counted, seed=1)
    assert once != made_queries(table, vector_ND, counted, seed=2)


def test_every_kind_is_made_of_the_words_of_its_document(corpus):
    table, vector_ND, _, counted = corpus
    made = made_queries(table, vector_ND, counted, seed=0)
    assert set(Counter(query.kind for query in made)) == {"keywords", "sentence", "crop", "title"}
    for query in made:
        text = table.text(query.row)
        flat = " ".join(text.split())
        words, own = words_of(query.text), words_of(text)
        if query.kind == "keywords":
            assert KEYWORDS[0] <= len(words) <= KEYWORDS[1]
            assert [own.index(word) for word in words] == sorted(own.index(word) for word in words)
        else:
            assert query.text in flat
        if query.kind == "crop":
            assert CROP[0] <= len(query.text.split()) <= CROP[1]
        if query.kind == "title":
            assert text.startswith(query.text)


def test_rare_words_are_drawn_as_keywords_more_often_than_common_ones(corpus):
    table, vector_ND, _, counted = corpus
    drawn = Counter(
        word
        for query in made_queries(table, vector_ND, counted, seed=0)
        if query.kind == "keywords"
        for word in query.text.split()
    )
    found_in = dict(zip(drawn, counted.frequencies(list(drawn)).tolist(), strict=True))
    rate = {word: count / found_in[word] for word, count in drawn.items()}
    assert rate["the"] < rate["pump"] < rate["gene"]


def test_a_corpus_without_titles_gives_none(tmp_path):
    texts = [f"One line of text number {row} is all there is of it." for row in range(50)]
    table = write_table(tmp_path / "corpus.arrow", [(str(row), t) for row, t in enumerate(texts)])
    vector_ND = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    made = made_queries(table, vector_ND, corpus_words(table, UNSTEMMED), seed=0)
    assert {query.kind for query in made} == {"keywords", "sentence", "crop"}


def test_clusters_are_the_topics_and_a_sample_is_even_over_them(corpus):
    _, vector_ND, topic_N, _ = corpus
    cluster_N = clusters_of(vector_ND, TOPICS, seed=3)
    pairs = set(zip(topic_N.tolist(), cluster_N.tolist(), strict=True))
    assert len({topic for topic, _ in pairs}) == TOPICS
    chosen = evenly(topic_N, 30, seed=0)
    assert len(set(chosen.tolist())) == 30
    assert Counter(topic_N[chosen].tolist()) == {0: 10, 1: 10, 2: 10}
    # the smallest is used up, the others share the rest
    assert Counter(topic_N[evenly(topic_N, 72, seed=0)].tolist()) == {0: 30, 1: 30, 2: 12}


def test_fewer_vectors_than_clusters_are_no_fault():
    assert len(clusters_of(np.eye(3, dtype=np.float32), 256, seed=0)) == 3


def test_idf_is_by_the_documents_that_have_a_word_however_often():
    texts = ["pump pump Valve", "valve tank", "tank"]
    idf = idf_of(["The Valve, pump, tank unheard"], Words(texts, UNSTEMMED))
    in_documents = {"the": 0, "valve": 2, "pump": 1, "tank": 2, "unheard": 0}
    assert idf == {word: log(1 + 3 / n) if n else 0.0 for word, n in in_documents.items()}
