"""What does `whet serve` cost beside the bare model, and does a new version cost an answer?

    python benchmarks/serve.py                     # nl2bash of --data, MiniLM
    python benchmarks/serve.py --requests 100000 --swaps 20
    python benchmarks/serve.py --table             # the table alone
    python benchmarks/serve.py --quick             # does it run?

The server is a process on this machine, asked over the loopback. Against the same model in this
process: seconds of one query (median, a request at a time), and texts per second (64 texts a
request, four clients). Then four clients search while the version changes between the model and
one whose query side is turned: each answer is checked against the version that it names, and the
slowest answers during changes are compared with the ordinary ones.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("serve")
CLIENTS, PER_REQUEST, ASKED = 4, 64, 200
RUN = "import sys; from whet_launch.cli.main import main; sys.exit(main(sys.argv[1:]))"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nl2bash"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--texts", type=int, default=4_096, help="encoded for the rate")
    parser.add_argument("--requests", type=int, default=5_000, help="searches, at least")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if tiny.missing("fastapi", "uvicorn", "prometheus_client"):
        return
    if options.quick:
        with tiny.place(RECORDS) as here:
            options.data, options.model = here.collection(), here.model
            options.texts, options.requests, options.swaps = 128, 40, 2
            measure(options)
            print(table())
        return
    if not options.table:
        measure(options)
    print(table())


def measure(options: argparse.Namespace) -> None:
    """One row of everything."""
    import whet
    from whet.model.encoder import Encoder
    from whet.model.towers import Towers

    data = whet.load_dataset(str(options.data))
    encoder = Encoder.load(options.model)
    documents = data.corpus.texts(np.arange(min(options.texts, len(data.corpus))))
    queries = data.queries.texts(np.arange(min(ASKED, len(data.queries))))
    with tempfile.TemporaryDirectory(prefix="whet-serve-") as folder:
        turned = Path(folder) / "turned"
        turn_DD = np.eye(encoder.dimension, dtype=np.float32)[::-1].copy()
        query = Encoder.load(options.model).with_matrix(_tensor(turn_DD))
        Towers(query, encoder).save(turned)
        with served(options) as server:
            row = {"model": options.model, "data": data.name, "documents": len(data.corpus)}
            row |= one_query(server, encoder, queries)
            row |= many_texts(server, encoder, documents)
            row |= swapped(server, [options.model, str(turned)], queries, options)
    RECORDS.keep(row)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


@dataclass
class Server:
    """Where it answers, and by which key."""

    port: int
    key: str

    def client(self) -> Client:
        """A connection of its own."""
        return Client(http.client.HTTPConnection("127.0.0.1", self.port), self.key)


@dataclass
class Client:
    """A connection that is kept."""

    connection: http.client.HTTPConnection
    key: str

    def ask(self, route: str, **sent: Any) -> dict[str, Any]:
        """The answer. RuntimeError where it is none."""
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        self.connection.request("POST", route, json.dumps(sent), headers)
        response = self.connection.getresponse()
        answer: dict[str, Any] = json.load(response)
        if response.status != 200:
            raise RuntimeError(answer)
        return answer


@contextmanager
def served(options: argparse.Namespace) -> Iterator[Server]:
    """The server while the block runs."""
    server = Server(0, secrets.token_urlsafe(32))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", options.model, f"data={options.data}", "port=0"],
        env={**os.environ, "WHET_API_KEY": server.key, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("Serving"):
                server.port = int(line.rpartition(":")[2])
            if line.startswith("Routes"):
                break
        else:
            raise RuntimeError("whet serve did not start")
        yield server
    finally:
        process.terminate()
        process.communicate()


def one_query(server: Server, encoder: Any, queries: list[str]) -> dict[str, float]:
    """Median seconds of a query: in this process, and asked for."""
    client, bare_s, asked_s = server.client(), [], []
    for query in queries:  # in turn, so that both meet the same neighbours
        start = time.perf_counter()
        encoder.encode([query], kind="query")
        middle = time.perf_counter()
        client.ask("/v1/embeddings", input=query, input_type="query", encoding_format="base64")
        bare_s.append(middle - start)
        asked_s.append(time.perf_counter() - middle)
    return {"bare_query_s": float(np.median(bare_s)), "query_s": float(np.median(asked_s))}


def many_texts(server: Server, encoder: Any, texts: list[str]) -> dict[str, float]:
    """Texts per second: in this process, and asked for by several clients."""
    start = time.perf_counter()
    encoder.encode(texts)
    bare_s = time.perf_counter() - start
    parts = [texts[first : first + PER_REQUEST] for first in range(0, len(texts), PER_REQUEST)]

    def ask(mine: list[list[str]]) -> None:
        client = server.client()
        for part in mine:
            client.ask(
                "/v1/embeddings", input=part, input_type="document", encoding_format="base64"
            )

    threads = [threading.Thread(target=ask, args=(parts[n::CLIENTS],)) for n in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(texts) / (time.perf_counter() - start)
    return {"bare_texts_per_s": len(texts) / bare_s, "texts_per_s": rate}


@dataclass
class Searches:
    """What the clients were answered."""

    seconds: list[tuple[float, float]] = field(default_factory=list)  # when, and how long
    found: list[tuple[str, str, list[str]]] = field(default_factory=list)  # query, version, ids
    lost: int = 0


def swapped(
    server: Server, models: list[str], queries: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Searches while the version changes: how many were lost or wrong, and how slow."""
    from whet.serving.state import ServerState

    owner, seen, enough = ServerState.of_port(server.port), Searches(), threading.Event()
    right: dict[tuple[str, str], list[str]] = {}
    versions = []
    for model in reversed(models):  # the first answers in the end
        versions.append(owner.change("/versions/use", {"model": model})["version"])
        client = server.client()
        for query in queries:
            right[query, versions[-1]] = ids_of(client.ask("/search", query=query))

    def ask(first: int) -> None:
        client, place = server.client(), first
        while not enough.is_set():
            query, start = queries[place % len(queries)], time.perf_counter()
            place += 1
            try:
                answer = client.ask("/search", query=query)
                seen.found.append((query, answer["version"], ids_of(answer)))
            except (OSError, RuntimeError, ValueError):
                seen.lost += 1
            seen.seconds.append((start, time.perf_counter() - start))

    threads = [threading.Thread(target=ask, args=(7 * n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    changes: list[tuple[float, float]] = []
    for number in range(options.swaps):
        while len(seen.seconds) < options.requests * (number + 1) / (options.swaps + 1):
            time.sleep(0.01)
        start = time.perf_counter()
        owner.change("/versions/use", {"model": models[(number + 1) % 2]})
        changes.append((start, time.perf_counter()))
    while len(seen.seconds) < options.requests:
        time.sleep(0.01)
    enough.set()
    for thread in threads:
        thread.join()
    wrong = sum(right[query, version] != ids for query, version, ids in seen.found)
    beside = [
        took for at, took in seen.seconds if any(a <= at + took and at <= b for a, b in changes)
    ]
    usual = [
        took for at, took in seen.seconds if not any(a <= at + took and at <= b for a, b in changes)
    ]
    return {
        "searches": len(seen.seconds),
        "swaps": options.swaps,
        "lost": seen.lost,
        "wrong": wrong,
        "versions": len({version for _, version, _ in seen.found}),
        "change_s": float(np.median([b - a for a, b in changes])),
        "usual_p50_s": float(np.quantile(usual or beside, 0.5)),
        "usual_p99_s": float(np.quantile(usual or beside, 0.99)),
        "beside_p99_s": float(np.quantile(beside or usual, 0.99)),
    }


def ids_of(answer: dict[str, Any]) -> list[str]:
    """Of the documents that were found."""
    return [hit["id"] for hit in answer["hits"]]


def table() -> str:
    """The newest row, with ratios."""
    rows = RECORDS.rows()
    if not rows:
        return "nothing is kept yet"
    row = rows[-1]
    return "\n".join(
        [
            f"{row['model']} on {row['data']}, {row['documents']:,} documents",
            f"one query: {1e3 * row['query_s']:.1f} ms, {1e3 * row['bare_query_s']:.1f} ms by the "
            f"bare model: {row['query_s'] / row['bare_query_s']:.2f}x",
            f"texts per second: {row['texts_per_s']:,.0f}, {row['bare_texts_per_s']:,.0f} by the "
            f"bare model: {row['texts_per_s'] / row['bare_texts_per_s']:.2f}x",
            f"{row['searches']:,} searches during {row['swaps']} changes of the version: "
            f"{row['lost']} lost, {row['wrong']} wrong",
            f"a search: median {1e3 * row['usual_p50_s']:.1f} ms, 99 % within "
            f"{1e3 * row['usual_p99_s']:.1f} ms, while the version changes within "
            f"{1e3 * row['beside_p99_s']:.1f} ms; a change takes {row['change_s']:.2f} s",
        ]
    )


if __name__ == "__main__":
    main()
