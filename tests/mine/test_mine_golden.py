"""The golden vectors: chosen cosines to one query, every policy, the negatives a hand can check."""

from __future__ import annotations

import numpy as np
import pytest

from whet.mining.miner import mine
from whet.mining.policy import policy_from
from whet.types import Embeddings, Positives

pytestmark = pytest.mark.kernel
COSINES = {
    **{"pos": 0.80, "d0": 0.95, "d1": 0.79, "d2": 0.74, "d3": 0.60, "d4": 0.50, "d5": 0.40},
    **{"d6": 0.30, "d7": 0.20, "d8": 0.10, "d9": 0.05},
}
IDS = list(COSINES)
COSINE_N = np.array(list(COSINES.values()))
CORPUS = Embeddings(IDS, np.stack([COSINE_N, np.sqrt(1 - COSINE_N**2)], 1).astype(np.float32))
QUERY = Embeddings(["q"], np.float32([[1, 0]]))


def negatives_of(positives, **options):
    """Ids of each row of negatives. Only the margins given apply."""
    rows = np.array(sorted(IDS.index(id_) for id_ in positives))
    table = Positives(np.array([0, len(rows)]), rows, np.arange(len(IDS)))
    mined = mine(QUERY, CORPUS, table, policy_from({"relative_margin": None, **options}))
    return [[IDS[doc] for doc in row if doc >= 0] for row in mined.negatives.doc_rows_RK]


MARGIN = {"num_negatives": 2, "relative_margin": 0.05}  # ceiling .76
WINDOW = {**MARGIN, "range_min": 1, "range_max": 9}
BAND = {"num_negatives": 3, "max_score": 0.12, "min_score": 0.08, "range_max": 10}
GOLDEN = [
    (["pos"], {"num_negatives": 2}, [["d0", "d1"]]),
    (["pos"], {"num_negatives": 2, "range_min": 1}, [["d1", "d2"]]),
    (["pos"], MARGIN, [["d2", "d3"]]),
    (["pos"], WINDOW, [["d3", "d4"]]),
    (["pos"], {**WINDOW, "rank_window": "raw"}, [["d2", "d3"]]),
    (["pos"], {"num_negatives": 2, "absolute_margin": 0.05}, [["d2", "d3"]]),
    (["pos"], {"num_negatives": 3, "max_score": 0.7, "min_score": 0.25}, [["d3", "d4", "d5"]]),
    # the ceiling .60 is d3's score: equality keeps, in float32
    (["pos"], {"num_negatives": 2, "relative_margin": 0.25}, [["d3", "d4"]]),
    # the ceiling .475 is from the lower of the two positives
    (["pos", "d4"], MARGIN, [["d5", "d6"]]),
    (["pos", "d4"], {**MARGIN, "reference": "max"}, [["d2", "d3"]]),
    (["pos", "d4"], {**MARGIN, "reference": "each"}, [["d2", "d3"], ["d5", "d6"]]),
    (["pos"], BAND, [["d8"]]),
    (["pos"], {**BAND, "on_short": "drop"}, []),
    (["pos"], {"num_negatives": 2, "margin_pos": 0.05}, [["d2", "d3"]]),
]


@pytest.mark.parametrize("backend", ["faiss", "blas", "int8", "ivf"])
@pytest.mark.parametrize(("positives", "options", "expected"), GOLDEN)
def test_golden(positives, options, expected, backend):
    if backend == "ivf" and "rank_window" in options:
        pytest.skip("refused: raw ranks need the whole corpus")
    assert negatives_of(positives, **options, backend=backend) == expected


def test_perc_pos_is_the_relative_margin():
    rows = np.array([0])
    table = Positives(np.array([0, 1]), rows, np.arange(len(IDS)))
    mined = mine(QUERY, CORPUS, table, policy_from({"num_negatives": 2, "perc_pos": 0.95}))
    assert mined.negatives.doc_rows_RK.tolist() == [[IDS.index("d2"), IDS.index("d3")]]


def test_ranks_count_the_whole_corpus_from_0():
    table = Positives(np.array([0, 1]), np.array([0]), np.arange(len(IDS)))
    negatives = mine(QUERY, CORPUS, table, policy_from({"num_negatives": 3})).negatives
    # .76 leaves d2, d3, d4; before d2 stand d0, pos and d1
    assert negatives.ranks_RK.tolist() == [[3, 4, 5]]
    assert negatives.positive_scores_R.tolist() == [np.float32(0.8)]


def test_negative_positive_score_lowers_the_ceiling():
    """s+ = -.5 with a margin of 10 % must give the ceiling -.55, not -.45."""
    cosines = np.array([-0.5, -0.47, -0.52, -0.56, -0.9])
    docs = np.stack([cosines, np.sqrt(1 - cosines**2)], 1).astype(np.float32)
    table = Positives(np.array([0, 1]), np.array([0]), np.arange(5))
    policy = policy_from({"num_negatives": 4, "relative_margin": 0.1})
    mined = mine(QUERY, Embeddings(list("pabcd"), docs), table, policy)
    assert mined.negatives.doc_rows_RK.tolist() == [[3, 4, -1, -1]]


class ChosenCosines:
    """What sentence-transformers needs of a model: vectors of these texts."""

    similarity_fn_name, device = "cosine", "cpu"

    def encode(self, texts, **_):
        return np.array(
            [[1.0, 0.0] if text == "q" else CORPUS.vectors[IDS.index(text)] for text in texts]
        )

    encode_query = encode_document = encode

    def similarity(self, a, b):
        import torch

        return torch.as_tensor(np.asarray(a) @ np.asarray(b).T)

    def similarity_pairwise(self, a, b):
        import torch

        return torch.as_tensor((np.asarray(a) * np.asarray(b)).sum(-1))


@pytest.mark.parametrize(
    "options",
    [
        {"num_negatives": 2},
        {"num_negatives": 2, "range_min": 1},
        {"num_negatives": 2, "relative_margin": 0.05},
        {"num_negatives": 2, "absolute_margin": 0.05},
        {"num_negatives": 3, "max_score": 0.7, "min_score": 0.25},
        {"num_negatives": 2, "relative_margin": 0.05, "range_min": 1, "range_max": 9},
    ],
)
def test_sentence_transformers_agrees(options):
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    rows = mine_hard_negatives(
        Dataset.from_dict({"anchor": ["q"], "positive": ["pos"]}),
        ChosenCosines(),
        corpus=IDS,
        output_format="n-tuple",
        verbose=False,
        **options,
    )
    theirs = [rows[0][name] for name in rows.column_names if name.startswith("negative")]
    assert negatives_of(["pos"], **options) == [theirs]
