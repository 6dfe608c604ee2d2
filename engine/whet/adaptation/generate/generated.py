"""Queries that a language model writes for a sample of the documents, to learn from.

Few examples of real queries in the prompt, and a sample that is even over the topics, do as well as
all documents (Promptagator, arXiv 2209.11755; DUQGen, arXiv 2404.02489). What is learned from them
is a teacher's order of what they find (KL): InfoNCE on such queries was found to harm good models
(Tamber et al., arXiv 2502.19712).

Shape suffixes: N documents, D dimensions, S documents of the sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whet.adaptation.clusters import clusters_of, evenly
from whet.adaptation.generate.address import AT_ONCE, Address, checked_host
from whet.adaptation.generate.answers import query_of, verdict_of
from whet.adaptation.generate.bill import LLM
from whet.adaptation.generate.prompt import Messages, to_judge, to_write
from whet.adaptation.generate.shards import ModelAnswer, Writer, answered, may_be_kept
from whet.adaptation.queries import CLUSTERS, MOST_DOCUMENTS, MadeQuery
from whet.config import AdaptConfig, GenerateConfig, ModelConfig
from whet.data.table import TextTable
from whet.data.text import normalise
from whet.errors import ConfigError, EnvironmentRefused
from whet.model.folder import find_folder
from whet.printable import printable
from whet.progress import ReportProgress, counted

KIND = "generated"  # these queries are a kind beside those that are made and those of the log
NOT_TOLD = "not told"
TWICE = "written twice"
NOT_ANSWERED = "judged not to be answered by their document"
NO_VERDICT = "without a verdict"
FEW = 8  # answers: so many without one that can be used are no accident


@dataclass(frozen=True)
class Generated:
    """Queries that a language model wrote, and what became of its other answers."""

    queries: list[MadeQuery]
    writer: Writer
    asked: int
    examples: int
    judge: str | None  # llm, the name of a cross-encoder, or None
    dropped: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; the texts of queries are not in it."""
        return {
            **self.writer.to_dict(),
            "asked": self.asked,
            "kept": len(self.queries),
            "dropped": self.dropped,
            "examples": self.examples,
            "judge": self.judge,
        }

    def sentence(self) -> str:
        """Who wrote how many, and what was dropped why."""
        dropped = "; ".join(f"{count:,} {why}" for why, count in self.dropped.items())
        shown = f", shown {self.examples} queries of the log" if self.examples else ""
        return (
            f"{self.writer.model} (at {self.writer.where}, licence: {self.writer.licence}) wrote "
            f"queries for {self.asked:,} documents{shown}: {len(self.queries):,} are learned from"
            + (f" (dropped: {dropped})." if dropped else ".")
        )


def check_generate(config: AdaptConfig) -> bool:
    """Whether a language model is to write. ConfigError for options of it that contradict each
    other, or would be of no use.
    """
    wanted = config.generate
    if wanted.url is None and wanted.local is None:
        if wanted != GenerateConfig():
            raise ConfigError(
                "Options of generate say nothing without an address. Add generate.url=, such as "
                "generate.url=http://localhost:8000/v1, or leave them out."
            )
        return False
    if wanted.url is not None and wanted.local is not None:
        raise ConfigError(
            "generate.url and generate.local name two language models. Leave one of them out."
        )
    if config.search != "vectors":
        raise ConfigError(
            "generate needs search=vectors: beside words nothing is trained without judgments, so "
            "what a language model writes would be paid for and not used."
        )
    if wanted.judge not in (None, LLM):
        find_folder(ModelConfig(name=wanted.judge), "generate.judge")
    return True


def writer_of(config: AdaptConfig, local: Writer | None = None) -> Writer | None:
    """The language model that is to write; None where none is asked for. `local` is one that runs
    on this machine, where the caller has such.

    Raises ConfigError and EnvironmentRefused for what cannot be used; nothing is sent.
    """
    if not check_generate(config):
        return None
    wanted = config.generate
    if wanted.url is None:
        if local is None:
            raise ConfigError(
                "generate.local is for `whet adapt` on the command line. From Python serve the "
                "model (vllm serve MODEL), and give generate.url."
            )
        return local
    where = checked_host(wanted)
    licence = " ".join((wanted.licence or NOT_TOLD).split())
    return Writer(str(wanted.model), where, licence, Address(wanted), AT_ONCE)


def check_reached(writer: Writer, documents: int, config: GenerateConfig) -> None:
    """EnvironmentRefused where nobody listens at the address, before any work; not where all
    answers may be kept already, and nobody may be asked.
    """
    asked = min(config.documents, documents)
    if isinstance(writer.ask, Address) and not may_be_kept(writer, asked):
        writer.ask.check_reached()


