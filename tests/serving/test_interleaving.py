"""Lists of two rankings, whose clicks are whose, and the test that may be looked at any time."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from whet.serving.beside.draft import Drafted, team_draft, winner
from whet.serving.beside.evidence import Wins, decision, evidence

RANKINGS = st.lists(st.sampled_from("abcdefghij"), unique=True)


@given(RANKINGS, RANKINGS, st.integers(1, 12), st.integers(0, 2**63))
def test_a_draft_is_fair(now: list[str], beside: list[str], k: int, seed: int) -> None:
    drafted = team_draft(now, beside, k, seed)
    ids = [doc_id for doc_id, _ in drafted]
    assert len(set(ids)) == len(ids) <= k
    for end in range(len(drafted) + 1):
        counts = Counter(team for _, team in drafted[:end])
        assert abs(counts["now"] - counts["beside"]) <= 1
    for ranking, team in ((now, "now"), (beside, "beside")):
        of_team = [doc_id for doc_id, of in drafted if of == team]
        assert of_team == sorted(of_team, key=ranking.index)
        # who picks takes the best that is not there yet: all above it in its ranking are
        for doc_id in of_team:
            assert set(ranking[: ranking.index(doc_id)]) <= set(ids[: ids.index(doc_id)])
    if set(now) == set(beside):
        assert len(drafted) == min(k, len(now))


@given(RANKINGS, st.integers(1, 12), st.integers(0, 2**63))
def test_equal_rankings_make_their_list_and_no_winner(now: list[str], k: int, seed: int) -> None:
    drafted = team_draft(now, now, k, seed)
    assert drafted == [Drafted(doc_id, None) for doc_id in now[:k]]
    assert winner(drafted, set(now)) is None


def test_random_clicks_favour_nobody() -> None:
    """Also where they are biased to the top, and one ranking is a shuffle of the other."""
    random = np.random.default_rng(0)
    names = [f"d{number}" for number in range(30)]
    won: Counter[str | None] = Counter()
    for seed in range(20_000):
        now, beside = random.permutation(names)[:10], random.permutation(names)[:10]
        drafted = team_draft(now.tolist(), beside.tolist(), 10, seed)
        looked = random.random(len(drafted)) < 0.6 / (1 + np.arange(len(drafted)))
        clicked = {doc_id for (doc_id, _), click in zip(drafted, looked, strict=True) if click}
        won[winner(drafted, clicked)] += 1
    decided = won["now"] + won["beside"]
    assert decided > 10_000
    assert abs(won["beside"] / decided - 0.5) < 4 * 0.5 / decided**0.5


def test_a_click_on_the_better_ranking_wins() -> None:
    drafted = team_draft(["x", "y", "z"], ["good", "x", "y"], 3, seed=1)
    assert winner(drafted, {"good"}) == "beside"
    assert winner(drafted, {"nowhere"}) is None


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (0, 1), (7, 3), (3, 7), (40, 22)])
def test_the_evidence_is_the_bets_spread(won: int, lost: int) -> None:
    def grown(chance: float) -> float:
        return float(2 * beta.pdf(chance, 5, 5) * (2 * chance) ** won * (2 - 2 * chance) ** lost)

    expected, _ = quad(grown, 0.5, 1, limit=200)
    assert evidence(won, lost) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_bet_gains_nothing_by_chance(won: int, lost: int) -> None:
    """At a chance of 1/2 the next list leaves it as it is on average; at less it loses."""
    now = evidence(won, lost)
    more, less = evidence(won + 1, lost), evidence(won, lost + 1)
    assert (more + less) / 2 == pytest.approx(now, rel=1e-9)
    assert more >= less


@pytest.mark.parametrize("chance", [0.5, 0.45])
def test_an_equal_or_worse_one_is_rarely_shipped_though_one_looks_each_time(chance: float) -> None:
    random, runs, lists = np.random.default_rng(3), 400, 500
    told = cache(decision)
    shipped = kept = 0
    for _ in range(runs):
        won = np.cumsum(random.random(lists) < chance)
        for count, mine in enumerate(won.tolist(), 1):
            said = told(Wins(now=count - mine, beside=mine))
            if said != "not decided yet":
                shipped, kept = shipped + (said == "ship"), kept + (said == "keep")
                break
    assert shipped <= 0.025 * runs + 3 * (0.025 * 0.975 * runs) ** 0.5
    assert chance < 0.5 or shipped + kept <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


def test_a_better_one_is_shipped_and_a_worse_one_kept() -> None:
    assert decision(Wins(now=80, beside=140, ties=1000)) == "ship"
    assert decision(Wins(now=140, beside=80)) == "keep"
    assert decision(Wins()) == "not decided yet"
    assert decision(Wins(now=10**6, beside=10**6)) == "not decided yet"
    assert evidence(0, 10**6) == 0 and evidence(10**6, 0) > 1e300
