"""Two rankings as one list, of which each document knows whose it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from random import Random
from typing import Literal, NamedTuple

Team = Literal["now", "beside"]


class Drafted(NamedTuple):
    """A document of an interleaved list; `team` is None where it tells the rankings not apart."""

    doc_id: str
    team: Team | None


def team_draft(now: Sequence[str], beside: Sequence[str], k: int, seed: int) -> list[Drafted]:
    """The rankings' documents in turns, at most `k`, none twice: before each round a coin says who
    picks first, and each team picks the best of its ranking that is not in the list yet. It ends
    where a team has none left.

    Documents with which both rankings begin stand first in any case, and are of no team: a click on
    them says nothing.

    Source: Radlinski, Kurup and Joachims, CIKM 2008, sec. 4.2.

    >>> [doc_id for doc_id, _ in team_draft(["a", "b"], ["a", "c"], 3, seed=0)]
    ['a', 'b', 'c']
    """
    pairs = zip(now[:k], beside[:k], strict=False)
    shared = [mine for mine, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    drafted = [Drafted(doc_id, None) for doc_id in shared]
    taken = set(shared)
    left: dict[Team, Iterator[str]] = {"now": iter(now), "beside": iter(beside)}
    random = Random(seed)
    while len(drafted) < k:
        first: Team = "beside" if random.random() < 0.5 else "now"
        for team in (first, _other(first)):
            best = next((doc_id for doc_id in left[team] if doc_id not in taken), None)
            if best is None or len(drafted) == k:
                return drafted
            taken.add(best)
            drafted.append(Drafted(best, team))
    return drafted


def _other(team: Team) -> Team:
    return "now" if team == "beside" else "beside"


def winner(drafted: Sequence[Drafted], clicked: Collection[str]) -> Team | None:
    """The team of more of the clicked documents; None where it is a tie.

    >>> winner([Drafted("a", "now"), Drafted("b", "beside")], {"b"})
    'beside'
    """
    teams = [team for doc_id, team in drafted if doc_id in clicked]
    lead = teams.count("beside") - teams.count("now")
    return None if lead == 0 else "beside" if lead > 0 else "now"
