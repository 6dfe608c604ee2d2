"""`whet mine audit`: how many mined negatives are relevant, asked of people or of a file.

Shape suffixes: Q queries, A questions, X negatives of the population.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whet.config import AuditConfig, LabelConfig, MiningConfig
from whet.config.ranges import check_options
from whet.data.judgments import HEADER, judgment_rows
from whet.data.load import Dataset, open_dataset, refuse_pictures
from whet.data.splits import pairs_of
from whet.errors import ConfigError, DataError
from whet.evaluation.false_negatives import Audit, Population, Rate, audit_of
from whet.progress import say
from whet.run.early import check_encoder, check_mining, check_rescorer
from whet.storage.commit import write_atomically, write_json
from whet.types import Negatives, Positives, Qrels

if TYPE_CHECKING:
    from whet.feedback.serve.questions import Question

QUESTIONS, ADDED, RESULT = "questions.jsonl", "added.tsv", "audit.json"
Answers = dict[tuple[str, str], int]  # (query id, document id) -> 1 relevant, 0 not


def audit_command(config: AuditConfig) -> None:
    """`whet mine audit`: ask about a sample of mined negatives, and write down what the answers
    say.
    """
    check_options(config)
    policy = looked_at(config)
    check_mining(policy)
    if config.answers is None:
        from whet.feedback.serve.label import check_page

        check_page()
    data = open_dataset(config.data)
    refuse_pictures(data, "whet mine audit")
    train = pairs_of(data, config.data.train_split)
    check_encoder(config.model, config.encode)
    check_rescorer(policy)
    home = Path(config.output or Path("runs") / f"audit_{data.name}")
    _refuse_foreign(home)
    asked = questions_of(config, data, train.relevant(), policy)
    home.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(question), ensure_ascii=False) + "\n" for question in asked]
    write_atomically(home / QUESTIONS, "".join(lines))
    say(f"{len(asked)} of them are asked about: {home / QUESTIONS}")
    answers = _read(config.answers) if config.answers else _ask(config, data, home, asked)
    _tell(config, home, asked, answers)


def looked_at(config: AuditConfig) -> MiningConfig:
    """The policy of the audit: that of the job, with as many negatives as may be asked about, from
    no margin on.
    """
    return replace(
        config.mining, num_negatives=config.depth, relative_margin=0.0, absolute_margin=None
    )


def _refuse_foreign(home: Path) -> None:
    if not home.exists() or (home / QUESTIONS).is_file():
        return
    if not home.is_dir() or any(home.iterdir()):
        raise ConfigError(f"output={home} holds something that is no audit. Choose another folder.")


def mined_for(
    config: AuditConfig, data: Dataset, relevant: Qrels, policy: MiningConfig
) -> tuple[Negatives, Population]:
    """The negatives of the queries looked at, as mined and by gap. DataError where there are
    none.
    """
    # torch is loaded here: what was refused before took no second
    from whet.encoding.corpus import embed
    from whet.encoding.store import embeddings_folder
    from whet.mining.rows import mine_rows
    from whet.model.encoder import Encoder

    rows_Q = relevant.query_rows
    if len(rows_Q) > config.queries:
        drawn = np.random.default_rng(config.seed).choice(rows_Q, config.queries, replace=False)
        rows_Q = np.sort(drawn)
    chosen = relevant.only(np.isin(relevant.query_rows_M, rows_Q))
    encoder = Encoder.load(config.model)
    vectors = embed(encoder, data, chosen, store=embeddings_folder(), config=config.encode)
    positives = data.positives(relevant).take(rows_Q)
    negatives = mine_rows(*vectors, rows_Q, data, positives, policy=policy).negatives
    population = Population.of(negatives)
    if not len(population):
        raise DataError(
            f"{data.path}: no negative was mined, so there is none to ask about. Loosen the "
            "mining options."
        )
    say(f"{len(population):,} negatives of {len(rows_Q):,} queries were mined.")
    corpus = np.asarray(vectors[1].vectors)
    return negatives, replace(
        population, likeness_X=_likeness(population, corpus, rows_Q, positives)
    )


def _likeness(
    population: Population, corpus_ND: np.ndarray, rows_Q: np.ndarray, positives: Positives
) -> np.ndarray:
    """How alike each negative is to the nearest of its query's positives, by the vectors."""
    place_X = np.searchsorted(rows_Q, population.query_rows_X)
    nearest = [
        (corpus_ND[positives.of(int(place))] @ corpus_ND[doc]).max()
        for place, doc in zip(place_X, population.doc_rows_X, strict=True)
    ]
    return np.array(nearest, np.float32)


def questions_of(
    config: AuditConfig, data: Dataset, relevant: Qrels, policy: MiningConfig
) -> list[Question]:
    """Mine, and draw what to ask about; the same for the same data, model and options. By gap, the
    likeliest to be relevant first.
    """
    from whet.feedback.serve.questions import Question

    negatives, population = mined_for(config, data, relevant, policy)
    scores = _scores_by_cell(negatives, len(data.corpus))
    asked = []
    for place in population.drawn(config.questions, config.seed):
        query, doc = int(population.query_rows_X[place]), int(population.doc_rows_X[place])
        words = data.queries.id(query), data.queries.text(query), data.corpus.id(doc)
        score = scores[query * len(data.corpus) + doc]
        asked.append(Question(*words, score, float(population.gap_X[place])))
    return asked


