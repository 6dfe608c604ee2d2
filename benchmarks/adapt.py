"""Documents that nobody judged, and perhaps a log: does `whet adapt` make their search better?

    python benchmarks/adapt.py                     # what the records lack, then the table
    python benchmarks/adapt.py --only nl2bash --goals G1 G2
    python benchmarks/adapt.py --table             # the table alone
    python benchmarks/adapt.py --quick             # does it run?

Of each collection the test split is asked, at most 1,000 queries, over all documents at full
length; its judgments are seen by nothing but the score. The log are the texts of the train queries
(of cosqa-6k its dev queries, of cranfield every second query, which are then not asked), at most
2,000. All of it is what `whet adapt` does, called from Python so that a collection's vectors are
read once.

    G1  words beside vectors, by the log's gate: against vectors alone
    G2  vectors alone, with a log of 300 or more: against vectors alone
    G3  vectors alone, without a log: the same
    G4  25 judged train queries: for vectors against vectors, for words and vectors against G1

Rows go to records/adapt.jsonl as they are measured; what is there is not measured again. Needs the
collections of docs/benchmarks.md in the folder --data. Encoding them takes hours on two cores, and
is gone on with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tiny
from kept import Records

if TYPE_CHECKING:
    from whet.adaptation.adapted import Adapted
    from whet.data.load import Dataset
    from whet.evaluation.lexical import Words
    from whet.feedback.learn.checks import JudgedQueries
    from whet.model.encoder import Encoder
    from whet.types import Embeddings, Qrels

RECORDS = Records("adapt")
COLLECTIONS = (  # the quickest to encode first
    *("cranfield", "cacm", "nl2bash", "tldr-cmd", "cosqa-6k", "scifact"),
    *("medquad", "arxiv-cs", "py-doc2code", "debian-desc"),
)
GOALS = ("G1", "G2", "G3", "G4")
TRAINED = ("G2", "G3", "G4")  # with a seed that matters
LOG_OF = {"cosqa-6k": "dev"}  # else train
HALVED = ("cranfield",)  # whose only queries are shared out between log and test
ASKED, LOGGED, JUDGED = 1_000, 2_000, 25
FEWEST_LOGGED = 300


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--goals", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        quick(options)
        return
    if not options.table:
        run(options)
    print(table())


def quick(options: argparse.Namespace) -> None:
    """Every goal once on tiny data."""
    if tiny.missing("bm25s", "Stemmer"):
        return
    with tiny.place(RECORDS) as here:
        options.data, options.model = here.collection("nl2bash").parent, here.model
        options.only, options.seeds = ["nl2bash"], 1
        run(options)
        print(table())


def run(options: argparse.Namespace) -> None:
    """What is asked for and not in the records, a collection after the other."""
    for name in options.only:
        missing = [
            (goal, seed)
            for goal in options.goals
            for seed in range(options.seeds if goal in TRAINED else 1)
            if not kept(name, goal, seed, options.model)
        ]
        if not missing:
            continue
        collection = opened(name, options)
        for goal, seed in missing:
            for row in measured(collection, goal, seed):
                about = {"collection": name, "goal": goal, "seed": seed}
                about["model"] = Path(options.model).name
                RECORDS.keep({**about, **row})
                print({**about, **row}, flush=True)


def kept(name: str, goal: str, seed: int, model: str) -> bool:
    """Whether the records have a row of this."""
    wanted = {"collection": name, "goal": goal, "seed": seed, "model": Path(model).name}
    return any(wanted.items() <= row.items() for row in RECORDS.rows())


@dataclass
class Collection:
    """A data set, what is asked of it, and the log; `judged` are the judgments of the log."""

    name: str
    data: Dataset  # without judgments
    corpus: Embeddings
    words: Words
    model: Encoder
    asked: JudgedQueries
    asked_QD: np.ndarray
    log: list[str]
    judged: Qrels | None

    def base(self) -> float:
        """Vectors alone, as the model is."""
        return float(self.asked.scores(self.asked_QD).mean())


def opened(name: str, options: argparse.Namespace) -> Collection:
    """A collection with its documents encoded."""
    from whet.data.load import load_dataset
    from whet.encoding.store import embeddings_folder
    from whet.encoding.table import encode_table
    from whet.evaluation.lexical import corpus_words
    from whet.feedback.learn.checks import JudgedQueries
    from whet.model.encoder import Encoder

    data = load_dataset(str(options.data / name), on_problem="drop")
    model = Encoder.load(options.model)
    store = embeddings_folder()
    corpus = encode_table(model, data.corpus, kind="document", store=store)
    words = corpus_words(data.corpus)
    test, judged = split_up(name, data)
    rows = np.sort(np.random.default_rng(0).permutation(test.query_rows)[:ASKED])
    texts = data.queries.texts(rows)
    relevant = [grades(test, int(row), corpus) for row in rows]
    logged = [] if judged is None else data.queries.texts(judged.query_rows)
    asked = JudgedQueries(texts, relevant, corpus, words)
    return Collection(
        name,
        replace(data, splits={}),
        corpus,
        words,
        model,
        asked,
        model.encode(texts, kind="query"),
        [logged[i] for i in np.random.default_rng(0).permutation(len(logged))[:LOGGED]],
        judged,
    )


def split_up(name: str, data: Dataset) -> tuple[Qrels, Qrels | None]:
    """The judgments that are asked, and those of the queries of the log."""
    test = data.split("test").relevant()
    if name in HALVED:
        odd_M = np.isin(test.query_rows_M, test.query_rows[1::2])
        return test.only(~odd_M), test.only(odd_M)
    log = LOG_OF.get(name, "train")
    return test, data.split(log).relevant() if log in data.splits else None


def grades(qrels: Qrels, row: int, corpus: Embeddings) -> dict[str, int]:
    """The relevant documents of a query."""
    at_M = qrels.query_rows_M == row
    pairs = zip(qrels.doc_rows_M[at_M].tolist(), qrels.relevance_M[at_M].tolist(), strict=True)
    return {corpus.ids[doc]: max(1, round(grade)) for doc, grade in pairs}


def measured(collection: Collection, goal: str, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of a goal: before and after, and what was done."""
    if goal == "G1":
        yield one(collection, "hybrid", collection.log, seed)
    elif goal == "G2":
        if len(collection.log) < FEWEST_LOGGED:
            yield {"left_out": f"a log of {len(collection.log)} queries"}
            return
        yield one(collection, "vectors", collection.log, seed)
    elif goal == "G3":
        yield one(collection, "vectors", [], seed)
    elif collection.judged is None:
        yield {"left_out": "no judged query besides those that are asked"}
    else:
        yield one(collection, "vectors", [], seed, judged=True)
        yield one(collection, "hybrid", [], seed, judged=True)


