"""A simulated person judges search results, the model is tuned on it: does it get better?

    python benchmarks/feedback.py                     # what the records lack, then the table
    python benchmarks/feedback.py --only nl2bash --gestures marks
    python benchmarks/feedback.py --table             # the table alone
    python benchmarks/feedback.py --quick             # does it run?

The judgments of a collection's train split stand in for the person. Each round shows the ten best
documents of ten new queries: those the model is least sure of first, as *Next query* on the page
has them, or with --queries random any, as people type what they need. With "marks" the person
clicks the relevant ones, and "not relevant" on what stands above the last of them (on the first
three where none is relevant); with "reorder" they drag each relevant one over those above it and
mark nothing; with "both" they do both. One gesture in ten hits a document of the list at random
instead. Then a version is tuned on all feedback so far, and shipped if whet says that it is better.
What is in use then is measured on the test split, which nobody was shown, and on a guard set of
another domain. With --no-words, words in common do not count: vectors alone are tuned.

Two baselines: words at a fixed weight with nothing learned, which is what they do without feedback;
and with --baseline sentence-transformers, trained on the same marks of all rounds (positives, and
as hard negatives the documents marked not relevant) with its own defaults; it changes the
documents' vectors too, so it encodes the corpus again. Rows go to records/feedback.jsonl. Needs the
collections of docs/benchmarks.md in the folder --data.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import tiny
from feedback_baseline import baseline_of
from kept import Records

if TYPE_CHECKING:
    from whet.data.load import Dataset
    from whet.evaluation.lexical import Words
    from whet.feedback.events.event import Event
    from whet.feedback.learn.checks import JudgedQueries
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers
    from whet.types import Embeddings

    Model = Encoder | Towers
    Listed = list[tuple[str, float]]  # document ids and scores, as the page shows them

RECORDS = Records("feedback")
COLLECTIONS = {  # by the name whet.bench knows them by
    "nl2bash": "nl2bash",
    "tldr-cmd": "tldr-cmd",
    "debian-desc": "debian-desc@10000",
    "py-doc2code": "py-doc2code@10000",
    "medquad": "medquad@10000",
    "cranfield": "cranfield",
}
MAX_LENGTH = {"medquad": 128}  # tokens; else as the model says
GESTURES = ("marks", "reorder", "both")
ROUNDS, QUERIES, SHOWN = 5, 10, 10
NOISE = 0.1
TEST, GUARD = 1000, 200  # queries at most
FIXED = 0.3  # the weight of words of the baseline that learns nothing
OTHER = {"nl2bash": "cranfield"}  # whose test split guards; nl2bash's for all others


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/collections"))
    parser.add_argument("--only", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--gestures", nargs="+", choices=GESTURES, default=list(GESTURES))
    parser.add_argument("--queries", choices=("unsure", "random"), default="unsure")
    parser.add_argument("--no-words", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--baseline", action="store_true", help="also sentence-transformers")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        quick(options)
        return
    if not options.table:
        for seed in range(options.seeds):
            for name in options.only:
                run(opened(name, options), seed, options)
    print(table())


def quick(options: argparse.Namespace) -> None:
    """One collection, two rounds of two gestures, and the baselines that are installed."""
    if tiny.missing("bm25s", "Stemmer"):
        return
    with tiny.place(RECORDS) as here:
        options.data, options.work = here.collection("nl2bash").parent, here.folder
        here.collection(OTHER["nl2bash"])
        options.model, options.rounds, options.gestures = here.model, 2, ["marks", "both"]
        options.baseline = find_spec("sentence_transformers") is not None
        if not options.baseline:
            tiny.left_out("the baseline", "needs sentence-transformers")
        run(opened("nl2bash", options), 0, options)
        print(table())


def run(collection: Collection, seed: int, options: argparse.Namespace) -> None:
    """What is asked for on one collection."""
    fixed(collection)
    for gestures in options.gestures:
        person = Person(gestures, options.queries, seed, not options.no_words)
        simulate(collection, person, rounds=options.rounds, baseline=options.baseline)


@dataclass
class Collection:
    """A data set with what stands in for the person."""

    name: str
    data: Dataset
    corpus: Embeddings
    truth: dict[int, set[int]]  # query row: relevant document rows
    learn: list[int]
    test: JudgedQueries
    guard: JudgedQueries
    words: Words
    model: Encoder


@dataclass(frozen=True)
class Person:
    """Who judges: by which gestures, which queries first, the seed of their mistakes, and whether
    words count in what is made of it.
    """

    gestures: str
    queries: str
    seed: int
    words: bool


def opened(name: str, options: argparse.Namespace) -> Collection:
    """The collection with its vectors by the base model, and the two sets it is measured on."""
    from whet.bench.collections import collection
    from whet.config import EncodeConfig, ModelConfig
    from whet.data.load import load_dataset
    from whet.encoding.store import embeddings_folder
    from whet.encoding.table import encode_table
    from whet.evaluation.lexical import corpus_words
    from whet.feedback.learn.checks import JudgedQueries, guard_check
    from whet.model.encoder import Encoder

    folder = collection(options.data, COLLECTIONS[name], options.work)
    data = load_dataset(str(folder), on_problem="drop")
    model = Encoder.load(ModelConfig(name=options.model, max_length=MAX_LENGTH.get(name)))
    corpus = encode_table(model, data.corpus, kind="document", store=embeddings_folder())
    truth: dict[int, set[int]] = {}
    for split in data.splits.values():
        good = split.relevant()
        for query, row in zip(good.query_rows_M.tolist(), good.doc_rows_M.tolist(), strict=True):
            truth.setdefault(query, set()).add(row)
    test_rows = sorted(data.split("test").relevant().query_rows.tolist())
    if "train" in data.splits:
        learn = sorted(data.split("train").relevant().query_rows.tolist())
    else:  # no split to learn from: every second query
        learn, test_rows = test_rows[::2], test_rows[1::2]
    other = str(options.data / OTHER.get(name, "nl2bash"))
    words = corpus_words(data.corpus)
    guard = guard_check(
        data, corpus, model, other=other, avoid=set(), encode=EncodeConfig(), words=words
    )
    asked = test_rows[:TEST]
    relevant = [{corpus.ids[row]: 1 for row in truth[query]} for query in asked]
    test = JudgedQueries(data.queries.texts(asked), relevant, corpus, words)
    return Collection(name, data, corpus, truth, learn, test, guard, words, model)


def simulate(collection: Collection, who: Person, *, rounds: int, baseline: bool) -> None:
    """All rounds of one person; a row each."""
    from whet.config import TuneConfig
    from whet.feedback.events.judgments import judgments
    from whet.feedback.learn.lessons import lessons_of
    from whet.feedback.learn.tune import tune

    if any((collection.name, who, rounds) == key(row) for row in RECORDS.rows()):
        return
    model: Model = collection.model
    random = np.random.default_rng(who.seed)
    drawn = random.permutation(collection.learn)[: 20 * rounds * QUERIES].tolist()
    events: list[Event] = []
    start = measured(collection, model)
    row_out(collection, who, 0, {"test": start[0], "guard": start[1], "gestures": 0})
    for number in range(1, rounds + 1):
        order = least_sure(collection, model, drawn) if who.queries == "unsure" else drawn
        asked = order[:QUERIES]
        drawn = [row for row in drawn if row not in asked]
        events += judged_by(collection, model, asked, who.gestures, random)
        lessons, _ = lessons_of(judgments(events), collection.data.corpus)
        facts: dict[str, Any] = {"gestures": len(events), "judged": number * QUERIES}
        if lessons.gains.sum() >= 5:
            found = tune(
                collection.model,
                lessons,
                collection.corpus,
                collection.guard,
                words=collection.words if who.words else None,
                config=TuneConfig(),
                report_progress=lambda phase, done, total: None,
            )
            facts |= {
                "method": found.method,
                "share": found.share,
                "weight": found.model.words,
                "held out": found.held_out.summary(),
                "shipped": found.better,
                "seconds": round(found.seconds, 1),
            }
            model = found.model if found.better else model
        now = measured(collection, model)
        row_out(collection, who, number, {"test": now[0], "guard": now[1], **facts})
    if baseline and who.gestures == "marks":
        theirs = replace(who, gestures="sentence-transformers")
        facts = {"judged": rounds * QUERIES, **baseline_of(collection, events)}
        row_out(collection, theirs, rounds, facts)


def measured(collection: Collection, model: Model) -> tuple[float, float]:
    """nDCG@10 on the test queries and on the guard set."""
    return scored(collection, model, weight_of(model))


def scored(collection: Collection, model: Model, weight: float) -> tuple[float, float]:
    """The same with words of another weight."""
    test, guard = (
        round(float(check.scores(vectors(model, check.texts), weight).mean()), 4)
        for check in (collection.test, collection.guard)
    )
    return test, guard


def vectors(model: Model, texts: list[str]) -> np.ndarray:
    """Of queries."""
    return model.side("query").encode(texts, kind="query")


def weight_of(model: Model) -> float:
    """How much words count: nothing in a model that is no tuned one."""
    weight: float = getattr(model, "words", 0.0)
    return weight


def fixed(collection: Collection) -> None:
    """The baseline of words at a fixed weight: two rows."""
    nobody = Person(f"none, words {FIXED}", "", 0, words=True)
    if any((collection.name, nobody, ROUNDS) == key(row) for row in RECORDS.rows()):
        return
    for number, weight in ((0, 0.0), (ROUNDS, FIXED)):
        test, guard = scored(collection, collection.model, weight)
        row_out(collection, nobody, number, {"test": test, "guard": guard, "gestures": 0})


def found_for(
    collection: Collection, model: Model, asked: list[int], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows of the k best documents of some queries."""
    from whet.evaluation.lexical.hybrid import HybridSearch
    from whet.mining.search import search

    texts = collection.data.queries.texts(asked)
    query_QD, weight = vectors(model, texts), weight_of(model)
    if not weight:
        return search(query_QD, collection.corpus, k)
    return HybridSearch(texts, collection.words, weight)(query_QD, collection.corpus.vectors, k)


