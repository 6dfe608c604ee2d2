"""A fit within a time (`budget=45m`): how many steps, and among which documents it is judged and
mined, chosen once by what this machine was measured to take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from whet.config import FitConfig, TrainerConfig
from whet.config.ranges import budget_seconds
from whet.errors import CheckpointError, ConfigError, EnvironmentRefused
from whet.evaluation.lexical import check_installed
from whet.evaluation.selection.word_weight import seconds_of_words
from whet.mining.policy import check_policy
from whet.model.encoder import Encoder
from whet.plan.estimate import Processes, estimate
from whet.plan.make import UNKNOWN_LINK, Plan, make_plan
from whet.plan.probe import with_words
from whet.plan.table import rough_duration
from whet.plan.workload import Split, documents_among, refreshes
from whet.processes.world import from_leader
from whet.progress import say
from whet.run.folder import ENVIRONMENT, write_config
from whet.run.job import Job, learned_of
from whet.storage.commit import write_json
from whet.storage.readable import readable_json
from whet.training.batches.order import Order, total_steps

RESERVE = 0.1  # of the time: a machine that others use, too, is not always as fast as measured
LAST_S = 5.0  # to compare, to write the report and to save the model
LEAST_STEPS = 10
POOLS = (100_000, 50_000, 20_000, 10_000, 5_000)
CANDIDATES = (64, 32, 16, 8)
ROOM = 3  # a pool is at least so many times the documents that are judged
FILE = "budget.json"


@dataclass(frozen=True)
class BudgetChoice:
    """What a budget pays for, and the seconds that it is forecast to take."""

    budget: str
    max_steps: int
    pool: str
    scope: str
    candidates: int
    seconds: float

    def applied(self, config: FitConfig) -> FitConfig:
        """The options as chosen, without the budget."""
        return replace(
            config,
            budget=None,
            trainer=replace(config.trainer, max_steps=self.max_steps),
            evaluate=replace(config.evaluate, pool=self.pool),
            mining=replace(config.mining, scope=self.scope, candidates=self.candidates),
        )

    def __str__(self) -> str:
        judged = "all documents" if self.pool in ("all", "auto") else f"a pool of {self.pool}"
        mined = f"{self.candidates} documents by words per query"
        mined = "all documents" if self.scope == "all" else mined
        return (
            f"budget={self.budget}: {self.max_steps:,} steps, negatives from {mined}, judged on "
            f"{judged}. That takes about {rough_duration(self.seconds)}; the rest is a reserve."
        )


@dataclass(frozen=True)
class _Way:
    """One way to spend less on what is not training."""

    pool: str
    scope: str
    candidates: int


def within_budget(job: Job, encoder: Encoder, spent_s: float) -> Job:
    """The job with what its budget pays for; itself without one. `spent_s` have gone by already.

    Chosen once: the run folder keeps it, and its config.yaml has the options as chosen, so that
    whoever goes on or does the run again asks no clock. ConfigError for a budget that pays for
    nothing, or that a run was begun without.
    """
    if job.config.budget is None:
        return job
    choice = from_leader(lambda: _kept(job) or _made(job, encoder, spent_s))
    config = _applied(choice, job)
    if config.select.words != job.config.select.words:
        say(f"budget={choice.budget} has no time to try words in common beside the vectors.")
    return replace(job, config=config, learned=learned_of(job.train, config))


def _kept(job: Job) -> BudgetChoice | None:
    path = job.folder / FILE
    if not path.exists():
        if (job.folder / ENVIRONMENT).exists():
            raise ConfigError(
                f"{job.folder} was begun without a budget. Leave budget={job.config.budget} out, "
                "or start a new run."
            )
        return None
    return read_choice(path)


def read_choice(path: Path) -> BudgetChoice:
    """What a run folder keeps. CheckpointError for anything else."""
    remedy = "Bring back a copy, or start a new run."
    record: Any = readable_json(path, remedy=remedy)
    kinds: dict[str, Any] = {"str": str, "int": int, "float": (int, float)}
    right = isinstance(record, dict) and all(
        isinstance(record.get(field.name), kinds[str(field.type)]) for field in fields(BudgetChoice)
    )
    if not right:
        raise CheckpointError(f"{path} is not as it was written. {remedy}")
    return BudgetChoice(**{field.name: record[field.name] for field in fields(BudgetChoice)})


def _made(job: Job, encoder: Encoder, spent_s: float) -> BudgetChoice:
    split = Split(job.train, job.eval, job.positives, job.dev)
    say(f"Measuring what fits into {job.config.budget} ...")
    choice = choose(job.data, split, encoder, job.config, spent_s=spent_s)
    say(str(choice))
    write_config(job.folder, _applied(choice, job))
    write_json(job.folder / FILE, asdict(choice))
    return choice


def _applied(choice: BudgetChoice, job: Job) -> FitConfig:
    """The options as chosen, and words tried beside the vectors only where half of the reserve
    has the time.
    """
    config = choice.applied(job.config)
    if job.dev is None or config.select.words != "auto":
        return config
    dev, judged = len(job.dev.query_rows), len(job.eval.query_rows)
    words_s = seconds_of_words(len(job.data.corpus), dev, judged)
    if words_s <= RESERVE / 2 * budget_seconds(choice.budget):
        return config
    return replace(config, select=replace(config.select, words="off"))


def choose(
    data: Any, split: Split, encoder: Encoder, config: FitConfig, *, spent_s: float
) -> BudgetChoice:
    """The first way, from the most exact to the cheapest, that leaves half of the time to the steps
    or has time for all of them; else the one with most steps. ConfigError, with the least that
    works, where none has time for ten.
    """
    began = time.monotonic()
    budget_s = budget_seconds(str(config.budget))
    plan = make_plan(data, split, encoder, replace(config, budget=None), load_s=0.0)
    ways = list(_ways(config, split, len(data.corpus)))
    if any(way.pool.isdigit() or way.scope != "all" for way in ways):
        words = with_words(plan.rates.search, data, split)
        plan = replace(plan, rates=replace(plan.rates, search=words))
    spent_s += time.monotonic() - began + LAST_S
    budget = _Budget(plan, split, config, spent_s, (1 - RESERVE) * budget_s)
    steps = [(way, budget.steps(way)) for way in ways]
    way, count = next(
        (pair for pair in steps if pair[1] and budget.leaves_half(*pair)),
        max(steps, key=lambda pair: pair[1]),
    )
    if count < min(LEAST_STEPS, budget.most):
        least_s = min(budget.seconds(way, min(LEAST_STEPS, budget.most)) for way in ways)
        raise ConfigError(
            f"budget={config.budget} is too little: the least that works here is about "
            f"budget={int(least_s / (1 - RESERVE) / 60) + 1}m, for {LEAST_STEPS} steps."
        )
    return BudgetChoice(
        str(config.budget),
        count,
        way.pool,
        way.scope,
        way.candidates,
        round(budget.seconds(way, count), 1),
    )


def _ways(config: FitConfig, split: Split, documents: int) -> Iterator[_Way]:
    """From the most exact to the cheapest; what the options ask for is left as it is."""
    mining, pool = config.mining, config.evaluate.pool
    needed = ROOM * len(np.unique(split.judged.doc_rows_M))
    parts = [str(size) for size in POOLS if needed < size < documents] if _by_words() else []
    pools = ["all", *parts] if pool == "auto" else [pool]
    yield from (_Way(size, mining.scope, mining.candidates) for size in pools)
    if mining.scope != "all" or not mining.num_negatives or not _part_suffices(config):
        return
    # With vectors of all documents for judging, those for mining are there.
    numbers = [size for size in pools if size.isdigit()]
    for count in CANDIDATES:
        yield from (_Way(size, "candidates", count) for size in numbers)


def _by_words() -> bool:
    try:
        check_installed()
    except EnvironmentRefused:
        return False
    return True


def _part_suffices(config: FitConfig) -> bool:
    """Whether the policy, and how it is refreshed, can do with some documents."""
    try:
        check_policy(replace(config.mining, scope="candidates"))
    except ConfigError:
        return False
    return _by_words() and (config.refresh.policy == "off" or config.refresh.scope != "mapped")


@dataclass(frozen=True)
class _Budget:
    """Seconds of ways and steps, and what fits."""

    plan: Plan
    split: Split
    config: FitConfig
    spent_s: float
    limit_s: float

    @property
    def order(self) -> Order:
        pairs = len(self.split.train.relevant())
        return Order(pairs, self.config.trainer.batch_size, self.config.seed)

    @property
    def most(self) -> int:
        """All epochs, or trainer.max_steps where it is not the default's."""
        trainer = self.config.trainer
        if trainer.max_steps == TrainerConfig().max_steps:
            trainer = replace(trainer, max_steps=-1)
        return total_steps(self.order, trainer)

    def seconds(self, way: _Way, steps: int) -> float:
        """Of the whole job."""
        config = self._as(way, steps)
        work, relevant = self.plan.work, self.split.train.relevant()
        learned = learned_of(self.split.train, config).query_rows
        work = replace(
            work,
            steps=steps,
            refreshes=refreshes(self.order, steps, config),
            learned=replace(work.learned, distinct=len(learned), missing=len(learned)),
            pool=int(way.pool) if way.pool.isdigit() else None,
            among=documents_among(relevant, learned, config, work.documents),
        )
        rates = self.plan.rates
        link = self.plan.price.link_bytes_s if self.plan.price else UNKNOWN_LINK
        processes = Processes(self.plan.setting.processes, link)
        step = self.plan.estimate.step
        whole = estimate(work, rates.encode, rates.search, config, step=step, processes=processes)
        return self.spent_s + whole.seconds

    def _as(self, way: _Way, steps: int) -> FitConfig:
        choice = BudgetChoice("", steps, way.pool, way.scope, way.candidates, 0.0)
        return choice.applied(self.config)

    def steps(self, way: _Way) -> int:
        """The most that fit: more steps take longer, so it is found by halving."""
        low, high = 0, self.most
        while low < high:
            middle = (low + high + 1) // 2
            if self.seconds(way, middle) <= self.limit_s:
                low = middle
            else:
                high = middle - 1
        return low

    def leaves_half(self, way: _Way, steps: int) -> bool:
        """Whether all steps fit, or half of the time is theirs."""
        return steps == self.most or steps * self.plan.estimate.step.seconds >= self.limit_s / 2
