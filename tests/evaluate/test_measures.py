"""Measures: tables a hand can check, and equality with pytrec_eval on whatever hypothesis makes."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import ir_measures
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.errors import ConfigError, DataError
from whet.evaluation.measures import check_measures, check_places, parse_measure, score
from whet.evaluation.trec import Judgments, Run


def ranking(docs: str) -> dict[str, float]:
    """ "ab" is a run with a first, b second."""
    return {doc: float(-place) for place, doc in enumerate(docs)}


# One query; relevant: a (grade 2), b (grade 1). Ideal DCG = 2 / log2(2) + 1 / log2(3) = 2.63093.
TABLE = [
    ("ab", "nDCG@10", 1.0),
    ("ba", "nDCG@10", (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))),
    ("xa", "nDCG@10", (2 / math.log2(3)) / (2 + 1 / math.log2(3))),
    ("xyzb", "nDCG@10", (1 / math.log2(5)) / (2 + 1 / math.log2(3))),
    ("xyza", "nDCG@3", 0.0),
    ("xy", "nDCG@10", 0.0),
    ("ab", "RR@10", 1.0),
    ("xxxa"[2:], "RR@10", 1 / 2),
    ("xyza", "RR@10", 1 / 4),
    ("xyza", "RR@3", 0.0),
    ("xa", "R@100", 1 / 2),
    ("bxa", "R@100", 1.0),
    ("bxa", "R@2", 1 / 2),
    ("bxa", "AP@100", (1 / 1 + 2 / 3) / 2),
    ("xa", "AP@100", (1 / 2) / 2),
    ("bxa", "P@2", 1 / 2),
    ("bxa", "P(rel=2)@3", 1 / 3),
    ("xa", "Success@1", 0.0),
]


@pytest.mark.parametrize(("docs", "measure", "expected"), TABLE)
def test_table(docs: str, measure: str, expected: float) -> None:
    scores = score({"q": ranking(docs)}, {"q": {"a": 2, "b": 1, "n": 0}}, [measure])
    assert scores.means == {measure: pytest.approx(expected, abs=1e-12)}
    assert scores.per_query[measure]["q"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("alias", "name"), [("MRR@10", "RR@10"), ("Recall@100", "R@100"), ("MAP@100", "AP@100")]
)
def test_aliases(alias: str, name: str) -> None:
    assert check_measures([alias, name], 100) == [name]
    assert list(score({"q": {"a": 1.0}}, {"q": {"a": 1}}, [alias]).means) == [name]


def test_ties_are_broken_alike_for_every_measure() -> None:
    """Relevant `a` ties with `b`: trec_eval puts b first. ir-measures alone says RR@10 = 1 here,
    nDCG below 1.
    """
    scores = score(
        {"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}, ["RR@10", "nDCG@10", "AP@100", "P@1"]
    )
    assert scores.means == {
        "RR@10": 0.5,
        "nDCG@10": pytest.approx(1 / math.log2(3)),
        "AP@100": 0.5,
        "P@1": 0.0,
    }


def test_a_missed_query_counts_and_an_unjudged_one_does_not() -> None:
    run = {"q1": ranking("a"), "q3": ranking("a"), "q4": {}}
    scores = score(run, {"q1": {"a": 1}, "q2": {"a": 1}, "q4": {"a": 1}}, ["nDCG@10", "RR@10"])
    assert scores.per_query["nDCG@10"] == {"q1": 1.0, "q2": 0.0, "q4": 0.0}
    assert scores.per_query["RR@10"] == {"q1": 1.0, "q2": 0.0, "q4": 0.0}
    assert scores.means == {"nDCG@10": 1 / 3, "RR@10": 1 / 3}


@pytest.mark.parametrize("grade", [0, -1, -2])
def test_judged_not_relevant_scores_nothing(grade: int) -> None:
    """Grades that are all negative crash pytrec_eval's process when handed over as they are."""
    scores = score({"q": ranking("ab")}, {"q": {"a": grade}}, ["nDCG@10", "RR@10", "R@100"])
    assert scores.means == {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0}
    mixed = score({"q": ranking("ab")}, {"q": {"a": grade, "b": 1}}, ["RR@10"])
    assert mixed.means == {"RR@10": 0.5}


