"""What do cheap refreshes find of what a full one finds, and how good is the model they train?

    python benchmarks/refresh.py               # both parts; what is done is not done again
    python benchmarks/refresh.py overlap       # negatives against those of a full refresh
    python benchmarks/refresh.py quality       # nDCG@10 after fits with each kind of refresh
    python benchmarks/refresh.py --table       # the tables alone
    python benchmarks/refresh.py --quick       # does it run?

`overlap` trains MiniLM on 50,000 documents of debian-desc (texts cut to 32 tokens) for 50 steps,
encodes everything before and after, and then runs the refreshes of whet.refresh, which find in the
store what they would encode. `quality` fits on nl2bash. About an hour each on two
cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("refresh")
NEGATIVES = 16
QUERIES = (50, 100, 250, 500, 2_000, 8_000)
SHARES = (0.1, 0.2)
LENGTH = 32


@dataclass(frozen=True)
class Size:
    """How much is trained: `step` is where weights are taken, and `of_steps` how long a training
    would be; `queries` are those `overlap` asks, `fit_*` is what `quality` fits with.
    """

    trained: int = 2_000  # queries
    step: int = 50
    of_steps: int = 100
    queries: tuple[int, ...] = QUERIES
    fit_queries: int = 1_000
    fit_steps: int = 80
    fit_every: int = 20  # steps between two refreshes
    fit_batch: int = 32


QUICK = Size(60, 2, 4, (20, 60), fit_queries=20, fit_steps=4, fit_every=2, fit_batch=8)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("overlap", "quality"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/refresh"))
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.work = here.collection("debian-desc").parent, here.folder
            here.collection("nl2bash")
            options.documents, options.model = tiny.DOCUMENTS - 10, here.model
            measure(options, QUICK)
            print(tables())
        return
    if not options.table:
        measure(options, Size())
    print(tables())


def measure(options: argparse.Namespace, size: Size) -> None:
    """The part asked for, or both."""
    if options.part != "quality":
        measure_overlap(options, size)
    if options.part != "overlap":
        measure_quality(options, size)


def measure_overlap(options: argparse.Namespace, size: Size) -> None:
    """Every kind of refresh against the full one, for several numbers of queries and shares."""
    from whet.config import ModelConfig
    from whet.mining.report import overlap
    from whet.model.encoder import Encoder

    setting = Setting(options, size)
    setting.train()
    done = {tuple(row[name] for name in KEY) for row in rows("overlap")}
    encoder = Encoder.load(ModelConfig(name=str(setting.tuned)))
    measure_probe(setting, encoder)
    for queries in size.queries:
        wanted = [
            (queries, scope, share)
            for scope in ("none", "candidates", "mapped")
            for share in (SHARES if scope != "none" else (0.0,))
            if (queries, scope, share) not in done
        ]
        if not wanted:
            continue
        full = setting.refreshed(encoder, queries, "all", 1.0).mined.negatives
        docs = len(np.unique(full.doc_rows_RK[full.doc_rows_RK >= 0]))
        for _, scope, share in wanted:
            found = setting.refreshed(encoder, queries, scope, share)
            if found is None:
                continue
            keep(
                part="overlap",
                documents=len(setting.data.corpus),
                step=size.step,
                queries=queries,
                scope=scope,
                share=share,
                needed=docs / len(setting.data.corpus),
                encoded=found.encoded / len(setting.data.corpus),
                overlap=overlap(full, found.mined.negatives),
            )


def measure_probe(setting: Setting, encoder: Any) -> None:
    """What the probe says of the negatives mined before training, and what is true."""
    from whet.mining.report import overlap
    from whet.refresh.probe import Probe
    from whet.refresh.scopes import SCOPES
    from whet.refresh.vectors import JobVectors

    encoded: list[int] = []

    class Counted(JobVectors):
        def part(self, encoder: Any, rows_S: np.ndarray) -> Any:
            encoded.append(len(rows_S))
            return super().part(encoder, rows_S)

    (setting.work / "negatives").mkdir(exist_ok=True)
    done = {row["negatives"] for row in rows("probe")}
    for negatives in (1, 4, 16):
        if negatives in done:
            continue
        job = setting.job(setting.size.trained, "all", 1.0)
        job.config.mining.num_negatives = negatives
        vectors, probe = Counted(job, setting.work / "store"), Probe(job)
        scope = SCOPES["all"](job, None)
        before = scope.find(vectors, setting.base, 0, None)
        after = scope.find(vectors, encoder, 1, None)
        probe.keep(before, 0)
        keep(
            part="probe",
            negatives=negatives,
            said=probe.overlap(vectors, encoder, 0, before.mined.negatives),
            true=overlap(before.mined.negatives, after.mined.negatives),
            encoded=encoded.pop() / len(setting.data.corpus),
        )


class Setting:
    """The corpus, a model and what it became while it was trained."""

    def __init__(self, options: argparse.Namespace, size: Size) -> None:
        from whet.bench.collections import collection
        from whet.config import ModelConfig
        from whet.data.load import load_dataset
        from whet.model.encoder import Encoder

        self.work, self.size = options.work, size
        self.tuned = options.work / f"step{size.step}"
        name = f"debian-desc@{options.documents}"
        data = collection(options.data, name, options.work)
        self.data = load_dataset(str(data), on_problem="drop")
        self.relevant = self.data.split("train").relevant()
        self.order = np.random.default_rng(0).permutation(self.relevant.query_rows)
        self.model = ModelConfig(name=options.model, max_length=LENGTH)
        self.base = Encoder.load(self.model)

    def job(self, queries: int, scope: str, share: float) -> Any:
        """A job with so many train queries."""
        from whet.config import FitConfig, MiningConfig, RefreshConfig, SelectConfig
        from whet.encoding.corpus import Pace
        from whet.run.job import Job

        train = self.relevant.only(np.isin(self.relevant.query_rows_M, self.order[:queries]))
        config = FitConfig(
            select=SelectConfig("last"),
            mining=MiningConfig(num_negatives=NEGATIVES),
            refresh=RefreshConfig(policy="steps", scope=scope, max_share=share),
        )
        positives = self.data.positives(train)
        return Job(config, self.work, self.data, train, train, train, positives, Pace())

    def refreshed(self, encoder: Any, queries: int, scope: str, share: float) -> Any:
        """What the refresh finds; "none": what was mined before training. None where there are too
        many queries for it.
        """
        from whet.errors import ConfigError
        from whet.refresh.scopes import SCOPES, Refreshed
        from whet.refresh.vectors import JobVectors

        vectors = JobVectors(self.job(queries, "all", 1.0), self.work / "store")
        if scope == "none":
            before = SCOPES["all"](vectors.job, None).find(vectors, self.base, 0, None)
            return Refreshed(before.mined, before.queries, before.corpus, None, 0)
        try:
            kind = SCOPES[scope](self.job(queries, scope, share), None)
        except ConfigError:
            return None
        kind.start(vectors, self.base)
        return kind.find(vectors, encoder, 1, None)

    def train(self) -> None:
        """Train on some queries, with the negatives mined before, until the weights of
        `size.step` are saved.
        """
        from training import train_alone

        from whet.model.encoder import Encoder
        from whet.training.batches.examples import Examples

        if self.tuned.exists():
            return
        job = self.job(self.size.trained, "all", 1.0)
        job.config.mining.num_negatives = 1
        job.config.trainer.max_epochs, job.config.trainer.max_steps = 100, self.size.of_steps
        job.config.refresh.every_n_steps = self.size.step
        negatives = self.refreshed(self.base, self.size.trained, "none", 0.0).mined.negatives
        first = type(negatives)(
            negatives.query_rows_R,
            negatives.doc_rows_RK[:, :1],
            negatives.scores_RK[:, :1],
            negatives.ranks_RK[:, :1],
            negatives.positive_scores_R,
        )
        data = self.data
        examples = Examples(job.train, job.positives, queries=data.queries, corpus=data.corpus)
        examples.set_negatives(first)

        def snapshot(step: int, encoder: Any) -> Any:
            encoder.save(self.tuned)
            raise Enough

        folder = self.work / "training"
        shutil.rmtree(folder, ignore_errors=True)
        encoder = Encoder.load(self.model)
        with contextlib.suppress(Enough):
            train_alone(encoder, examples, job.config, folder, remine=snapshot)


class Enough(Exception):
    """The weights wanted are there."""


KEY = ("queries", "scope", "share")
FITS: dict[str, dict[str, Any]] = {
    "off": {"policy": "off"},
    "all": {"policy": "steps", "scope": "all"},
    "candidates": {"policy": "steps", "scope": "candidates"},
    "mapped": {"policy": "steps", "scope": "mapped"},
    "overlap, all": {"policy": "overlap", "scope": "all"},
}


def measure_quality(options: argparse.Namespace, size: Size) -> None:
    """Fits on a part of nl2bash, mined again every so many steps."""
    import whet

    data = few_queries(
        options.data / "nl2bash", options.work / f"nl2bash-{size.fit_queries}", size.fit_queries
    )
    done = {(row["kind"], row["seed"]) for row in rows("quality")}
    for seed in range(options.seeds):
        for kind, refresh in FITS.items():
            if (kind, seed) in done:
                continue
            folder = options.work / f"{kind.replace(', ', '_')}_seed{seed}_{int(time.time())}"
            run = whet.fit(
                str(data),
                output=str(folder),
                seed=seed,
                model={"name": options.model, "max_length": LENGTH},
                mining={"num_negatives": 2},
                select={"policy": "last"},
                trainer={
                    "batch_size": size.fit_batch,
                    "max_steps": size.fit_steps,
                    "max_epochs": 100,
                },
                refresh={"every_n_steps": size.fit_every, **refresh},
            )
            log = [json.loads(line) for line in (folder / "train_log.jsonl").open()]
            fresh = [row for row in log if "refresh_overlap" in row]
            main_row = run.comparison.main
            keep(
                part="quality",
                kind=kind,
                seed=seed,
                base=main_row.base,
                tuned=main_row.tuned,
                queries=run.comparison.queries,
                refreshes=len(fresh),
                encoded=sum(row["refresh_encoded_share"] for row in fresh),
                overlaps=[row["refresh_overlap"] for row in fresh],
                probes=[row["probe_overlap"] for row in log if "probe_overlap" in row],
            )


def few_queries(source: Path, target: Path, count: int) -> Path:
    """The collection with so many train queries, drawn evenly."""
    if not target.exists():
        (target / "qrels").mkdir(parents=True)
        for path in (*source.glob("*.jsonl.gz"), source / "qrels" / "test.tsv"):
            shutil.copy(path, target / path.relative_to(source))
        head, *lines = (source / "qrels" / "train.tsv").read_text().splitlines()
        asked = sorted({line.split("\t")[0] for line in lines})
        kept = set(np.random.default_rng(0).permutation(asked)[:count].tolist())
        lines = [head, *(line for line in lines if line.split("\t")[0] in kept)]
        (target / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n")
    return target


def keep(**row: Any) -> None:
    """Append a record."""
    row["date"] = time.strftime("%Y-%m-%d")
    RECORDS.keep(row)
    print(row, flush=True)


def rows(part: str) -> list[dict[str, Any]]:
    """The records of a part, oldest first."""
    return [row for row in RECORDS.rows() if row["part"] == part]


def tables() -> str:
    """The records as Markdown."""
    lines = [
        "| queries | needed | not mined again | "
        + " | ".join(f"{kind} {share:.0%}" for kind in ("candidates", "mapped") for share in SHARES)
        + " |",
        "|---" * (3 + 2 * len(SHARES)) + "|",
    ]
    found = {tuple(row[name] for name in KEY): row["overlap"] for row in rows("overlap")}
    needed = {row["queries"]: row["needed"] for row in rows("overlap")}
    for queries in sorted(needed):
        cells = [needed.get(queries), found.get((queries, "none", 0.0))]
        cells += [
            found.get((queries, kind, share))
            for kind in ("candidates", "mapped")
            for share in SHARES
        ]
        if any(cells):
            shown = ["" if cell is None else f"{cell:.1%}" for cell in cells]
            lines.append(f"| {queries:,} | {' | '.join(shown)} |")
    lines += ["", "| negatives a query | the probe said | true | encoded |", "|---|---|---|---|"]
    lines += [
        f"| {row['negatives']} | {row['said']:.1%} | {row['true']:.1%} | {row['encoded']:.1%} |"
        for row in rows("probe")
    ]
    lines += [
        "",
        "| refresh | nDCG@10 | corpora encoded | overlaps | seeds |",
        "|---|---|---|---|---|",
    ]
    for kind in FITS:
        fits = [row for row in rows("quality") if row["kind"] == kind]
        if fits:
            tuned = np.mean([row["tuned"] for row in fits])
            encoded = np.mean([row["encoded"] for row in fits])
            overlaps = ", ".join(f"{value:.0%}" for value in fits[0]["overlaps"])
            lines.append(f"| {kind} | {tuned:.4f} | {encoded:.2f} | {overlaps} | {len(fits)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
