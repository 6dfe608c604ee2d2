"""The part of a fit that chooses what comes back: prepared before the training, done after it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whet.config import ModelConfig
from whet.data.load import Dataset
from whet.evaluation.judge import Evaluation, judge
from whet.evaluation.lexical.languages import counted_in
from whet.evaluation.measures import Scores, balanced
from whet.evaluation.pool.choose import DocumentPool
from whet.evaluation.pool.size import PoolSize
from whet.evaluation.results import compared
from whet.evaluation.selection.choice import Choice, choose
from whet.evaluation.selection.guard import guard_of
from whet.evaluation.selection.moments import FOLDER, Keeper, Moment
from whet.evaluation.selection.pool import DevPool, PoolJudge, kept_pool, make_pool, room
from whet.evaluation.selection.record import write_selection
from whet.evaluation.selection.set_pools import PoolJudges
from whet.evaluation.selection.word_weight import (
    MOST_S,
    WEIGHTS,
    WordsChoice,
    choose_words,
    language_of_words,
    seconds_of_words,
)
from whet.evaluation.trec import Run
from whet.model.encoder import Encoder
from whet.model.parts.words import ENGLISH, WordsBeside
from whet.model.towers import Towers
from whet.processes.world import from_leader, together
from whet.progress import say
from whet.report.words import duration
from whet.run.job import Job
from whet.run.model_card import model_card
from whet.training.batches.order import Order, total_steps
from whet.types import Qrels
from whet.verbs.judging import judged

REJECTED = "rejected"  # the folder of a tuned model that did not come back


@dataclass(frozen=True)
class Beside:
    """What dev says of words beside the vectors of what comes back, and that model and the base
    judged with words.
    """

    choice: WordsChoice
    base: Evaluation
    back: Evaluation

    @property
    def systems(self) -> dict[str, Evaluation]:
        """By the names they have beside "base" and "tuned"."""
        return {"base_words": self.base, "tuned_words": self.back}

    def record(self, base: Evaluation, back: Evaluation) -> dict[str, Any]:
        """Plain values; `base` and `back` are the same models judged by vectors alone."""
        return self.choice.record({"base": (base, self.base), "tuned": (back, self.back)})


@dataclass(frozen=True)
class Returned:
    """The model that comes back and the tuned one: another where the base came back. `choice` is
    None where nothing was chosen, `beside` where no words were tried.
    """

    encoder: Encoder
    tuned: Encoder
    choice: Choice | None = None
    keeper: Keeper | None = None
    beside: Beside | None = None

    def model(self, job: Job) -> Encoder | Towers:
        """What is saved as model/: with model.train=query beside the encoder of documents, and with
        words where they count: as dev says, or else as in the base model's searches.
        """
        model = self.encoder if self.is_base else job.whole(self.encoder)
        words = self.beside.choice.words if self.beside is not None else job.base_words
        model.words, model.language = words
        return model

    @property
    def is_base(self) -> bool:
        """Whether the base came back."""
        return self.tuned is not self.encoder

    @property
    def sentence(self) -> str:
        """What came back, and why; empty where nothing was chosen."""
        return self.choice.sentence() if self.choice else ""

    @property
    def steps(self) -> int | None:
        """How many steps the tuned model was trained for; None: all."""
        return self.choice.trials[-1].step if self.choice else None

    def record(self, folder: Path, tuned: Scores, words: Mapping[str, Any] | None) -> None:
        """Write selection.json, where something was chosen."""
        if self.choice is not None and self.keeper is not None:
            write_selection(folder, self.keeper, self.choice, tuned.means, words)

    def save_rejected(
        self, job: Job, base: Evaluation, tuned: Evaluation, fingerprint: str
    ) -> None:
        """Where the base came back, write the tuned model to rejected/; its card says so."""
        if not self.is_base:
            return
        target = job.folder / REJECTED
        shutil.rmtree(target, ignore_errors=True)  # of a run that was killed right after this
        comparison = compared(base, tuned, job.config.evaluate.measures[0])
        comparison = replace(comparison, returned=self.sentence)
        card = model_card(job, self.tuned, comparison, fingerprint, steps=self.steps, rejected=True)
        job.whole(self.tuned).save(target, card)


@dataclass(frozen=True)
class Choosing:
    """What a job chooses by: its keeper of moments, and the base model's scores of the dev queries
    in the whole corpus. `language` is that of the words that are tried beside vectors, None where
    none are. Every process of the job calls all methods alike.
    """

    job: Job
    keeper: Keeper
    base_whole: Mapping[str, float]
    sides: Sequence[_Side]
    language: str | None = None

    def choose(self, encoder: Encoder) -> Returned:
        """Choose; the encoder is the trained one, whose weights may change."""
        job = self.job
        choice = choose(
            self.keeper,
            encoder,
            _base(job, job.config.model),
            self._dev_scores,
            self.base_whole,
            max_drop=job.config.guard.max_drop,
            several=bool(job.sets),
        )
        back = encoder
        if choice.returned is None:  # without an adapter: there would be nothing in it
            back = _base(job, replace(job.config.model, lora_rank=0))
        return Returned(back, encoder, choice, self.keeper)

    def with_words(self, returned: Returned, judged_on: Sequence[DocumentPool | None]) -> Returned:
        """The same with what dev says of words beside its vectors, where they are tried. All
        documents have their vectors: nothing is encoded again.
        """
        if self.language is None:
            return returned
        job, config = self.job, self.job.config
        base = job.whole(_base(job, config.model))
        back, of_base = base, True
        if not returned.is_base:
            back = job.whole(returned.tuned)
            of_base = back is not returned.tuned
        alone = _whole(job, back, self.sides, of_base=of_base)
        each, own = {}, job.base_words.weight
        for weight in sorted({*WEIGHTS, own} - {0.0}):
            with _counting(back, WordsBeside(weight, self.language)):
                each[weight] = _whole(job, back, self.sides, of_base=of_base)
        choice = choose_words(
            alone,
            each,
            measure=self.keeper.measure,
            language=self.language,
            max_drop=config.guard.max_drop,
            several=bool(job.sets),
            own=own,
        )
        with _counting(base, choice.of_base):
            name = f"base, words {choice.of_base.weight:g}"
            base_too = judged(job, base, name, judged_on, of_base=True)
        back_too = base_too
        if back is not base or choice.shown != choice.of_base:
            with _counting(back, choice.shown):
                name = f"tuned, words {choice.shown.weight:g}"
                back_too = judged(job, back, name, judged_on, of_base=of_base)
        return replace(returned, beside=Beside(choice, base_too, back_too))

    def _dev_scores(self, encoder: Encoder) -> Mapping[str, float]:
        model = self.job.whole(encoder)
        return _whole(self.job, model, self.sides, of_base=model is not encoder)


def choosing_of(
    job: Job, encoder: Encoder, judged_on: Sequence[DocumentPool | None]
) -> Choosing | None:
    """Judge the base model by what the choice is made by; None where the last weights come back.
    `judged_on` are the pools that the models are judged on in each data set, None for the whole
    corpus.
    """
    if job.dev is None:
        return None
    config = job.config
    sides = [
        _Side(one, one.dev, _with_answers(pool, one.dev, one.data))
        for one, pool in zip(job.each, judged_on, strict=True)
        if one.dev is not None
    ]
    scores, judges = {}, {}
    for side in sides:
        evaluation = side.judged(job.whole(encoder), of_base=True)
        scores[side.job.data.name] = evaluation.scores
        judges[side.job.data.name] = side.pool_judge(job, evaluation.run)
    by_pool: PoolJudge | PoolJudges
    if job.sets:
        by_pool = PoolJudges(judges)
        stores = {side.job.data.name: side.job.base_store for side in sides}
        of_base = by_pool.stored(encoder, stores)
    else:
        by_pool = judges[job.data.name]
        of_base = by_pool.stored(encoder, job.base_store)
    guarded = guard_of(config, encoder)
    guard, guard_scores = guarded if guarded is not None else (None, {})
    base = Moment(0, of_base, guard_scores)
    measure = next(iter(next(iter(scores.values())).means))
    keeper = Keeper(
        job.folder,
        by_pool,
        guard,
        base=base,
        measure=measure,
        patience=config.select.patience,
        whole=job.whole,
    )
    base_whole = from_leader(lambda: _one_score(job, scores))
    return Choosing(job, keeper, base_whole, sides, _language(job, sides, judged_on))


@dataclass(frozen=True)
class _Side:
    """One data set of a job, its dev queries and what they are asked of; None: its whole corpus."""

    job: Job
    dev: Qrels
    searched: DocumentPool | None

    def judged(self, model: Encoder | Towers, *, of_base: bool) -> Evaluation:
        """By the measure that decides; `of_base`: documents keep their vectors, and are not encoded
        again.
        """
        job, config = self.job, self.job.config
        return judge(
            model,
            job.data,
            self.dev,
            store=job.base_store if of_base else job.scratch,
            config=replace(config.evaluate, measures=config.evaluate.measures[:1]),
            encode=config.encode,
            pace=job.pace,
            pool=self.searched,
        )

    def pool_judge(self, whole: Job, ranked: Run) -> PoolJudge:
        """Who judges a model cheaply, on a pool that is kept in the run folder."""
        job, path = self.job, self.job.folder / FOLDER / "pool.json"
        pool = kept_pool(path, job.data, lambda: self._pool(whole, ranked))
        return PoolJudge(pool, self.dev, job.data, job.config)

    def _pool(self, whole: Job, ranked: Run) -> DevPool:
        config = whole.config
        order = Order(len(whole.train.relevant()), config.trainer.batch_size, config.seed)
        pairs = order.seen(total_steps(order, config.trainer)) // len(whole.each)
        documents = len(self.job.data.corpus)
        documents = documents if self.searched is None else len(self.searched.rows_S)
        texts = room(documents, len(self.job.learned.query_rows), pairs, config)
        least = config.select.at_least
        return make_pool(
            self.dev, ranked, self.job.data, texts=texts, seed=config.seed, least=least
        )


def _one_score(job: Job, scores: Mapping[str, Scores]) -> Mapping[str, float]:
    """The dev queries' scores by the measure that decides; of several data sets balanced."""
    each = {name: next(iter(one.per_query.values())) for name, one in scores.items()}
    return balanced(each) if job.sets else next(iter(each.values()))


