"""Can a fit hurt? Six collections, fitted as they should be and ruined in four ways, with what came
back before there was a choice (`select=last`) and with it.

    python benchmarks/cannot_hurt.py --data ../shared/data             # the table, on word vectors
    python benchmarks/cannot_hurt.py --data ../shared/data --model minilm --steps 100 --rate 1e-4
    python benchmarks/cannot_hurt.py --quick                           # made data, does it run?

The model is by default a table of word vectors that is made here from MiniLM (model2vec's way: each
token alone through the model, weighted by its rank) and taught on 3,000 other train queries of the
collection: a good model, which can get worse, and so quick that sixty fits take a quarter of an
hour on one core. Rows are kept in records/cannot_hurt.jsonl, and those
that are there are not made again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

COLLECTIONS = ("nl2bash", "tldr-cmd", "debian-desc", "medquad", "py-doc2code", "scifact")
CASES = ("clean", "rate x10", "30 % wrong", "20 epochs of 500", "50 pairs")
POLICIES = ("last", "dev")
DOCUMENTS, TRAIN, DEV, TEST = 2_000, 1_000, 300, 400
LENGTH, BATCH, DIMENSIONS = 48, 32, 96
TAUGHT = {"max_steps": 150, "batch_size": 64, "learning_rate": 5e-3, "max_epochs": 100}
TEACHING = 3_000  # queries, beside those of the fits
WORST = 0.005  # below the base, at most
KEPT = 0.95  # of the gain of the clean fits
SLOWER = 1.1
RECORDS = Records("cannot_hurt")


def main() -> None:
    """Make the rows that lack, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the collections")
    parser.add_argument("--model", default="words", help="a model, or words: made from MiniLM")
    parser.add_argument("--rate", type=float, default=5e-3, help="learning rate of the clean fits")
    parser.add_argument("--steps", type=int, default=60, help="of the clean fits")
    parser.add_argument("--only", nargs="*", default=list(COLLECTIONS), help="collections")
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--guard", type=float, default=0.01, help="guard.max_drop")
    parser.add_argument("--work", type=Path, help="where the model made here is kept")
    parser.add_argument("--seed", type=int, default=0)
    tiny.add_option(parser)
    parser.add_argument("--table", action="store_true", help="print what is kept")
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.only, options.cases, options.model = ["made"], ["clean", "50 pairs"], here.model
            options.steps = 8
            measure(options, here.folder)
            print(table(options))
        return
    with tempfile.TemporaryDirectory(prefix="cannot-hurt-") as work:
        options.work = options.work or Path(work)
        options.work.mkdir(parents=True, exist_ok=True)
        if not options.table:
            measure(options, Path(work))
        print(table(options))