def one(
    collection: Collection, search: str, log: list[str], seed: int, *, judged: bool = False
) -> dict[str, Any]:
    """A row: an adaptation and its score; with judgments against the same without them."""
    start = time.process_time()
    adapted = adapted_to(collection, search, log, seed, judged=judged)
    spent = time.process_time() - start
    before = collection.base()
    if judged and search == "hybrid":
        free = adapted_to(collection, search, log, seed, judged=False)
        before = score(collection, free)
    after = score(collection, adapted)
    return {
        "search": search,
        "asked": len(collection.asked),
        "documents": len(collection.corpus),
        "log": len(log),
        "before": round(before, 4),
        "after": round(after, 4),
        "gain": round(after - before, 4),
        "trained": adapted.trained,
        "weight": adapted.model.words,
        "gates": {gate.name: gate.figure and round(gate.figure, 3) for gate in adapted.gates},
        "cpu_s": round(spent, 1),
    }


def adapted_to(
    collection: Collection, search: str, log: list[str], seed: int, *, judged: bool
) -> Adapted:
    """What `whet adapt` makes of the collection."""
    from whet.adaptation.adapted import Given, adapt
    from whet.adaptation.log import log_of

    data = collection.data
    if judged:
        assert collection.judged is not None
        rows = np.random.default_rng(seed).permutation(collection.judged.query_rows)[:JUDGED]
        taken = collection.judged.only(np.isin(collection.judged.query_rows_M, rows))
        data = replace(data, splits={"train": taken})
    queries = log_of(log, seed=seed).queries
    given = Given(data, collection.corpus, collection.words, queries, search, seed)
    return adapt(collection.model, given, lambda title, done, total: None)


def score(collection: Collection, adapted: Adapted) -> float:
    """nDCG@10 of the asked queries."""
    query = adapted.model.query
    vectors = (
        collection.asked_QD
        if query is collection.model
        else query.encode(collection.asked.texts, kind="query")
    )
    return float(collection.asked.scores(vectors, adapted.model.words).mean())


def table() -> str:
    """The records as a table in Markdown: nDCG@10 before, and the gain of each goal."""
    rows = [row for row in RECORDS.rows() if "gain" in row]
    names = list(dict.fromkeys(row["collection"] for row in rows))
    lines = [
        "| collection | vectors | G1 words | G2 log | G3 no log | G4 vectors | G4 words |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = [
        ("G1", "hybrid"),
        ("G2", "vectors"),
        ("G3", "vectors"),
        ("G4", "vectors"),
        ("G4", "hybrid"),
    ]
    for name in names:
        own = [row for row in rows if row["collection"] == name]
        base = next((row["before"] for row in own if row["goal"] != "G4"), None)
        cells = [cell(own, goal, search) for goal, search in columns]
        lines.append(f"| {name} | {'' if base is None else f'{base:.4f}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rows: list[dict[str, Any]], goal: str, search: str) -> str:
    """The gains of a goal, a seed after the other; "not trained" where nothing was."""
    own = [row for row in rows if (row["goal"], row["search"]) == (goal, search)]
    if not own:
        return ""
    gains = ", ".join(f"{row['gain']:+.4f}" for row in own)
    untouched = goal != "G1" and not any(row["trained"] for row in own)
    return f"{gains} (not trained)" if untouched else gains


if __name__ == "__main__":
    main()
