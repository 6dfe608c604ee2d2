"""A matrix on the query vectors, learned without judgments; the documents' vectors stay.

Two recipes. `by_teacher` draws the student's scores of a list near the teacher's (KL divergence):
the safe one, for where people's queries are among those it learns from. `by_source` makes the
document a query was made from outweigh the others (InfoNCE): it gains more where documents are
prose and no query is known, and only half of its change is kept.

Shape suffixes: Q queries, B queries of a step, C documents of a step, D dimensions, N documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whet.adaptation.hybrid_teacher import HybridTeacher
from whet.feedback.learn.adapt import Weights, blend, moved
from whet.loss.distillation import divergences
from whet.loss.infonce import Targets, info_nce

STEPS, BATCH = 800, 64  # of a training; queries of a step
RATE, WARM = 3e-4, 0.1  # AdamW's learning rate, reached after this share of the steps
DECAY = 1e-3  # times the squared distance of the matrix from the identity
LIST_TEMPERATURE = 0.02  # divides the scores of both, student and teacher
SOURCE_TEMPERATURE = 0.05
NEAR_SOURCE = 0.95  # of the teacher's score of the source: above, a document may be an answer too
KEPT = {"teacher": 1.0, "source": 0.5}  # share of the change that is kept
AMONG_BEST = 20  # a query whose source the teacher does not have there is not learned from

StepDone = Callable[[int], None]


@dataclass(frozen=True)
class Compared:
    """Which queries and documents a step compares, and their vectors: the queries' with the matrix
    as it is by then.
    """

    query_B: np.ndarray
    rows_C: np.ndarray
    query_BD: Tensor
    doc_CD: Tensor


def list_divergence(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean over queries of KL(softmax(teacher / t) || softmax(student / t)), t = 0.02, a scalar.

    As listwise distillation has it (RocketQAv2, arXiv 2110.07367).
    """
    terms_BC = divergences(student_BC / LIST_TEMPERATURE, teacher_BC / LIST_TEMPERATURE)
    return terms_BC.sum(1).mean()


def by_teacher(
    teacher: HybridTeacher,
    kinds: Sequence[str],
    *,
    steps: int,
    seed: int,
    step_done: StepDone,
) -> Weights:
    """The matrix that the teacher's lists teach; `kinds` has the kind of each of its queries, and
    each kind gets an equal share of every step.
    """

    def loss(compared: Compared) -> Tensor:
        taught_BC = torch.from_numpy(teacher.scores(compared.query_B, compared.rows_C))
        return list_divergence(compared.query_BD @ compared.doc_CD.T, taught_BC)

    order = steps_of(kinds, steps, seed=seed)
    return _trained(teacher, order, loss, seed=seed, step_done=step_done)


def by_source(
    teacher: HybridTeacher,
    kinds: Sequence[str],
    source_Q: np.ndarray,
    group_of_N: np.ndarray,
    *,
    steps: int,
    seed: int,
    step_done: StepDone,
) -> Weights | None:
    """Half of the matrix that the sources of made queries teach; None where the teacher has no
    query's source among its 20 best.

    `source_Q` are rows of the documents, `group_of_N` names those of equal text: they are no
    negatives, nor are documents that the teacher scores nearly as high as the source.
    """
    first_QK = group_of_N[teacher.best_QK[:, :AMONG_BEST]]
    usable = np.flatnonzero((first_QK == group_of_N[source_Q][:, None]).any(1))
    if not len(usable):
        return None

    def loss(compared: Compared) -> Tensor:
        source_B = source_Q[compared.query_B]
        at_B = np.searchsorted(compared.rows_C, source_B)
        score_BC = teacher.scores(compared.query_B, compared.rows_C)
        near_BC = score_BC > NEAR_SOURCE * score_BC[np.arange(len(at_B)), at_B][:, None]
        same_BC = group_of_N[compared.rows_C] == group_of_N[source_B][:, None]
        known_BC = torch.from_numpy(near_BC | same_BC)
        targets = Targets.of_mask(torch.from_numpy(at_B), known_BC)
        return info_nce(compared.query_BD, compared.doc_CD, targets, temperature=SOURCE_TEMPERATURE)

    places = steps_of([kinds[int(place)] for place in usable], steps, seed=seed)
    order = [usable[place_B] for place_B in places]
    after = _trained(teacher, order, loss, seed=seed, step_done=step_done, also_Q=source_Q)
    return blend({"matrix": torch.eye(len(after["matrix"]))}, after, KEPT["source"])


def steps_of(kinds: Sequence[str], steps: int, *, seed: int) -> list[np.ndarray]:
    """The queries of each step, int64 [B] each: the kinds take turns, and each goes through its own
    queries in random order, again and again.
    """
    random = np.random.default_rng(seed)
    names = list(dict.fromkeys(kinds))
    kind_Q = np.array([names.index(kind) for kind in kinds])
    total = steps * BATCH
    turn_S = np.arange(total) % len(names)
    chosen_S = np.empty(total, np.int64)
    for number in range(len(names)):
        own, wanted = np.flatnonzero(kind_Q == number), int((turn_S == number).sum())
        rounds = [random.permutation(own) for _ in range(-(-wanted // len(own)))]
        chosen_S[turn_S == number] = np.concatenate(rounds)[:wanted]
    return list(chosen_S.reshape(steps, BATCH))


def _trained(
    teacher: HybridTeacher,
    order: Sequence[np.ndarray],
    loss: Callable[[Compared], Tensor],
    *,
    seed: int,
    step_done: StepDone,
    also_Q: np.ndarray | None = None,
) -> Weights:
    """The matrix after the steps, from the identity. `also_Q` are rows of documents that a step
    needs besides.
    """
    random = np.random.default_rng(seed + 1)
    eye_DD = torch.eye(teacher.query_QD.shape[1])
    change_DD = torch.zeros_like(eye_DD, requires_grad=True)
    optimizer = torch.optim.AdamW([change_DD], lr=RATE, weight_decay=0.0)
    for step, query_B in enumerate(order):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate_at(step, len(order))
        rows_C = teacher.documents(query_B, random)
        if also_Q is not None:
            rows_C = np.union1d(rows_C, also_Q[query_B])
        query_BD = moved(torch.from_numpy(teacher.query_QD[query_B]), change_DD)
        doc_CD = torch.from_numpy(np.ascontiguousarray(teacher.corpus_ND[rows_C], np.float32))
        of_step = loss(Compared(query_B, rows_C, query_BD, doc_CD))
        total = of_step + DECAY * change_DD.square().sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        step_done(1)
    return {"matrix": eye_DD + change_DD.detach()}


def rate_at(step: int, steps: int) -> float:
    """The share of the learning rate at a step: up over the first tenth, then down to 0.

    >>> rate_at(0, 100), rate_at(9, 100), rate_at(55, 100)
    (0.1, 1.0, 0.5)
    """
    warm = max(1, round(WARM * steps))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))