def measure(options: argparse.Namespace, work: Path) -> None:
    """Every fit whose row lacks."""
    done = {key(row) for row in RECORDS.rows()}
    for name in options.only:
        for case in options.cases:
            for policy in POLICIES:
                row = {
                    "collection": name,
                    "case": case,
                    "policy": policy,
                    "model": options.model,
                    "rate": options.rate,
                    "steps": options.steps,
                    "guard": options.guard,
                    "seed": options.seed,
                }
                if key(row) in done:
                    continue
                model = made_model(options, name)
                data = part(options, name, case, work)
                RECORDS.keep({**row, **fitted(data, model, case, policy, options, work)})


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a row from others."""
    names = ("collection", "case", "policy", "model", "rate", "steps", "guard", "seed")
    return tuple(row[name] for name in names)


def fitted(
    data: Path, model: str, case: str, policy: str, options: argparse.Namespace, work: Path
) -> dict[str, Any]:
    """One fit: nDCG@10 of the base and of what came back, on test; and the seconds it took."""
    import whet

    rate = options.rate * (10 if case == "rate x10" else 1)
    epochs = case == "20 epochs of 500"
    start, cpu = time.perf_counter(), time.process_time()
    run = whet.fit(
        str(data),
        model={"name": model, "max_length": None if options.quick else LENGTH},
        trainer={
            "learning_rate": rate,
            "batch_size": BATCH,
            "max_steps": -1 if epochs else options.steps,
            "max_epochs": 20 if epochs else 100,
        },
        select={"policy": policy},
        guard={"max_drop": options.guard},
        logger={"name": "none"},
        seed=options.seed,
        output=str(work / f"run_{time.time_ns()}"),
    )
    main = run.comparison.main
    chosen = run.folder / "selection.json"
    told = json.loads(chosen.read_text()) if chosen.exists() else {}
    return {
        "base": main.base,
        "back": main.tuned,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "returned": told.get("returned", "the last weights"),
        "trials": told.get("trials", []),
        "moments": told.get("moments", []),
        "dev": told.get("dev", {}),
    }


def part(options: argparse.Namespace, name: str, case: str, work: Path) -> Path:
    """A small part of a collection, ruined as the case says."""
    target = work / f"{name}_{case}".replace(" ", "_").replace("%", "")
    if target.exists():
        return target
    texts, judged = made_set() if name == "made" else collection(options, name)
    rng = random.Random(options.seed)
    if case == "30 % wrong":
        answers = sorted({doc for rows in judged.values() for _, doc in rows})
        for split in set(judged) - {"test"}:
            judged[split] = [
                (query, rng.choice(answers) if rng.random() < 0.3 else doc)
                for query, doc in judged[split]
            ]
    few = {"20 epochs of 500": 500, "50 pairs": 50}.get(case)
    if few is not None:  # who has so few pairs has no dev split either
        judged = {"train": judged["train"][:few], "test": judged["test"]}
    write(target, texts, judged)
    return target


Texts = dict[str, dict[str, str]]
Judged = dict[str, list[tuple[str, str]]]


def collection(
    options: argparse.Namespace, name: str, *, lessons: bool = False
) -> tuple[Texts, Judged]:
    """Queries of each split, what they are judged with, and other documents up to DOCUMENTS. The
    train queries of the `lessons` are others: of a small collection half are.
    """
    source, seed = options.data / name, options.seed
    judged: Judged = {}
    for split, count in (("train", TRAIN), ("dev", DEV), ("test", TEST)):
        path = source / f"qrels/{split}.tsv"
        if not path.exists():
            continue
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        rows = [row for row in rows if int(row[2]) > 0]
        random.Random(seed).shuffle(rows)
        ids = list(dict.fromkeys(row[0] for row in rows))
        first = min(count, len(ids) // 2) if split == "train" else count
        wanted = set(ids[first : first + TEACHING] if lessons and split == "train" else ids[:first])
        judged[split] = [(row[0], row[1]) for row in rows if row[0] in wanted]
    queries = {query for rows in judged.values() for query, _ in rows}
    needed = {doc for rows in judged.values() for _, doc in rows}
    lines = list(read(source / "corpus.jsonl.gz"))
    others = [row["_id"] for row in lines if row["_id"] not in needed]
    random.Random(seed).shuffle(others)
    needed |= set(others[: max(0, DOCUMENTS - len(needed))])
    texts: Texts = {"corpus": {}, "queries": {}}
    for row in lines:
        if row["_id"] in needed:
            text = " ".join([row.get("title") or "", row["text"]]).strip()
            texts["corpus"][row["_id"]] = " ".join(text.split()[:LENGTH])
    for row in read(source / "queries.jsonl.gz"):
        if row["_id"] in queries:
            texts["queries"][row["_id"]] = row["text"]
    return texts, judged


def read(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def made_set() -> tuple[Texts, Judged]:
    """400 documents of syllables, each asked for by three of its eight words."""
    rng = random.Random(1)
    words = [a + b for a in "ba ce di fo gu ka le mi".split() for b in "no pu ra se ti vo".split()]
    texts: Texts = {"corpus": {}, "queries": {}}
    for row in range(400):
        document = rng.sample(words, 8)
        texts["corpus"][f"d{row}"] = " ".join(document)
        texts["queries"][f"q{row}"] = " ".join(rng.sample(document, 3))
    pairs = [(f"q{row}", f"d{row}") for row in range(400)]
    return texts, {"train": pairs[:250], "dev": pairs[250:300], "test": pairs[300:]}


def write(target: Path, texts: Texts, judged: Judged) -> None:
    """As a BEIR folder."""
    (target / "qrels").mkdir(parents=True)
    for name, rows in texts.items():
        lines = [json.dumps({"_id": id_, "title": "", "text": text}) for id_, text in rows.items()]
        (target / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for split, pairs in judged.items():
        lines = [f"{query}\t{doc}\t1" for query, doc in dict.fromkeys(pairs)]
        text = "\n".join(["query-id\tcorpus-id\tscore", *lines])
        (target / f"qrels/{split}.tsv").write_text(text + "\n")


def made_model(options: argparse.Namespace, name: str) -> str:
    """The model's name, or a folder of word vectors that were taught on other queries of the
    collection.
    """
    import whet

    if options.model != "words":
        return str(options.model)
    raw, taught = options.work / "words", options.work / f"taught_{name}"
    if not raw.exists():
        word_vectors(raw)
    if not (taught / "model").exists():
        write(options.work / f"lessons_{name}", *collection(options, name, lessons=True))
        whet.fit(
            str(options.work / f"lessons_{name}"),
            model={"name": str(raw), "max_length": LENGTH},
            trainer=dict(TAUGHT),
            select={"policy": "last"},
            logger={"name": "none"},
            output=str(taught),
        )
    return str(taught / "model")


def word_vectors(target: Path) -> Path:
    """MiniLM's vector of each of its tokens alone, turned to their 96 main axes, times the log of
    the token's rank: model2vec's recipe (github.com/MinishLab/model2vec).
    """
    import torch
    from safetensors.torch import save_file

    from whet.model.encoder import Encoder

    encoder = Encoder.load("minilm")
    rules = encoder.tokenizer.backend_tokenizer
    names = sorted(rules.get_vocab().items(), key=lambda pair: pair[1])
    vectors = encoder.encode([name.removeprefix("##") for name, _ in names])
    vectors -= vectors.mean(axis=0)
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    table = (
        vectors
        @ axes[:, : -DIMENSIONS - 1 : -1]
        * np.log(2 + np.arange(len(names)))[:, None].astype(np.float32)
    )
    table /= np.abs(table).mean() * 20  # as large as MiniLM's weights, for steps like theirs
    target.mkdir()
    save_file(
        {"embedding.weight": torch.from_numpy(np.ascontiguousarray(table))},
        target / "model.safetensors",
    )
    rules.save(str(target / "tokenizer.json"))
    kinds = [
        {"idx": 0, "name": "0", "path": "", "type": MODULES + "StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": MODULES + "Normalize"},
    ]
    (target / "modules.json").write_text(json.dumps(kinds))
    return target


MODULES = "sentence_transformers.models."


def table(options: argparse.Namespace) -> str:
    """Change on test from the base: what came back without and with the choice."""
    rows = {key(row)[:3]: row for row in RECORDS.rows() if _is_asked(row, options)}
    heads = f"{'base':>8}{'last':>9}{'dev':>9}{'time':>7}"
    lines = [
        f"{options.model}, {options.steps} steps of {BATCH} at {options.rate:g}, "
        f"guard.max_drop={options.guard:g}: change of nDCG@10 on test",
        f"{'collection':<13}{'case':<18}{heads}  what came back",
    ]
    misses: list[str] = []
    for name, case, policy in rows:
        if policy != "dev" or (name, case, "last") not in rows:
            continue
        last, dev = rows[name, case, "last"], rows[name, case, "dev"]
        before, after = (row["back"] - row["base"] for row in (last, dev))
        times = dev["cpu_s"] / last["cpu_s"]
        lines.append(
            f"{name:<13}{case:<18}{dev['base']:>8.4f}{before:>+9.4f}{after:>+9.4f}{times:>6.2f}x"
            f"  {dev['returned']}"
        )
        if after < -WORST:
            misses.append(f"{name}, {case}: {after:+.4f}")
        if case == "clean" and before > 0 and after < KEPT * before:
            misses.append(f"{name}, clean: {after / before:.0%} of the gain")
        if case == "clean" and times > SLOWER:
            misses.append(f"{name}, clean: {times:.2f}x the CPU time")
    return "\n".join([*lines, "Misses: " + ("; ".join(misses) or "none")])


def _is_asked(row: dict[str, Any], options: argparse.Namespace) -> bool:
    names = ("model", "rate", "steps", "guard", "seed")
    return all(row[name] == getattr(options, name) for name in names)


if __name__ == "__main__":
    main()
