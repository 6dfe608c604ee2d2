"""Does a pool say what all documents say: the same sign, and a change within 0.01?

    python benchmarks/pool.py            # three collections; what is done is not done again
    python benchmarks/pool.py --table    # the table alone
    python benchmarks/pool.py --quick    # does it run?

Of each collection 6,000 training queries, 500 test queries and what they are judged with are taken.
MiniLM (texts cut to 32 tokens) is fitted for 30 steps, and both models are judged: on all
documents, and on pools of a tenth and a fifth of them, chosen by words alone, by words and the base
model's vectors, and by words and the vectors of both. Four minutes per collection on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records
from reduced import reduced

import whet
from whet.config import EvaluateConfig, ModelConfig
from whet.data.load import Dataset, load_dataset
from whet.data.splits import eval_qrels
from whet.encoding.corpus import embed
from whet.evaluation.judge import judge
from whet.evaluation.lexical import nearest_by_words
from whet.evaluation.pool.choose import NEAR, DocumentPool, pool_of
from whet.mining.search import search
from whet.model.encoder import Encoder, weights_unchanged
from whet.types import Qrels

RECORDS = Records("pool")
COLLECTIONS = ("nl2bash", "tldr-cmd", "debian-desc")
SHARES = (0.1, 0.2)
MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Size:
    """How many queries are learned from and judged by, and how long is trained."""

    train: int = 6_000
    test: int = 500
    steps: int = 30
    batch: int = 32


QUICK = Size(train=90, test=10, steps=3, batch=8)


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/pool"))
    parser.add_argument("--only", nargs="*", default=COLLECTIONS)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tuned", type=Path, help="a model to compare with, in place of the fits")
    parser.add_argument("--train", type=int, default=Size.train, help="queries with documents")
    parser.add_argument("--test", type=int, default=Size.test, help="queries judged by")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.collection("nl2bash").parent, here.folder / "work"
            options.only, options.model = ("nl2bash",), here.model
            measure(options, QUICK)
            print(table())
        return
    if not options.table:
        measure(options, Size(options.train, options.test))
    print(table())


def measure(options: Any, size: Size) -> None:
    """Of every collection that has no rows yet."""
    options.work.mkdir(parents=True, exist_ok=True)
    done = {row["data"] for row in RECORDS.rows()}
    for name in options.only:
        if name not in done:
            for row in rows_of(name, options, size):
                RECORDS.keep(row)


def rows_of(name: str, options: Any, size: Size) -> list[dict[str, Any]]:
    """Both models on all documents, and on each pool."""
    model: dict[str, Any] = {"name": options.model, "max_length": 32}
    folder = options.work / name
    path = reduced(
        options.data / name, options.work / f"{name}.data", train=size.train, test=size.test
    )
    data = load_dataset(str(path))
    qrels = eval_qrels(data, None)
    tuned = options.tuned or folder / "model"
    if not tuned.exists():
        whet.fit(
            str(path),
            model=model,
            output=str(folder),
            trainer={"max_steps": size.steps, "batch_size": size.batch},
            mining={"scope": "candidates", "candidates": 4},  # the models are judged below
            evaluate={"pool": int(1.2 * len(np.unique(qrels.doc_rows_M))) + 1},
        )
    encoders = {
        "base": Encoder.load(ModelConfig(**model)),
        "tuned": Encoder.load(str(tuned)),
    }
    with weights_unchanged():
        return list(compared(name, data, qrels, encoders, options.work / f"{name}.store"))


def compared(
    name: str, data: Dataset, qrels: Qrels, encoders: dict[str, Encoder], store: Path
) -> Any:
    """A row per pool; the first is of all documents."""
    documents = len(data.corpus)
    words = nearest_by_words(data.queries.texts(qrels.query_rows), data.corpus, NEAR)
    near = {
        system: search(*embed(encoder, data, qrels, store=store, config=None), words.shape[1])[1]
        for system, encoder in encoders.items()
    }
    chosen_by = {
        "words": [words],
        "words, base": [words, near["base"]],
        "words, both models": [words, *near.values()],
    }

    def row(by: str, pool: DocumentPool | None) -> dict[str, Any]:
        scores = {
            system: judge(
                encoder, data, qrels, store=store, config=EvaluateConfig(), pool=pool
            ).scores.means[MEASURE]
            for system, encoder in encoders.items()
        }
        searched = documents if pool is None else len(pool.rows_S)
        return {"data": name, "documents": documents, "searched": searched, "by": by, **scores}

    yield row("all", None)
    for share in SHARES:
        least = 2 * len(np.unique(qrels.doc_rows_M))
        pool_size = max(least, int(share * documents))
        for by, lists in chosen_by.items():
            yield row(by, pool_of(data, qrels, np.vstack(lists), pool_size))


def table() -> str:
    """Markdown: each pool's change beside that on all documents."""
    lines = [
        f"| data | documents | searched | chosen by | {MEASURE} base | tuned | change | off by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole: dict[str, float] = {}
    for row in RECORDS.rows():
        change = row["tuned"] - row["base"]
        whole.setdefault(row["data"], change)
        off = "" if row["by"] == "all" else f"{change - whole[row['data']]:+.4f}"
        lines.append(
            f"| {row['data']} | {row['documents']:,} | {row['searched']:,} | {row['by']} "
            f"| {row['base']:.4f} | {row['tuned']:.4f} | {change:+.4f} | {off} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
