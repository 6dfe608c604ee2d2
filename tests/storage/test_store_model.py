"""The embedding store against a dictionary: whatever is added, killed, damaged or opened again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import whet.encoding.table
from whet.config import EncodeConfig
from whet.encoding.store import EmbeddingStore, item_keys
from whet.encoding.table import encode_table, fill_store, open_store
from whet.model.encoder import Encoder

TEXTS = [f"text {row}" for row in range(12)]
KEY, FOLDER = "cc10a667294d55fa240182a07f7bdfc7", "232ab4ca1fc92a10d8b9bc0ad383daad"
SOME = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5, unique=True)


class Killed(Exception):
    """The process was lost."""


def vectors_of(texts: list[str], version: int) -> np.ndarray:
    return np.array([[float(text.split()[1]), version, 0.5] for text in texts], np.float32)


class StoreAsADictionary(RuleBasedStateMachine):
    """Two encoders' parts of one folder, of which neither may see the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(mkdtemp(prefix="whet-store-"))
        self.version = 0
        self.added: dict[str, list[list[str]]] = {"a": [], "b": []}  # texts of each segment
        self.known: dict[str, dict[str, int]] = {"a": {}, "b": {}}  # the version of each text
        self.open = {name: self._open(name) for name in self.known}

    def _open(self, name: str) -> EmbeddingStore:
        return EmbeddingStore(self.root, name, prompt="", precision="fp32", dimension=3)

    @rule(name=st.sampled_from("ab"), texts=SOME)
    def add(self, name: str, texts: list[str]) -> None:
        """Of texts it lacks, as those who fill a store do."""
        new = [text for text in texts if text not in self.known[name]]
        if new:
            self.version += 1
            self.open[name].add(item_keys(new), vectors_of(new, self.version))
            self.known[name] |= dict.fromkeys(new, self.version)

    @rule(name=st.sampled_from("ab"), texts=SOME, writes=st.integers(0, 1))
    def killed_while_it_adds(self, name: str, texts: list[str], writes: int) -> None:
        """Before its first file is whole or before its second; what was there stays."""
        left, save = [writes], np.save

        def failing(path: Path, array: np.ndarray) -> None:
            if not left[0]:
                Path(path).write_bytes(b"half")
                raise Killed
            left[0] -= 1
            save(path, array)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np, "save", failing)
            with pytest.raises(Killed):
                self.open[name].add(item_keys(texts), vectors_of(texts, -1))

    @rule(name=st.sampled_from("ab"))
    def open_again(self, name: str) -> None:
        self.open[name] = self._open(name)

    @rule(name=st.sampled_from("ab"), data=st.data())
    def damaged(self, name: str, data: st.DataObject) -> None:
        """One bit of a segment: its texts are to be encoded again, and no others."""
        segments = sorted(path for path in self.open[name].folder.iterdir() if not path.suffix)
        if not segments:
            return
        segment = data.draw(st.sampled_from(segments))
        keys = np.load(segment / "keys.npy")
        file = segment / data.draw(st.sampled_from(["keys.npy", "vectors.npy", "manifest.json"]))
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.unlink()  # the old file stays mapped by whoever has it open
        file.write_bytes(content)
        for text in [text for text in self.known[name] if item_keys([text])[0] in keys]:
            del self.known[name][text]
        self.open[name] = self._open(name)
        assert not segment.exists()

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        for name, known in self.known.items():
            segment_N, row_N = self.open[name].find(item_keys(TEXTS))
            assert [text for text, at in zip(TEXTS, segment_N, strict=True) if at >= 0] == [
                text for text in TEXTS if text in known
            ]
            assert ((segment_N >= 0) == (row_N >= 0)).all()
            asked = [*known, *reversed(known)]
            out_ND = np.full((len(asked), 3), np.nan, np.float32)
            self.open[name].gather(item_keys(asked), out_ND)
            wanted = [vectors_of([text], known[text])[0] for text in asked]
            assert np.array_equal(out_ND, np.array(wanted).reshape(-1, 3))

    def teardown(self) -> None:
        shutil.rmtree(self.root)


