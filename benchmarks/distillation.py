"""Does a fit lose or gain by learning from a teacher instead of from labels alone?

    python benchmarks/distillation.py                # scifact and nl2bash, cut
    python benchmarks/distillation.py --only nl2bash
    python benchmarks/distillation.py --table        # the table alone
    python benchmarks/distillation.py --quick        # does it run?

The teacher is made here: MiniLM's cosine plus BM25's share of what the query could score at most
(whet.evaluation.lexical), which knows rare words that MiniLM does not. It scores each pair's
document and its mined negatives. Each loss trains the same pairs and negatives for as many steps:
InfoNCE, MarginMSE, half of each, and KL. Corpora are cut to the documents judged and the first
others, texts to 64 tokens.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import audit
import numpy as np
import tiny
from audit import beir, write
from kept import Records
from training import train_alone

RECORDS = Records("distillation")
KINDS = (("infonce", 1.0), ("margin_mse", 1.0), ("margin_mse", 0.5), ("distill_kl", 1.0))
SIZES = ("documents", "train", "test", "steps", "batch", "length")  # options of Size
WORDS = 0.5  # of BM25's share beside a cosine


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    documents: int = 2_000
    train: int = 800  # queries
    test: int = 300
    steps: int = 50
    batch: int = 16
    negatives: int = 4
    length: int = 64


QUICK = Size(documents=120, train=60, test=30, steps=2, batch=8, negatives=2, length=16)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--only", choices=("scifact", "nl2bash"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--seeds", type=int, default=1)
    for name in SIZES:
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if tiny.missing("bm25s", "Stemmer"):
        return
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.collection("scifact").parent, here.folder
            options.model, options.only = here.model, "scifact"
            measure(options, QUICK)
            print(table())
        return
    if not options.table:
        measure(options, Size(**{name: getattr(options, name) for name in SIZES}))
    print(table())


def measure(options: argparse.Namespace, size: Size) -> None:
    """Every loss on every collection that has no row yet."""
    done = {tuple(row[key] for key in ("data", "loss", "weight", "seed")) for row in RECORDS.rows()}
    for name in ("scifact", "nl2bash"):
        wanted = [
            (kind, weight, seed)
            for seed in range(options.seeds)
            for kind, weight in KINDS
            if (name, kind, weight, seed) not in done
        ]
        if options.only in (None, name) and wanted:
            setting = Setting(name, options, size)
            for kind, weight, seed in wanted:
                setting.measure(kind, weight, seed)


class Both:
    """The teacher, as training asks it (whet.training.batches.teacher.Teacher)."""

    def __init__(self, score_QN: np.ndarray, rows_Q: np.ndarray) -> None:
        self.score_QN, self.rows_Q = score_QN, rows_Q

    def prepare(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> None:
        """All are there."""

    def scores(self, query_X: np.ndarray, positive_X: np.ndarray, doc_X: np.ndarray) -> np.ndarray:
        """Of each pair."""
        row_X = np.searchsorted(self.rows_Q, query_X)
        return np.where(doc_X >= 0, self.score_QN[row_X, doc_X], np.nan).astype(np.float32)


class Setting:
    """A collection with its negatives and what the teacher says of every pair."""

    def __init__(self, name: str, options: argparse.Namespace, size: Size) -> None:
        from whet.data.load import load_dataset
        from whet.data.splits import pairs_of
        from whet.encoding.corpus import embed
        from whet.encoding.store import embeddings_folder
        from whet.evaluation.lexical import corpus_words
        from whet.mining.rows import mine_rows
        from whet.model.encoder import Encoder

        self.name, self.size, self.work = name, size, options.work / name
        cut = audit.Size(documents=size.documents, train=size.train, test=size.test)
        write(self.work / "data", *beir(options.data / name, cut))
        self.data = load_dataset(str(self.work / "data"))
        self.train = pairs_of(self.data, "train")
        self.config = self._config(options.model)
        encoder, self.store = Encoder.load(self.config.model), embeddings_folder()
        vectors = embed(encoder, self.data, self.train, store=self.store, config=None)
        rows_Q = self.train.relevant().query_rows
        self.positives = self.data.positives(self.train)
        self.negatives = mine_rows(
            *vectors, rows_Q, self.data, self.positives.take(rows_Q), policy=self.config.mining
        ).negatives
        cosine_QN = vectors[0].vectors @ np.asarray(vectors[1].vectors).T
        words_QN = corpus_words(self.data.corpus).shares(self.data.queries.texts(rows_Q))
        temperature = self.config.loss.temperature
        self.teacher = Both((cosine_QN + WORDS * words_QN) / temperature, rows_Q)
        self._judge("the base model", encoder)

    def _config(self, model: str) -> Any:
        from whet.config import FitConfig, ModelConfig

        config = FitConfig(model=ModelConfig(name=model, max_length=self.size.length))
        config.data.path = str(self.work / "data")
        config.mining.num_negatives = self.size.negatives
        config.trainer.max_steps, config.trainer.max_epochs = self.size.steps, 99
        config.trainer.batch_size = self.size.batch
        return config

    def measure(self, kind: str, weight: float, seed: int) -> None:
        """Train by one loss and judge."""
        import torch

        from whet.model.encoder import Encoder
        from whet.training.batches.aids import Aids
        from whet.training.batches.examples import Examples

        config = replace(
            self.config,
            seed=seed,
            loss=replace(self.config.loss, name=kind),
            distill=replace(self.config.distill, weight=weight),
        )
        aids = Aids(config, None if kind == "infonce" else self.teacher)
        tables: Any = {"queries": self.data.queries, "corpus": self.data.corpus}
        examples = Examples(self.train, self.positives, **tables, aids=aids)
        examples.set_negatives(self.negatives)
        torch.manual_seed(seed)
        folder = self.work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        trained = train_alone(Encoder.load(config.model), examples, config, folder)
        score = self._judge(f"{kind} {weight:g}", trained)
        RECORDS.keep(
            {"data": self.name, "loss": kind, "weight": weight, "seed": seed, "ndcg": score}
            | {"steps": self.size.steps, "documents": len(self.data.corpus)}
        )

    def _judge(self, name: str, encoder: Any) -> float:
        from whet.config import EvaluateConfig
        from whet.evaluation.judge import judge

        store = self.work / "vectors"
        config = EvaluateConfig(measures=["nDCG@10"])
        test = self.data.split("test")
        means = judge(
            encoder, self.data, test, store=store, config=config, encode=None
        ).scores.means
        shutil.rmtree(store, ignore_errors=True)
        if name == "the base model":
            words = self._teacher_alone()
            RECORDS.keep(
                {"data": self.name, "loss": "none", "weight": 0.0, "seed": 0,
                 "ndcg": means["nDCG@10"], "teacher": words}
            )  # fmt: skip
        print(f"{self.name}, {name}: nDCG@10 {means['nDCG@10']:.4f}", flush=True)
        return float(means["nDCG@10"])

    def _teacher_alone(self) -> float:
        """The teacher's own nDCG@10 on the train queries' documents, whose scores are at hand."""
        relevant = self.train.relevant()
        gains = []
        for number, row in enumerate(self.teacher.rows_Q):
            best = np.argsort(-self.teacher.score_QN[number], kind="stable")[:10]
            wanted = set(relevant.doc_rows_M[relevant.query_rows_M == row].tolist())
            hits = [1 / np.log2(place + 2) for place, doc in enumerate(best) if int(doc) in wanted]
            most = sum(1 / np.log2(place + 2) for place in range(min(10, len(wanted))))
            gains.append(sum(hits) / most)
        return float(np.mean(gains))


def table() -> str:
    """The mean over seeds of each loss on each collection."""
    rows = RECORDS.rows()
    text = ["| data | loss | share of distillation | nDCG@10 | seeds |", "|---|---|---|---|---|"]
    kinds = dict.fromkeys((row["data"], row["loss"], row["weight"]) for row in rows)
    for data, loss, weight in kinds:
        found = [
            r["ndcg"] for r in rows if (r["data"], r["loss"], r["weight"]) == (data, loss, weight)
        ]
        text.append(f"| {data} | {loss} | {weight:g} | {np.mean(found):.4f} | {len(found)} |")
    return "\n".join(text)


if __name__ == "__main__":
    main()
