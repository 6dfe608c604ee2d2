"""What `whet mine`, `whet encode`, `whet eval` and `whet plan` do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from whet.checkpoint import write_atomically
from whet.claim import applies, check_data, verdict
from whet.config import (
    BM25,
    EncodeConfig,
    EncodeJobConfig,
    EvalConfig,
    EvaluateConfig,
    FitConfig,
    MineConfig,
    ModelConfig,
)
from whet.data.load import Dataset, load_dataset
from whet.data.positives import positives_of
from whet.data.table import TextTable
from whet.encode import encode_table
from whet.errors import DataError, EnvironmentRefused
from whet.evaluate import Comparison, Evaluation, check_measures
from whet.fitting import check_fit
from whet.job import splits_of
from whet.mine import Mined, check_backend, check_policy, export_negatives, write_negatives
from whet.model.encoder import Encoder
from whet.model.towers import Towers, open_model, tell_vectors_alone
from whet.options import check_options
from whet.output import Output, facts_of, whole_output
from whet.printable import printable
from whet.progress import say
from whet.report import write_report
from whet.run_folder import Stopwatch, write_config
from whet.stages import (
    eval_qrels,
    judge,
    judge_words,
    mine_with,
    training_qrels,
    write_comparison,
    write_judged,
    write_mining_report,
)
from whet.store import embeddings_folder
from whet.types import Positives, Qrels

NEGATIVES = "negatives.parquet"


def evaluate_command(config: EvalConfig) -> None:
    """`whet eval`: judge the model, and with a baseline compare the two."""
    folder, found = evaluate_job(config)
    if isinstance(found, Comparison):
        print(found)
    else:
        for measure, value in found.scores.means.items():
            print(f"{measure:<10} {value:.4f}")
        ours = found.scores.means.get(config.claim.measure)
        if ours is not None and applies(config.claim, config.model.name):
            print(f"published  {config.claim.value:.4f}: {verdict(config.claim, ours)}")
    say(f"Report: {folder / 'report.html'}")


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
        found = {
            name: _judged(model, data, qrels, evaluate=config.evaluate, encode=config.encode)
            for name, model in models.items()
        }
        write_judged(draft, data, qrels, found)
        watch.stage("evaluate")
        result: Evaluation | Comparison = found["model"]
        if config.baseline is not None:
            base, model = found["baseline"], found["model"]
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


def encode_command(config: EncodeJobConfig, fill: Callable[[], None] = lambda: None) -> None:
    """`whet encode`: vectors.npy (float32 [N, D]) and ids.txt, row by row. `fill` may encode into
    the store, elsewhere, what it lacks.
    """
    data, table = _data_and_table(config)
    encoder = open_model(config.model)
    tell_vectors_alone(encoder)
    facts = facts_of("encode", config, data.digest, encoder.fingerprint())
    with whole_output(config.output, f"{data.name}_encode", facts) as output:
        fill()
        store = embeddings_folder()
        found = encode_table(encoder, table, kind=config.kind, store=store, config=config.encode)
        vectors = output.draft / "vectors"
        vectors.mkdir()
        np.save(vectors / "vectors.npy", found.vectors)
        names = "".join(f"{name}\n" for name in found.ids)
        (vectors / "ids.txt").write_text(names, encoding="utf-8")
    place = output.folder / "vectors"
    print(f"{printable(place)}: {len(found):,} vectors of {encoder.dimension} dimensions")


def table_to_encode(config: EncodeJobConfig) -> TextTable:
    """The texts of the kind asked for. DataError if there are none."""
    return _data_and_table(config)[1]


def _data_and_table(config: EncodeJobConfig) -> tuple[Dataset, TextTable]:
    check_options(config)
    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    table = data.queries if config.kind == "query" else data.corpus
    if not len(table):
        raise DataError(f"{data.path} holds no text of kind {config.kind}. Nothing to encode.")
    return data, table


def mine_command(config: MineConfig) -> None:
    """`whet mine`: hard negatives of the train split, in the formats asked for, and their
    report.
    """
    check_options(config)
    check_policy(config.mining)
    check_backend(config.mining.backend)
    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    train = training_qrels(data, config.data.train_split)
    positives = positives_of(train, data.queries, data.corpus)
    encoder = Encoder.load(config.model)
    facts = facts_of("mine", config, data.digest, encoder.fingerprint())
    with whole_output(config.output, f"{data.name}_mine", facts) as output:
        mined = mine_with(
            encoder,
            data,
            train,
            positives,
            store=embeddings_folder(),
            policy=config.mining,
            encode=config.encode,
        )
        _write_mined(config, output, data, positives, mined, model=encoder.fingerprint())
    print(mined.report)
    say(f"Negatives: {output.folder / NEGATIVES}\nReport: {output.folder / 'report.html'}")


def _write_mined(
    config: MineConfig,
    output: Output,
    data: Dataset,
    positives: Positives,
    mined: Mined,
    *,
    model: str,
) -> None:
    draft = output.draft
    write_config(draft, config)
    tables: dict[str, Any] = {
        "queries": data.queries,
        "corpus": data.corpus,
        "positives": positives,
    }
    write_negatives(draft / NEGATIVES, mined, **tables, model=model, data=data.digest)
    for name in config.formats:
        written = export_negatives(draft, name, mined.negatives, **tables)
        say(f"{name}: {', '.join(str(output.final(path)) for path in written)}")
    write_mining_report(draft / "mining_report.json", mined, data)
    write_atomically(draft / "mining_report.txt", f"{mined.report}\n")
    write_report(draft)


def plan_command(config: FitConfig) -> int:
    """`whet plan`: print what the fit would take. Returns 4 if it would not fit, else 0."""
    start = time.monotonic()
    check_fit(config)
    from whet.plan.command import keep_plan, make_plan  # loads Lightning
    from whet.plan.table import spelled
    from whet.plan.workload import Split

    data = load_dataset(config.data.path, on_problem=config.data.on_problem)
    train, judged = splits_of(data, config)
    split = Split(train, judged, positives_of(train, data.queries, data.corpus))
    encoder = Encoder.load(config.model)
    plan = make_plan(data, split, encoder, config, load_s=time.monotonic() - start)
    kept = keep_plan(plan, config, data.digest)
    print(spelled(plan))
    say(f"Kept for the fit to compare itself with: {kept}")
    return 0 if plan.fits(plan.held) else EnvironmentRefused.exit_code
