"""How long does a fit take until the model is as good as sentence-transformers makes it?

    python benchmarks/time_to_quality.py                    # four collections, cut, then the table
    python benchmarks/time_to_quality.py --only nl2bash
    python benchmarks/time_to_quality.py --table            # the table alone
    python benchmarks/time_to_quality.py --quick            # does it run?

sentence-transformers trains the way its documentation shows first: an epoch of all pairs with
MultipleNegativesRankingLoss, the better of two learning rates. Whet is one command, `whet fit`, of
an eighth of as many steps, then a quarter, and so on, until its test score is as high; mining, the
dev part and the choice are in its time. Both begin with the loaded libraries and end with a judged
model: the corpus is encoded in both times, by Whet twice, for the base model too. Each is a process
of its own with an empty cache. Time on the clock and CPU seconds are kept; on a busy machine the
latter say more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny
from audit import Size, banking, beir, write
from kept import Records

RECORDS = Records("time_to_quality")
COLLECTIONS = ("nl2bash", "tldr-cmd", "debian-desc", "banking77")
SIDES = ("sentence-transformers", "whet")
RATES = (2e-5, 1e-4)  # of sentence-transformers, whose best counts
SHARES = (8, 4, 2, 1)  # of its steps Whet makes one in so many
SIZE = Size(documents=4_000, train=2_000, test=500, batch=32, length=64)
GOAL = 0.5


def main() -> None:
    """Measure what lacks a row, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/time_to_quality"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--only", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.child:
        task = json.loads(options.child)
        print(json.dumps((trained_by_whet if task["side"] == "whet" else trained_by_st)(task)))
        return
    if tiny.missing("sentence_transformers", "datasets"):
        return
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.collection("nl2bash").parent, here.folder / "work"
            options.model, options.only = here.model, ["nl2bash"]
            measure(options, replace(SIZE, documents=150, train=60, test=30, batch=8, length=16))
            print(table())
        return
    if not options.table:
        measure(options, SIZE)
    print(table())


def measure(options: argparse.Namespace, size: Size) -> None:
    """sentence-transformers at both rates, then Whet until it is as good."""
    done = {(row["data"], row["side"]) for row in RECORDS.rows()}
    for name in options.only:
        folder = options.work / name
        if not folder.exists():
            cut(options.data / name, folder, size)
        task = {"data": str(folder), "model": options.model, "batch": size.batch}
        task |= {"length": size.length, "pairs": size.train}
        if (name, SIDES[0]) not in done:
            for rate in RATES:
                RECORDS.keep(
                    {"data": name, **in_a_process({**task, "side": SIDES[0], "rate": rate})}
                )
        if (name, SIDES[1]) not in done:
            theirs = best([row for row in RECORDS.rows() if row["data"] == name])
            for share in SHARES:
                steps = max(1, theirs["steps"] // share)
                row = in_a_process({**task, "side": SIDES[1], "steps": steps})
                RECORDS.keep({"data": name, **row})
                if row["ndcg"] >= theirs["ndcg"]:
                    break


def cut(source: Path, folder: Path, size: Size) -> None:
    """A part of a collection, with one answer for each train query: its first."""
    corpus, queries, judged = (banking if source.name == "banking77" else beir)(source, size)
    judged["train"] = list(dict(reversed(judged["train"])).items())[::-1]
    write(folder, corpus, queries, judged)


def in_a_process(task: dict[str, Any]) -> dict[str, Any]:
    """One training in a process with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps({**task, "work": cache})],
            env={**os.environ, "WHET_CACHE": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(task["data"], row, file=sys.stderr, flush=True)
    return row


def trained_by_whet(task: dict[str, Any]) -> dict[str, Any]:
    """`whet fit` as it is, but for its steps and the batch that both sides have."""
    import whet
    import whet.training.run  # with Lightning

    clock = Clock()
    run = whet.fit(
        task["data"],
        model={"name": task["model"], "max_length": task["length"]},
        trainer={"max_steps": task["steps"], "batch_size": task["batch"], "max_epochs": 99},
        output=f"{task['work']}/run",
    )
    main = run.comparison.main
    row = {"side": "whet", "steps": task["steps"], "base": main.base, "ndcg": main.tuned}
    return row | clock.read()


def trained_by_st(task: dict[str, Any]) -> dict[str, Any]:
    """An epoch by sentence-transformers, then every text encoded by it, and its test score."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import BatchSamplers

    import whet
    from whet.data.splits import pairs_of

    source = whet.Encoder.load(task["model"]).source
    data = whet.load_dataset(task["data"])
    clock = Clock()
    model = SentenceTransformer(str(source), device="cpu")
    model.max_seq_length = task["length"]
    train = pairs_of(data, "train").relevant()
    columns = {
        "anchor": data.queries.texts(train.query_rows_M),
        "positive": data.corpus.texts(train.doc_rows_M),
    }
    arguments = SentenceTransformerTrainingArguments(
        output_dir=f"{task['work']}/st",
        num_train_epochs=1,
        per_device_train_batch_size=task["batch"],
        learning_rate=task["rate"],
        warmup_steps=0.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    steps = trainer.state.global_step
    model.save(f"{task['work']}/model")
    tuned = whet.Encoder.load(f"{task['work']}/model")
    score = whet.evaluate(tuned, task["data"]).scores.means["nDCG@10"]
    shutil.rmtree(f"{task['work']}/st", ignore_errors=True)
    row = {"side": SIDES[0], "rate": task["rate"], "steps": steps, "ndcg": score}
    return row | clock.read()


class Clock:
    """Seconds since it was made, on the clock and of the CPU."""

    def __init__(self) -> None:
        self.start = time.monotonic(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both, as columns of a row."""
        wall, cpu = time.monotonic() - self.start[0], time.process_time() - self.start[1]
        return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """sentence-transformers' better training."""
    theirs = [row for row in rows if row["side"] == SIDES[0]]
    return max(theirs, key=lambda row: float(row["ndcg"]))


def table() -> str:
    """A line per collection: both sides' score and time, and the ratio."""
    rows = RECORDS.rows()
    lines = [
        "| data | base | sentence-transformers | steps, rate | CPU s | Whet | steps | CPU s "
        "| ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for name in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == name]
        ours = [row for row in mine if row["side"] == SIDES[1]]
        if not ours:
            continue
        theirs, last = best(mine), ours[-1]
        reached = last["ndcg"] >= theirs["ndcg"]
        ratio = last["cpu_s"] / theirs["cpu_s"]
        ratios.append(ratio if reached else float("inf"))
        lines.append(
            f"| {name} | {last['base']:.4f} | {theirs['ndcg']:.4f} "
            f"| {theirs['steps']}, {theirs['rate']:g} | {theirs['cpu_s']:,.0f} "
            f"| {last['ndcg']:.4f} | {last['steps']} | {last['cpu_s']:,.0f} "
            f"| {f'{ratio:.2f}' if reached else 'not reached'} |"
        )
    middle = f"Median ratio {statistics.median(ratios):.2f}, goal {GOAL}." if ratios else ""
    return "\n".join([*lines, middle])


if __name__ == "__main__":
    main()
