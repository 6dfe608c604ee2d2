"""What may be a negative: options checked, s+ of each row, its score window, its exclusions
(docs/mining.md).

Shape suffixes: Q queries, P positives of all queries, N corpus rows, R rows of negatives to mine, E
exclusions.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from whet.config import MiningConfig
from whet.config.option import rules_of
from whet.errors import ConfigError
from whet.types import Positives
from whet_kernels.topk.exact import slices
from whet_kernels.topk.window import Exclude

ALIASES = ("margin_pos", "perc_pos")
GROUP_ROWS = 1 << 20  # of the group table read at a time


def policy_from(options: Mapping[str, Any]) -> MiningConfig:
    """A checked policy from options by name, the NV-Retriever names among them.

    `margin_pos=m` is `absolute_margin=m`; `perc_pos=p` is `relative_margin=1-p`.

    >>> policy_from({"perc_pos": 0.95}).relative_margin
    0.05
    """
    known = [field.name for field in fields(MiningConfig)]
    given = dict(options)
    for name in given:
        if name not in known and name not in ALIASES:
            near = difflib.get_close_matches(name, [*known, *ALIASES], 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
            raise ConfigError(f"mining.{name} is not an option.{hint}")
    for alias, name in (("margin_pos", "absolute_margin"), ("perc_pos", "relative_margin")):
        if alias in given and name in given:
            raise ConfigError(f"mining.{alias} and mining.{name} are one option. Give one of them.")
    if "margin_pos" in given:
        given["absolute_margin"] = given.pop("margin_pos")
        given.setdefault("relative_margin", None)  # TopK-MarginPos has no other margin
    if "perc_pos" in given:
        _in_range("perc_pos", given["perc_pos"], 0, 1)
        # 1 - 0.95 is 0.050000000000000044: fifteen digits give the 0.05 that was meant.
        given["relative_margin"] = float(f"{1 - given.pop('perc_pos'):.15g}")
    return check_policy(MiningConfig(**given))


def check_policy(policy: MiningConfig) -> MiningConfig:
    """The policy itself, if its options are in range and do not contradict each other; else
    ConfigError.
    """
    for name, rules in rules_of(MiningConfig).items():
        value = getattr(policy, name)
        if rules.choices and value not in rules.choices:
            raise ConfigError(
                f"mining.{name}={value} is not known. Choose from {', '.join(rules.choices)}."
            )
    _in_range("num_negatives", policy.num_negatives, 1, math.inf)  # 0: nothing is mined
    for name, rules in rules_of(MiningConfig).items():
        if rules.least is not None:
            _in_range(name, getattr(policy, name), rules.least, rules.most)
    if policy.range_max is not None and policy.range_max - policy.range_min < policy.num_negatives:
        raise ConfigError(
            f"mining.range_max={policy.range_max} leaves "
            f"{max(0, policy.range_max - policy.range_min)} places after "
            f"range_min={policy.range_min} for num_negatives={policy.num_negatives}. "
            f"Set range_max to {policy.range_min + policy.num_negatives} or more, or leave it out."
        )
    if policy.reference == "each" and policy.on_short == "drop":
        raise ConfigError(
            "mining.reference=each keeps one row a positive, in order; on_short=drop would break "
            "the order. "
            "Choose on_short=keep or random."
        )
    if policy.backend == "ivf":
        _check_for_some(policy, "backend=ivf")
    if policy.scope == "candidates":
        _check_for_some(policy, "scope=candidates")
    low, high = policy.min_score, policy.max_score
    if low is not None and high is not None and low > high:
        raise ConfigError(
            f"mining.min_score={low} is above max_score={high}: no document is between. Swap them."
        )
    return policy


def _check_for_some(policy: MiningConfig, choice: str) -> None:
    """What needs every document's score cannot be had from some of them."""
    option = choice.partition("=")[0]
    if policy.rank_window == "raw":
        raise ConfigError(
            f"mining.rank_window=raw counts ranks over the whole corpus, which {choice} does not "
            f"look at. Choose another {option}, or rank_window=survivors."
        )
    if policy.sampling == "random" and policy.range_max is None:
        raise ConfigError(
            f"mining.sampling=random draws from all that is allowed, which {choice} does not "
            f"know. Give range_max, or choose another {option}."
        )


def _in_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is None:
        return
    if not (isinstance(value, int | float) and low <= value <= high) or math.isnan(value):
        span = f"{low} to {high}" if high < math.inf else f"{low} or more"
        span = "a number" if low == -math.inf else span
        raise ConfigError(f"mining.{name}={value} is out of range. Give {span}.")


class References(NamedTuple):
    """The rows to mine: the query of each, s+ (float32, NaN without a positive), and which positive
    it is for.
    """

    query_rows_R: np.ndarray
    score_R: np.ndarray
    ordinal_R: np.ndarray  # 0 but for reference=each, where it counts a query's positives


