"""Mining from vectors to negatives on a CPU, against sentence-transformers; and memory.

Shape suffixes: Q queries, N corpus rows, D dimensions, K negatives a row.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from cases import MARGIN, Problem, problem
from cpu import Search, Shapes, checked, floor_of
from measure import Goal, Results, Row, Took, faster_by, in_rounds, ratio, say

NEGATIVES, RANGE_MAX = 8, 64
OURS, THEIRS = "whet.mine", "sentence-transformers mine_hard_negatives"
FULL = Goal(("full_share",), 1.0, at_least=True, label="full rows")
MICROS = Goal(("micros",), 1.0, label="µs a query")


class LooksUp:
    """What mine_hard_negatives needs of a model, with vectors made beforehand."""

    model_card_data = SimpleNamespace(base_model="vectors")

    def __init__(self, given: Problem, device: str) -> None:
        self.given, self.device = given, torch.device(device)

    def get_embedding_dimension(self) -> int:
        """Dimensions of a vector."""
        return self.given.query_QD.shape[1]

    get_sentence_embedding_dimension = get_embedding_dimension

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        """Vectors of "q0", "q1", ..."""
        return self.given.query_QD.numpy()[[int(text[1:]) for text in texts]]

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        """Vectors of "d0", "d1", ..."""
        return self.given.corpus_ND.numpy()[[int(text[1:]) for text in texts]]

    def similarity(self, one: Any, other: Any) -> torch.Tensor:
        """All dot products."""
        return torch.as_tensor(one) @ torch.as_tensor(other).T

    def similarity_pairwise(self, one: Any, other: Any) -> torch.Tensor:
        """Dot products row by row."""
        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(1)


class Theirs:
    """sentence-transformers' mining of one problem, with the options a careful user gives it."""

    def __init__(self, given: Problem, device: str = "cpu") -> None:
        from datasets import Dataset, disable_progress_bars

        disable_progress_bars()
        self.model: Any = LooksUp(given, device)  # in place of a SentenceTransformer
        self.queries = len(given.query_QD)
        pairs = {
            "query": [f"q{row}" for row in range(self.queries)],
            "positive": [f"d{row}" for row in given.positive_Q.tolist()],
        }
        self.pairs = Dataset.from_dict(pairs)
        self.corpus = [f"d{row}" for row in range(len(given.corpus_ND))]

    def run(self) -> Any:
        """One call."""
        from sentence_transformers.util import mine_hard_negatives

        with contextlib.redirect_stderr(io.StringIO()):
            return mine_hard_negatives(
                self.pairs,
                self.model,
                corpus=self.corpus,
                range_max=RANGE_MAX,
                relative_margin=MARGIN,
                num_negatives=NEGATIVES,
                use_faiss=find_spec("faiss") is not None,
                output_format="n-tuple",
                verbose=False,
            )

    def rows(self, found: Any) -> np.ndarray:
        """Its negatives as rows [Q, K], -1 for queries it gave none."""
        rows_QK = np.full((self.queries, NEGATIVES), -1)
        query_R = [int(text[1:]) for text in found["query"]]
        for place in range(NEGATIVES):
            column = found[f"negative_{place + 1}"]
            rows_QK[query_R, place] = [int(text[1:]) for text in column]
        return rows_QK


class Ours:
    """Whet's mining of one problem; the search inside is timed on the way."""

    def __init__(self, given: Problem) -> None:
        from whet.types import Embeddings, Positives

        queries, rows = len(given.query_QD), len(given.corpus_ND)
        self.queries = Embeddings([f"q{row}" for row in range(queries)], given.query_QD.numpy())
        self.corpus = Embeddings([f"d{row}" for row in range(rows)], given.corpus_ND.numpy())
        self.positives = Positives(
            np.arange(queries + 1), given.positive_Q.numpy(), np.arange(rows)
        )
        self.inside = Took(0.0, 0.0)

    def run(self) -> np.ndarray:
        """One call; its negatives as rows [Q, K]."""
        import whet

        found = whet.mine(self.queries, self.corpus, self.positives, num_negatives=NEGATIVES)
        return found.negatives.doc_rows_RK

    def outside(self) -> Took:
        """Seconds of one call that are not the search's."""
        from whet.mining import propose
        from whet.mining.search import windowed_search

        def timed(*args: Any, **options: Any) -> Any:
            before = Took(time.perf_counter(), time.process_time())
            found = windowed_search(*args, **options)
            after = Took(time.perf_counter(), time.process_time())
            self.inside = Took(*(b - a for a, b in zip(before, after, strict=True)))
            return found

        with mock.patch.object(propose, "windowed_search", timed):
            before = Took(time.perf_counter(), time.process_time())
            self.run()
            after = Took(time.perf_counter(), time.process_time())
        ends = zip(before, after, self.inside, strict=True)
        return Took(*(b - a - inside for a, b, inside in ends))


