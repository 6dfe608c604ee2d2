"""What do words cost beside vectors, and are they the same over several processes?

    python benchmarks/words.py            # both parts
    python benchmarks/words.py --table    # the table alone
    python benchmarks/words.py --quick    # does it run?

A part times `whet eval` with words=0 and with words=0.3 in turn, vectors and counted words being
in the cache. The other judges the collection with words in one process and over several, and
compares ids and scores to the bit, and how much memory each process took for it.

Vectors are made of words by chance (each word is a random direction, each text the sum of its own,
and some noise), and stand in the store as the model's: what is measured depends on neither.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

from whet.config import EncodeConfig, EvaluateConfig
from whet.data.load import Dataset, load_dataset
from whet.data.splits import eval_qrels
from whet.data.table import TextTable
from whet.encoding.store import embeddings_folder, item_keys
from whet.encoding.table import open_store
from whet.model.encoder import Encoder
from whet.version import VERSION

RECORDS = Records("words")
WEIGHT = 0.3
GOAL = 1.3  # of the time of vectors alone
SEEN = 60  # words of a text that make its vector
BLOCK = 4096


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/debian-desc"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--work", type=Path, default=Path("runs/words"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--only", choices=("time", "parts"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)  # one of the processes
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.part is not None:
        judge_part(options)
    elif options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.model = here.collection(), here.model
            options.work, options.rounds, options.processes = here.folder / "work", 1, 2
            measure(options)
            print(table())
    else:
        if not options.table:
            os.environ.setdefault("WHET_CACHE", str(options.work.resolve() / "cache"))
            measure(options)
        print(table())


def measure(options: Any) -> None:
    """Both parts, a row each."""
    options.work.mkdir(parents=True, exist_ok=True)
    data, encoder = load_dataset(str(options.data)), Encoder.load(options.model)
    fill_store(data, encoder)
    about = {"data": data.name, "documents": len(data.corpus), "version": VERSION}
    if options.only != "parts":
        RECORDS.keep({"part": "time", **about, **times(options)})
    if options.only != "time":
        RECORDS.keep({"part": "parts", **about, **parts(options)})


def fill_store(data: Dataset, encoder: Encoder) -> None:
    """Give the store what vectors it lacks, made up."""
    judged = np.asarray(eval_qrels(data, None).query_rows)
    for kind, texts, rows in (
        ("query", data.queries, judged),
        ("document", data.corpus, np.arange(len(data.corpus))),
    ):
        store = open_store(encoder, kind=kind, store=embeddings_folder(), config=EncodeConfig())
        for first in range(0, len(rows), BLOCK):
            given = texts_of(texts, rows[first : first + BLOCK])
            keys = item_keys(given)
            new = np.flatnonzero(store.find(keys)[0] < 0)
            if len(new):
                vectors = made_vectors([given[int(at)] for at in new], encoder.dimension)
                store.add(keys[new], vectors)


def texts_of(table: TextTable, rows: np.ndarray) -> list[str]:
    """Texts, each once."""
    return list(dict.fromkeys(table.texts(rows)))


def made_vectors(texts: list[str], dimension: int) -> np.ndarray:
    """Unit vectors [N, D] of the texts' words."""
    known: dict[str, np.ndarray] = {}
    vector_ND = np.empty((len(texts), dimension), np.float32)
    for row, text in enumerate(texts):
        for word in (words := text.lower().split()[:SEEN]):
            if word not in known:
                known[word] = random_of(word).standard_normal(dimension, np.float32)
        noise = random_of(text).standard_normal(dimension, np.float32)
        vector_ND[row] = sum((known[word] for word in words), noise)
    unit_ND: np.ndarray = vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return unit_ND


def random_of(text: str) -> np.random.Generator:
    """The same numbers for the same text."""
    return np.random.default_rng(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))


def times(options: Any) -> dict[str, Any]:
    """Seconds of `whet eval` by the clock and of all threads: first with words, which are counted,
    then of both in turn.
    """
    first = evaluated(options, WEIGHT)
    rounds = [(evaluated(options, 0), evaluated(options, WEIGHT)) for _ in range(options.rounds)]
    row: dict[str, Any] = {"weight": WEIGHT, "rounds": options.rounds, "first_s": first[0]}
    for at, kind in enumerate(("clock", "cpu")):
        alone, both = ([pair[which][at] for pair in rounds] for which in (0, 1))
        row[f"{kind}_vectors_s"] = round(statistics.median(alone), 2)
        row[f"{kind}_words_s"] = round(statistics.median(both), 2)
        row[f"{kind}_ratio"] = round(statistics.median(both) / statistics.median(alone), 3)
    return row


def evaluated(options: Any, weight: float) -> tuple[float, float]:
    """Seconds of a `whet eval` by the clock, and of the processor."""
    output = options.work / f"eval-{time.time_ns()}"
    words = [f"data={options.data}", f"model={options.model}", f"words={weight}"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "whet", "eval", *words, f"output={output}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    took, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(took, 2), round(spent, 2)


def parts(options: Any) -> dict[str, Any]:
    """The digest of ids and scores with one process and with several, and each one's memory."""
    one, several = joined(options, 1), joined(options, options.processes)
    return {
        "processes": options.processes,
        "same": {row["digest"] for row in several} == {one[0]["digest"]},
        "one_mib": one[0]["mib"],
        "each_mib": [row["mib"] for row in several],
    }


def joined(options: Any, count: int) -> list[dict[str, Any]]:
    """What each of so many processes says."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [options.work / f"part-{time.time_ns()}-{rank}.json" for rank in range(count)]
    running = []
    for rank, place in enumerate(places):
        command = [sys.executable, __file__, "--data", str(options.data), "--part", str(place)]
        environment = {**os.environ, **shared, "RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}
        running.append(subprocess.Popen([*command, "--model", options.model], env=environment))
    if any([process.wait() for process in running]):
        raise SystemExit("a process failed")
    return [json.loads(place.read_text()) for place in places]


def judge_part(options: Any) -> None:
    """One of the processes: judge with words, write the digest and the memory it took."""
    import torch.distributed as dist

    from whet.evaluation.judge import judge
    from whet.processes.world import joined as join

    dist.init_process_group("gloo")
    with join():
        data, encoder = load_dataset(str(options.data)), Encoder.load(options.model)
        encoder.encode(["warm"])
        encoder.words = WEIGHT
        qrels = eval_qrels(data, None)
        before = peak_mib()
        judged = judge(encoder, data, qrels, store=embeddings_folder(), config=EvaluateConfig())
        spelled = json.dumps({query: list(docs.items()) for query, docs in judged.run.items()})
        digest = sha256(spelled.encode()).hexdigest()
        row = {"digest": digest, "mib": round(peak_mib() - before, 1)}
    options.part.write_text(json.dumps(row))
    dist.destroy_process_group()


def peak_mib() -> float:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table() -> str:
    """Markdown, a line per row."""
    lines = ["| part | documents | what |", "|---|---|---|"]
    for row in RECORDS.rows():
        if row["part"] == "time":
            what = (
                f"{row['cpu_vectors_s']} s of CPU with vectors alone, {row['cpu_words_s']} s with "
                f"words: {row['cpu_ratio']} times (by the clock {row['clock_ratio']}); goal {GOAL}"
            )
        else:
            same = "the same ids and scores" if row["same"] else "OTHER RESULTS"
            what = (
                f"{same} over {row['processes']} processes; {row['one_mib']} MiB in one process, "
                f"{', '.join(map(str, row['each_mib']))} in each"
            )
        lines.append(f"| {row['part']} | {row['documents']:,} | {what} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
