"""What a teacher's scores teach: MarginMSE, and KL divergence over each pair's list.

The student's score of a pair is its logit: the similarity divided by the temperature, as in
InfoNCE. So a cosine, which is at most 1, can meet the margins of a cross-encoder's logits.

Shape suffixes: B pairs, C candidate documents, D dimensions, L documents of a list: a pair's own
document first, then its negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from whet.processes.devices import sent


@dataclass(frozen=True)
class Taught:
    """The teacher's scores of each pair's own document and of negatives of it.

    `column_BL` are their columns among the candidates, the own one first; `score_BL` float32, NaN
    where there is no document, or the teacher has not scored it.
    """

    column_BL: Tensor
    score_BL: Tensor

    def to(self, device: torch.device) -> Taught:
        """The same on another device."""
        return Taught(sent(self.column_BL, device), sent(self.score_BL, device))

    @property
    def negative_BL(self) -> Tensor:
        """Which negatives count: scored, and so is the pair's own document; never the first."""
        scored_BL = self.score_BL.isfinite()
        counts_BL = scored_BL & scored_BL[:, :1]
        counts_BL[:, 0] = False
        return counts_BL


def margin_mse(query_BD: Tensor, doc_CD: Tensor, taught: Taught, *, temperature: float) -> Tensor:
    """Mean over (query, own document, negative) of ((s+ - s-) - (t+ - t-))^2, a scalar.

    Hofstaetter et al., arXiv 2010.02666 (Margin-MSE). s is the similarity divided by `temperature`,
    t the teacher's score. 0 where nothing is scored.
    """
    student_BL, teacher_BL, counts_BL = _lists(query_BD, doc_CD, taught, temperature)
    off_BL = (student_BL[:, :1] - student_BL) - (teacher_BL[:, :1] - teacher_BL)
    return (off_BL.square() * counts_BL).sum() / counts_BL.sum().clamp(min=1)


def distill_kl(query_BD: Tensor, doc_CD: Tensor, taught: Taught, *, temperature: float) -> Tensor:
    """Mean over pairs of KL(softmax of t || softmax of s) over the pair's list, a scalar.

    As RocketQAv2 distils listwise (Ren et al., arXiv 2110.07367), and TCT-ColBERT over the whole
    batch (Lin et al., arXiv 2010.11386). A list is the pair's own document and its negatives. s is
    the similarity divided by `temperature`, t the teacher's score. A pair without a scored negative
    teaches nothing and is not counted; 0 where no pair has one.
    """
    student_BL, teacher_BL, counts_BL = _lists(query_BD, doc_CD, taught, temperature)
    pair_B = counts_BL.any(1)
    counts_BL = counts_BL.clone()
    counts_BL[:, 0] = True
    out_BL = ~counts_BL
    # Not -inf: its product with a probability of 0 would be NaN. e^-1e4 is 0 in any float.
    divergence_BL = divergences(
        student_BL.masked_fill(out_BL, -1e4), teacher_BL.masked_fill(out_BL, -1e4)
    )
    divergence_B = divergence_BL.masked_fill(out_BL, 0.0).sum(1)
    return (divergence_B * pair_B).sum() / pair_B.sum().clamp(min=1)


def divergences(student_BL: Tensor, teacher_BL: Tensor) -> Tensor:
    """What each place of a list adds to KL(softmax of t || softmax of s), [B, L]; both are logits.

    >>> divergences(torch.zeros(1, 2), torch.zeros(1, 2)).sum().item()
    0.0
    """
    student_BL, teacher_BL = F.log_softmax(student_BL, 1), F.log_softmax(teacher_BL, 1)
    return teacher_BL.exp() * (teacher_BL - student_BL)


def _lists(
    query_BD: Tensor, doc_CD: Tensor, taught: Taught, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the student and scores of the teacher, 0 where there is none, and which negatives
    count; all [B, L].
    """
    listed_BLD = doc_CD[taught.column_BL]
    student_BL = torch.einsum("bd,bld->bl", query_BD, listed_BLD) / temperature
    teacher_BL = taught.score_BL.nan_to_num(0.0, 0.0, 0.0).to(student_BL.dtype)
    return student_BL, teacher_BL, taught.negative_BL