TestStore = StoreAsADictionary.TestCase
TestStore.settings = settings(deadline=None, max_examples=12, stateful_step_count=12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(), max_size=20))
def test_equal_texts_alone_have_equal_keys(texts: list[str]) -> None:
    keys = item_keys(texts)
    assert keys.dtype == "S16" and len(keys) == len(texts)
    for one, key in zip(texts, keys, strict=True):
        assert [other == one for other in texts] == (keys == key).tolist()


def test_the_key_of_a_text_stays_what_it_is(tmp_path: Path) -> None:
    """Golden: with another hash no store of an earlier version would be found."""
    assert item_keys(["bace difo"])[0].hex() == KEY
    store = EmbeddingStore(tmp_path, "f", prompt="q: ", precision="fp32", dimension=3)
    assert store.folder.name == FOLDER


@pytest.mark.parametrize("what", ["fingerprint", "prompt", "precision", "dimension"])
def test_vectors_made_otherwise_lie_elsewhere(tmp_path: Path, what: str) -> None:
    plain: dict[str, Any] = {"prompt": "", "precision": "fp32", "dimension": 3, "fingerprint": "f"}
    other = plain | {what: 4 if what == "dimension" else "other"}
    folders = {EmbeddingStore(tmp_path, **options).folder for options in (plain, other)}
    assert len(folders) == 2


class Table:
    """Ids and texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.rows = list(texts)
        self.ids = [f"t{row}" for row in range(len(texts))]

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, rows: Sequence[int]) -> list[str]:
        return [self.rows[int(row)] for row in rows]

    items = texts


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model))


WORDS = st.sampled_from("bace difo guka lemi nopu".split())


@settings(deadline=None, max_examples=15)
@given(
    st.lists(WORDS, min_size=1, max_size=9), st.integers(1, 4), st.data(),
    st.sampled_from(["query", "document"]),
)  # fmt: skip
def test_a_table_is_encoded_as_its_texts_are(
    encoder: Encoder, tmp_path_factory: pytest.TempPathFactory, texts: list[str], block: int,
    data: st.DataObject, kind: str,
) -> None:  # fmt: skip
    """Any rows in any order, some twice, in segments of any size, over a store that has some."""
    table = Table(texts)
    given_rows: Any = table
    store = tmp_path_factory.mktemp("store")
    rows = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=12)), np.int64)
    had = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=3)), np.int64)
    config = EncodeConfig()
    vectors = open_store(encoder, kind=kind, store=store, config=config)
    filled = fill_store(encoder, given_rows, had, kind=kind, vectors=vectors, config=config)
    assert filled == len({texts[row] for row in had})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whet.encoding.table, "BLOCK", block)
        found = encode_table(encoder, given_rows, kind=kind, store=store, rows=rows)
    assert list(found.ids) == [f"t{row}" for row in rows] and found.vectors.shape == (len(rows), 32)
    for row, vector_D in zip(rows, found.vectors, strict=True):
        assert np.abs(vector_D - encoder.encode([texts[row]], kind=kind)[0]).max() < 1e-6
    distinct = len({texts[row] for row in rows} - {texts[row] for row in had})
    segments = list(vectors.folder.glob("segment-*"))
    assert len(segments) == bool(len(had)) + -(-distinct // block)


@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 1, 1], [0, 1, 2]])
def test_as_many_rows_as_there_are_keep_their_own_ids(
    encoder: Encoder, tmp_path: Path, rows: list[int]
) -> None:
    table: Any = Table(["bace", "difo", "guka"])
    found = encode_table(encoder, table, kind="query", store=tmp_path, rows=np.array(rows))
    assert list(found.ids) == [f"t{row}" for row in rows]
    whole = encode_table(encoder, table, kind="query", store=tmp_path)
    assert np.array_equal(found.vectors, whole.vectors[rows]) and whole.ids == table.ids
