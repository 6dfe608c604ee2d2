"""`whet eval`: judge a model, or two and compare them."""

from __future__ import annotations

from pathlib import Path

from whet.bench.claim import applies, check_data, claim_verdict
from whet.config import (
    BM25,
    EncodeConfig,
    EvalConfig,
    EvaluateConfig,
    ModelConfig,
)
from whet.config.ranges import check_options
from whet.data.load import Dataset, load_dataset
from whet.data.splits import eval_qrels
from whet.encoding.store import embeddings_folder
from whet.evaluation.comparison import Comparison
from whet.evaluation.judge import Evaluation, judge, judge_words
from whet.evaluation.measures import check_measures
from whet.evaluation.results import write_comparison, write_judged
from whet.model.encoder import Encoder, weights_unchanged
from whet.model.towers import Towers, open_model
from whet.progress import say
from whet.report.render import write_report
from whet.run.folder import Stopwatch, write_config
from whet.run.output import facts_of, whole_output
from whet.types import Qrels


def evaluate_command(config: EvalConfig) -> None:
    """`whet eval`: judge the model, and with a baseline compare the two."""
    folder, result = evaluate_job(config)
    if isinstance(result, Comparison):
        print(result)
    else:
        for measure, value in result.scores.means.items():
            print(f"{measure:<10} {value:.4f}")
        measured = result.scores.means.get(config.claim.measure)
        if measured is not None and applies(config.claim, config.model.name):
            print(f"published  {config.claim.value:.4f}: {claim_verdict(config.claim, measured)}")
    say(f"Report: {folder / 'report.html'}")


@weights_unchanged()
def evaluate_job(config: EvalConfig) -> tuple[Path, Evaluation | Comparison]:
    """Judge a model, or two and compare them; the run folder, and what is in it.

    Raises DataError, ConfigError or EnvironmentRefused for what the user can mend.
    """
    check_options(config)
    check_measures(config.evaluate.measures, config.evaluate.depth)
    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    check_data(config.claim, data)
    qrels = eval_qrels(data, config.data.eval_split)
    models = {"model": _searcher(config.model)}
    if config.baseline is not None:
        models = {"baseline": _searcher(config.baseline), **models}
    prints = [model.fingerprint() for model in models.values() if model is not None]
    facts = facts_of("eval", config, data.digest, *prints)
    with whole_output(config.output, f"{data.name}_eval", facts) as output:
        draft = output.draft
        write_config(draft, config)
        watch = Stopwatch(draft, {"data": {"name": data.name, "digest": data.digest}})
        evaluations = {
            name: _judged(model, data, qrels, evaluate=config.evaluate, encode=config.encode)
            for name, model in models.items()
        }
        write_judged(draft, data, qrels, evaluations)
        watch.stage("evaluate")
        result: Evaluation | Comparison = evaluations["model"]
        if config.baseline is not None:
            base, model = evaluations["baseline"], evaluations["model"]
            result = write_comparison(draft, data, qrels, base, model, config=config.evaluate)
        write_report(draft)
    return output.folder, result


def _searcher(model: ModelConfig | str) -> Encoder | Towers | None:
    """None stands for BM25."""
    name = model if isinstance(model, str) else model.name
    return None if name == BM25 else open_model(model)


def _judged(
    model: Encoder | Towers | None,
    data: Dataset,
    qrels: Qrels,
    *,
    evaluate: EvaluateConfig,
    encode: EncodeConfig,
) -> Evaluation:
    if model is None:
        return judge_words(data, qrels, evaluate)
    store = embeddings_folder()
    return judge(model, data, qrels, store=store, config=evaluate, encode=encode)
