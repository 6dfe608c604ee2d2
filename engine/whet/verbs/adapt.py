"""`whet adapt`: a search adapted to documents that nobody judged, and honest about what that is
worth.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whet.config import AdaptConfig
from whet.config.ranges import budget_seconds, check_options
from whet.data.load import Dataset
from whet.evaluation.lexical import Words, corpus_language, corpus_words
from whet.evaluation.lexical.languages import counted_in
from whet.printable import printable, printable_lines
from whet.progress import paragraph, say
from whet.run.folder import Stopwatch, write_config
from whet.run.output import facts_of, refuse_taken, whole_output
from whet.storage.commit import write_atomically, write_json

if TYPE_CHECKING:
    from whet.adaptation.adapted import Adapted, Given
    from whet.adaptation.generate.reranked import Judge
    from whet.adaptation.generate.shards import Writer
    from whet.adaptation.log import QueryLog
    from whet.adaptation.planned.within import AdaptBudget, SomeEncoded
    from whet.adaptation.wanted import Wanted
    from whet.data.table import TextTable
    from whet.feedback.learn.job import Bars
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers
    from whet.types import Embeddings

RECORD = "adaptation.json"
JUDGE_THESE = "judge_these.jsonl"


@dataclass(frozen=True, repr=False)
class Adaptation:
    """What an adaptation left: its folder, its model, and what is known of it."""

    folder: Path
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The folder of the model that searches."""
        return self.folder / "model"

    def __repr__(self) -> str:
        """What was done, and what is proved."""
        proved = self.record["proved"] or self.record["not_proved"]
        return "\n".join([*self.record["done"], proved])


def adapt_command(config: AdaptConfig, local: Writer | None = None) -> None:
    """`whet adapt`: say what was done, what is proved, and what to do next. `local` is the language
    model of generate.local.
    """
    adaptation = adapt_job(config, local)
    record = adaptation.record
    for sentence in [*record["done"], record["proved"] or record["not_proved"]]:
        print(paragraph(printable_lines(sentence), sys.stdout))
    for sentence in record["helps"]:
        say(paragraph(sentence))
    say(f"Report: {printable(adaptation.folder / 'report.html')}")
    say("\n".join(["Next:", *(f"  {line}" for line in record["next"])]))


def adapt_job(config: AdaptConfig, local: Writer | None = None) -> Adaptation:
    """Adapt a search as the options say; what it left.

    Raises DataError, ConfigError or EnvironmentRefused for what the user can mend, before any work.
    """
    from whet.adaptation.generate.bill import agreed, estimated
    from whet.adaptation.generate.generated import check_reached, shown_examples, writer_of
    from whet.adaptation.log import data_and_log

    start_s = time.monotonic()
    check_options(config)
    if config.budget is not None:
        budget_seconds(config.budget)
    writer = writer_of(config, local)
    data, log = data_and_log(config)
    facts = {**facts_of("adapt", config, data.digest), "log": log.digest}
    refuse_taken(config.output, facts)
    if writer is not None:
        examples = shown_examples(log.queries, config.generate, seed=config.seed)
        bill = estimated(data.corpus, examples, config.generate)
        agreed(bill, examples, config.generate, writer.where)
        check_reached(writer, len(data.corpus), config.generate)
    return _adapt(config, data, log, writer, start_s)


def _adapt(
    config: AdaptConfig, data: Dataset, log: QueryLog, writer: Writer | None, start_s: float
) -> Adaptation:
    """What is left when nothing is refused; it began at `start_s` on the clock."""
    # torch is loaded here: what was refused before took no second
    from whet.adaptation.planned.within import measured_budget
    from whet.model.encoder import weights_unchanged
    from whet.model.towers import open_model

    base = open_model(config.model)
    with weights_unchanged():
        facts = facts_of("adapt", config, data.digest, base.fingerprint())
        facts["log"] = log.digest
        with whole_output(config.output, f"{data.name}_adapt", facts) as output:
            budget = measured_budget(data, log, base, config, start_s=start_s)
            record = _written(
                output.draft,
                output.folder,
                base,
                config=config,
                data=data,
                log=log,
                writer=writer,
                budget=budget,
            )
    return Adaptation(output.folder, record)


def _written(
    draft: Path,
    folder: Path,
    base: Encoder | Towers,
    *,
    config: AdaptConfig,
    data: Dataset,
    log: QueryLog,
    writer: Writer | None,
    budget: AdaptBudget | None,
) -> dict[str, Any]:
    """Do the work and fill the draft of a run folder; what adaptation.json says."""
    from whet.adaptation.adapted import Given, adapt
    from whet.adaptation.wanted import wanted_of
    from whet.feedback.learn.job import Bars
    from whet.model.towers import one_or_two
    from whet.report.adaptation import write_adaptation_report
    from whet.run.model_card import adapted_card

    write_config(draft, config)
    about = {"name": data.name, "digest": data.digest, "documents": len(data.corpus)}
    watch = Stopwatch(draft, {"data": {**about, "log": len(log)}})
    corpus, words, some = _read(base, data, log, config, watch=watch, budget=budget)
    given = Given(
        data,
        corpus,
        words,
        log.queries,
        config.search,
        config.seed,
        config.encode,
        config.data.train_split,
        some=some,
    )
    bars = Bars()
    with bars.bar:
        if writer is not None:
            given = _with_queries(given, writer, config, log, bars)
            watch.stage("generate")
        adapted = adapt(base, given, bars)
    watch.stage("adapt")
    wanted = wanted_of(
        data,
        log.queries,
        corpus,
        encoder=base.side("query"),
        words=words,
        seed=config.seed,
        some=some,
    )
    record = record_of(adapted, given, base, wanted=wanted, log=log)
    watch.stage("ask")
    record["next"] = _next_lines(config, folder, data, wanted)
    write_atomically(draft / JUDGE_THESE, _json_lines(wanted.rows()))
    card = adapted_card(record, config.model.name)
    one_or_two(adapted.model).save(draft / "model", card)
    write_json(draft / RECORD, record)
    watch.stage("write")
    write_adaptation_report(draft, record)
    return record