def least_sure(collection: Collection, model: Model, candidates: list[int]) -> list[int]:
    """The queries whose two best documents score most alike."""
    scores = found_for(collection, model, candidates, 2)[0]
    order = np.argsort(scores[:, 0] - scores[:, 1], kind="stable")
    return [candidates[int(i)] for i in order]


def judged_by(
    collection: Collection,
    model: Model,
    asked: list[int],
    gestures: str,
    random: np.random.Generator,
) -> list[Event]:
    """What the simulated person does with the lists of some queries."""
    data = collection.data
    scores, found = found_for(collection, model, asked, SHOWN)
    events = []
    for place, query in enumerate(asked):
        names = data.corpus.ids_of(found[place])
        shown = list(zip(names, map(float, scores[place]), strict=True))
        right = [row in collection.truth[query] for row in found[place].tolist()]
        text = data.queries.text(query)
        if gestures in ("marks", "both"):
            events += [event(text, shown, *one) for one in marks(names, right, random)]
        if gestures in ("reorder", "both"):
            events += [event(text, *one) for one in moves(shown, right, random)]
    return events


def marks(
    names: list[str], right: list[bool], random: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """(action, document) of each click."""
    last = max((at for at, good in enumerate(right) if good), default=2)
    for at in range(last + 1):
        hit = int(random.integers(len(names))) if random.random() < NOISE else at
        yield "relevant" if right[at] else "irrelevant", names[hit]


def moves(
    shown: Listed, right: list[bool], random: np.random.Generator
) -> Iterator[tuple[Listed, str, str, int]]:
    """(list as it stands, action, document, place) of each drag."""
    order = list(zip(shown, right, strict=True))
    for top in range(sum(right)):
        at = next(i for i, (_, good) in enumerate(order) if good and i >= top)
        hit = int(random.integers(top, len(order))) if random.random() < NOISE else at
        if hit > top:
            yield [one for one, _ in order], "move", order[hit][0][0], top
            order.insert(top, order.pop(hit))


def event(text: str, shown: Listed, action: str, doc_id: str, place: int | None = None) -> Event:
    """A gesture as the page would send it."""
    from whet.feedback.events.event import Event, Shown

    listed = tuple(Shown(*one) for one in shown)
    return Event(uuid4().hex, text, action, listed, doc_id=doc_id, place=place)


def key(row: dict[str, Any]) -> tuple[str, Person, int]:
    """Collection, person and round of a record."""
    words = row.get("words", False)
    who = Person(row["gestures by"], row.get("queries", "unsure"), row["seed"], words)
    return row["data"], who, row["round"]


def row_out(collection: Collection, who: Person, number: int, facts: dict[str, Any]) -> None:
    """Append a row to the records."""
    row: dict[str, Any] = {
        "data": collection.name,
        "gestures by": who.gestures,
        "queries": who.queries,
    }
    row |= {"words": who.words, "seed": who.seed, "round": number, **facts}
    row |= {"machine": f"{os.cpu_count()} CPUs", "date": time.strftime("%Y-%m-%d")}
    print(json.dumps(row), flush=True)
    RECORDS.keep(row)


def table() -> str:
    """nDCG@10 on unseen queries after each round, change to no training, and on the guard set."""
    runs: dict[tuple[str, Person], dict[int, dict[str, Any]]] = {}
    for row in RECORDS.rows():
        name, who, number = key(row)
        runs.setdefault((name, who), {})[number] = row
    heads = ["data", "gestures", "queries", "words", "seed", "base"]
    heads += [*(f"{QUERIES * n}" for n in range(1, ROUNDS + 1))]
    heads += ["change", "guard", "gestures made", "per 100", "worst s"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for (name, who), found in runs.items():
        base = runs.get((name, replace(who, gestures="marks")), found).get(0, {}).get("test")
        last = found[max(found)]
        curve = [found[n]["test"] if n in found else "" for n in range(1, ROUNDS + 1)]
        change = last["test"] - base if base is not None else float("nan")
        guard = "" if last["guard"] is None or 0 not in found else last["guard"] - found[0]["guard"]
        worst = max((row.get("seconds", 0) for row in found.values()), default=0)
        words = "yes" if who.words else "no"
        cells = [name, who.gestures, who.queries, words, who.seed, base, *curve, f"{change:+.4f}"]
        cells += [
            guard if guard == "" else f"{guard:+.4f}",
            last["gestures"],
            f"{100 * change / last['gestures']:+.4f}" if last["gestures"] else "",
            worst,
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
