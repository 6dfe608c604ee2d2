"""What a relevance, an id and a value of a column may be."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whet.data.load import load_dataset
from whet.data.readers.values import whole_number
from whet.data.text import id_of
from whet.errors import DataError

NO_NUMBERS = ["1_0", " 1", "1 ", "+1", "\uff11", "\u0661", "10.", "1e1", "0x1", "", "inf", "nan"]
NO_NUMBERS += ["9" * 5_000, 2**31, float("inf"), float("nan"), 0.5, True, None, [1]]
UNSEEN = "\0\t\n\x1b\x7f\x85\x9b\u200d\u202e\u2028\ud800\ufeff"


@pytest.mark.parametrize("value", [10, 10.0, "10", "10.0", "0010"])
def test_what_is_a_whole_number(value: object) -> None:
    assert whole_number(value) == 10


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_none(value: object) -> None:
    assert whole_number(value) is None


@pytest.mark.parametrize(
    ("value", "id_"),
    [("a b", "a b"), ("a\u00a0b", "a\u00a0b"), (7, "7"), ("\u65e5\u672c", "\u65e5\u672c")]
    + [(f"a{character}b", None) for character in UNSEEN]
    + [(f"{blank}a", None) for blank in " \u00a0\u2003\u3000\x1f"]
    + [(f"a{blank}", None) for blank in " \u00a0\u2003\u3000\n"]
    + [("", None), (" ", None), (True, None), (1.5, None), (None, None)],
)
def test_what_can_be_an_id(value: object, id_: str | None) -> None:
    assert id_of(value) == id_


def test_a_column_that_python_has_no_values_for_hinders_nobody(tmp_path: Path) -> None:
    odd = {
        "zone": pa.array([1]).view(pa.timestamp("us", tz="Mars/Olympus")),
        "late": pa.array([10**15]).view(pa.timestamp("s")),
    }
    texts = {"query": ["ants"], "positive": ["live in hills"]}
    pq.write_table(pa.table({**texts, **odd}), tmp_path / "a.parquet")
    assert load_dataset(str(tmp_path / "a.parquet")).corpus.texts([0]) == ["live in hills"]
    pq.write_table(pa.table({"query": ["ants"], "positive": odd["zone"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"'positive' is TimestampType\(timestamp\[us, tz=Mars"):
        load_dataset(str(tmp_path / "b.parquet"))