def end_to_end_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """From vectors to negatives, both libraries in turn; then the time outside the search."""
    if find_spec("sentence_transformers") is None or find_spec("datasets") is None:
        say("sentence-transformers or datasets is not installed: its rows are left out")
    else:
        for kind in ("clustered", "weak"):
            _against_theirs(shapes, kind, rounds, results)
    _outside(shapes, rounds, results)


def _against_theirs(shapes: Shapes, kind: str, rounds: int, results: Results) -> None:
    given = problem(kind, shapes.queries, shapes.rows[0], shapes.dimension)
    case = Search.of(given, kind, NEGATIVES)
    ours, theirs = Ours(given), Theirs(given)
    rows = {
        THEIRS: checked(case, case.row("end to end", THEIRS), theirs.rows(theirs.run())),
        OURS: checked(case, case.row("end to end", OURS), ours.run()),
    }
    floor, scale = floor_of(given)
    samples = in_rounds({THEIRS: theirs.run, OURS: ours.run}, floor, rounds, scale=scale)
    for name, row in rows.items():
        row.timed(samples[name])
    rows[OURS].compared(THEIRS, "speed", ratio(samples[THEIRS], samples[OURS]))
    rows[OURS].judged(faster_by(2, 3), FULL)
    for row in rows.values():
        results.add(row)


def _outside(shapes: Shapes, rounds: int, results: Results) -> None:
    given = problem("random", shapes.many_queries, shapes.few_rows, shapes.dimension)
    case, ours = Search.of(given, "random", NEGATIVES), Ours(given)
    row = checked(case, case.row("outside the search", OURS), ours.run())
    times = [ours.outside() for _ in range(max(3, rounds))]
    row.rounds = len(times)
    row.p20, row.p50, row.p80 = (
        float(np.quantile([took.wall for took in times], q)) for q in (0.2, 0.5, 0.8)
    )
    row.cpu_s = statistics.median(took.cpu for took in times)
    row.micros = row.p50 * 1e6 / shapes.many_queries
    results.add(row.judged(MICROS))


SCRIPT = """
import json, re, sys, threading
import numpy as np
from whet.mining.search import windowed_search
from whet.mining.search.backend import search_task
from whet_kernels.topk.window import Exclude

def anonymous():
    with open("/proc/self/status") as file:
        return int(re.search(r"RssAnon:\\s+(\\d+)", file.read())[1]) / 1024

folder, k = sys.argv[1], int(sys.argv[2])
query, ceiling, positive = (np.load(f"{folder}/{name}.npy") for name in ("q", "c", "p"))
corpus = np.load(f"{folder}/x.npy", mmap_mode="r")
options = dict(ceiling_Q=ceiling, exclude=Exclude(np.arange(len(query) + 1), positive))
few = np.array(corpus[:2000])
windowed_search(search_task(query, few, ceiling_Q=ceiling), k, "blas")  # libraries and buffers
done, peak, before = threading.Event(), [0.0], anonymous()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], anonymous())

thread = threading.Thread(target=watch)
thread.start()
found = windowed_search(search_task(query, corpus, **options), k)
peak[0] = max(peak[0], anonymous())
done.set()
thread.join()
np.save(f"{folder}/rows.npy", found.top.rows_Qk)
print(json.dumps({"extra": peak[0] - before, "backend": found.backend}))
"""


def memory_rows(shapes: Shapes, rounds: int, results: Results) -> None:
    """Peak memory of the process, the memory map's own pages aside, as the corpus grows."""
    if not Path("/proc/self/status").exists():
        say("no /proc on this system: memory is not measured")
        return
    first: Row | None = None
    for rows in (shapes.rows[0], shapes.rows[-1]):
        given = problem("random", shapes.queries, rows, shapes.dimension)
        case = Search.of(given, "random", shapes.ks[-1])
        row = _memory(case)
        if first is not None:
            now, before = (max(float(one.extra_mib), 1.0) for one in (row, first))
            grown = Took(now / before, 0.0)
            row.compared(f"N={first.N:,}, memory", "memory", grown)
            row.ratio_cpu = ""
            row.judged(Goal(("ratio",), 1.1, label="memory"))
        first = first or row
        results.add(row)


def _memory(case: Search) -> Row:
    given = case.given
    with tempfile.TemporaryDirectory() as folder:
        for name, part in zip("qxpc", given, strict=True):
            np.save(f"{folder}/{name}.npy", part.numpy())
        command = [sys.executable, "-c", SCRIPT, folder, str(case.k)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the search in a process of its own failed: {done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        rows_Qk = np.load(f"{folder}/rows.npy")
    row = case.row("memory", f"whet windowed_search, memory map ({found['backend']})")
    row.extra_mib = float(found["extra"])
    return checked(case, row, rows_Qk)
