"""`whet eval`: judge a model, or two and compare them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from whet.bench.claim import applies, check_data, claim_verdict
from whet.config import BM25, EvalConfig, ModelConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset, open_dataset
from whet.data.splits import eval_qrels
from whet.encoding.lengths import tell_cut_documents
from whet.evaluation.comparison import Comparison
from whet.evaluation.lexical.weight import check_words, count_words
from whet.evaluation.measures import check_measures
from whet.evaluation.pool.size import check_pool
from whet.model.folder import find_folder
from whet.progress import paragraph, say
from whet.run.early import check_device
from whet.run.folder import Stopwatch, write_config
from whet.run.output import facts_of, refuse_taken, whole_output
from whet.types import Qrels

if TYPE_CHECKING:
    from whet.evaluation.judge import Evaluation
    from whet.evaluation.pool.choose import DocumentPool
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers


def evaluate_command(config: EvalConfig) -> None:
    """`whet eval`: judge the model, and with a baseline compare the two."""
    folder, result = evaluate_job(config)
    if isinstance(result, Comparison):
        print(f"{result.table()}\n{paragraph(result.verdict(), sys.stdout)}")
    else:
        where = f" on {result.pool}" if result.pool else ""
        for measure, value in result.scores.means.items():
            print(f"{measure:<10} {value:.4f}{where}")
        measured = result.scores.means.get(config.claim.measure)
        if measured is not None and not result.pool and applies(config.claim, config.model.name):
            print(f"published  {config.claim.value:.4f}: {claim_verdict(config.claim, measured)}")
    say(f"Report: {folder / 'report.html'}")


def evaluate_job(config: EvalConfig) -> tuple[Path, Evaluation | Comparison]:
    """Judge a model, or two and compare them; the run folder, and what is in it.

    Raises DataError, ConfigError or EnvironmentRefused for what the user can mend.
    """
    check_options(config)
    check_measures(config.evaluate.measures, config.evaluate.depth)
    check_words(config.words, config.model.name)
    data = open_dataset(config.data)
    tell_cut_documents(data, config.model)
    check_data(config.claim, data)
    qrels = eval_qrels(data, config.data.eval_split)
    check_pool(config.evaluate, qrels, len(data.corpus))
    check_device(config.encode)
    named = {"baseline": config.baseline, "model": config.model}
    asked = {name: model for name, model in named.items() if model is not None}
    for name, model in asked.items():
        _check_searcher(model, "model.name" if name == "model" else name)
    refuse_taken(config.output, facts_of("eval", config, data.digest))
    return _evaluate(config, data, qrels, asked)


def _evaluate(
    config: EvalConfig, data: Dataset, qrels: Qrels, asked: dict[str, ModelConfig | str]
) -> tuple[Path, Evaluation | Comparison]:
    """What is left when nothing is refused."""
    # torch is loaded here: what was refused before took no second
    from whet.evaluation.pool.choose import choose_pool
    from whet.evaluation.results import judged_facts, write_comparison, write_judged
    from whet.model.encoder import weights_unchanged
    from whet.report.render import write_report

    models = {name: _searcher(model) for name, model in asked.items()}
    if (model := models["model"]) is not None:
        texts = data.queries.texts(qrels.query_rows)
        language = config.bm25.language
        count_words(model, config.words, data.corpus, queries=texts, language=language)
    with weights_unchanged():
        prints = [model.fingerprint() for model in models.values() if model is not None]
        facts = facts_of("eval", config, data.digest, *prints)
        with whole_output(config.output, f"{data.name}_eval", facts) as output:
            draft = output.draft
            write_config(draft, config)
            pool = choose_pool(data, qrels, config.evaluate)
            about = {"name": data.name, "digest": data.digest, **judged_facts(qrels, pool)}
            watch = Stopwatch(draft, {"data": about})
            evaluations = {
                name: _judged(model, data, qrels, config=config, pool=pool)
                for name, model in models.items()
            }
            write_judged(draft, data, qrels, evaluations)
            watch.stage("evaluate")
            result: Evaluation | Comparison = evaluations["model"]
            if config.baseline is not None:
                both = evaluations["baseline"], evaluations["model"]
                result = write_comparison(draft, data, qrels, *both, config=config.evaluate)
            write_report(draft)
    return output.folder, result


def _check_searcher(model: ModelConfig | str, option: str) -> None:
    """Refuse a model that is not there."""
    config = ModelConfig(name=model) if isinstance(model, str) else model
    if config.name != BM25:
        find_folder(config, option)


def _searcher(model: ModelConfig | str) -> Encoder | Towers | None:
    """None stands for BM25."""
    from whet.model.towers import open_model

    name = model if isinstance(model, str) else model.name
    return None if name == BM25 else open_model(model)


def _judged(
    model: Encoder | Towers | None,
    data: Dataset,
    qrels: Qrels,
    *,
    config: EvalConfig,
    pool: DocumentPool | None,
) -> Evaluation:
    from whet.encoding.store import embeddings_folder
    from whet.evaluation.judge import judge, judge_words

    if model is None:
        return judge_words(data, qrels, config.evaluate, pool=pool, language=config.bm25.language)
    return judge(
        model,
        data,
        qrels,
        store=embeddings_folder(),
        config=config.evaluate,
        encode=config.encode,
        pool=pool,
    )
