"""Whet and sentence-transformers on the same model, data, hyper-parameters and steps, side by side.

    python benchmarks/vs_sentence_transformers.py                 # all parts, then the table
    python benchmarks/vs_sentence_transformers.py --parts mine    # encode, train or mine
    python benchmarks/vs_sentence_transformers.py --table
    python benchmarks/vs_sentence_transformers.py --quick         # does it all run?

Each measurement is a process of its own, the two libraries in turn, so that both meet the same
noise and peak memory is theirs alone. Figures are medians; ratios are taken pair by pair. Rows are
appended to records/vs_sentence_transformers.jsonl. Needs the collections of docs/benchmarks.md in
the folder --data.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
from kept import Records

RECORDS = Records("vs_sentence_transformers")
SIDES = ("whet", "sentence-transformers")
ENCODE_TEXTS = {"nl2bash": 1000, "scifact": 100}
RATE, WARM_UP, DECAY, TEMPERATURE = 1e-4, 0.1, 0.01, 0.05
GOALS = {"encode": 1.2, "train": 1.3, "mine": 1.3}


def main() -> None:
    """Measure the parts asked for and print the table; with --child do one measurement."""
    options = parsed()
    if options.child:
        part, side, name = options.child
        print(json.dumps(found_for(part, side, name, options)))
    elif options.quick:
        quick(options)
    else:
        for part in [] if options.table else options.parts:
            for name in ENCODE_TEXTS if part == "encode" else ["nl2bash"]:
                measure(part, name, options, 1 if part == "train" else options.rounds)
        print(table())


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--parts", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="of training")
    parser.add_argument("--batch", type=int, default=64, help="pairs a step of training")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    parser.add_argument(
        "--child", nargs=3, metavar=("PART", "SIDE", "DATA"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def quick(options: argparse.Namespace) -> None:
    """Every part once; those after the first in this process, as a process takes long to start."""
    if tiny.missing("sentence_transformers", "datasets"):
        return
    with tiny.place(RECORDS) as here:
        options.data, options.model = here.collection("nl2bash").parent, here.model
        options.steps, options.batch = 2, 8
        for part in options.parts:
            measure(part, "nl2bash", options, 1, apart=part == options.parts[0])
        print(table())


def measure(
    part: str, name: str, options: argparse.Namespace, rounds: int, *, apart: bool = True
) -> None:
    """Both sides in turn, `rounds` times, appended to the records."""
    pairs = []
    for _ in range(rounds):
        pair = {}
        for side in SIDES:
            one = found_apart if apart else found_for
            pair[side] = one(part, side, name, options)
            print(part, name, side, pair[side], file=sys.stderr, flush=True)
        pairs.append(pair)
    RECORDS.keep({"part": part, "data": name, "date": time.strftime("%Y-%m-%d"), "pairs": pairs})


def found_apart(part: str, side: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--child", part, side, name]
    for word in ("data", "model", "steps", "batch"):
        command += [f"--{word}", str(getattr(options, word))]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"{part} {side} {name} failed:\n{out.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return found


def found_for(part: str, side: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement and the peak memory of this process."""
    found = MEASURE[part](side, options.data / name, options)
    return found | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def encode(side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Texts a second over an even sample of the corpus, model loaded and warm."""
    import whet

    data = whet.load_dataset(str(folder))
    count = ENCODE_TEXTS[folder.name]
    texts = data.corpus.texts(range(0, len(data.corpus), max(1, len(data.corpus) // count)))[:count]
    encoder = whet.Encoder.load(options.model)
    call: Callable[[list[str]], object] = encoder.encode
    if side != SIDES[0]:
        from sentence_transformers import SentenceTransformer

        call = SentenceTransformer(str(encoder.source), device="cpu").encode
    call(texts[:64])
    start = time.perf_counter()
    call(texts)
    return {"rate": len(texts) / (time.perf_counter() - start)}


def _triplets(folder: Path, model: str) -> tuple[Any, Any, Any, Any]:
    """Data, train split, positives, and one hard negative a query: the same for both sides."""
    import whet
    from whet.config import MiningConfig
    from whet.encoding.store import embeddings_folder
    from whet.mining.rows import mine_with

    data = whet.load_dataset(str(folder))
    train = data.split("train")
    positives = data.positives(train)
    encoder = whet.Encoder.load(model)
    mined = mine_with(
        encoder,
        data,
        train,
        positives,
        store=embeddings_folder(),
        policy=MiningConfig(),
        encode=None,
    )
    return data, train, positives, mined.negatives


def train(side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Pairs a second over the training loop, and nDCG@10 on test afterwards."""
    import numpy as np

    import whet
    from whet.training.batches.examples import Examples
    from whet.training.batches.order import Order

    data, split, positives, negatives = _triplets(folder, options.model)
    examples = Examples(split, positives, queries=data.queries, corpus=data.corpus)
    examples.set_negatives(negatives)
    has = np.flatnonzero(examples.negatives_PK[:, 0] >= 0)  # a triplet needs a negative
    encoder = whet.Encoder.load(options.model)
    order = Order(len(has), options.batch, 0)
    pairs = np.concatenate([order.step(step) for step in range(options.steps)])
    rows = has[pairs]
    run = _train_whet if side == SIDES[0] else _train_sentence_transformers
    seconds, tuned = run(encoder, examples, rows, options)
    scores = whet.evaluate(tuned, str(folder)).scores
    return {"rate": len(rows) / seconds, "ndcg": scores.means["nDCG@10"]}


def _train_whet(
    encoder: Any, examples: Any, rows: Any, options: argparse.Namespace
) -> tuple[float, Any]:
    from training import train_alone

    from whet.config import FitConfig, LossConfig, TrainerConfig

    for name in ("query_rows_P", "doc_rows_P", "judged_PJ", "negatives_PK"):
        setattr(examples, name, getattr(examples, name)[rows])
    trainer = TrainerConfig(
        max_epochs=1,
        max_steps=options.steps,
        batch_size=options.batch,
        learning_rate=RATE,
        warmup_ratio=WARM_UP,
        weight_decay=DECAY,
    )
    config = FitConfig(trainer=trainer, loss=LossConfig(temperature=TEMPERATURE))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tuned = train_alone(encoder, examples, config, Path(folder))
        return time.perf_counter() - start, tuned.eval()


def _train_sentence_transformers(
    encoder: Any, examples: Any, rows: Any, options: argparse.Namespace
) -> tuple[float, Any]:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    import whet

    model = SentenceTransformer(str(encoder.source), device="cpu")
    columns = {
        "anchor": examples.queries.texts(examples.query_rows_P[rows]),
        "positive": examples.corpus.texts(examples.doc_rows_P[rows]),
        "negative": examples.corpus.texts(examples.negatives_PK[rows, 0]),
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch,
            learning_rate=RATE,
            warmup_steps=WARM_UP,
            weight_decay=DECAY,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(columns),
            loss=MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE),
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
        model.save(f"{folder}/model")
        return seconds, whet.Encoder.load(f"{folder}/model")


def mine(side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Queries a second from ready vectors to negatives, and how many queries came back short.

    Three negatives a query under a 5 % relative margin; sentence-transformers in its defaults
    otherwise, with FAISS, its vectors handed over by a model that only looks them up.
    """
    import whet
    from whet.encoding.corpus import embed
    from whet.encoding.store import embeddings_folder
    from whet.types import Embeddings

    data = whet.load_dataset(str(folder))
    split = data.split("train").relevant()
    encoder = whet.Encoder.load(options.model)
    queries, corpus = embed(encoder, data, split, store=embeddings_folder(), config=None)
    asked = len(queries)
    if side == SIDES[0]:
        assert isinstance(corpus, Embeddings)  # of one process: all documents
        table = data.positives(split)
        start = time.perf_counter()
        found = whet.mine(queries, corpus, table.take(split.query_rows), num_negatives=3).negatives
        seconds = time.perf_counter() - start
        short = int((found.found_R < 3).sum())
    else:
        seconds, short = _mine_sentence_transformers(encoder, data, split, (queries, corpus))
    return {"rate": asked / seconds, "short": short / asked}


def _mine_sentence_transformers(
    encoder: Any, data: Any, split: Any, embedded: Any
) -> tuple[float, int]:
    import numpy as np
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    queries, corpus = embedded
    query_texts = data.queries.texts(split.query_rows)
    corpus_texts = data.corpus.texts(range(len(data.corpus)))
    vectors = dict(zip(corpus_texts, corpus.vectors, strict=True))
    vectors.update(zip(query_texts, queries.vectors, strict=True))

    class LooksUp(SentenceTransformer):
        """Vectors made beforehand."""

        def encode(self, *texts: Any, **options: Any) -> Any:
            return np.stack([vectors[text] for text in texts[0]])

        encode_query = encode_document = encode

    model = LooksUp(str(encoder.source), device="cpu")
    place = {int(row): number for number, row in enumerate(split.query_rows)}
    pairs = Dataset.from_dict(
        {
            "anchor": [query_texts[place[int(row)]] for row in split.query_rows_M],
            "positive": data.corpus.texts(split.doc_rows_M),
        }
    )
    start = time.perf_counter()
    found = mine_hard_negatives(
        pairs,
        model,
        corpus=corpus_texts,
        relative_margin=0.05,
        num_negatives=3,
        use_faiss=True,
        output_format="n-tuple",
        verbose=False,
    )
    seconds = time.perf_counter() - start
    return seconds, len(set(query_texts)) - len(set(found["anchor"]))


MEASURE = {"encode": encode, "train": train, "mine": mine}


def table() -> str:
    """One line a part and collection, from the last record of each."""
    lines = [
        "| part | data | Whet | sentence-transformers | ratio | goal | peak MiB | also |",
        "|---|---|---|---|---|---|---|---|",
    ]
    latest = {(row["part"], row["data"]): row for row in RECORDS.rows()}
    for key, row in latest.items():
        ours, theirs = ([pair[side] for pair in row["pairs"]] for side in SIDES)
        ratios = [a["rate"] / b["rate"] for a, b in zip(ours, theirs, strict=True)]
        also = "" if key[0] == "encode" else _also(key[0], ours, theirs)
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        lines.append(
            f"| {key[0]} | {key[1]} | {_middle(ours, 'rate'):,.1f}/s "
            f"| {_middle(theirs, 'rate'):,.1f}/s "
            f"| {statistics.median(ratios):.2f}{spread} | {GOALS[key[0]]} "
            f"| {_middle(ours, 'peak_mib'):,.0f}, {_middle(theirs, 'peak_mib'):,.0f} | {also} |"
        )
    return "\n".join(lines)


def _middle(side: list[dict[str, Any]], name: str) -> float:
    middle: float = statistics.median(one[name] for one in side)
    return middle


def _also(part: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    if part == "train":
        return f"nDCG@10 {_middle(ours, 'ndcg'):.4f}, {_middle(theirs, 'ndcg'):.4f}"
    return f"short {_middle(ours, 'short'):.1%}, {_middle(theirs, 'short'):.1%}"


if __name__ == "__main__":
    main()