def references(positives: Positives, score_P: np.ndarray, reference: str) -> References:
    """One row per query with s+ the least or greatest of its positives' scores, or one row per
    positive.

    >>> pair = Positives(np.array([0, 2]), np.array([5, 6]), np.arange(9))
    >>> references(pair, np.float32([0.75, 0.5]), "min").score_R
    array([0.5], dtype=float32)
    >>> references(pair, np.float32([0.75, 0.5]), "each").ordinal_R
    array([0, 1])
    """
    count = len(positives)
    query_P = positive_queries(positives)
    if reference == "each":
        alone = np.flatnonzero(np.diff(positives.offsets_Q1) == 0)
        ordinal_P = np.arange(len(query_P)) - positives.offsets_Q1[query_P]
        query_R = np.concatenate([query_P, alone])
        score_R = np.concatenate([score_P, np.full(len(alone), np.nan, np.float32)])
        ordinal_R = np.concatenate([ordinal_P, np.zeros(len(alone), np.int64)])
        order = np.lexsort((ordinal_R, query_R))
        return References(query_R[order], score_R[order], ordinal_R[order])
    score_Q = np.full(count, np.nan, np.float32)
    combine = np.fmin if reference == "min" else np.fmax
    combine.at(score_Q, query_P, score_P)
    return References(np.arange(count), score_Q, np.zeros(count, np.int64))


def positive_queries(positives: Positives) -> np.ndarray:
    """The query of each positive, int64 [P].

    >>> positive_queries(Positives(np.array([0, 2, 2, 3]), np.array([5, 6, 7]), np.arange(9)))
    array([0, 0, 2])
    """
    return np.repeat(np.arange(len(positives)), np.diff(positives.offsets_Q1))


def thresholds(score_R: np.ndarray, policy: MiningConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Ceiling and floor of each row, float32: computed in float64 from the float32 s+, then rounded
    once.

    ceiling = min(max_score, s+ - absolute_margin, s+ - |s+| * relative_margin), floor = min_score;
    without s+ the ceiling is max_score alone. |s+| and not s+: the margin must lower the ceiling of
    a negative s+ too.

    >>> thresholds(np.float32([0.8, -0.8]), MiningConfig(relative_margin=0.25))[0]
    array([ 0.6, -1. ], dtype=float32)
    """
    exact_R = score_R.astype(np.float64)
    ceiling_R = np.full(len(score_R), np.inf)
    if policy.max_score is not None:
        ceiling_R[:] = policy.max_score
    if policy.absolute_margin is not None:
        ceiling_R = np.fmin(ceiling_R, exact_R - policy.absolute_margin)
    if policy.relative_margin is not None:
        ceiling_R = np.fmin(ceiling_R, exact_R - np.abs(exact_R) * policy.relative_margin)
    if policy.min_score is None:
        return ceiling_R.astype(np.float32), None
    return ceiling_R.astype(np.float32), np.full(len(score_R), policy.min_score, np.float32)


def exclusions(positives: Positives) -> Exclude:
    """Each query's positives and all documents whose text equals one of theirs (group_of_N), or the
    query's own.

    >>> same_text = np.array([0, 1, 0, 2])  # documents 0 and 2 have one text
    >>> exclusions(Positives(np.array([0, 1]), np.array([2]), same_text)).rows_E
    array([0, 2])
    """
    query_P, group_P = _never_negative(positives)
    wanted = np.unique(group_P)
    members, groups = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    # In slices: `isin` over all documents at once would take several times their memory.
    for span in slices(len(positives.group_of_N), GROUP_ROWS):
        part = np.asarray(positives.group_of_N[span])
        inside = np.flatnonzero(np.isin(part, wanted))
        members.append(inside + span.start)
        groups.append(part[inside])
    member_M, group_M = np.concatenate(members), np.concatenate(groups)
    # Sorted by group, the members of a positive's group are one range: no loop over positives.
    order = np.argsort(group_M, kind="stable")
    member_M, group_M = member_M[order], group_M[order]
    starts_P = np.searchsorted(group_M, group_P, side="left")
    size_P = np.searchsorted(group_M, group_P, side="right") - starts_P
    before_P = np.cumsum(size_P) - size_P
    # All those ranges, one after another.
    rows_E = member_M[np.arange(size_P.sum()) + np.repeat(starts_P - before_P, size_P)]
    return _distinct(np.repeat(query_P, size_P), rows_E, positives)


def _never_negative(positives: Positives) -> tuple[np.ndarray, np.ndarray]:
    """Queries and groups of documents that are no negatives of them: positives, then own texts."""
    query_P = positive_queries(positives)
    group_P = np.asarray(positives.group_of_N[positives.doc_rows_P])
    if positives.own_Q is None:
        return query_P, group_P
    own = np.flatnonzero(positives.own_Q >= 0)
    return np.append(query_P, own), np.append(group_P, positives.own_Q[own])


def _distinct(query_E: np.ndarray, rows_E: np.ndarray, positives: Positives) -> Exclude:
    """Two positives of one text exclude the same rows: keep each once."""
    rows = max(1, len(positives.group_of_N))
    pair_E = np.unique(query_E * rows + rows_E)
    offsets_Q1 = np.searchsorted(pair_E, np.arange(len(positives) + 1) * rows)
    return Exclude(offsets_Q1.astype(np.int64), pair_E % rows)
