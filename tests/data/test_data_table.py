"""The table: what is written reads back, larger than one block, found by id, grouped by text."""

from __future__ import annotations

import pickle
import tempfile
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.data import table as table_module
from whet.data.check import word_counts
from whet.data.table import TextTable, repeated_rows, write_table
from whet.data.text import WORD, normalise
from whet.errors import DataError
from whet.storage.blocks import BLOCK_ROWS

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
LETTERS = st.sampled_from(
    "ab \n\u00e9\u00a0\u3000\u3001\u4e2d\u6587\u30ab\u3099\u0e01\u0e34\u0e49\u0301"
)
ROWS = st.lists(st.tuples(TEXT, TEXT), max_size=20, unique_by=lambda row: row[0])


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> TextTable:
    """2.5 blocks of rows: id `i<n>`, text `text <n % 1000>`."""
    rows = ((f"i{n}", f"text {n % 1000}") for n in range(BLOCK_ROWS * 5 // 2))
    return write_table(tmp_path_factory.mktemp("big") / "big.arrow", rows)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_a_written_table_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    table = write_table(tmp_path_factory.mktemp("t") / "t.arrow", rows)
    assert list(table.ids) == [id_ for id_, _ in rows]
    assert table.texts(np.arange(len(rows))) == [text for _, text in rows]
    assert table.rows_of([id_ for id_, _ in rows]).tolist() == list(range(len(rows)))
    content = "".join(f"{id_}\0{text}\0" for id_, text in rows)
    assert table.digest == sha256(content.encode()).hexdigest()
    first: dict[str, int] = {}
    groups = [first.setdefault(normalise(text), row) for row, (_, text) in enumerate(rows)]
    assert table.group_of_N().tolist() == groups


def test_rows_of_a_table_of_several_blocks(big: TextTable) -> None:
    rows = np.array([40_000, 0, BLOCK_ROWS, BLOCK_ROWS - 1, 0, 2 * BLOCK_ROWS, len(big) - 1])
    assert big.texts(rows) == [f"text {row % 1000}" for row in rows]
    assert big.ids_of(rows) == [f"i{row}" for row in rows]
    assert [big.text(int(row)) for row in rows] == big.texts(rows)
    assert big.ids[-1] == f"i{len(big) - 1}"
    assert big.ids[BLOCK_ROWS - 1 : BLOCK_ROWS + 1] == [f"i{BLOCK_ROWS - 1}", f"i{BLOCK_ROWS}"]
    assert sum(1 for _ in big.ids) == len(big) == BLOCK_ROWS * 5 // 2


def test_rows_of_unknown_ids_are_minus_one(big: TextTable) -> None:
    ids = ["i7", "nobody", "i40000", "", "i7", "\ud800"]
    assert big.rows_of(ids).tolist() == [7, -1, 40_000, -1, 7, -1]
    assert big.rows_of([]).tolist() == []


def test_groups_name_the_smallest_row(big: TextTable) -> None:
    groups = big.group_of_N()
    assert groups.tolist() == [row % 1000 for row in range(len(big))]
    again = TextTable(big.path)  # read from beside the table, not computed
    assert again.group_of_N().tolist() == groups.tolist()


def test_rows_outside_the_table_are_index_errors(big: TextTable) -> None:
    for row in (-1, len(big)):
        with pytest.raises(IndexError):
            big.text(row)
        with pytest.raises(IndexError):
            big.texts([0, row])


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_values(texts: Iterator[str]) -> np.ndarray:
        return np.array([len(text) % 3 for text in texts], np.uint64)

    monkeypatch.setattr(table_module, "hash64", three_values)
    ids = [f"{n:0{1 + n % 5}d}" for n in range(50)]
    table = write_table(tmp_path / "t.arrow", ((id_, "x") for id_ in ids))
    assert table.rows_of([*ids, "absent"]).tolist() == [*range(50), -1]
    assert len(repeated_rows(table)) == 0
    twice = write_table(
        tmp_path / "u.arrow", ((id_, "x") for id_ in [*ids, ids[3], ids[9], ids[3]])
    )
    assert repeated_rows(twice).tolist() == [[50, 3], [51, 9], [52, 3]]


def test_a_table_pickles_as_its_path(big: TextTable) -> None:
    packed = pickle.dumps(big)
    assert len(packed) < 500
    assert pickle.loads(packed).text(5) == "text 5"


def test_an_empty_table(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.arrow", [])
    assert len(table) == 0
    assert list(table.ids) == []
    assert table.rows_of(["a"]).tolist() == [-1]
    assert table.texts([]) == []
    assert table.group_of_N().tolist() == []


def test_a_torn_table_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.arrow", [("a", "b" * 1000)]).path
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="not a whole table"):
        TextTable(path)


@given(st.text(st.sampled_from("aB \u00a0\n\t\u00e9\u2003\u00ad\u3000\ufb01")))
def test_normalising_is_fold_and_collapse(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert normalise(text) == " ".join(folded.split())


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Foo  bar", "foo bar"),
        ("\u00a0Stra\u00dfe\n", "STRASSE"),
        ("\ufb01ne", "FINE"),  # the ligature fi
        ("e\u0301t\u00e9", "\u00e9te\u0301"),  # composed and not
        ("\uff21\uff22", "ab"),  # full width
    ],
)
def test_texts_that_are_the_same(text: str, same: str) -> None:
    assert normalise(text) == normalise(same)


@given(st.lists(st.text(LETTERS, min_size=1, max_size=20), min_size=1, max_size=5))
def test_words_are_those_of_the_expression_for_one(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder) / "t.arrow", ((str(n), x) for n, x in enumerate(texts)))
        assert word_counts(table).tolist() == [len(WORD.findall(text)) for text in texts]


def test_words_are_counted_as_split_does_and_chinese_by_its_characters(tmp_path: Path) -> None:
    texts = ["one", " two  words ", "a\tb\nc d", "\u00e9t\u00e9 \u4e2d\u6587", "x" * 500, ". . ."]
    table = write_table(tmp_path / "t.arrow", ((str(n), text) for n, text in enumerate(texts)))
    assert word_counts(table).tolist() == [1, 2, 4, 3, 1, 3]
