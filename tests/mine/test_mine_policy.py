"""Options out of range or at odds are refused with what to do; thresholds and exclusions."""

from __future__ import annotations

import numpy as np
import pytest

from whet.config import MiningConfig
from whet.errors import ConfigError
from whet.mining.policy import exclusions, policy_from, references, thresholds
from whet.types import Positives


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": 0}, "mining.num_negatives=0 is out of range. Give 1 or more."),
        ({"range_min": -1}, "range_min=-1 is out of range. Give 0 or more."),
        ({"relative_margin": 5}, "relative_margin=5 is out of range. Give 0 to 1."),
        ({"relative_margin": float("nan")}, "relative_margin=nan is out of range"),
        ({"absolute_margin": -0.1}, "absolute_margin=-0.1 is out of range. Give 0 or more."),
        ({"max_score": float("nan")}, "max_score=nan is out of range. Give a number."),
        ({"perc_pos": 95}, "perc_pos=95 is out of range. Give 0 to 1."),
        ({"rank_window": "row"}, "rank_window=row is not known. Choose from survivors, raw."),
        ({"reference": "mean"}, "Choose from min, max, each."),
        ({"sampling": "best"}, "Choose from top, random."),
        ({"on_short": "pad"}, "Choose from keep, drop, random."),
        ({"backend": "annoy"}, "Choose from auto, gpu, int8"),
        ({"range_min": 3, "range_max": 5, "num_negatives": 4}, "Set range_max to 7 or more"),
        ({"min_score": 0.5, "max_score": 0.4}, "min_score=0.5 is above max_score=0.4"),
        ({"reference": "each", "on_short": "drop"}, "Choose on_short=keep or random."),
        (
            {"relative_margn": 0.1},
            "mining.relative_margn is not an option. Did you mean relative_m",
        ),
        ({"zzz": 1}, "mining.zzz is not an option. Known: num_negatives"),
        ({"perc_pos": 0.9, "relative_margin": 0.1}, "are one option. Give one of them."),
        ({"margin_pos": 0.1, "absolute_margin": 0.1}, "are one option. Give one of them."),
    ],
)
def test_refused(options, message):
    with pytest.raises(ConfigError) as error:
        policy_from(options)
    assert message in str(error.value)


def test_aliases():
    assert policy_from({"perc_pos": 0.95}) == MiningConfig(relative_margin=0.05)
    assert policy_from({"margin_pos": 0.1}) == MiningConfig(
        absolute_margin=0.1, relative_margin=None
    )


@pytest.mark.parametrize(
    ("score", "options", "ceiling"),
    [
        (0.8, {"relative_margin": 0.05}, 0.76),
        (0.8, {"relative_margin": 0.05, "absolute_margin": 0.1}, 0.7),
        (0.8, {"relative_margin": 0.05, "max_score": 0.5}, 0.5),
        (-0.8, {"relative_margin": 0.25}, -1.0),
        (0.0, {"relative_margin": 0.25}, 0.0),
        (0.8, {"relative_margin": None}, np.inf),
        (np.nan, {"relative_margin": 0.05}, np.inf),
        (np.nan, {"relative_margin": 0.05, "max_score": 0.9}, 0.9),
    ],
)
def test_ceiling(score, options, ceiling):
    found, floor = thresholds(np.float32([score]), MiningConfig(**options))
    assert found.dtype == np.float32
    assert found[0] == np.float32(ceiling)
    assert floor is None


def test_floor():
    _, floor = thresholds(np.float32([0.8, 0.1]), MiningConfig(min_score=0.3))
    assert floor.tolist() == [np.float32(0.3)] * 2


POSITIVES = Positives(
    np.array([0, 2, 2, 5]), np.array([1, 4, 0, 1, 3]), np.array([0, 1, 2, 1, 4, 0])
)


@pytest.mark.parametrize(
    ("reference", "queries", "scores", "ordinals"),
    [
        ("min", [0, 1, 2], [0.25, None, -0.5], [0, 0, 0]),
        ("max", [0, 1, 2], [0.5, None, 0.75], [0, 0, 0]),
        ("each", [0, 0, 1, 2, 2, 2], [0.5, 0.25, None, 0.75, 0.125, -0.5], [0, 1, 0, 0, 1, 2]),
    ],
)
def test_reference_scores(reference, queries, scores, ordinals):
    score_P = np.float32([0.5, 0.25, 0.75, 0.125, -0.5])
    found = references(POSITIVES, score_P, reference)
    assert found.query_rows_R.tolist() == queries
    assert [None if np.isnan(s) else s for s in found.score_R.tolist()] == scores
    assert found.ordinal_R.tolist() == ordinals


def test_exclusions_are_positives_and_their_duplicates_once():
    """Documents 1 and 3 share a text, 0 and 5 too; query 2 has both 1 and 3 as positives."""
    exclude = exclusions(POSITIVES)
    lists = np.split(exclude.rows_E, exclude.offsets_Q1[1:-1])
    assert [rows.tolist() for rows in lists] == [[1, 3, 4], [], [0, 1, 3, 5]]
