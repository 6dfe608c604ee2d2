"""The embedding store: nothing stale, nothing twice, nothing torn; and checkpoints' commit
protocol.
"""

import json
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from whet.encoding.store import EmbeddingStore, item_keys
from whet.encoding.table import encode_table
from whet.errors import CheckpointError, ConfigError
from whet.model.encoder import Encoder
from whet.storage.checkpoints import keep_newest, newest_whole
from whet.storage.commit import commit_folder, verify_folder
from whet.storage.lock import locked


class Table:
    """Ids and texts, counting what is asked of the encoder."""

    def __init__(self, texts):
        self.rows = texts
        self.ids = [f"t{i}" for i in range(len(texts))]

    def __len__(self):
        return len(self.rows)

    def texts(self, rows):
        return [self.rows[int(row)] for row in rows]

    items = texts


@pytest.fixture
def encoder(tiny_model):
    return Encoder.load(str(tiny_model))


def counted(encoder, monkeypatch):
    """How many texts are tokenised, that is encoded."""
    count = [0]
    tokenize = encoder.tokenize

    def counting(texts, kind):
        count[0] += len(texts)
        return tokenize(texts, kind)

    monkeypatch.setattr(encoder, "tokenize", counting)
    return count


def test_nothing_is_encoded_twice(encoder, tmp_path, monkeypatch):
    count = counted(encoder, monkeypatch)
    table = Table(["bace", "difo", "bace", "guka"])
    first = encode_table(encoder, table, kind="document", store=tmp_path)
    assert count[0] == 3  # the repeated text once
    assert np.array_equal(first.vectors[0], first.vectors[2])
    grown = Table(["guka", "lemi", "bace"])
    second = encode_table(encoder, grown, kind="document", store=tmp_path)
    assert count[0] == 4
    assert np.array_equal(second.vectors[[0, 2]], first.vectors[[3, 0]])
    some = encode_table(encoder, grown, kind="document", store=tmp_path, rows=np.array([2, 0]))
    assert some.ids == ["t2", "t0"] and np.array_equal(some.vectors, second.vectors[[2, 0]])


def test_changed_weights_never_read_stale_vectors(encoder, tmp_path):
    import torch

    table = Table(["bace", "difo"])
    before = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.1)
    after = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    assert np.abs(after - encoder.encode(table.rows)).max() < 1e-6
    assert np.abs(after - before).max() > 1e-4


