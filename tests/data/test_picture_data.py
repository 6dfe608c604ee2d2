"""Data of pictures: folders, arrays, rows with an image; and labels that say what is relevant."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from whet.data.check import check_dataset
from whet.data.load import Dataset, load_dataset
from whet.data.splits import hold_out
from whet.errors import ConfigError, DataError
from whet.types import Picture

PIL = pytest.importorskip("PIL.Image")


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    file = io.BytesIO()
    PIL.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes; of train 3 pictures each, of test one."""
    root = tmp_path / "shop"
    for number, name in enumerate(("bags", "shoes")):
        for split, count in (("train", 3), ("val", 1), ("test", 1)):
            (root / split / name).mkdir(parents=True)
            for row in range(count):
                seed = 100 * number + 10 * len(split) + row
                (root / split / name / f"{row}.png").write_bytes(png(seed))
    return root


def relevant(data: Dataset, split: str) -> dict[str, set[str]]:
    qrels = data.splits[split].relevant()
    found: dict[str, set[str]] = {}
    for query, doc in zip(qrels.query_rows_M.tolist(), qrels.doc_rows_M.tolist(), strict=True):
        found.setdefault(data.queries.id(query), set()).add(data.corpus.id(doc))
    return found


def test_folders_are_classes_and_their_pictures_answer_each_other(classes, tmp_path):
    data = load_dataset(str(classes), cache_dir=tmp_path / "cache")
    assert list(data.splits) == ["train", "dev", "test"]
    bags = {f"train/bags/{row}.png" for row in range(3)}
    assert set(data.corpus.ids) == bags | {f"train/shoes/{row}.png" for row in range(3)}
    assert relevant(data, "train")["train/bags/1.png"] == bags - {"train/bags/1.png"}
    assert relevant(data, "dev")["val/bags/0.png"] == bags
    assert relevant(data, "test")["test/bags/0.png"] == bags
    item = data.corpus.items(data.corpus.rows_of(["train/bags/1.png"]))[0]
    assert item == Picture((classes / "train/bags/1.png").read_bytes())


def test_equal_pictures_are_one_group_and_no_answer_to_each_other(classes, tmp_path):
    (classes / "train/bags/1.png").write_bytes((classes / "train/bags/0.png").read_bytes())
    data = load_dataset(str(classes), cache_dir=tmp_path / "cache")
    assert relevant(data, "train")["train/bags/0.png"] == {"train/bags/2.png"}
    groups = np.asarray(data.corpus.group_of_N())
    assert len(np.unique(groups)) == len(data.corpus) - 1
    assert "1 repeat" in str(check_dataset(str(classes), cache_dir=tmp_path / "cache"))


def test_without_splits_all_are_train_and_a_tenth_is_held_out(classes, tmp_path):
    data = load_dataset(str(classes / "train"), cache_dir=tmp_path / "cache")
    assert list(data.splits) == ["train"] and len(data.corpus) == len(data.queries) == 6
    train, held = hold_out(data.splits["train"], data.queries)
    assert len(held.query_rows) == 1 and len(train.query_rows) == 5


def test_label_off_leaves_a_corpus_without_judgments(classes, tmp_path):
    data = load_dataset(str(classes), label="off", cache_dir=tmp_path / "cache")
    assert not data.splits and len(data.corpus) == 10 and not len(data.queries)
    path = arrays(tmp_path / "small.npz")
    data = load_dataset(str(path), label="off", cache_dir=tmp_path / "cache")
    assert not data.splits and len(data.corpus) == 8 and not len(data.queries)


