"""Memory does not grow with the corpus: a memory-mapped one is read a tile at a time."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
from whet.mining.search import windowed_search
from whet.mining.search.backend import search_task
import torch

def peak():
    # KiB; ru_maxrss would start at the parent's
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

path, backend, rows, dimension, queries = sys.argv[1], sys.argv[2], 400_000, 16, 256
corpus = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dimension))
rng = np.random.default_rng(0)
for at in range(0, rows, 50_000):
    corpus[at : at + 50_000] = rng.standard_normal((50_000, dimension), dtype=np.float32)
corpus.flush()
del corpus
query = rng.standard_normal((queries, dimension), dtype=np.float32)
small = rng.standard_normal((3000, dimension), dtype=np.float32)
ceiling = np.full(queries, 8.0, np.float32)
windowed_search(search_task(query, small, ceiling_Q=ceiling), 20, backend)  # libraries and buffers
before = peak()
task = search_task(query, np.load(path, mmap_mode="r"), ceiling_Q=ceiling)
found = windowed_search(task, 20, backend)
assert (found.top.rows_Qk >= 0).all()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("backend", ["blas", "int8", "faiss"])
def test_peak_memory_is_far_below_one_score_matrix(tmp_path, backend):
    """256 x 400,000 scores would be 400 MiB; the 25 MiB file's pages may count as ours."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "corpus.npy"), backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 100
