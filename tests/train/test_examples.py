"""What a step computes on: distinct texts, and never a known positive as negative."""

import numpy as np
import pytest

from whet.data.positives import positives_of
from whet.data.table import write_table
from whet.model.encoder import Encoder
from whet.training.batches.examples import Examples, known_positives
from whet.types import Negatives, Positives, Qrels


def qrels(*rows):
    columns = np.array(sorted(rows)).T
    return Qrels(columns[0], columns[1], columns[2].astype(float))


@pytest.fixture
def tables(tmp_path):
    """d3 is d0 in other letters; q2 asks what q0 asks."""
    corpus = ["bace difo", "guka", "lemi nopu", "Bace  DIFO", "rase"]
    queries = ["bace", "guka lemi", "BACE"]
    return (
        write_table(tmp_path / "queries.arrow", [(f"q{i}", t) for i, t in enumerate(queries)]),
        write_table(tmp_path / "corpus.arrow", [(f"d{i}", t) for i, t in enumerate(corpus)]),
    )


def examples_of(judged, tables):
    queries, corpus = tables
    return Examples(judged, positives_of(judged, queries, corpus), queries=queries, corpus=corpus)


def negatives(query_rows, doc_rows):
    doc_rows = np.array(doc_rows)
    blank = np.zeros(doc_rows.shape)
    return Negatives(
        np.array(query_rows), doc_rows, blank, blank.astype(int), np.zeros(len(doc_rows))
    )


def test_duplicates_and_same_queries_are_masked(tables, tiny_model):
    """q0 likes d0 (and so its twin d3), q2 asks the same and likes d2: neither is ever q0's
    negative.
    """
    examples = examples_of(qrels((0, 0, 1), (1, 1, 1), (2, 2, 1)), tables)
    examples.set_negatives(negatives([0, 1, 2], [[4], [3], [4]]))
    batch = examples.batch(np.array([0, 1, 2]), Encoder.load(str(tiny_model)))
    # candidates: d0 (also standing for its twin d3), d1, d2, d4
    assert batch.targets.column_B.tolist() == [0, 1, 2]
    assert batch.targets.mask(4).tolist() == [
        [True, False, True, False],
        [False, True, False, False],
        [True, False, True, False],
    ]
    assert batch.queries == 3 and len(batch.tokens) == 3 + 4


def test_pairs_of_one_query_share_its_text(tables, tiny_model):
    examples = examples_of(qrels((0, 0, 1), (0, 1, 2), (1, 2, 1)), tables)
    batch = examples.batch(np.array([0, 1, 2]), Encoder.load(str(tiny_model)))
    assert batch.queries == 2 and batch.query_B.tolist() == [0, 0, 1]
    assert batch.targets.mask(3).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]


def test_judged_not_relevant_joins_the_negatives(tables, tiny_model):
    examples = examples_of(qrels((0, 0, 1), (0, 2, 0), (1, 1, 1)), tables)
    encoder = Encoder.load(str(tiny_model))
    assert len(examples.batch(np.array([0]), encoder).tokens) == 1 + 2
    assert len(examples.batch(np.array([1]), encoder).tokens) == 1 + 1


def test_short_rows_and_queries_without_negatives(tables):
    examples = examples_of(qrels((0, 0, 1), (1, 1, 1), (2, 2, 1)), tables)
    examples.set_negatives(negatives([0, 2], [[4, -1], [1, 4]]))
    assert examples.negatives_PK.tolist() == [[4, -1], [-1, -1], [1, 4]]


def test_a_row_for_each_positive(tables):
    examples = examples_of(qrels((0, 0, 1), (0, 1, 1), (1, 2, 1)), tables)
    examples.set_negatives(negatives([0, 0, 1], [[2], [4], [3]]))
    assert examples.negatives_PK.ravel().tolist() == [2, 4, 3]
    examples.set_negatives(negatives([0, 1], [[2], [3]]))
    assert examples.negatives_PK.ravel().tolist() == [2, 2, 3]


def test_mask_is_the_same_whichever_device_holds_the_candidates():
    """Candidates gathered from two devices are masked as those of one: the table is global."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, 40)
    docs = np.concatenate([np.sort(rng.choice(60, count, replace=False)) for count in counts])
    table = Positives(
        np.concatenate([[0], np.cumsum(counts)]), docs.astype(np.int64), rng.integers(0, 60, 60)
    )
    candidates = np.unique(rng.integers(0, 60, 30))
    rows = rng.integers(0, 40, 16)
    offsets, columns = known_positives(table, rows, candidates)
    for b, row in enumerate(rows):
        liked = {int(table.group_of_N[doc]) for doc in table.of(int(row))}
        wanted = [c for c, group in enumerate(candidates) if int(group) in liked]
        assert sorted(set(columns[offsets[b] : offsets[b + 1]].tolist())) == wanted
    halves = [known_positives(table, half, candidates) for half in (rows[:8], rows[8:])]
    assert np.array_equal(offsets[:9], halves[0][0])
    assert np.array_equal(offsets[8:], halves[1][0] + offsets[8])
    assert np.array_equal(columns, np.concatenate([columns for _, columns in halves]))
