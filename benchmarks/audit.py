"""Do fifty answers say how many mined negatives are relevant, and does a fit gain by them?

    python benchmarks/audit.py                 # scifact and banking77: rates, then fits
    python benchmarks/audit.py --only banking77 --part rate
    python benchmarks/audit.py --table         # the tables alone
    python benchmarks/audit.py --quick         # does it run?

30 % of the train positives are hidden, and a simulated person knows them all. `rate` mines as `whet
mine audit` does and repeats the audit with other seeds: how far off is the rate, and how often does
the interval hold the truth? `fit` trains with all positives, with the hidden ones gone, and with
the answers of one audit and its margin. Texts are cut to 64 tokens. A query of banking77 is
answered by the documents of its intent; of scifact and banking77 the first 2,000 documents that are
judged, or all, are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("audit")
HIDDEN = 0.3
ASKED = 50
# Which of a query's positives sets the margin: with the least, its hidden ones mostly lie above the
# ceiling, and are no negatives to begin with.
CASES = (("scifact", "min"), ("banking77", "min"), ("banking77", "max"))


@dataclass(frozen=True)
class Size:
    """How much is looked at and trained."""

    documents: int = 2_000
    train: int = 600  # queries
    test: int = 300
    audits: int = 500
    steps: int = 60
    batch: int = 32
    length: int = 64


QUICK = Size(documents=120, train=60, test=30, audits=5, steps=2, batch=8, length=16)


def main() -> None:
    """Run what was asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/audit_benchmark"))
    parser.add_argument("--only", choices=("scifact", "banking77"))
    parser.add_argument("--reference", choices=("min", "max"))
    parser.add_argument("--part", choices=("rate", "fit"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.collection("scifact").parent, here.folder
            options.model, options.only = here.model, "scifact"
            options.reference = "min"
            measure(options, QUICK)
            print(tables())
        return
    if not options.table:
        measure(options, Size())
    print(tables())


def measure(options: argparse.Namespace, size: Size) -> None:
    """Both parts, or one, for each collection."""
    for name, reference in CASES:
        if options.only in (None, name) and options.reference in (None, reference):
            case = Case(name, reference, options, size)
            if options.part != "fit":
                measure_rate(case)
            if options.part != "rate":
                measure_fit(case)


class Case:
    """A collection as three folders: `full`, and `hidden` without some train positives."""

    def __init__(self, name: str, reference: str, options: argparse.Namespace, size: Size) -> None:
        self.name, self.size, self.model = f"{name}, {reference}", size, options.model
        self.reference = reference
        self.work = options.work / name / reference
        source = options.data / name
        corpus, queries, judged = (banking if name == "banking77" else beir)(source, size)
        rng = np.random.default_rng(0)
        self.hidden = {pair for pair in judged["train"] if rng.random() < HIDDEN}
        left = [pair for pair in judged["train"] if pair not in self.hidden]
        for folder, train in (("full", judged["train"]), ("hidden", left)):
            write(self.work / folder, corpus, queries, {**judged, "train": train})

    def config(self, **options: Any) -> Any:
        """An audit of what is left."""
        from whet.config import AuditConfig, DataConfig, MiningConfig, ModelConfig

        return AuditConfig(
            data=DataConfig(path=str(self.work / "hidden")),
            model=ModelConfig(name=self.model, max_length=self.size.length),
            mining=MiningConfig(reference=self.reference),
            questions=ASKED,
            **options,
        )

    def fitted(
        self, folder: str, *, added: Path | None = None, margin: float | None = None
    ) -> float:
        """The nDCG@10 that a fit reaches on the test queries."""
        import whet
        from whet.config import DataConfig, FitConfig, ModelConfig

        config = FitConfig(
            data=DataConfig(
                path=str(self.work / folder), added=None if added is None else str(added)
            ),
            model=ModelConfig(name=self.model, max_length=self.size.length),
            output=str(self.work / f"run_{folder}_{added is not None}"),
        )
        config.trainer.max_steps, config.trainer.max_epochs = self.size.steps, 99
        config.trainer.batch_size, config.logger.name = self.size.batch, "none"
        config.mining.reference = self.reference
        if margin is not None:
            config.mining.relative_margin = margin
        shutil.rmtree(str(config.output), ignore_errors=True)
        return float(whet.fit(config).comparison.main.tuned)


Rows = list[dict[str, Any]]
Pairs = list[tuple[str, str]]


def lines(path: Path) -> Rows:
    """The rows of a packed file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def beir(source: Path, size: Size) -> tuple[Rows, Rows, dict[str, Pairs]]:
    """The first queries of each split, what answers them, and others up to the size."""
    judged: dict[str, Pairs] = {}
    for split, count in (("train", size.train), ("test", size.test)):
        rows = [row.split("\t") for row in (source / f"qrels/{split}.tsv").read_text().split("\n")]
        pairs = [(row[0], row[1]) for row in rows[1:] if len(row) == 3 and int(row[2]) > 0]
        first = set(list(dict.fromkeys(query for query, _ in pairs))[:count])
        judged[split] = [pair for pair in pairs if pair[0] in first]
    needed = {doc for pairs in judged.values() for _, doc in pairs}
    corpus = lines(source / "corpus.jsonl.gz")
    others = [row for row in corpus if row["_id"] not in needed]
    kept = others[: max(0, size.documents - len(needed))]
    corpus = [row for row in corpus if row["_id"] in needed] + kept
    asked = {query for pairs in judged.values() for query, _ in pairs}
    return corpus, [r for r in lines(source / "queries.jsonl.gz") if r["_id"] in asked], judged


def banking(source: Path, size: Size) -> tuple[Rows, Rows, dict[str, Pairs]]:
    """Documents and queries drawn evenly; all documents of a query's intent answer it."""
    rng = np.random.default_rng(1)
    corpus, queries = lines(source / "corpus.jsonl.gz"), lines(source / "queries.jsonl.gz")
    corpus = [corpus[int(row)] for row in rng.permutation(len(corpus))[: size.documents]]
    drawn = rng.permutation(len(queries))[: size.train + size.test]
    queries = [queries[int(row)] for row in drawn]
    of_label: dict[str, list[str]] = {}
    for row in corpus:
        of_label.setdefault(row["label"], []).append(row["_id"])
    parts = {"train": queries[: size.train], "test": queries[size.train :]}
    judged = {
        split: [(row["_id"], doc) for row in rows for doc in of_label.get(row["label"], [])]
        for split, rows in parts.items()
    }
    return corpus, queries, judged


def write(folder: Path, corpus: Rows, queries: Rows, judged: dict[str, Pairs]) -> None:
    """A BEIR folder; only what every reader takes is written of each row."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        kept = [{key: row[key] for key in ("_id", "title", "text") if key in row} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for split, pairs in judged.items():
        body = "".join(f"{query}\t{doc}\t1\n" for query, doc in pairs)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + body)


def measure_rate(case: Case) -> None:
    """Many audits of the same negatives."""
    from whet.evaluation.false_negatives import audit_of

    data, population = mined(case)
    ids = zip(
        data.queries.ids_of(population.query_rows_X),
        data.corpus.ids_of(population.doc_rows_X),
        strict=True,
    )
    relevant_X = np.array([pair in case.hidden for pair in ids])
    truth = float(relevant_X.mean())
    off, covered = [], 0
    for seed in range(case.size.audits):
        drawn = population.drawn(ASKED, seed)
        rate = audit_of(population.gap_X[drawn], relevant_X[drawn], tolerated=0.1).rate
        off.append(abs(rate.value - truth))
        covered += rate.low <= truth <= rate.high
    RECORDS.keep(
        {
            "part": "rate",
            "data": case.name,
            "negatives": len(population),
            "rate": truth,
            "audits": case.size.audits,
            "median_off": float(np.median(off)),
            "within_5": float(np.mean(np.array(off) <= 0.05)),
            "covered": covered / case.size.audits,
        }
    )


def mined(case: Case) -> Any:
    """The data without the hidden positives, and the negatives that an audit looks at."""
    from whet.data.load import read_dataset
    from whet.data.splits import pairs_of
    from whet.verbs.audit import looked_at, mined_for

    config = case.config()
    data = read_dataset(config.data)
    relevant = pairs_of(data, "train").relevant()
    return data, mined_for(config, data, relevant, looked_at(config))[1]


def measure_fit(case: Case) -> None:
    """With all positives, without the hidden ones, and with the answers of one audit."""
    from whet.verbs.audit import ADDED, QUESTIONS, RESULT, audit_command

    answers, out = case.work / "answers.tsv", case.work / "audit"
    answers.write_text("none\tnone\t0\n", encoding="utf-8")
    config = case.config(answers=str(answers), output=str(out))
    try:
        audit_command(config)  # writes the questions; nothing is answered yet
    except Exception as error:  # the command says so
        print(error)
    asked = [json.loads(line) for line in (out / QUESTIONS).read_text().splitlines()]
    pairs = [(question["query_id"], question["doc_id"]) for question in asked]
    body = "".join(f"{q}\t{d}\t{int((q, d) in case.hidden)}\n" for q, d in pairs)
    answers.write_text(body, encoding="utf-8")
    audit_command(config)
    margin = json.loads((out / RESULT).read_text())["margin"]
    in_use = config.mining.relative_margin
    if margin is not None and in_use is not None:  # a narrower one is not advised
        margin = max(margin, in_use)
    scores = {
        "full": case.fitted("full"),
        "hidden": case.fitted("hidden"),
        "audited": case.fitted("hidden", added=out / ADDED, margin=margin),
    }
    added = sum(pair in case.hidden for pair in pairs)
    RECORDS.keep({"part": "fit", "data": case.name, "margin": margin, "added": added, **scores})


def tables() -> str:
    """What is kept, the newest row of each kind."""
    newest = {(row["part"], row["data"]): row for row in RECORDS.rows()}
    text = ["| data | negatives | relevant | median error | within 5 points | covered |"]
    text.append("|---|---|---|---|---|---|")
    for (part, data), row in newest.items():
        if part == "rate":
            text.append(
                f"| {data} | {row['negatives']:,} | {row['rate']:.1%} | {row['median_off']:.1%} "
                f"| {row['within_5']:.0%} | {row['covered']:.0%} |"
            )
    text += ["", "| data | all positives | 30 % hidden | audited | margin | added |"]
    text.append("|---|---|---|---|---|---|")
    for (part, data), row in newest.items():
        if part == "fit":
            text.append(
                f"| {data} | {row['full']:.4f} | {row['hidden']:.4f} | {row['audited']:.4f} "
                f"| {row['margin']} | {row['added']} |"
            )
    return "\n".join(text)


if __name__ == "__main__":
    main()
