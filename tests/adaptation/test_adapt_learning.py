"""What is learned without judgments: the loss against an oracle, and what a matrix may change."""

import numpy as np
import pytest
import torch

from whet.adaptation.hybrid_teacher import BEST, RANDOM_ROWS, HybridTeacher
from whet.adaptation.learn import BATCH, by_source, by_teacher, list_divergence, steps_of
from whet.evaluation.lexical import Words

NOUNS = "pump valve tank oil leak seal court judge law appeal fine cell gene virus host".split()


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def small():
    """90 documents, 40 queries of words of theirs, and vectors that know a little of both."""
    random = np.random.default_rng(2)
    texts = [" ".join(random.choice(NOUNS, 5)) + f" number{row}" for row in range(90)]
    source_Q = random.permutation(90)[:40]
    queries = [" ".join([*texts[row].split()[:2], f"number{row}"]) for row in source_Q]
    corpus_ND = unit(random.normal(size=(90, 16)))
    query_QD = unit(corpus_ND[source_Q] + random.normal(size=(40, 16)) * 0.35)
    return texts, queries, query_QD, corpus_ND, source_Q


def test_the_divergence_of_lists_is_that_of_float64():
    random = np.random.default_rng(0)
    student, teacher = random.uniform(-1, 1, (2, 31, 47)).astype(np.float32)

    def log_softmax(scores):
        scores = scores.astype(np.float64) / 0.02
        scores -= scores.max(1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(1, keepdims=True))

    s, t = log_softmax(student), log_softmax(teacher)
    oracle = (np.exp(t) * (t - s)).sum(1).mean()
    ours = list_divergence(torch.from_numpy(student), torch.from_numpy(teacher)).item()
    assert ours == pytest.approx(oracle, rel=1e-5)
    same = torch.from_numpy(student)
    assert abs(list_divergence(same, same).item()) < 1e-6


def test_a_teacher_scores_by_cosine_and_weighted_share_whatever_it_keeps(small, monkeypatch):
    texts, queries, query_QD, corpus_ND, _ = small
    words = Words(texts)
    teacher = HybridTeacher(queries, query_QD, corpus_ND, words, 0.3)
    query_B, rows_C = np.array([3, 0, 39]), np.array([1, 5, 88])
    whole = query_QD.astype(np.float64) @ corpus_ND.T + 0.3 * words.shares(queries)
    np.testing.assert_allclose(
        teacher.scores(query_B, rows_C), whole[np.ix_(query_B, rows_C)], atol=1e-6
    )
    best = np.argsort(-whole, axis=1)[:, :BEST]
    assert (np.sort(best, 1) == np.sort(teacher.best_QK, 1)).all()
    drawn = teacher.documents(query_B, np.random.default_rng(0))
    assert set(teacher.best_QK[query_B].ravel()) <= set(drawn.tolist())
    assert (np.diff(drawn) > 0).all() and len(drawn) <= 3 * BEST + RANDOM_ROWS
    monkeypatch.setattr("whet.adaptation.hybrid_teacher.CELLS", 0)  # counted again for each step
    again = HybridTeacher(queries, query_QD, corpus_ND, words, 0.3)
    assert (again.scores(query_B, rows_C) == teacher.scores(query_B, rows_C)).all()


def test_a_teacher_that_is_the_student_changes_nothing(small):
    texts, queries, query_QD, corpus_ND, _ = small
    teacher = HybridTeacher(queries, query_QD, corpus_ND, Words(texts), 0.0)
    after = by_teacher(teacher, ["log"] * 40, seed=0, step_done=lambda n: None, steps=60)
    moved = unit(query_QD @ after["matrix"].numpy().T)
    assert (moved * query_QD).sum(1).min() > 0.9999
    assert (
        np.argsort(-moved @ corpus_ND.T)[:, :5] == np.argsort(-query_QD @ corpus_ND.T)[:, :5]
    ).mean() > 0.99


def test_the_students_lists_come_nearer_to_the_teachers(small):
    texts, queries, query_QD, corpus_ND, _ = small
    teacher = HybridTeacher(queries, query_QD, corpus_ND, Words(texts), 0.3)
    done = []
    after = by_teacher(teacher, ["log"] * 40, seed=0, step_done=done.append, steps=80)
    assert sum(done) == 80
    every, rows = np.arange(40), np.arange(90)
    taught = torch.from_numpy(teacher.scores(every, rows))

    def apart(queries):
        return list_divergence(torch.from_numpy(queries @ corpus_ND.T), taught).item()

    moved = unit(query_QD @ after["matrix"].numpy().T)
    assert apart(moved) < 0.9 * apart(query_QD)
    again = by_teacher(teacher, ["log"] * 40, seed=0, step_done=lambda n: None, steps=80)
    assert torch.equal(after["matrix"], again["matrix"])


def test_sources_draw_nearer_and_half_of_it_is_kept(small):
    texts, queries, query_QD, corpus_ND, source_Q = small
    teacher = HybridTeacher(queries, query_QD, corpus_ND, Words(texts), 0.3)
    groups = np.arange(90)
    after = by_source(
        teacher, ["crop"] * 40, source_Q, groups, seed=0, step_done=lambda n: None, steps=80
    )
    moved = unit(query_QD @ after["matrix"].numpy().T)

    def ranks(vectors):
        score_QN = vectors @ corpus_ND.T
        return (score_QN > score_QN[np.arange(40), source_Q][:, None]).sum(1).mean()

    assert ranks(moved) < ranks(query_QD)


def test_queries_whose_source_is_not_found_teach_nothing(small):
    texts, queries, query_QD, corpus_ND, _ = small
    teacher = HybridTeacher(queries, query_QD, corpus_ND, Words(texts), 0.3)
    worst_Q = np.argmin(query_QD @ corpus_ND.T + 0.3 * Words(texts).shares(queries), axis=1)
    none = by_source(
        teacher, ["crop"] * 40, worst_Q, np.arange(90), seed=0, step_done=lambda n: None, steps=2
    )
    assert none is None


def test_each_kind_gets_an_equal_share_of_the_steps():
    kinds = ["log"] * 300 + ["crop"] * 7 + ["title"] * 100
    steps = np.stack(steps_of(kinds, 30, seed=1))
    assert steps.shape == (30, BATCH)
    counts = np.bincount([{"log": 0, "crop": 1, "title": 2}[kinds[q]] for q in steps.ravel()])
    assert counts.tolist() == [640, 640, 640]
    each = np.bincount(steps.ravel(), minlength=407)
    for own in (each[:300], each[300:307], each[307:]):
        assert own.max() - own.min() <= 1  # every query as often as any of its kind
    assert (steps == np.stack(steps_of(kinds, 30, seed=1))).all()