def _read(
    base: Encoder | Towers,
    data: Dataset,
    log: QueryLog,
    config: AdaptConfig,
    *,
    watch: Stopwatch,
    budget: AdaptBudget | None,
) -> tuple[Embeddings, Words, SomeEncoded | None]:
    """The documents as vectors and as words; where a budget has no time for all, the vectors of
    those that are nearest by words, which are counted first.
    """
    from whet.adaptation.planned.within import encode_some
    from whet.encoding.store import embeddings_folder
    from whet.encoding.table import encode_table

    if budget is None or budget.whole:
        corpus = encode_table(
            base, data.corpus, kind="document", store=embeddings_folder(), config=config.encode
        )
        watch.stage("encode")
        words = _counted(base, data.corpus)
        watch.stage("words")
        return corpus, words, None
    words = _counted(base, data.corpus)
    watch.stage("words")
    corpus, some = encode_some(base, data, words, log, config=config, budget=budget)
    watch.stage("encode")
    return corpus, words, some


def _counted(base: Encoder | Towers, corpus: TextTable) -> Words:
    """The words of the documents. A weight that the model came with is of words counted in its
    language.
    """
    language = base.language if base.words else corpus_language(corpus)
    if language != "english":
        say(counted_in(language))
    return corpus_words(corpus, language)


def _json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _with_queries(
    given: Given, writer: Writer, config: AdaptConfig, log: QueryLog, report_progress: Bars
) -> Given:
    """The same with what a language model writes, and the cross-encoder that judges it."""
    from whet.adaptation.generate.generated import generated_queries, shown_examples

    wanted, corpus = config.generate, given.data.corpus
    judge = _cross_encoder(config, corpus)  # what it refuses it refuses before anything is paid for
    generated = generated_queries(
        corpus,
        given.corpus.vectors,
        shown_examples(log.queries, wanted, seed=config.seed),
        writer,
        config=wanted,
        seed=config.seed,
        report_progress=report_progress,
    )
    return replace(given, generated=generated, judge=judge)


def _cross_encoder(config: AdaptConfig, corpus: TextTable) -> Judge | None:
    """What scores the documents that generated queries find; None where no cross-encoder does."""
    from whet.adaptation.generate.bill import LLM
    from whet.mining.crossencoder import CrossEncoder

    name = config.generate.judge
    if name in (None, LLM):
        return None
    model = CrossEncoder(str(name), device=config.encode.device, option="generate.judge")
    return lambda texts, rows_M: model.logits(texts, corpus.texts(rows_M))


def record_of(
    adapted: Adapted, given: Given, base: Encoder | Towers, *, wanted: Wanted, log: QueryLog
) -> dict[str, Any]:
    """What is known of an adaptation, as JSON holds it."""
    from whet.adaptation.examples import examples_of
    from whet.adaptation.judged import ENOUGH

    proof = None if adapted.proof is None else adapted.proof.summary()
    told = [] if given.generated is None else [given.generated.sentence()]
    some = given.some
    told += [] if some is None else [some.sentence()]
    return {
        "data": given.data.name,
        "documents": len(given.data.corpus),
        "encoded": None if some is None else some.to_dict(),
        "log": len(given.log),
        "left_out": log.left_out,
        "search": given.search,
        "weight_of_words": adapted.model.words,
        "trained": adapted.trained,
        "gates": [gate.to_dict() for gate in adapted.gates],
        "made": adapted.made,
        "generated": None if given.generated is None else given.generated.to_dict(),
        "done": [*told, *adapted.done],
        "proof": proof,
        "proved": None if proof is None else _proved(proof),
        "not_proved": "" if proof is not None else _not_proved(adapted.judged, ENOUGH),
        "helps": adapted.helps,
        "examples": examples_of(adapted.model, base, given) if some is None else [],
        "wanted": wanted.rows(),
    }


def _proved(proof: dict[str, Any]) -> str:
    """A sentence with the figures of a proof."""
    change = proof["after"] - proof["before"]
    return (
        f"On {proof['queries']:,} judged queries of {proof['split']}: {proof['measure']} "
        f"{proof['before']:.3f} before, {proof['after']:.3f} after ({change:+.3f}, "
        f"p = {proof['p_value']:.3f})."
    )


def _not_proved(judged: int, enough: int) -> str:
    """Why nothing is proved."""
    if judged >= enough:
        return (
            f"Not proved on your queries: {judged:,} are judged, and judging by them takes the "
            "vectors of all documents."
        )
    return f"Not proved on your queries: {judged:,} are judged, and {enough} are needed."


def _next_lines(config: AdaptConfig, folder: Path, data: Dataset, wanted: Wanted) -> list[str]:
    """The commands that lead on."""
    model, where = folder / "model", f"data={printable(data.path)}"
    if config.data.passages != "off":
        where += f" data.passages={config.data.passages}"
    asked = folder / JUDGE_THESE
    fill = [] if wanted.queries else [f"write a query into each line of {printable(asked)}, then:"]
    return [
        f'whet search {printable(folder)} "words"',
        *fill,
        f"whet label {where} model={printable(model)} queries={printable(asked)}",
        f"whet tune {printable(Path('runs') / f'feedback_{data.name}')} ship=true",
    ]
