"""How a fit judges a model: on its data set, or on each of several."""

from __future__ import annotations

from collections.abc import Sequence

from whet.evaluation.judge import Evaluation, judge, of_sets
from whet.evaluation.pool.choose import DocumentPool
from whet.model.encoder import Encoder
from whet.model.towers import Towers
from whet.progress import say
from whet.run.job import Job


def judged(
    job: Job,
    encoder: Encoder | Towers,
    name: str,
    pools: Sequence[DocumentPool | None],
    *,
    of_base: bool,
) -> Evaluation:
    """Judge it, and say what came of it. `pools` are those of each data set; `of_base`: documents
    have the vectors of the model before training.
    """
    each = {
        one.data.name: _of_one(one, encoder, pool, of_base)
        for one, pool in zip(job.each, pools, strict=True)
    }
    if not job.sets:
        evaluation = next(iter(each.values()))
    else:
        evaluation = of_sets(each, {one.data.name: len(one.data.corpus) for one in job.sets})
        for set_name, one in each.items():
            say(f"{name}, {set_name}: {_in_words(one)}")
    say(f"{name}{', mean' if job.sets else ''}: {_in_words(evaluation)}")
    return evaluation


def _of_one(
    job: Job, encoder: Encoder | Towers, pool: DocumentPool | None, of_base: bool
) -> Evaluation:
    config = job.config
    return judge(
        encoder,
        job.data,
        job.eval,
        store=job.base_store if of_base else job.scratch,
        config=config.evaluate,
        encode=config.encode,
        pace=job.pace,
        pool=pool,
    )


def _in_words(evaluation: Evaluation) -> str:
    main, value = next(iter(evaluation.scores.means.items()))
    return f"{main} {value:.4f} {evaluation.judged_on}"
