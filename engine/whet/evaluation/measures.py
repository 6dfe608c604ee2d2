"""Measures by ir-measures, the only place that imports it: names to measures, a run to its scores.

Three traps are closed here. ir-measures asks a different library for RR@10 (ties by doc id
ascending) than for nDCG (descending): we rank once, by trec_eval's rule, and hand over distinct
scores, so that all measures see one ranking. Its parser of names uses `ast.Num`, deprecated since
Python 3.8 and gone in 3.14: ours does not. And pytrec_eval crashes the process on judgments that
are all negative: below 0 becomes 0, "judged not relevant", which scores alike.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whet.data.joined import SEPARATOR
from whet.errors import ConfigError, DataError
from whet.evaluation.trec import ranked

FAMILIAR = [
    "nDCG@10",
    "RR@10",
    "R@100",
    "AP@100",
    "P@1",
    "Success@10",
    "MRR@10",
    "Recall@100",
    "MAP@100",
]


@dataclass(frozen=True)
class Scores:
    """A system's quality: `means[measure]` and, of judged queries, `per_query[measure][query]`."""

    means: dict[str, float]
    per_query: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, ready for JSON."""
        return {"means": self.means, "per_query": self.per_query}


def balanced(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Scores of the queries of several data sets, by set and query, as one: each is multiplied so
    that the mean over all queries is the mean over the sets, a small set counting as a large one.

    >>> balanced({"a": {"q": 0.5}, "b": {"q": 1.0, "r": 0.5, "s": 0.0}})
    {'a/q': 1.0, 'b/q': 0.6666666666666666, 'b/r': 0.3333333333333333, 'b/s': 0.0}
    """
    queries = sum(map(len, scores.values()))
    return {
        f"{name}{SEPARATOR}{query}": value * (queries / (len(scores) * len(own)))
        for name, own in scores.items()
        for query, value in own.items()
    }