def _scores_by_cell(negatives: Negatives, documents: int) -> dict[int, float]:
    """Each negative's score by query row x documents + document row."""
    row_X, place_X = np.nonzero(negatives.doc_rows_RK >= 0)
    key_X = negatives.query_rows_R[row_X] * documents + negatives.doc_rows_RK[row_X, place_X]
    return dict(
        zip(key_X.tolist(), negatives.scores_RK[row_X, place_X].astype(float).tolist(), strict=True)
    )


def _read(path: str) -> Answers:
    return {(query, doc): int(grade >= 1) for _, query, doc, grade in judgment_rows(Path(path))}


def _ask(config: AuditConfig, data: Dataset, home: Path, asked: Sequence[Question]) -> Answers:
    """Serve the page until it is ended; what was answered there, now or before."""
    from whet.feedback.events.judgments import judgments
    from whet.feedback.events.store import EVENTS, EventStore
    from whet.feedback.learn.job import Tuner
    from whet.feedback.learn.versions import Versions
    from whet.feedback.serve.label import run_page
    from whet.feedback.serve.questions import AuditSession
    from whet.feedback.serve.session import Session

    page = LabelConfig(
        data=config.data,
        model=config.model,
        encode=config.encode,
        host=config.host,
        port=config.port,
        open_browser=config.open_browser,
        output=str(home / "feedback"),
    )

    def make(
        data: Dataset, folder: Path, store: EventStore, label: LabelConfig
    ) -> tuple[Session, Tuner]:
        versions = Versions(folder, label.model)
        tuner = Tuner(folder, label.tune, trust=label.model.trust_remote_code)
        return AuditSession(asked, data, versions, store, label.encode), tuner

    say("Mark each document as relevant or not; Ctrl-C ends the page and says what it means.")
    folder = run_page(data, page, make)
    store = EventStore(folder / EVENTS)
    events = [event for _, event in store.events()]
    store.close()
    said = {
        (judged.query, doc_id): grade
        for judged in judgments(events)
        for grade, ids in ((1, judged.relevant), (0, judged.irrelevant))
        for doc_id in ids
    }
    return {
        (question.query_id, question.doc_id): said[question.query.strip(), question.doc_id]
        for question in asked
        if (question.query.strip(), question.doc_id) in said
    }


def _tell(config: AuditConfig, home: Path, asked: Sequence[Question], answers: Answers) -> None:
    keys = [(question.query_id, question.doc_id) for question in asked]
    answered = [number for number, key in enumerate(keys) if key in answers]
    if not answered:
        where = config.answers or "on the page"
        raise DataError(
            f"None of the {len(asked)} questions was answered ({where}). They are in "
            f"{home / QUESTIONS}: answer with lines of query id, document id and 1 or 0, and say "
            "answers=FILE; or give the same command again."
        )
    gap_A = np.array([asked[number].gap for number in answered])
    relevant_A = np.array([answers[keys[number]] for number in answered], bool)
    audit = audit_of(gap_A, relevant_A, tolerated=config.tolerated)
    lines = [f"{keys[n][0]}\t{keys[n][1]}\t{answers[keys[n]]}\n" for n in answered]
    write_atomically(home / ADDED, HEADER + "".join(lines))
    write_json(home / RESULT, {**asdict(audit), "questions": len(asked)})
    in_use = config.mining.relative_margin or 0.0
    print(table_of(audit, len(asked), in_use))
    wider = audit.margin is not None and audit.margin > in_use
    margin = [f"mining.relative_margin={audit.margin:.3g}"] if wider else []
    again = ["whet", "fit", f"data={config.data.path}", f"data.added={home / ADDED}", *margin]
    say(
        f"Judgments: {home / ADDED} ({int(relevant_A.sum())} relevant, "
        f"{int((~relevant_A).sum())} not). Learn from them:\n  {shlex.join(again)}"
    )


def table_of(audit: Audit, asked: int, in_use: float) -> str:
    """The audit as it is printed, beside the relative margin in use: a narrower one is not advised,
    for it also lets in negatives that are hard for a reason.
    """
    rate = audit.rate
    lines = [
        f"{rate.asked} of {asked} answered: {rate.value:.0%} of the mined negatives are relevant "
        f"(90 % interval: {_interval(rate)}).",
        "",
        "  gap                asked  relevant    rate  interval",
    ]
    for low, high, part in audit.by_gap:
        gaps = f"{low:.3f} to {high:.3f}"
        lines.append(
            f"  {gaps:<17} {part.asked:>6} {part.relevant:>9} {part.value:>7.0%}  {_interval(part)}"
        )
    share = f"at most {audit.tolerated:.0%} of the negatives are relevant"
    if audit.margin is None:
        last = f"No gap that was asked about is so wide that {share}: raise depth."
    elif audit.margin > in_use:
        last = f"From mining.relative_margin={audit.margin:.3g} on {share}."
    else:
        last = f"mining.relative_margin={in_use:.3g}, as it is, is wide enough: {share}."
    return "\n".join([*lines, "", last])


def _interval(rate: Rate) -> str:
    return f"{rate.low:.0%} to {rate.high:.0%}"
