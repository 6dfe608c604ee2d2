"""From counts and rates to seconds per stage.

W processes, each like the one measured; texts and documents are divided over them, the loss is
computed whole by each.
"""

from __future__ import annotations

from dataclasses import dataclass

from whet.config import FitConfig
from whet.plan.footprint import Footprint, Setting
from whet.plan.machine import Machine
from whet.plan.probe import EncodeRates, SearchRates, StepRates
from whet.plan.workload import ChoosingWork, TextCount, Workload

BACKWARD_OF_LOSS = 3  # its forward, and the two products of its backward
ADAMW_BYTES = 28  # a weight: weight, gradient, two moments read, three of them written
STATE_BYTES = 12  # a weight in a checkpoint: weight and two moments
SURVIVOR_BYTES = 12  # of a document found: score and row
NOTHING = TextCount(0, 0, 0.0)


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step alone, of what its processes say to each other, and of a checkpoint."""

    alone_s: float
    talk_s: float
    save_s: float

    @property
    def seconds(self) -> float:
        """One step, without checkpoints."""
        return self.alone_s + self.talk_s


@dataclass(frozen=True)
class Estimate:
    """Seconds of each stage, by the names in environment.json; and what of the training a step and
    a refresh take.
    """

    stages: dict[str, float]
    step: StepCost
    refresh_s: float

    @property
    def seconds(self) -> float:
        """The whole job, once data and model are loaded."""
        return sum(self.stages.values())


@dataclass(frozen=True)
class Processes:
    """How many, and how many bytes per second two of them exchange."""

    count: int
    link_bytes_s: float

    def merged_s(self, queries: int, k: int) -> float:
        """The k best of every query and part travel to every process."""
        return (self.count - 1) * queries * k * SURVIVOR_BYTES / self.link_bytes_s


def estimate(
    work: Workload,
    encode: EncodeRates,
    search: SearchRates,
    config: FitConfig,
    *,
    step: StepCost,
    processes: Processes,
) -> Estimate:
    """Seconds of all stages after data and model are loaded."""
    w = processes.count
    judge_s = judging_s(work, search, config, processes)
    mine_s = mining_s(work, search, config, processes) if work.mines else 0.0
    pool, mined = work.judged_documents, work.mined_documents
    later = _left(mined, pool) if work.among is None else mined
    later = NOTHING if work.pool is None else later  # all are encoded by then
    # new=False: the weights have changed, so no stored vector of them can be read.
    refresh_s = encoding_s(encode, mined, work.learned, new=False) / w + mine_s
    base_s = encoding_s(encode, pool, work.judged, new=True) / w
    base_s += 0.0 if work.pool is None else words_s(search, work.documents, work.judged.distinct)
    learned_s = encoding_s(encode, later, work.learned, new=True) / w if work.mines else 0.0
    if work.mines and work.among is not None:
        learned_s += words_s(search, work.documents, work.learned.distinct)
    # The tuned model has no vectors in the store, so everything is encoded.
    tuned_s = encoding_s(encode, pool, work.judged, new=False) / w
    train_s = work.steps * step.seconds + work.refreshes * refresh_s
    dev_s = moment_s = 0.0
    if work.chosen is not None:
        dev_s = judge_s * work.chosen.dev.distinct / max(1, work.judged.distinct)
        dev_s += encoding_s(encode, NOTHING, work.chosen.dev, new=False) / w
        moment_s = chosen_s(encode, work.chosen) / w
        train_s += work.chosen.moments * moment_s
    stages = {
        "judge the base model": base_s + judge_s + dev_s + moment_s,
        "mine": learned_s + mine_s,
        "train": train_s + _saves(train_s, work, config) * step.save_s,
        "judge the tuned model": tuned_s + judge_s + dev_s,
    }
    return Estimate(stages, step, refresh_s)


def chosen_s(rates: EncodeRates, chosen: ChoosingWork) -> float:
    """Seconds one process takes to judge the model at one moment; the search is small."""
    return chosen.document_tokens * rates.document_s + chosen.query_tokens * rates.query_s


def _saves(train_s: float, work: Workload, config: FitConfig) -> float:
    """Checkpoints: by time, by steps, at most one a step, and one at the end."""
    every_s, every = config.trainer.checkpoint_every_s, config.trainer.checkpoint_every_steps
    before = max(0, work.steps - 1)  # after the last step comes the one at the end
    by_time = min(before, train_s // every_s) if every_s else before
    return 1 + max(by_time, before // every if every else 0)


def encoding_s(rates: EncodeRates, corpus: TextCount, queries: TextCount, *, new: bool) -> float:
    """Seconds one process takes to encode them; with `new` only those the store lacks."""
    documents, asked = (
        (texts.missing if new else texts.distinct) * texts.tokens for texts in (corpus, queries)
    )
    return documents * rates.document_s + asked * rates.query_s


def judging_s(work: Workload, rates: SearchRates, config: FitConfig, processes: Processes) -> float:
    """Search for the judged queries, and score what is found."""
    searched = work.documents if work.pool is None else work.pool
    pair_s = rates.judge_pair_s * searched / processes.count
    queries = work.judged.distinct
    merged_s = processes.merged_s(queries, config.evaluate.depth)
    return queries * (rates.judge_query_s + pair_s) + merged_s


def mining_s(work: Workload, rates: SearchRates, config: FitConfig, processes: Processes) -> float:
    """Search for the training queries, and choose."""
    searched = work.documents if work.among is None else work.among
    pair_s = rates.mine_pair_s * searched / processes.count
    queries = work.learned.distinct
    merged_s = processes.merged_s(queries, config.mining.num_negatives)
    return queries * (rates.mine_query_s + pair_s) + merged_s


def _left(texts: TextCount, done: TextCount) -> TextCount:
    """Those that are not encoded yet when some of them are."""
    return TextCount(
        texts.distinct - done.distinct, max(0, texts.missing - done.missing), texts.tokens
    )


def words_s(rates: SearchRates, documents: int, queries: int) -> float:
    """Find the documents that share words with the queries; the leader does it alone."""
    return documents * (rates.words_document_s + rates.words_pair_s * queries)


def step_cost(
    measured: StepRates,
    setting: Setting,
    held: Footprint,
    *,
    machine: Machine,
    link_bytes_s: float,
) -> StepCost:
    """A step of the whole batch over the processes: tokens are divided, loss and optimizer not."""
    step, shape = setting.work.step, setting.shape
    loss_s = BACKWARD_OF_LOSS * 2 * step.pairs * step.documents * shape.dimension / machine.flops
    optimizer_s = ADAMW_BYTES * shape.trained / machine.copy_bytes_s
    not_tokens_s = loss_s * (measured.pairs / step.pairs) ** 2 + optimizer_s
    token_s = max(0.0, measured.seconds - not_tokens_s) / measured.tokens
    alone_s = token_s * step.tokens / setting.processes + loss_s + optimizer_s
    return StepCost(
        alone_s, held.sent_bytes / link_bytes_s, save_s(shape.trained, machine.disk_bytes_s)
    )


def save_s(trained: int, disk_bytes_s: float) -> float:
    """Seconds to write a checkpoint.

    >>> save_s(23_000_000, disk_bytes_s=1e9)  # float32 weights and AdamW's two moments
    0.276
    """
    return STATE_BYTES * trained / disk_bytes_s
