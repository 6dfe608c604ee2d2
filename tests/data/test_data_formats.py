"""The same judgments written in every format read back the same."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whet.config import DataConfig
from whet.data.load import Dataset, load_dataset
from whet.data.readers.hub import source_of_name
from whet.data.readers.records import Reading, Text
from whet.errors import ConfigError, DataError

# query, positive, negatives; commas, quotes, line ends and other scripts on purpose
ROWS = [
    ("where do ants live?", 'in "hills", mostly', ["bees make honey", "cats sleep"]),
    ("who makes honey", "bees make honey", ["cats sleep"]),
    ("who makes honey", "蜂は蜂蜜を作る", ['in "hills", mostly']),
]
JUDGED = {
    ("where do ants live?", 'in "hills", mostly', 1),
    ("where do ants live?", "bees make honey", 0),
    ("where do ants live?", "cats sleep", 0),
    ("who makes honey", "bees make honey", 1),
    ("who makes honey", "cats sleep", 0),
    ("who makes honey", "蜂は蜂蜜を作る", 1),
    ("who makes honey", 'in "hills", mostly', 0),
}


def judged(data: Dataset, split: str = "train") -> set[tuple[str, str, int]]:
    qrels = data.split(split)
    queries, docs = data.queries.texts(qrels.query_rows_M), data.corpus.texts(qrels.doc_rows_M)
    return set(zip(queries, docs, qrels.relevance_M.tolist(), strict=True))


def as_columns(row: tuple[str, str, list[str]]) -> dict[str, str]:
    query, positive, negatives = row
    numbered = {f"negative_{n}": text for n, text in enumerate(negatives, 1)}
    return {"anchor": query, "positive": positive, **numbered}


def dump(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_jsonl(root: Path) -> Path:
    return dump(root / "pairs.jsonl", [as_columns(row) for row in ROWS])


def write_jsonl_gz(root: Path) -> Path:
    path = root / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(write_jsonl(root).read_bytes()))
    return path


def write_lists(root: Path) -> Path:
    rows = [{"question": q, "answers": [p], "negatives": n} for q, p, n in ROWS]
    return dump(root / "lists.jsonl", rows)


def write_csv(root: Path) -> Path:
    path = root / "pairs.csv"
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, ["anchor", "positive", "negative_1", "negative_2"])
        writer.writeheader()
        writer.writerows(map(as_columns, ROWS))
    return path


def write_tsv(root: Path) -> Path:
    lines = ["query\tpositive\tnegative_1\tnegative_2"]
    lines += ["\t".join([q, p, *n]) for q, p, n in ROWS]
    path = root / "pairs.tsv"
    path.write_text("\n".join(lines))
    return path


def write_parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["anchor", "positive", "negative_1", "negative_2"]
    columns = {name: [as_columns(row).get(name) for row in ROWS] for name in names}
    pq.write_table(pa.table(columns), root / "pairs.parquet")
    return root / "pairs.parquet"


def write_flag(root: Path) -> Path:
    rows = [{"query": q, "pos": [p], "neg": n, "pos_scores": [0.9]} for q, p, n in ROWS]
    return dump(root / "flag.jsonl", rows)


def docids() -> dict[str, int]:
    texts = {text: 0 for _, positive, negatives in ROWS for text in (positive, *negatives)}
    return {text: number for number, text in enumerate(texts)}


def write_tevatron_passages(root: Path) -> Path:
    ids = docids()

    def passages(texts: list[str]) -> list[dict[str, Any]]:
        return [{"docid": str(ids[text]), "title": "", "text": text} for text in texts]

    rows = [
        {
            "query_id": n,
            "query": query,
            "positive_passages": passages([positive]),
            "negative_passages": passages(negatives),
        }
        for n, (query, positive, negatives) in enumerate(ROWS)
    ]
    return dump(root / "tevatron.jsonl", rows)


def write_tevatron_ids(root: Path) -> Path:
    ids = docids()
    dump(root / "corpus.jsonl", [{"docid": n, "document_text": text} for text, n in ids.items()])
    rows = [
        {
            "query_id": f"q{n}",
            "query_text": query,
            "positive_document_ids": [str(ids[positive])],
            "negative_document_ids": [ids[text] for text in negatives],
        }
        for n, (query, positive, negatives) in enumerate(ROWS)
    ]
    dump(root / "train.jsonl", rows)
    return root


def write_saved_to_disk(root: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    names = ["anchor", "positive", "negative_1", "negative_2"]
    columns = {name: [as_columns(row).get(name) for row in ROWS] for name in names}
    datasets.Dataset.from_dict(columns).save_to_disk(root / "saved")
    return root / "saved"


WRITERS = [
    write_jsonl,
    write_jsonl_gz,
    write_lists,
    write_csv,
    write_tsv,
    write_parquet,
    write_flag,
]
WRITERS += [write_tevatron_passages, write_tevatron_ids, write_saved_to_disk]


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_reads_back_equal(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = load_dataset(str(write(tmp_path)))
    assert judged(data) == JUDGED
    assert len(data.corpus) == 4
    assert set(data.findings.cases) <= {"teacher scores"}  # of the FlagEmbedding rows, and told


def test_pairs_of_one_content_have_one_digest(tmp_path: Path) -> None:
    digests = {load_dataset(str(write(tmp_path))).digest for write in WRITERS[:6]}
    assert len(digests) == 1


def test_beir_titles_join_with_a_space(beir: Any) -> None:
    data = load_dataset(str(beir()))
    assert data.corpus.texts([0, 1, 2]) == ["Ants live in hills", "bees make honey", "cats sleep"]
    assert judged(data) == {
        ("where do ants live", "Ants live in hills", 2),
        ("where do ants live", "cats sleep", 0),
    }
    assert list(data.splits) == ["train", "test"]
    assert data.name == "set"


@pytest.mark.parametrize(
    "qrels",
    [
        b"query-id\tcorpus-id\tscore\nq2\td2\t1\nq1\td1\t3\n",
        b"q2\td2\t1\nq1\td1\t3\n",
        b"q2 0 d2 1\nq1 0 d1 3\n",
        b"q2\tQ0\td2\t1\r\nq1\tQ0\td1\t3.0",
        b"qid iter docno rel\n\nq2   0   d2   1\nq1 0 d1 3\n",
    ],
)
def test_qrels_with_and_without_header_and_of_trec(beir: Any, qrels: bytes) -> None:
    data = load_dataset(str(beir({"qrels/test.tsv": qrels})))
    assert judged(data, "test") == {
        ("who makes honey", "bees make honey", 1),
        ("where do ants live", "Ants live in hills", 3),
    }


def test_ids_may_be_numbers_in_one_file_and_text_in_another(beir: Any) -> None:
    corpus = b'{"_id": 7, "text": "a"}\n{"_id": "d 8", "text": "b"}\n'
    root = beir(
        {
            "corpus.jsonl": corpus,
            "qrels/train.tsv": None,
            "qrels/test.tsv": b"q1\t7\t1\nq1\td 8\t1\n",
        }
    )
    assert list(load_dataset(str(root)).corpus.ids) == ["7", "d 8"]
    assert len(load_dataset(str(root)).split("test")) == 2


def test_a_task_and_its_output_are_a_pair_and_what_is_not_read_is_told(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.jsonl", [{"input": "q", "output": "d", "other": "n", "label": 2}])
    data = load_dataset(str(path))
    assert judged(data) == {("q", "d", 2)}
    assert data.findings.describe("column not read") == (
        "a.jsonl: 'other' is not read. Name it with data.positive or data.negatives to read it."
    )


def test_names_go_before_order(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.jsonl", [{"answer": "d", "extra": "x", "question": "q"}])
    assert judged(load_dataset(str(path))) == {("q", "d", 1)}


def test_columns_of_unknown_names_are_asked_about(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.jsonl", [{"id": "1", "Frage": "q", "Antwort": "d", "falsch": "n"}])
    with pytest.raises(DataError) as refused:
        load_dataset(str(path))
    assert str(refused.value) == (
        "a.jsonl: no column is known as the query. Its columns are id, Frage, Antwort, falsch. Say"
        " which is which: data.query=COLUMN data.positive=COLUMN data.negatives=[COLUMN,...]"
    )
    named = {"query": "Frage", "positive": "Antwort", "negatives": ["falsch"]}
    data = load_dataset(str(path), **named)
    assert judged(data) == {("q", "d", 1), ("q", "n", 0)}
    with pytest.raises(
        ConfigError, match=r"data\.query=Frge: no such column in a\.jsonl\. Its col"
    ):
        load_dataset(str(path), query="Frge")


def test_a_csv_without_header_loses_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("where do ants live,in hills\nwho makes honey,bees do\n")
    data = load_dataset(str(path))
    assert len(data.split("train")) == 2
    assert data.findings.of("note") == ["columns by order", "no header"]


def test_labels_are_grades(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query,document,label\nq,very,2\nq,a bit,1\nq,no,0\n")
    assert judged(load_dataset(str(path))) == {("q", "very", 2), ("q", "a bit", 1), ("q", "no", 0)}


def test_a_positive_elsewhere_is_no_negative(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": ["a"], "neg": ["b"]}, {"query": "q", "pos": ["b"], "neg": ["c"]}]
    data = load_dataset(str(dump(tmp_path / "a.jsonl", rows)))
    assert judged(data) == {("q", "a", 1), ("q", "b", 1), ("q", "c", 0)}
    assert data.findings.describe("positive also given as negative") == (
        "a.jsonl line 1: 'b' has relevance 0 here and 1 in a.jsonl line 2. Kept as positive."
    )


def test_a_folder_of_split_files(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test"):
        (tmp_path / f"{name}.csv").write_text(f"query,positive\nq {name},d {name}\n")
    data = load_dataset(str(tmp_path))
    assert {split: len(qrels) for split, qrels in data.splits.items()} == {
        "train": 2,
        "dev": 1,
        "test": 1,
    }


def test_one_tevatron_id_with_two_texts_is_a_problem(tmp_path: Path) -> None:
    rows = [
        {"query_id": n, "query": f"q{n}", "positive_passages": [{"docid": "a", "text": f"t{n}"}]}
        for n in (1, 2)
    ]
    data = load_dataset(str(dump(tmp_path / "a.jsonl", rows)), on_problem="drop")
    assert data.findings.describe("duplicate id").startswith(
        "a.jsonl line 2: id 'a' was used before, in a.jsonl line 1."
    )


def test_a_folder_of_texts_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.md").write_text("# Bees")
    (tmp_path / "sub" / "a one.txt").write_text("ants\nlive")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    data = load_dataset(str(tmp_path), on_problem="drop")
    assert list(data.corpus.ids) == ["b.md", "sub/a one.txt"]
    assert data.corpus.text(1) == "ants\nlive"
    assert data.splits == {}
    assert data.findings.describe("bad UTF-8").startswith(
        "bad.txt: byte 4 is 0xe9, in b'caf\\xe9'."
    )


def test_a_hub_dataset_of_beir_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    parts = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "default": "qrels.jsonl"}
    configs = "".join(f"- config_name: {c}\n  data_files: {f}\n" for c, f in parts.items())
    (tmp_path / "hub" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    dump(tmp_path / "hub" / "corpus.jsonl", [{"_id": "d1", "title": "A", "text": "b"}])
    dump(tmp_path / "hub" / "queries.jsonl", [{"_id": "q1", "text": "c"}])
    dump(tmp_path / "hub" / "qrels.jsonl", [{"query-id": "q1", "corpus-id": "d1", "score": 1}])
    records = list(source_of_name("hub", DataConfig()).read(Reading()))
    assert [record.text for record in records if isinstance(record, Text)] == ["A b", "c"]
    assert records[2][:4] == ("train", "q1", "d1", 1)
