"""The whole story of `whet fit`: judge the base model, mine, train, judge again, write it all down.

Shape suffixes: Q queries, N documents, D dimensions.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whet.bench.claim import check_data
from whet.config import FitConfig, SearchConfig
from whet.data.joined import read_data
from whet.data.load import Dataset, tell_remarks
from whet.data.splits import check_splits
from whet.encoding.lengths import tell_cut_documents
from whet.errors import CheckpointError, DataError
from whet.evaluation.comparison import Comparison
from whet.evaluation.judge import Evaluation
from whet.evaluation.results import write_comparison, write_judged
from whet.evaluation.selection.moments import FOLDER
from whet.evaluation.selection.word_weight import words_table
from whet.model.encoder import Encoder, weights_unchanged
from whet.model.folder import find_folder
from whet.model.parts.words import words_of
from whet.model.towers import Towers, open_model
from whet.processes.devices import choose_device, training_device
from whet.processes.heartbeat import watched
from whet.processes.world import from_leader, together, world
from whet.progress import paragraph, say
from whet.refresh import Refresher
from whet.refresh.in_use import JobNegatives
from whet.refresh.of_sets import refresher_of
from whet.report.render import write_report
from whet.run.determinism import fixed_order
from whet.run.early import check_dims
from whet.run.folder import Stopwatch, data_of_run, new_folder, write_config
from whet.run.job import Job, job_with_data, shared_dataset
from whet.run.model_card import model_card
from whet.run.negatives import negatives_path, stored_negatives
from whet.run.origin import record_origin
from whet.run.refusals import check_base, check_fit, check_resume
from whet.storage.disk import disk_errors_name, is_of_disk, of_disk
from whet.storage.lock import locked
from whet.types import Negatives
from whet.verbs.choosing import Returned, choosing_of
from whet.verbs.judging import judged
from whet.verbs.parts import (
    check_parts,
    facts_of,
    facts_of_pools,
    judged_pool,
    tell_shares,
    within_time,
)
from whet.verbs.search import SearchHits, asked_item, best_of, searcher_of

if TYPE_CHECKING:
    from whet.plan.forecast import Forecast
    from whet.training.callbacks import Judge
    from whet.training.continuous import BackgroundMiner
    from whet.training.loggers import Figures

    MakeMiner = Callable[[FitConfig, Path], BackgroundMiner]


@dataclass(frozen=True)
class Run:
    """A finished job: where everything lies, and how the model did."""

    folder: Path
    comparison: Comparison
    _kept: dict[str, Any] = field(default_factory=dict, compare=False)  # what search has opened

    @property
    def model(self) -> Path:
        """The folder of the model that came back."""
        return self.folder / "model"

    def __repr__(self) -> str:
        main = self.comparison.main
        return f"Run({str(self.folder)!r}: {main.measure} {main.tuned:.4f}, was {main.base:.4f})"

    def _repr_html_(self) -> str:
        return f"{self.comparison._repr_html_()}<p><code>{escape(str(self.folder))}</code></p>"

    def encoder(self) -> Encoder | Towers:
        """The tuned model: with model.train=query an encoder per side."""
        return open_model(str(self.model))

    def search(self, query: str, k: int = 10) -> SearchHits:
        """The k best documents of the run's data for a query, which is the path of a picture where
        the model reads pictures. The corpus is encoded the first time; DataError or CheckpointError
        where the data are not there any more.
        """
        if "model" not in self._kept:
            self._kept["model"] = self.encoder()
        asked = asked_item(query, self._kept["model"].side("query").reads)
        if "searcher" not in self._kept:
            data = data_of_run(self.folder)
            config = SearchConfig(run=str(self.folder), query=query)
            self._kept["searcher"] = searcher_of(self._kept["model"], data, config), data
        searcher, data = self._kept["searcher"]
        return best_of(searcher, data, asked, k)


def fit_job(config: FitConfig, miner: MakeMiner | None = None, data: Dataset | None = None) -> Run:
    """Do the job, or go on with the one in `config.resume`; the results lie in the run folder.

    Every process of the job calls it alike; the leader alone writes the run folder, but for
    checkpoints. `miner` makes who mines beside the training for refresh.policy=continuous, by
    default a process on this machine. `data` are those of the configuration, where they are open
    already.

    Raises DataError, ConfigError or CheckpointError for what the user can mend, and
    KeyboardInterrupt (whose argument is the run folder) when interrupted with a checkpoint written.
    """
    began = time.monotonic()
    check_fit(config)
    with watched(config.launch.hang_timeout_s), fixed_order(config):
        if data is not None:
            tell_remarks(data)
        opened = data or shared_dataset(config)
        from_leader(lambda: check_data(config.claim, opened))
        from_leader(lambda: check_splits(opened, config))
        from_leader(lambda: check_parts(opened, config))
        if config.resume is not None:
            from_leader(lambda: check_resume(Path(str(config.resume)), config, opened))
        from_leader(lambda: tell_cut_documents(opened, config.model))
        encoder = _base_model(config)
        folder = from_leader(lambda: _folder_for(config, opened))
        with locked(folder) if world().leader else nullcontext():
            job = job_with_data(config, folder, opened)
            say(f"Run folder: {folder}")
            tell_shares(job)
            job = within_time(job, encoder, time.monotonic() - began)
            with _naming_broken_disk(folder), _figures(job) as figures:
                return _stages(job, encoder, miner, figures)


def _figures(job: Job) -> AbstractContextManager[Figures]:
    from whet.training.loggers import logged  # with Lightning, which takes a second

    return logged(job.config, job.folder)


@contextmanager
def _naming_broken_disk(folder: Path) -> Iterator[None]:
    try:
        with disk_errors_name(folder):
            yield
    except OSError as error:
        if not is_of_disk(error):
            raise
        raise CheckpointError(
            f"{of_disk(error)}. When the disk takes files again, go on with: "
            f"whet fit resume={folder}"
        ) from error


def begin(config: FitConfig, data: Dataset | None = None) -> Path:
    """Make the run folder of a job that other processes will do: each then calls `fit_job` with
    `resume` set to it. `data` are those of the configuration, where they are open already.

    Raises what `fit_job` raises for options and data; no model is loaded.
    """
    check_fit(config)
    data = data or read_data(config.data)  # what is found is told where the job is done
    check_splits(data, config)
    check_parts(data, config)
    if config.resume is not None:
        check_resume(Path(config.resume), config, data)
    return _folder_for(config, data)


def _base_model(config: FitConfig) -> Encoder:
    """The model before training. It is opened before there is a run folder: what is wrong with it
    leaves none.
    """
    import torch

    torch.manual_seed(config.seed)  # decides the start of a LoRA
    choose_device(config.encode)
    training_device(config.trainer)
    encoder = together(lambda: Encoder.load(config.model))
    together(lambda: words_of(find_folder(config.model)))  # a damaged one is told now
    check_dims(config.loss.matryoshka_dims, encoder.dimension)
    prompts = encoder.recipe.prompts_in_words()
    if prompts:
        say(prompts)
    return encoder


def _folder_for(config: FitConfig, data: Dataset) -> Path:
    if config.resume is not None:
        return Path(config.resume)
    goes_on = f"add resume={config.output} if it is an interrupted run"
    folder = new_folder(config.output, data.name, goes_on)
    write_config(folder, config)
    return folder


def _stages(job: Job, encoder: Encoder, miner: MakeMiner | None, figures: Figures) -> Run:
    with weights_unchanged():
        fingerprint = encoder.fingerprint()
        from_leader(lambda: check_base(job, fingerprint))
        from_leader(lambda: record_origin(job.folder, job.config, job.data, fingerprint))
        forecast = _forecast(job, encoder) if world().leader else None
        watch = Stopwatch(job.folder, facts_of(job, fingerprint))
        pools = [judged_pool(one) for one in job.each]
        watch.facts["data"] |= facts_of_pools(job, pools)
        base = judged(job, job.whole(encoder), "base", pools, of_base=True)
        figures.measures("base", base.scores.means)
        choosing = choosing_of(job, encoder, pools)
        watch.stage("judge the base model")
        refresher = refresher_of(job)
        first = _first_negatives(job, encoder, refresher)
        if job.config.refresh.policy != "continuous":  # there another process mines
            refresher.start(encoder)
        if refresher.verdict is not None:
            watch.facts["8-bit vectors"] = str(refresher.verdict)
        watch.stage("mine")
    step_done = forecast.step_done if forecast else lambda seconds: None
    encoder = _train(
        job,
        encoder,
        first,
        refresher,
        base=fingerprint,
        miner=miner,
        figures=figures,
        step_done=step_done,
        judge=choosing.keeper if choosing else None,
    )
    watch.stage("train")
    returned = choosing.choose(encoder) if choosing else Returned(encoder, encoder)
    with weights_unchanged():
        model = job.whole(returned.tuned)
        # documents that keep their vectors are not encoded again
        tuned = judged(job, model, "tuned", pools, of_base=model is not returned.tuned)
        figures.measures("tuned", tuned.scores.means)
        watch.stage("judge the tuned model")
        if forecast is not None:
            forecast.close(watch.facts["seconds"])
        if choosing is not None and choosing.language is not None:
            returned = choosing.with_words(returned, pools)
            watch.stage("judge with words")
        return from_leader(lambda: _finish(job, returned, fingerprint, base, tuned))


def _finish(
    job: Job, returned: Returned, fingerprint: str, base: Evaluation, tuned: Evaluation
) -> Run:
    """Compare, and write the results down."""
    back = base if returned.is_base else tuned
    words = returned.beside.record(base, back) if returned.beside else None
    returned.record(job.folder, tuned.scores, words)
    comparison = write_comparison(
        job.folder,
        job.data,
        job.eval,
        base,
        back,
        config=job.config.evaluate,
        returned=returned.sentence,
    )
    with_words = returned.beside.systems if returned.beside else {}
    write_judged(job.folder, job.data, job.eval, {"base": base, "tuned": back, **with_words})
    report = write_report(job.folder)
    run = Run(job.folder, comparison)
    returned.save_rejected(job, base, tuned, fingerprint)
    # Last of all: a run folder that holds a model is finished.
    card = model_card(
        job, returned.encoder, comparison, fingerprint, steps=returned.steps, words=words
    )
    returned.model(job).save(run.model, card)
    for one in (job, *job.sets):
        for done in (one.scratch, one.folder / "checkpoints", one.folder / FOLDER):
            shutil.rmtree(done, ignore_errors=True)
    for one in job.sets:
        with suppress(OSError):  # it keeps the pool that its set was judged on, where there was one
            one.folder.rmdir()
    say(f"\n{comparison.table()}\n{paragraph(comparison.verdict())}\n")
    if words is not None:
        say(f"{words_table(words)}\n{paragraph(words['sentence'])}\n")
    elif job.base_words.weight:
        say(f"{paragraph(job.base_words.kept)}\n")
    say(f"Model:  {run.model}\nReport: {report}\n\n{_next_steps(job)}")
    return run


def _next_steps(job: Job) -> str:
    """Commands that go on from a finished run."""
    folder, data = shlex.quote(str(job.folder)), shlex.quote(f"data={job.data.each[0].path}")
    model = shlex.quote(f"model={job.folder / 'model'}")
    several = f" {data}" if job.sets else ""
    if job.data.has_pictures:
        steps = {
            f"whet search {folder} picture.png{several}": "look what it finds",
            f"whet eval {data} {model}": "judge it alone",
        }
    else:
        steps = {
            f'whet search {folder} "words"{several}': "look what it finds",
            f"whet label {data} {model}": "judge results on a page, and tune by that",
            f"whet export {folder}": "ONNX and int8, for other runtimes",
        }
    width = max(map(len, steps))
    lines = [f"  {command:<{width}}  {what}" for command, what in steps.items()]
    return "\n".join(["Next:", *lines])


def _first_negatives(job: Job, encoder: Encoder, refresher: Refresher) -> Negatives | None:
    if job.config.mining.num_negatives == 0:
        return None
    if from_leader(negatives_path(job, 0).exists):
        return stored_negatives(job, 0)
    read, known = (len(pairs.query_rows) for pairs in (job.learned, job.train.relevant()))
    if read < known:
        say(f"Negatives are mined for the {read:,} of {known:,} queries that the steps read.")
    mined = refresher.first(encoder)
    say(f"{mined.report.headline()} All of it: report.html")
    if job.config.trainer.batch_size == 1 and not mined.negatives.found_R.any():
        raise DataError(
            "mining found no negative, and trainer.batch_size=1 leaves a step none: there is "
            "nothing to learn from. Raise trainer.batch_size, or lower mining.relative_margin."
        )
    return mined.negatives


def _forecast(job: Job, encoder: Encoder) -> Forecast:
    from whet.plan.forecast import Forecast
    from whet.plan.workload import Split

    split = Split(job.train, job.eval, job.positives, job.dev)
    return Forecast(job.folder, job.data, split, encoder, job.config)


def _train(
    job: Job,
    encoder: Encoder,
    first: Negatives | None,
    refresher: Refresher,
    *,
    base: str,
    miner: MakeMiner | None,
    figures: Figures,
    step_done: Callable[[float], None],
    judge: Judge | None,
) -> Encoder:
    from whet.training.batches.aids import aids_of
    from whet.training.batches.examples import Examples
    from whet.training.restore import find_resume
    from whet.training.run import train

    resume = find_resume(job.folder / "checkpoints")
    trained = train(
        encoder,
        Examples(
            job.train,
            job.positives,
            queries=job.data.queries,
            corpus=job.data.corpus,
            aids=aids_of(job.config, job.data, job.base_store),
        ),
        job.config,
        folder=job.folder,
        base=base,
        in_use=JobNegatives(refresher, first, resume.negatives_step if resume else 0),
        miner=lambda: (miner or _child)(job.config, job.folder),
        resume=resume,
        logger=figures.logger,
        step_done=step_done,
        judge=judge,
    )
    # Interrupted, with a checkpoint: the caller says how to go on with this folder.
    if trained is None:
        raise KeyboardInterrupt(str(job.folder))
    return trained


def _child(config: FitConfig, folder: Path) -> BackgroundMiner:
    from whet.refresh.beside import ChildMiner

    return ChildMiner(config, folder)