def by_set(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What `balanced` made one, or differences of such, as they were: by set and query.

    >>> by_set({"a/q": 1.0, "b/q": 0.75, "b/r": 0.375, "b/s": 0.0})["b"]
    {'q': 1.125, 'r': 0.5625, 's': 0.0}
    """
    parted: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        name, _, query = key.partition(SEPARATOR)
        parted.setdefault(name, {})[query] = value
    return {
        name: {
            query: value * (len(parted) * len(own) / len(values)) for query, value in own.items()
        }
        for name, own in parted.items()
    }


def score(
    run: Mapping[str, Mapping[str, float]],
    judgments: Mapping[str, Mapping[str, int]],
    measures: Sequence[str],
) -> Scores:
    """Score a run (query id -> doc id -> score) with each measure.

    Measures are keyed by ir-measures' own names (`RR@10` for `MRR@10`). A judged query that the run
    misses scores 0 and still counts; a query nobody judged does not count. Raises ConfigError for
    an unknown measure, DataError when nothing is judged.

    >>> scores = score({"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}, "r": {"a": 1}}, ["RR@10"])
    >>> scores.per_query["RR@10"], scores.means
    ({'q': 0.5, 'r': 0.0}, {'RR@10': 0.25})
    """
    if not any(judgments.values()):
        raise DataError(
            "no query is judged, so nothing can be scored. "
            "Add qrels for this split, or pick another."
        )
    asked = {str(measure): measure for measure in map(parse_measure, measures)}
    # Never below 0: pytrec_eval crashes the process where all judgments are negative.
    grades = {
        query: {doc: max(0, g) for doc, g in docs.items()}
        for query, docs in judgments.items()
        if docs
    }
    placed = {query: _by_place(run[query]) for query in sorted(grades) if run.get(query)}
    per_query: dict[str, dict[str, float]] = {name: {} for name in asked}
    for metric in _pipeline().iter_calc(list(asked.values()), grades, placed):
        per_query[str(metric.measure)][metric.query_id] = float(metric.value)
    ordered = {
        name: {query: by_query[query] for query in grades} for name, by_query in per_query.items()
    }
    # fsum rounds once, so a mean does not depend on the order of the queries.
    means = {
        name: math.fsum(by_query.values()) / len(by_query) for name, by_query in ordered.items()
    }
    return Scores(means, ordered)


def _by_place(scores: Mapping[str, float]) -> dict[str, float]:
    """The ranking as distinct scores, n for the first, 1 for the last: no tie left to break."""
    order = ranked(scores)
    return {doc: float(len(order) - place) for place, doc in enumerate(order)}


def _pipeline() -> Any:
    """The libraries that compute inside this process; ir-measures' own list also starts Perl."""
    import ir_measures

    known = [ir_measures.pytrec_eval, ir_measures.msmarco, ir_measures.judged]
    return ir_measures.providers.FallbackProvider(known)


def check_measures(measures: Sequence[str], depth: int) -> list[str]:
    """The measures' canonical names, each once; call it before hours of work, not after.

    Raises ConfigError for an unknown name, or one that looks deeper than the run's `depth`
    documents per query.

    >>> check_measures(["MRR@10", "RR@10", "nDCG@10"], depth=100)
    ['RR@10', 'nDCG@10']
    """
    if not measures:
        raise ConfigError("evaluate.measures is empty. Name at least one, such as nDCG@10.")
    parsed = [parse_measure(name) for name in measures]
    for measure in parsed:
        cutoff = measure.params.get("cutoff", 0)
        if cutoff > depth:
            raise ConfigError(
                f"evaluate.measures has {measure}, but {depth} documents a query are retrieved. "
                f"Set evaluate.depth={cutoff}."
            )
    return list(dict.fromkeys(str(measure) for measure in parsed))


def check_places(
    measures: Sequence[str], depth: int, judgments: Mapping[str, Mapping[str, int]]
) -> None:
    """ConfigError where R-precision looks at more places than are retrieved: at as many as a query
    has relevant documents.
    """
    if not any(parse_measure(name).NAME == "Rprec" for name in measures):
        return
    relevant = {query: sum(g > 0 for g in docs.values()) for query, docs in judgments.items()}
    query = max(relevant, key=lambda one: relevant[one], default=None)
    if query is not None and relevant[query] > depth:
        raise ConfigError(
            f"evaluate.measures has Rprec, which looks at {relevant[query]:,} places for query "
            f"{query!r}, and {depth:,} documents a query are retrieved. Set "
            f"evaluate.depth={relevant[query]}."
        )


def parse_measure(name: str) -> Any:
    """The ir-measures object of a name such as `nDCG@10`, `MRR@10` or `P(rel=2)@5`.

    Raises ConfigError, with the nearest known names, when there is no such measure or it cannot be
    computed here.

    >>> str(parse_measure("MRR@10")), str(parse_measure("P(rel=2)@5"))
    ('RR@10', 'P(rel=2)@5')
    """
    import ir_measures

    base, options, cutoff = _parts(name)
    registry = ir_measures.measures.registry
    if base not in registry:
        raise ConfigError(
            f"evaluate.measures: {name!r} is unknown. {_nearest(name, list(registry))}"
        )
    measure = registry[base]
    given = options if cutoff is None else {**options, measure.AT_PARAM: cutoff}
    try:
        measure = measure(**given)
        usable = _pipeline().supports(measure)
    except AssertionError as problem:  # ir-measures' way to refuse a parameter
        raise ConfigError(
            f"evaluate.measures: {name!r} lacks or mistakes a parameter. Try {base}@10."
        ) from problem
    if not usable:
        raise ConfigError(
            f"evaluate.measures: {name!r} cannot be computed here. {_nearest(name, [])}"
        )
    return measure


def _parts(name: str) -> tuple[str, dict[str, Any], int | None]:
    """`P(rel=2)@5` -> ("P", {"rel": 2}, 5)."""
    try:
        # Read as an expression, never run: literal_eval takes constants alone.
        node = ast.parse(name.strip(), mode="eval").body
        cutoff = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            cutoff = ast.literal_eval(node.right)
            node = node.left
        options = {}
        if isinstance(node, ast.Call) and not node.args:
            options = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
            node = node.func
        if not isinstance(node, ast.Name) or not (cutoff is None or cutoff > 0):
            raise ValueError("not of the form Name@number")
    except (SyntaxError, ValueError, TypeError) as problem:
        raise ConfigError(
            f"evaluate.measures: {name!r} cannot be read. {_nearest(name, [])}"
        ) from problem
    return node.id, options, cutoff


def _nearest(name: str, bases: Sequence[str]) -> str:
    """A sentence with up to three names that look like this one."""
    _, sign, cutoff = name.partition("@")
    usual = [measure.partition("@")[0] for measure in FAMILIAR]  # of NDCG and nDCG the latter
    alike = [base + sign + cutoff for base in (*bases, *usual)]
    known = {known.lower(): known for known in [*alike, *FAMILIAR]}
    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.6)
    words = ", ".join(known[match] for match in near) or ", ".join(FAMILIAR[:5])
    return f"Try {words}."