def test_a_broken_picture_is_told_by_its_name(classes, tmp_path):
    (classes / "train/bags/1.png").write_bytes(png(1)[:-30])
    (classes / "train/bags/2.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match="2 problems") as caught:
        load_dataset(str(classes), cache_dir=tmp_path / "cache")
    assert "train/bags/1.png: is a damaged picture" in str(caught.value)
    assert "train/bags/2.png: is a web page" in str(caught.value)
    data = load_dataset(str(classes), on_problem="drop", cache_dir=tmp_path / "cache")
    assert relevant(data, "test")["test/bags/0.png"] == {"train/bags/0.png"}


def test_another_picture_under_the_same_name_is_read_anew(classes, tmp_path):
    before = load_dataset(str(classes), cache_dir=tmp_path / "cache").digest
    (classes / "train/bags/1.png").write_bytes(png(7_777))
    assert load_dataset(str(classes), cache_dir=tmp_path / "cache").digest != before


def arrays(path: Path, **changed: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    named = {
        "x_train": rng.integers(0, 256, (6, 4, 5), np.uint8),
        "y_train": np.array([0, 0, 0, 1, 1, 1]),
        "x_test": rng.integers(0, 256, (2, 4, 5), np.uint8),
        "y_test": np.array([1, 0]),
    }
    np.savez(path, **{**named, **changed})
    return path


def test_arrays_are_pictures_and_classes(tmp_path):
    path = arrays(tmp_path / "small.npz")
    data = load_dataset(str(path), cache_dir=tmp_path / "cache")
    assert relevant(data, "test") == {
        "test-000000": {"train-000003", "train-000004", "train-000005"},
        "test-000001": {"train-000000", "train-000001", "train-000002"},
    }
    item = data.corpus.items([4])[0]
    pixels = np.asarray(PIL.open(io.BytesIO(item.payload)))
    assert np.array_equal(pixels, np.load(path)["x_train"][4])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"x_train": np.zeros((6, 4, 5))}, "x_train is float64"),
        ({"x_train": np.zeros((6, 20), np.uint8)}, r"uint8 \[6x20\]"),
        ({"y_train": np.zeros(5, np.int64)}, "y_train is int64 of 5, for 6 pictures"),
        ({"y_train": np.array([None] * 6)}, "cannot be read"),
        ({"images_train": np.zeros((6, 4, 5), np.uint8)}, "both of train"),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path, changed, why):
    with pytest.raises(DataError, match=why) as caught:
        load_dataset(str(arrays(tmp_path / "odd.npz", **changed)), cache_dir=tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_torn_file_of_arrays_is_refused(tmp_path):
    path = arrays(tmp_path / "torn.npz")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(str(path), cache_dir=tmp_path / "cache")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Texts that ask for pictures, as BEIR's folders have them."""
    root = tmp_path / "emoji"
    (root / "qrels").mkdir(parents=True)
    (root / "pictures").mkdir()
    corpus = []
    for row in range(3):
        (root / f"pictures/{row}.png").write_bytes(png(row))
        corpus.append({"_id": f"d{row}", "image": f"pictures/{row}.png"})
    corpus[2]["text"] = "a cup"
    corpus.append({"_id": "d3", "text": "no picture"})
    write_rows(root / "corpus.jsonl", corpus)
    write_rows(root / "queries.jsonl", [{"_id": "q0", "text": "a hat"}])
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    return root


def write_rows(path: Path, some: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in some))


def test_a_row_may_be_a_picture_a_text_or_both(rows, tmp_path):
    data = load_dataset(str(rows), cache_dir=tmp_path / "cache")
    assert list(data.corpus.items(np.arange(4))) == [
        Picture(png(0)),
        Picture(png(1)),
        Picture(png(2), "a cup"),
        "no picture",
    ]
    assert data.corpus.texts([2, 3]) == ["a cup", "no picture"]
    assert list(data.queries.items([0])) == ["a hat"]
    assert relevant(data, "test") == {"q0": {"d1"}}


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("../secret.png", "outside of the data's folder"),
        ("/etc/passwd", "outside of the data's folder"),
        ("pictures/none.png", "no file there"),
        ("a\0b", "null byte"),
        (7, "neither bytes nor a file's path"),
        ("corpus.jsonl", "no picture of a kind"),
    ],
)
def test_an_image_that_cannot_be_read_is_told_by_its_line(rows, tmp_path, cell, why):
    (tmp_path / "secret.png").write_bytes(png(9))
    lines = (rows / "corpus.jsonl").read_text().splitlines()
    lines.append(json.dumps({"_id": "d9", "image": cell}))
    (rows / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=why) as caught:
        load_dataset(str(rows), cache_dir=tmp_path / "cache")
    assert "corpus.jsonl line 5" in str(caught.value)


