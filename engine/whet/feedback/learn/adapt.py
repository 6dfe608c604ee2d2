"""Make the query side better at what was judged; the documents' vectors stay as they are.

The change is small and can be taken in part: `blend` goes from the old weights (0) to the new (1),
as in WiSE-FT (Wortsman et al., CVPR 2022).

Shape suffixes: F judged queries, B queries of a step, P documents of the pool, D dimensions, M
preferences.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whet.feedback.learn.lessons import Pool
from whet.model.encoder import Encoder
from whet.model.inference import token_batches
from whet.model.pooling import to_unit_length
from whet.processes.devices import sent

TEMPERATURE = 0.05  # divides similarities before the softmax
MATRIX_STEPS, MATRIX_RATE, MATRIX_DECAY = 150, 1e-3, 0.3
BATCH = 32  # queries per step of the encoder
RATE, WARM = 2e-5, 5  # its learning rate, reached after so many steps
CHUNK_TOKENS = 512  # texts that go through the layers together
STEPS, EPOCHS = 30, 12  # it takes 30 steps, or for many queries 12 times through them all

Weights = dict[str, Tensor]
StepDone = Callable[[int], None]


def judged_losses(query_BD: Tensor, pool: Pool) -> Tensor:
    """What the judgments find wrong with the similarities of each query, words included, [B].

    A query's relevant documents are to outweigh the others of the pool together (InfoNCE with
    several positives; those that may be relevant are left out). Where a query has only documents
    marked not relevant, those are to weigh little (unlikelihood: Welleck et al., ICLR 2020). Its
    preferences add the mean of log(1 + exp(under - over)) (RankNet: Burges et al., ICML 2005): a
    drag past nine documents is one gesture, as is one past a single document.
    """
    sim_BP = (query_BD @ pool.vectors_PD.T + pool.words_FP) / TEMPERATURE
    counted_BP = sim_BP.masked_fill(pool.open_FP, -torch.inf)
    good_B = pool.relevant_FP.any(1)
    # where nothing is relevant: all that was not marked is better than what was
    wanted_BP = torch.where(good_B[:, None], pool.relevant_FP, ~pool.irrelevant_FP)
    loss_B = counted_BP.logsumexp(1) - counted_BP.masked_fill(~wanted_BP, -torch.inf).logsumexp(1)
    if len(pool.pairs_M3):
        query_M, over_M, under_M = pool.pairs_M3.unbind(1)
        gap_M = sim_BP[query_M, under_M] - sim_BP[query_M, over_M]
        count_B = torch.bincount(query_M, minlength=len(query_BD))
        loss_B = loss_B.index_add(0, query_M, functional.softplus(gap_M) / count_B[query_M])
    return loss_B


def train_matrix(query_FD: Tensor, pool: Pool, step_done: StepDone) -> tuple[Weights, Weights]:
    """A matrix to multiply query vectors by, before (identity) and after."""
    eye_DD = torch.eye(query_FD.shape[1])
    change_DD = torch.zeros_like(eye_DD, requires_grad=True)
    optimizer = torch.optim.Adam([change_DD], lr=MATRIX_RATE)
    for _ in range(MATRIX_STEPS):
        moved_FD = moved(query_FD, change_DD)
        loss = judged_losses(moved_FD, pool).mean() + MATRIX_DECAY * change_DD.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step_done(1)
    return {"matrix": eye_DD}, {"matrix": eye_DD + change_DD.detach()}


def moved(query_BD: Tensor, change_DD: Tensor) -> Tensor:
    """Query vectors multiplied by identity + change, at unit length, [B, D]."""
    return to_unit_length(query_BD + query_BD @ change_DD.T)


def encoder_steps(queries: int) -> int:
    """Steps `train_encoder` takes for so many judged queries."""
    return max(STEPS, -(-queries * EPOCHS // BATCH))


def train_encoder(
    encoder: Encoder, queries: list[str], pool: Pool, *, seed: int, step_done: StepDone
) -> tuple[Weights, Weights]:
    """The weights of the layers of an encoder for queries, before and after; `encoder` has those
    before again when this is done.
    """
    trained = layers_of(encoder)
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    kept = {name: weight.requires_grad for name, weight in encoder.named_parameters()}
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(name in trained)
    weights = list(trained.values())
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    tokens = encoder.tokenize(queries, "query")
    steps = encoder_steps(len(queries))
    # The documents, which are many, are sent to the encoder's device once; a step's part is small.
    pool = replace(pool, vectors_PD=sent(pool.vectors_PD, encoder.device))
    encoder.eval()  # so few examples need every bit of signal: no dropout
    for step, batch in enumerate(_batches(len(queries), steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM) * (1 - step / steps)
        vector_BD = _forward(encoder, [tokens[i] for i in batch])
        loss = judged_losses(vector_BD, pool.take(batch).to(encoder.device)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        step_done(1)
    after = {name: weight.detach().clone() for name, weight in trained.items()}
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(kept[name])
    put(encoder, before)
    return before, after


def _forward(encoder: Encoder, tokens: list[list[int]]) -> Tensor:
    """Vectors [B, D] of tokenised texts, those of like length together: short ones need no
    padding.
    """
    chunks = list(token_batches([len(ids) for ids in tokens], CHUNK_TOKENS))
    parts = [encoder.forward_tokens([tokens[row] for row in rows]) for rows in chunks]
    place_B = torch.from_numpy(np.argsort(np.concatenate(chunks)))
    return torch.cat(parts)[sent(place_B, encoder.device)]


def layers_of(encoder: Encoder) -> dict[str, torch.nn.Parameter]:
    """What is trained: all but the table of words, of which few judgments touch a part."""
    return {
        name: weight
        for name, weight in encoder.named_parameters()
        if "embeddings." not in name and "pooler." not in name
    }


def blend(before: Weights, after: Weights, share: float) -> Weights:
    """Weights a share of the way from one to the other."""
    return {name: torch.lerp(before[name], after[name], share) for name in before}


def put(encoder: Encoder, weights: Weights) -> None:
    """Give an encoder weights by name; "matrix" is that after its pooling."""
    own = dict(encoder.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            if name == "matrix":
                encoder.with_matrix(weight)
            else:
                own[name].copy_(weight)


def changed(encoder: Encoder, weights: Weights) -> Encoder:
    """A copy of an encoder with these weights."""
    twin = copy.deepcopy(encoder)
    put(twin, weights)
    return twin


def _batches(count: int, steps: int, seed: int) -> list[np.ndarray]:
    """Queries of each step: all in random order, again and again."""
    random = np.random.default_rng(seed)
    size = min(BATCH, count)
    rounds = -(-steps * size // count)
    order = np.concatenate([random.permutation(count) for _ in range(rounds)])
    # a query twice in a step would be two rows of one: sorted out by unique
    return [np.unique(order[i * size : (i + 1) * size]) for i in range(steps)]