def shown_examples(log: Sequence[str], config: GenerateConfig, *, seed: int) -> list[str]:
    """The queries of the log that a language model is shown, drawn by seed, in the log's order."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(log))[: config.examples])
    return [log[int(place)] for place in drawn]


def sampled(vector_ND: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Rows of at most `count` documents from all clusters alike, int64 [S], a function of the seed.
    With a larger count the first rows stay.
    """
    random = np.random.default_rng(seed)
    rows_S = np.sort(random.permutation(len(vector_ND))[:MOST_DOCUMENTS])
    cluster_S = clusters_of(vector_ND[rows_S], CLUSTERS, seed=seed)
    chosen: np.ndarray = rows_S[evenly(cluster_S, count, seed=seed)]
    return chosen


def generated_queries(
    corpus: TextTable,
    vector_ND: np.ndarray,
    examples: Sequence[str],
    writer: Writer,
    *,
    config: GenerateConfig,
    seed: int,
    report_progress: ReportProgress,
) -> Generated:
    """Ask for a query for each document of the sample, and keep those that are one."""
    rows_S = sampled(vector_ND, config.documents, seed=seed)
    dropped = Counter[str]()

    def texts_at(places: range) -> list[str]:
        return corpus.texts(rows_S[places.start : places.stop])

    def prompts_of(places: range) -> list[Messages]:
        pairs = zip(texts_at(places), places, strict=True)
        return [to_write(text, examples, place) for text, place in pairs]

    def check(places: range, answers: list[ModelAnswer]) -> None:
        pairs = zip(answers, texts_at(places), strict=True)
        found = [query_of(answer.text, text) for answer, text in pairs]
        _refuse_useless([query is not None for query, _ in found], answers, found[0][1], writer)

    done = counted("Asking for queries", len(rows_S), report_progress)
    answers = answered(writer, prompts_of, len(rows_S), check=check, shard_done=done)
    queries: dict[str, MadeQuery] = {}
    for start in range(0, len(rows_S), AT_ONCE):
        places = range(start, min(start + AT_ONCE, len(rows_S)))
        for place, text in zip(places, texts_at(places), strict=True):
            query, why = query_of(answers[place], text)
            if query is None:
                dropped[why] += 1
            elif normalise(query) in queries:
                dropped[TWICE] += 1
            else:
                queries[normalise(query)] = MadeQuery(query, KIND, int(rows_S[place]))
    kept = list(queries.values())
    if config.judge == LLM:
        kept = _judged(kept, corpus, writer, dropped, report_progress)
    judge = None if config.judge is None else printable(config.judge.rstrip("/").rpartition("/")[2])
    return Generated(kept, writer, len(rows_S), len(examples), judge, dict(dropped))


def _judged(
    queries: list[MadeQuery],
    corpus: TextTable,
    writer: Writer,
    dropped: Counter[str],
    report_progress: ReportProgress,
) -> list[MadeQuery]:
    """Those that the language model finds answered by their document."""

    def prompts_of(places: range) -> list[Messages]:
        part = queries[places.start : places.stop]
        texts = corpus.texts([query.row for query in part])
        return [to_judge(query.text, text) for query, text in zip(part, texts, strict=True)]

    def check(places: range, answers: list[ModelAnswer]) -> None:
        told = [verdict_of(answer.text) is not None for answer in answers]
        _refuse_useless(told, answers, "neither yes nor no", writer)

    done = counted("Asking for verdicts", len(queries), report_progress)
    answers = answered(writer, prompts_of, len(queries), check=check, shard_done=done)
    kept = []
    for query, answer in zip(queries, answers, strict=True):
        verdict = verdict_of(answer)
        if verdict:
            kept.append(query)
        else:
            dropped[NO_VERDICT if verdict is None else NOT_ANSWERED] += 1
    return kept


def _refuse_useless(
    useful: list[bool], answers: list[ModelAnswer], why: str, writer: Writer
) -> None:
    """EnvironmentRefused where not one of the answers of a shard is of use: going on would cost,
    and bring nothing.
    """
    if any(useful) or len(answers) < FEW:
        return
    problem = next((answer.problem for answer in answers if answer.problem), why)
    raise EnvironmentRefused(
        f"None of {len(answers)} answers of {printable(writer.model)} at {printable(writer.where)} "
        f"can be used (the first: {problem}). Look at the model and its address, or give another."
    )