@pytest.mark.parametrize("cell", ["https://example.org/1.png", "lost/1.png", "../secret.png", 7])
def test_an_image_that_is_no_file_here_leaves_texts_as_they_are(rows, tmp_path, cell):
    (tmp_path / "secret.png").write_bytes(png(9))
    corpus = [{"_id": f"d{row}", "text": f"text {row}", "image": cell} for row in range(3)]
    write_rows(rows / "corpus.jsonl", corpus)
    data = load_dataset(str(rows), cache_dir=tmp_path / "cache")
    assert not data.has_pictures and data.corpus.texts([0]) == ["text 0"]
    assert data.findings.count("pictures not read") == 1
    write_rows(rows / "corpus.jsonl", [{**row, "image": "pictures/0.png"} for row in corpus])
    again = load_dataset(str(rows), cache_dir=tmp_path / "cache")
    assert list(again.corpus.items([0])) == [Picture(png(0), "text 0")]


def test_texts_have_labels_too(tmp_path):
    root = tmp_path / "intents"
    root.mkdir()
    corpus = [{"_id": f"d{r}", "text": f"text {r}", "label": "ab"[r % 2]} for r in range(4)]
    write_rows(root / "corpus.jsonl", corpus)
    write_rows(root / "queries.jsonl", [{"_id": "q", "text": "other", "label": "b"}])
    data = load_dataset(str(root), label="label", cache_dir=tmp_path / "cache")
    assert relevant(data, "test") == {"q": {"d1", "d3"}}
    assert relevant(data, "train") == {"d0": {"d2"}, "d1": {"d3"}, "d2": {"d0"}, "d3": {"d1"}}
    (root / "qrels").mkdir()
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    with pytest.raises(ConfigError, match=r"Leave out data\.label"):
        load_dataset(str(root), label="label", cache_dir=tmp_path / "cache")


def test_rows_of_a_table_have_labels(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.csv").write_text("text,intent\none,a\ntwo,a\nthree,b\nfour,b\n")
    (tmp_path / "set/test.csv").write_text("text,intent\nfive,b\n")
    data = load_dataset(str(tmp_path / "set"), label="intent", cache_dir=tmp_path / "cache")
    assert relevant(data, "test") == {"test-000002": {"train-000004", "train-000005"}}
    with pytest.raises(DataError, match=r"no column intents \(columns: text, intent\)"):
        load_dataset(str(tmp_path / "set"), label="intents", cache_dir=tmp_path / "cache")


def test_pictures_in_parquet_with_names_of_classes(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(row), "path": None} for row in range(4)]
    table = pa.table({"image": images, "label": [0, 1, 0, 1]})
    feature = {"names": ["bag", "shoe"], "_type": "ClassLabel"}
    noted = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(noted)})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set/train.parquet")
    data = load_dataset(str(tmp_path / "set"), label="label", cache_dir=tmp_path / "cache")
    assert list(data.corpus.items([1])) == [Picture(png(1))]
    assert relevant(data, "train")["train-000001"] == {"train-000003"}


def test_a_class_with_too_many_pairs_keeps_the_same_share_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr("whet.data.judgments.MOST_PAIRS_OF_TRAIN", 100)
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 10])
    path = arrays(
        tmp_path / "many.npz",
        x_train=rng.integers(0, 256, (40, 4, 5), np.uint8),
        y_train=labels,
    )
    data = load_dataset(str(path), cache_dir=tmp_path / "cache")
    asked = relevant(data, "train")
    assert len(asked) >= 2 and len(data.splits["train"]) <= 130 and len(data.corpus) == 40
    for query, found in asked.items():
        own = int(query.removeprefix("train-"))
        same = {f"train-{row:06d}" for row in np.flatnonzero(labels == labels[own])}
        assert found == same - {query}
    assert "the same share of each class" in str(data.findings)


def test_pictures_have_no_passages_and_judged_data_no_labels(classes, tmp_path):
    with pytest.raises(ConfigError, match=r"Leave out data\.passages"):
        load_dataset(str(classes), passages="auto", cache_dir=tmp_path / "cache")
    text = tmp_path / "texts"
    text.mkdir()
    (text / "a.txt").write_text("a text")
    with pytest.raises(ConfigError, match=r"Leave out data\.label"):
        load_dataset(str(text), label="label", cache_dir=tmp_path / "cache")
