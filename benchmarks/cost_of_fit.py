"""What does a fit cost where it reads few of many queries?

    python benchmarks/cost_of_fit.py                # a fifth of the corpus: 20,588 documents
    python benchmarks/cost_of_fit.py --part 1       # 102,941 documents, 93,498 training queries
    python benchmarks/cost_of_fit.py --table        # the table alone
    python benchmarks/cost_of_fit.py --quick        # does it run?

The corpus is debian-desc, py-doc2code and tldr-cmd in one: 93,498 of their training queries, drawn
by a seed, and 1,000 of their test queries to judge by; of the documents all that these are judged
with, and others up to 102,941. The default fit (texts cut to 32 tokens) is done twice, each in a
process with a cache of its own: as it is, and with every training query encoded and mined for, as
before. Of both the CPU seconds of each stage and the final nDCG@10 are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("cost_of_fit")
COLLECTIONS = ("debian-desc", "py-doc2code", "tldr-cmd")
DOCUMENTS, QUERIES, JUDGED = 102_941, 93_498, 1_000
MEASURE = "nDCG@10"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/cost_of_fit"))
    parser.add_argument("--part", type=float, default=0.2, help="of the documents and queries")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--one", help="a fit, as JSON: for this script's own processes")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(fitted(json.loads(options.one))))
    elif options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.folder / "collections", here.folder / "work"
            for name in COLLECTIONS:
                here.collection(name)
            options.model, options.steps, options.batch = here.model, 3, 8
            measure(options)
            print(table())
    else:
        if not options.table:
            measure(options)
        print(table())


def measure(options: Any) -> None:
    """Both fits, each in a process of its own."""
    name = f"{round(100 * options.part)}"
    data = joined(options.data, options.work / f"data-{name}", options.part)
    for queries in ("read", "all"):
        task = {
            "data": str(data),
            "model": options.model,
            "queries": queries,
            "steps": options.steps,
            "batch": options.batch,
            "output": str(options.work / f"run-{name}-{queries}-{os.getpid()}"),
        }
        cache = options.work / f"cache-{name}-{queries}-{os.getpid()}"
        done = subprocess.run(
            [sys.executable, __file__, "--one", json.dumps(task)],
            env={**os.environ, "WHET_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        RECORDS.keep(json.loads(done.stdout.splitlines()[-1]))


def fitted(task: dict[str, Any]) -> dict[str, Any]:
    """One fit, and the CPU seconds that it took."""
    import whet
    from whet.plan import workload
    from whet.run import job
    from whet.types import Qrels

    if task["queries"] == "all":

        def every(train: Qrels, *others: Any) -> Qrels:
            return train.relevant()

        for module in (job, workload):
            vars(module)["learned_of"] = every
    start, clock = cpu_s(), time.monotonic()
    run = whet.fit(
        task["data"],
        model={"name": task["model"], "max_length": 32},
        output=task["output"],
        trainer={"max_steps": task["steps"], "batch_size": task["batch"]},
    )
    facts = json.loads((run.folder / "environment.json").read_text())
    return {
        "documents": facts["data"]["documents"],
        "train queries": facts["data"]["train queries"],
        "encoded": facts["data"]["train queries that the steps read"],
        "steps": task["steps"],
        "cpu_s": round(cpu_s() - start, 1),
        "wall_s": round(time.monotonic() - clock, 1),
        "stages": facts["seconds"],
        "base": run.comparison.main.base,
        "tuned": run.comparison.main.tuned,
    }


def cpu_s() -> float:
    """Of this process and those it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def joined(source: Path, target: Path, part: float) -> Path:
    """The three collections as one, ids with the collection's name before them, written once."""
    if target.exists():
        return target
    draft = target.with_suffix(".tmp")
    (draft / "qrels").mkdir(parents=True, exist_ok=True)
    texts: dict[str, dict[str, dict[str, Any]]] = {"queries": {}, "corpus": {}}
    pairs: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    for name in COLLECTIONS:
        for table_name, rows in texts.items():
            with gzip.open(
                source / name / f"{table_name}.jsonl.gz", "rt", encoding="utf-8"
            ) as file:
                for row in map(json.loads, file):
                    rows[f"{name}/{row['_id']}"] = {**row, "_id": f"{name}/{row['_id']}"}
        for split, judged in pairs.items():
            lines = (source / name / f"qrels/{split}.tsv").read_text(encoding="utf-8").splitlines()
            for query, document, grade in (line.split("\t") for line in lines[1:]):
                judged.append((f"{name}/{query}", f"{name}/{document}", grade))
    counts = {"train": round(part * QUERIES), "test": JUDGED}
    kept = {split: some(judged, counts[split]) for split, judged in pairs.items()}
    needed = {document for judged in kept.values() for _, document, _ in judged}
    others = [id_ for id_ in texts["corpus"] if id_ not in needed]
    random = np.random.default_rng(0)
    room = max(0, min(len(others), round(part * DOCUMENTS) - len(needed)))
    needed |= {others[int(row)] for row in random.choice(len(others), room, replace=False)}
    asked = {query for judged in kept.values() for query, _, _ in judged}
    for split, judged in kept.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(row) for row in judged)]
        (draft / f"qrels/{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for table_name, ids in (("queries", asked), ("corpus", needed)):
        written = [json.dumps(row) for id_, row in texts[table_name].items() if id_ in ids]
        (draft / f"{table_name}.jsonl").write_text("\n".join(written) + "\n", encoding="utf-8")
    draft.rename(target)
    return target


def some(judged: list[tuple[str, str, str]], count: int) -> list[tuple[str, str, str]]:
    """All that is judged of so many queries, drawn by a seed."""
    queries = list(dict.fromkeys(query for query, _, _ in judged))
    order = np.random.default_rng(0).permutation(len(queries))[:count]
    chosen = {queries[int(row)] for row in order}
    return [row for row in judged if row[0] in chosen]


def table() -> str:
    """Markdown, a row per fit."""
    lines = [
        f"| documents | train queries | encoded | CPU s | judge | mine | train | judge "
        f"| {MEASURE} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in RECORDS.rows():
        stages = " | ".join(f"{seconds:,.0f}" for seconds in row["stages"].values())
        lines.append(
            f"| {row['documents']:,} | {row['train queries']:,} | {row['encoded']:,} "
            f"| {row['cpu_s']:,.0f} | {stages} | {row['base']:.4f} → {row['tuned']:.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