def test_interrupted_encoding_goes_on_and_equals_uninterrupted(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("whet.encoding.table.BLOCK", 4)
    table = Table([f"{'bace ' * (i % 5)}difo{i}" for i in range(11)])
    whole = encode_table(encoder, table, kind="document", store=tmp_path / "a").vectors
    tokenize, calls = encoder.tokenize, []

    def failing(texts, kind):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tokenize(texts, kind)

    monkeypatch.setattr(encoder, "tokenize", failing)
    with pytest.raises(KeyboardInterrupt):
        encode_table(encoder, table, kind="document", store=tmp_path / "b")
    again = encode_table(encoder, table, kind="document", store=tmp_path / "b").vectors
    assert calls == [4, 4, 3, 3]
    assert np.array_equal(whole, again)


def test_damaged_segment_is_encoded_again(encoder, tmp_path, capsys):
    table = Table(["bace", "difo"])
    first = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    (damaged,) = tmp_path.rglob("vectors.npy")
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 16
    damaged.write_bytes(content)
    again = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    assert np.array_equal(first, again)
    assert "is damaged: its bytes differ" in capsys.readouterr().err


def test_large_results_are_memory_mapped(encoder, tmp_path, monkeypatch):
    table = Table(["bace", "difo"])
    small = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    monkeypatch.setattr("whet.encoding.table.MEMORY_BYTES", 0)
    large = encode_table(encoder, table, kind="document", store=tmp_path).vectors
    assert isinstance(large, np.memmap) and np.array_equal(small, large)


def test_store_finds_by_text(tmp_path):
    store = EmbeddingStore(tmp_path, "model", prompt="", precision="fp32", dimension=2)
    keys = item_keys(["a", "b", "c"])
    store.add(keys[[1, 0]], np.array([[1, 1], [2, 2]], np.float32))
    assert store.find(keys)[0].tolist() == [0, 0, -1]
    out = np.empty((2, 2), np.float32)
    store.gather(keys[:2], out)
    assert out.tolist() == [[2, 2], [1, 1]]


def test_vectors_that_are_not_finite_are_not_stored(encoder, tmp_path):
    """Neither by the store, nor by what fills it here (`encode_table`) and on a cluster."""
    import torch

    from whet.config import EncodeConfig
    from whet.encoding.table import fill_store, open_store

    store = EmbeddingStore(tmp_path / "a", "model", prompt="", precision="fp32", dimension=2)
    with pytest.raises(CheckpointError, match="NaN or infinity are not stored"):
        store.add(item_keys(["a"]), np.array([[np.nan, 1]], np.float32))
    table = Table(["difo", "bace", "guka bace"])
    with torch.no_grad():
        (word,) = encoder.tokenize(["bace"], "document")
        encoder.backbone.get_input_embeddings().weight[word[1]] = torch.nan
    with pytest.raises(ConfigError, match="The vectors of 't1', 't2' hold NaN or infinity"):
        encode_table(encoder, table, kind="document", store=tmp_path / "b")
    vectors = open_store(encoder, kind="document", store=tmp_path / "c", config=EncodeConfig())
    with pytest.raises(ConfigError, match="The vectors of 't2' hold"):
        fill_store(
            encoder,
            table,
            np.array([0, 2]),
            kind="document",
            vectors=vectors,
            config=EncodeConfig(),
        )
    assert not list(tmp_path.rglob("segment-*"))


def test_commit_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError), commit_folder(tmp_path / "x") as draft:  # noqa: PT012
        (draft / "file").write_text("half")
        raise RuntimeError
    assert not (tmp_path / "x").exists()
    with commit_folder(tmp_path / "x", {"step": 3}) as draft:
        (draft / "file").write_text("whole")
    assert verify_folder(tmp_path / "x") == {"step": 3}


def test_every_flipped_bit_is_refused(tmp_path):
    folder = tmp_path / "step_1"
    with commit_folder(folder) as draft:
        (draft / "a").write_bytes(os.urandom(300))
        (draft / "b").write_bytes(b"")
    content = (folder / "a").read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        place = rng.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        (folder / "a").write_bytes(flipped)
        with pytest.raises(CheckpointError, match="a is damaged"):
            verify_folder(folder)


def test_newest_whole_checkpoint_wins(tmp_path, capsys):
    for step in (1, 2, 3):
        with commit_folder(tmp_path / f"step_{step:08d}", {"step": step}) as draft:
            (draft / "state").write_text(str(step))
    (tmp_path / "step_00000004.tmp").mkdir()
    (tmp_path / "step_00000003" / "state").write_text("torn")
    assert newest_whole(tmp_path).name == "step_00000002"
    assert "step_00000003/state is damaged" in capsys.readouterr().err
    keep_newest(tmp_path, 2)
    assert not (tmp_path / "step_00000001").exists()
    assert newest_whole(tmp_path / "nothing") is None


def test_manifest_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(["not", "a", "manifest"]))
    with pytest.raises(CheckpointError, match="no readable manifest"):
        verify_folder(tmp_path)


def test_second_job_on_a_run_folder_is_refused(tmp_path):
    holder = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from whet.storage.lock import locked
        with locked(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(CheckpointError, match=f"in use by process {process.pid}"),
            locked(tmp_path),
        ):
            pass
        process.kill()
    with locked(tmp_path):  # a killed holder's lock is free at once
        pass