def _with_answers(pool: DocumentPool | None, dev: Qrels, data: Dataset) -> DocumentPool | None:
    """A pool with what answers the dev queries, too: it was chosen for others."""
    if pool is None:
        return None
    rows_S = np.union1d(pool.rows_S, dev.doc_rows_M)
    if data.home_N is not None:  # of a document in passages all of them
        rows_S = np.flatnonzero(np.isin(data.home_N, data.home_N[rows_S]))
    return DocumentPool(rows_S, PoolSize(len(rows_S), len(data.corpus)))


def _base(job: Job, model: ModelConfig) -> Encoder:
    """The base model as the job opened it: seeded, since a pooler that its folder lacks is drawn,
    and so is the start of a LoRA.
    """
    torch.manual_seed(job.config.seed)
    return together(lambda: Encoder.load(model))


def _whole(
    job: Job, model: Encoder | Towers, sides: Sequence[_Side], *, of_base: bool
) -> Mapping[str, float]:
    """The dev queries' scores in the whole corpus, by the measure that decides: the leader's, so
    that all processes decide alike.
    """
    scores = {side.job.data.name: side.judged(model, of_base=of_base).scores for side in sides}
    return from_leader(lambda: _one_score(job, scores))


def _language(
    job: Job, sides: Sequence[_Side], judged_on: Sequence[DocumentPool | None]
) -> str | None:
    """In which language words are tried beside the vectors; None where they are not, which is
    told.
    """
    asked = job.config.select.words
    if asked == "off":
        return None
    dev = {side.job.data.name: len(side.dev.query_rows) for side in sides}
    seconds = sum(
        seconds_of_words(len(one.data.corpus), dev.get(one.data.name, 0), len(one.eval.query_rows))
        for one in job.each
    )
    language = None
    if any(one.data.has_pictures for one in job.each):
        why = "Pictures have none."
    elif any(pool is not None for pool in judged_on):
        why = "Models are judged on a pool of documents, which was chosen by words."
    elif asked == "auto" and seconds > MOST_S:
        why = f"That would take about {duration(seconds)}; select.words=always does it."
    else:
        # a weight that the model came with is of words counted in its language
        known = job.base_words.language if job.base_words.weight else None
        language, why = language_of_words([one.data.corpus for one in job.each], known)
    if language is None:
        say(f"Words in common are not tried beside the vectors. {why}")
    elif language != ENGLISH:
        say(counted_in(language))
    return language


@contextmanager
def _counting(model: Encoder | Towers, words: WordsBeside) -> Iterator[None]:
    """In the block the model's searches count words so much."""
    before = model.words, model.language
    model.words, model.language = words
    try:
        yield
    finally:
        model.words, model.language = before
