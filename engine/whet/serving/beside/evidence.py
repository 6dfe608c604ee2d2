"""Which of two versions do people prefer? A test that may be looked at after every search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betainc, betaln

LEVEL = 0.05  # of both ways together
NEAR_EVEN = 5.0  # of a Beta: versions differ by little more often than by much

Decision = Literal["ship", "keep", "not decided yet"]


@dataclass(frozen=True)
class Wins:
    """Lists that were won by the version that answers, by the one beside it, and by none."""

    now: int = 0
    beside: int = 0
    ties: int = 0


def evidence(won: int, lost: int) -> float:
    """How much a bet against "it wins at most half of the lists without a tie" would have made of
    a stake of 1.

    If that is true, the bet is ever worth 20 or more with a probability of at most 1 / 20, however
    often one looks and whenever one stops (Ville's inequality). The bet is spread over the chances
    p of winning from 1/2 to 1 as Beta(5, 5) is there: each of them multiplies the stake by 2 p
    at a list that is won and by 2 (1 - p) at one that is lost, which gains nothing on average where
    the true chance is at most 1/2.

    Sources: Robbins, Annals of Mathematical Statistics 41, 1970; Howard et al., arXiv 1810.08240;
    Waudby-Smith and Ramdas, arXiv 2010.09686.

    >>> round(evidence(0, 0), 6), round(evidence(1, 0), 3), evidence(30, 8) > 20
    (1.0, 1.246, True)
    """
    upper = betainc(
        lost + NEAR_EVEN, won + NEAR_EVEN, 0.5
    )  # the mass over 1/2 that the results leave
    if upper == 0:
        return 0.0
    lists = won + lost
    mass = betaln(won + NEAR_EVEN, lost + NEAR_EVEN) - betaln(NEAR_EVEN, NEAR_EVEN)
    log = (lists + 1) * np.log(2) + mass
    return float(np.exp(min(700.0, float(log + np.log(upper)))))


def decision(wins: Wins, level: float = LEVEL) -> Decision:
    """Ship the version beside, keep the one that answers, or wait.

    Half of the level is for each way: what is worse or equal is shipped with a probability of at
    most `level` / 2, and what is better or equal is turned down with no more than that.

    >>> decision(Wins(now=5, beside=30)), decision(Wins(now=30, beside=5)), decision(Wins(3, 5))
    ('ship', 'keep', 'not decided yet')
    """
    bar = 2 / level
    if evidence(wins.beside, wins.now) >= bar:
        return "ship"
    return "keep" if evidence(wins.now, wins.beside) >= bar else "not decided yet"
