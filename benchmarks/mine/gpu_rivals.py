"""What people run on a GPU today, each followed by the same filter on the device.

Every method gets the same bfloat16 numbers, in the format it takes, and gives rows [Q, k], -1 for
none.

Shape suffixes: Q queries, B queries of a block, N corpus rows, D dimensions, C candidates a query,
k results a query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from cases import Problem
from measure import Run, say_once

ROOM = 48  # candidates beyond k and the positive, for those over the ceiling
TORCH_QUERIES = 1024  # full rows of scores: 4 GB in float32 at a million documents
NEMO_QUERIES, NEMO_SAMPLE = 128, 1024


class Method(NamedTuple):
    """A way to search: its time is multiplied by `scale` where it does a part of the queries."""

    run: Run
    queries: int  # it answers the first so many
    scale: float = 1.0
    memory: bool = True  # whether its memory beyond inputs can be told


def filtered(
    given: Problem, score_QC: torch.Tensor, row_QC: torch.Tensor, k: int, filters: bool
) -> torch.Tensor:
    """The k best candidates that are allowed, -1 where there are fewer."""
    if not filters:
        return row_QC[:, :k]
    keep_QC = (score_QC <= given.ceiling_Q[:, None]) & (row_QC != given.positive_Q[:, None])
    best_Qk, at_Qk = score_QC.masked_fill(~keep_QC, -torch.inf).topk(k, dim=1)
    return row_QC.gather(1, at_Qk).masked_fill(best_Qk == -torch.inf, -1)


def faiss_methods(given: Problem, k: int, filters: bool) -> dict[str, Method]:
    """FAISS on tensors in three formats; nothing, and the reason, without faiss for GPUs."""
    faiss = _faiss()
    if faiss is None:
        return {}
    depth = min(k + (1 + ROOM if filters else 0), len(given.corpus_ND), 2048)
    methods = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.half), ("fp32", torch.float32)):
        query_QD, corpus_ND = given.query_QD.to(dtype), given.corpus_ND.to(dtype)
        resources = faiss.StandardGpuResources()

        def knn(
            resources: Any = resources,
            query_QD: torch.Tensor = query_QD,
            corpus_ND: torch.Tensor = corpus_ND,
        ) -> torch.Tensor:
            metric = faiss.METRIC_INNER_PRODUCT
            score_QC, row_QC = faiss.knn_gpu(resources, query_QD, corpus_ND, depth, metric=metric)
            return filtered(given, score_QC, row_QC, k, filters)

        methods[f"faiss {name} then filter"] = Method(knn, len(query_QD))
    return methods | _flat_indexes(faiss, given, k, depth, filters)


def _faiss() -> Any:
    """The module with its GPU part and torch tensors, or None and a word why."""
    try:
        import faiss
        import faiss.contrib.torch_utils
    except ImportError as error:
        say_once(f"rows of faiss are left out: {error}")
        return None
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        say_once("rows of faiss are left out: this faiss was built without GPUs (pip: faiss-gpu)")
        return None
    return faiss


def _flat_indexes(
    faiss: Any, given: Problem, k: int, depth: int, filters: bool
) -> dict[str, Method]:
    """The index sentence-transformers, FlagEmbedding and Tevatron put on a GPU."""
    methods = {}
    query_QD, corpus_ND = given.query_QD.float(), given.corpus_ND.float()
    for half in (True, False):
        resources, config = faiss.StandardGpuResources(), faiss.GpuIndexFlatConfig()
        config.useFloat16 = half
        index = faiss.GpuIndexFlatIP(resources, corpus_ND.shape[1], config)
        index.add(corpus_ND)

        def search(index: Any = index, resources: Any = resources) -> torch.Tensor:
            score_QC, row_QC = index.search(query_QD, depth)
            return filtered(given, score_QC, row_QC, k, filters)

        name = f"faiss GpuIndexFlatIP useFloat16={half} then filter"
        methods[name] = Method(search, len(query_QD), memory=False)
    return methods


def torch_methods(given: Problem, k: int, filters: bool) -> dict[str, Method]:
    """Products, mask and topk over full rows; NeMo's small batches on some of the queries."""
    queries = len(given.query_QD)
    wide = given._replace(query_QD=given.query_QD.float(), corpus_ND=given.corpus_ND.float())
    few = min(NEMO_SAMPLE, queries)
    part = wide.take(torch.arange(few))
    return {
        "torch bf16 mm + topk + mask": Method(
            lambda: full_rows(given, k, filters, TORCH_QUERIES), queries
        ),
        "torch fp32 mm + topk + mask": Method(
            lambda: full_rows(wide, k, filters, TORCH_QUERIES), queries
        ),
        "NeMo style: fp32, 128 queries at a time": Method(
            lambda: full_rows(part, k, filters, NEMO_QUERIES), few, queries / few
        ),
    }


def full_rows(given: Problem, k: int, filters: bool, block: int) -> torch.Tensor:
    """`block` queries at a time against the whole corpus, filtered before topk."""
    parts = []
    for first in range(0, len(given.query_QD), block):
        at = slice(first, first + block)
        score_BN = given.query_QD[at] @ given.corpus_ND.T
        if filters:
            score_BN.masked_fill_(score_BN > given.ceiling_Q[at, None], -torch.inf)
            each_B = torch.arange(len(score_BN), device=score_BN.device)
            score_BN[each_B, given.positive_Q[at]] = -torch.inf
        best_Bk, row_Bk = score_BN.topk(k, dim=1)
        parts.append(row_Bk.masked_fill(best_Bk == -torch.inf, -1))
    return torch.cat(parts)
