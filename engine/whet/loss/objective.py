"""The loss of a step as the options have it: InfoNCE, a teacher's, or a share of both.

Shape suffixes: B pairs, C candidate documents, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from whet.config import DistillConfig, LossConfig
from whet.loss.distillation import distill_kl, margin_mse
from whet.loss.infonce import Targets, over_prefixes

DISTILLED = {"margin_mse": margin_mse, "distill_kl": distill_kl}


def step_loss(
    query_BD: Tensor,
    doc_CD: Tensor,
    targets: Targets,
    *,
    loss: LossConfig,
    distill: DistillConfig,
    info_nce: Callable[[], Tensor],
) -> Tensor:
    """The loss `loss.name` of a batch, a scalar; `info_nce` computes that of the same vectors.

    A distillation takes the share `distill.weight`, InfoNCE the rest, over whole vectors and the
    prefixes of loss.matryoshka_dims alike.
    """
    if loss.name == "infonce":
        return info_nce()
    taught = targets.taught
    assert taught is not None, "a distillation's batch has the teacher's scores"
    distilled = DISTILLED[loss.name]
    total = over_prefixes(
        lambda query, doc: distilled(query, doc, taught, temperature=loss.temperature),
        query_BD,
        doc_CD,
        loss.matryoshka_dims,
    )
    if distill.weight == 1:
        return total
    return distill.weight * total + (1 - distill.weight) * info_nce()
