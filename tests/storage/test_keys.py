"""Keys of vectors: found whatever was added in which order, in few runs, with few open files."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.encoding.keys import KeyIndex
from whet.encoding.store import KEY, EmbeddingStore, item_keys
from whet.errors import CheckpointError

NAMES = st.lists(st.sampled_from([b"", b"\0", b"\1", b"a", b"ab", b"a\0b", b"z", b"\xff" * 16]))


@given(st.lists(NAMES, max_size=12), NAMES)
def test_every_key_is_found_where_it_was_added_last(
    segments: list[list[bytes]], asked: list[bytes]
) -> None:
    keys, known = KeyIndex(), {}
    for number, names in enumerate(segments):
        keys.add(np.array(names, KEY), number)
        known |= {bytes(np.array(name, KEY)): (number, row) for row, name in enumerate(names)}
    segment_N, row_N = keys.find(np.array(asked, KEY))
    wanted = [known.get(bytes(np.array(name, KEY)), (-1, -1)) for name in asked]
    assert list(zip(segment_N.tolist(), row_N.tolist(), strict=True)) == wanted


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_keys_lie_in_few_runs(sizes: list[int]) -> None:
    """However many segments they came in: each run is more than twice as long as the next."""
    keys, first = KeyIndex(), 0
    for number, size in enumerate(sizes):
        keys.add(item_keys([str(row) for row in range(first, first + size)]), number)
        first += size
    lengths = [len(run.key_N) for run in keys._runs]
    assert sum(lengths) == first
    assert all(longer > 2 * shorter for longer, shorter in pairwise(lengths))


def test_a_store_of_many_segments_needs_few_open_files(tmp_path: Path) -> None:
    """A process may often have 1,024, and ten million documents lie in 1,221 segments."""
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from whet.encoding.store import EmbeddingStore, item_keys

def opened():
    return EmbeddingStore(Path(sys.argv[1]), "f", prompt="", precision="fp32", dimension=1)

resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
texts = [str(number) for number in range(90)]
store = opened()
for number, text in enumerate(texts):
    store.add(item_keys([text]), np.array([[number]], np.float32))
for whole in (store, opened()):
    out_ND = np.empty((90, 1), np.float32)
    whole.gather(item_keys(texts), out_ND)
    assert out_ND[:, 0].tolist() == list(range(90))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_segment_deleted_meanwhile_is_one_line(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "f", prompt="", precision="fp32", dimension=1)
    store.add(item_keys(["a"]), np.zeros((1, 1), np.float32))
    (segment,) = store.folder.iterdir()
    segment.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="was deleted while it was in use"):
        store.gather(item_keys(["a"]), np.empty((1, 1), np.float32))