DOCS = st.sampled_from("abcdefgh")
RUNS = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(DOCS, st.sampled_from([0.0, 0.25, 0.5, 0.1, 0.1 + 1e-10]), min_size=1),
)
JUDGMENTS = st.dictionaries(
    st.sampled_from(["q1", "q2", "q4"]),
    st.dictionaries(DOCS, st.integers(0, 3), min_size=1),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(run=RUNS, judgments=JUDGMENTS)
def test_equals_pytrec_eval(run: Run, judgments: Judgments) -> None:
    names = {"nDCG@3": "ndcg_cut_3", "AP@4": "map_cut_4", "R@2": "recall_2", "P@1": "P_1"}
    theirs = pytrec_eval.RelevanceEvaluator(judgments, {*names.values(), "recip_rank"}).evaluate(
        run
    )
    ours = score(run, judgments, [*names, "RR@3", "RR"])
    for query in judgments:
        found = theirs.get(query, {})
        for name, trec_name in names.items():
            assert ours.per_query[name][query] == pytest.approx(
                found.get(trec_name, 0.0), abs=1e-12
            )
        reciprocal = found.get("recip_rank", 0.0)
        assert ours.per_query["RR"][query] == pytest.approx(reciprocal)
        assert ours.per_query["RR@3"][query] == pytest.approx(reciprocal if reciprocal > 0.3 else 0)


@settings(max_examples=60, deadline=None)
@given(run=RUNS, judgments=JUDGMENTS)
def test_means_equal_ir_measures(run: Run, judgments: Judgments) -> None:
    measures = [ir_measures.nDCG @ 3, ir_measures.AP @ 4, ir_measures.R @ 2, ir_measures.Rprec]
    theirs = ir_measures.calc_aggregate(measures, judgments, run)
    ours = score(run, judgments, [str(measure) for measure in measures])
    assert ours.means == pytest.approx({str(measure): value for measure, value in theirs.items()})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nDGC@10", r"'nDGC@10' is unknown\. Try nDCG@10"),
        ("ndcg@10", r"'ndcg@10' is unknown\. Try nDCG@10"),
        ("ndcg", r"'ndcg' is unknown\. Try nDCG"),
        ("recal@50", r"'recal@50' is unknown\. Try Recall@50"),
        ("accuracy of the model", r"cannot be read\. Try nDCG@10"),
        ("zzz", r"'zzz' is unknown\. Try nDCG@10, RR@10"),
        ("nDCG@0", r"cannot be read"),
        ("nDCG@-5", r"cannot be read"),
        ("nDCG@ten", r"cannot be read"),
        ("nDCG(10)", r"cannot be read"),
        ("R", r"'R' lacks or mistakes a parameter\. Try R@10"),
        ("nDCG(level=2)@10", r"lacks or mistakes a parameter"),
        ("RR(judged_only=True)@10", r"cannot be computed here"),
        ("nDCG(dcg='exp-log2')@10", r"cannot be computed here"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_measure(name)


def test_names_are_read_without_deprecated_syntax_trees() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(parse_measure("nDCG@10")) == "nDCG@10"
        assert str(parse_measure("P(rel=2)@5")) == "P(rel=2)@5"


def test_measures_deeper_than_the_run_are_refused() -> None:
    assert check_measures(["nDCG@10", "RR", "R@100"], 100) == ["nDCG@10", "RR", "R@100"]
    with pytest.raises(ConfigError, match=r"has R@100, but 50 documents.*Set evaluate.depth=100"):
        check_measures(["nDCG@10", "Recall@100"], 50)
    with pytest.raises(ConfigError, match="empty"):
        check_measures([], 100)


@pytest.mark.parametrize("judgments", [{}, {"q": {}}])
def test_nothing_judged_is_refused(judgments: Judgments) -> None:
    with pytest.raises(DataError, match="no query is judged"):
        score({"q": {"a": 1.0}}, judgments, ["nDCG@10"])


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, whet.evaluation, whet.report; "
        "heavy = {'numpy', 'scipy', 'ir_measures', 'jinja2'}; print(heavy & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"


def test_r_precision_looks_at_as_many_places_as_there_are_relevant_documents() -> None:
    judgments = {"few": {"a": 1}, "many": dict.fromkeys("abcd", 1)}
    check_places(["Rprec", "nDCG@10"], 4, judgments)
    check_places(["nDCG@10"], 3, judgments)
    with pytest.raises(ConfigError, match=r"4 places for query 'many'.*Set evaluate\.depth=4"):
        check_places(["nDCG@10", "Rprec"], 3, judgments)
    run = {"many": {"a": 4.0, "x": 3.0, "b": 2.0, "y": 1.0}, "few": {"x": 2.0, "a": 1.0}}
    assert score(run, judgments, ["Rprec"]).per_query["Rprec"] == {"few": 0.0, "many": 0.5}
