"""Negatives on disk: back to the bit, refused where they do not belong, and read by other tools."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whet.config import MiningConfig
from whet.data.load import load_dataset
from whet.errors import ConfigError, DataError
from whet.mining.exports import export_negatives
from whet.mining.files import read_negatives, read_policy, write_negatives
from whet.mining.miner import mine

POLICY = MiningConfig(num_negatives=3, min_score=0.25)  # some rows are short


@pytest.fixture
def tables(random_data, make_table):
    queries, corpus, _ = random_data
    return {
        "queries": make_table("queries", queries.ids),
        "corpus": make_table("corpus", corpus.ids),
    }


@pytest.fixture
def stored(random_data, tables, tmp_path):
    mined = mine(*random_data, POLICY)
    path = tmp_path / "run" / "negatives.parquet"
    write_negatives(path, mined, **tables, positives=random_data[2], model="m" * 64, data="d" * 64)
    return path, mined.negatives


def test_back_to_the_bit(stored, tables):
    path, negatives = stored
    found = read_negatives(path, **tables, model="m" * 64, data="d" * 64)
    for name in ("query_rows_R", "doc_rows_RK", "scores_RK", "ranks_RK", "positive_scores_R"):
        a, b = getattr(negatives, name), getattr(found, name)
        assert np.array_equal(a, b, equal_nan=a.dtype == np.float32), name
    assert read_policy(path) == POLICY
    assert [file.name for file in path.parent.iterdir()] == ["negatives.parquet"]


def test_columns_are_ids_other_tools_can_read(stored, random_data):
    path, negatives = stored
    table = pq.read_table(path)
    assert table.column_names == [
        *("query_id", "positive_ids", "negative_ids"),
        *("scores", "ranks", "positive_score"),
    ]
    row = table.slice(8, 1).to_pylist()[0]
    assert row["query_id"] == "q8"
    assert row["positive_ids"] == ["d3", "d13"]
    found = negatives.doc_rows_RK[8]
    assert row["negative_ids"] == [f"d{doc}" for doc in found[found >= 0]]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"model": "x" * 64}, "these negatives are of model mmmmmmmmmmmm, not of xxxxxxxxxxxx"),
        ({"data": "x" * 64}, "these negatives are of data dddddddddddd, not of xxxxxxxxxxxx"),
    ],
)
def test_negatives_of_another_model_or_data_set_are_refused(stored, tables, facts, message):
    with pytest.raises(DataError, match=message):
        read_negatives(stored[0], **tables, **facts)


def test_unknown_ids_are_refused(stored, tables, make_table):
    with pytest.raises(DataError, match=r"ids are not in the corpus \(1 rows\), the first 'd"):
        read_negatives(stored[0], queries=tables["queries"], corpus=make_table("one", ["d0"]))


def test_other_files_are_refused(tables, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    for path in (other, text, tmp_path / "missing.parquet"):
        with pytest.raises(DataError, match="not a file of negatives"):
            read_negatives(path, **tables)


def exported(name, random_data, tables, folder, policy=POLICY):
    negatives = mine(*random_data, policy).negatives
    paths = export_negatives(folder, name, negatives, **tables, positives=random_data[2])
    return paths, negatives


def test_sentence_transformers_columns(random_data, tables, tmp_path, capsys):
    (path,), negatives = exported("sentence-transformers", random_data, tables, tmp_path)
    table = pq.read_table(path)
    assert table.column_names == ["anchor", "positive", "negative_1", "negative_2", "negative_3"]
    positives = random_data[2]
    expected = [
        [f"text of q{q}", f"text of d{p}", *(f"text of d{n}" for n in row)]
        for q, row in zip(negatives.query_rows_R, negatives.doc_rows_RK.tolist(), strict=True)
        if min(row) >= 0
        for p in positives.of(q)
    ]
    assert [list(row.values()) for row in table.to_pylist()] == expected
    assert "rows left out: the format needs a positive and 3 negatives" in capsys.readouterr().err


def test_sentence_transformers_pairs_each_positive_with_its_own_negatives(
    random_data, tables, tmp_path
):
    policy = MiningConfig(num_negatives=2, reference="each", relative_margin=0.3)
    (path,), negatives = exported("sentence-transformers", random_data, tables, tmp_path, policy)
    rows = pq.read_table(path).to_pylist()
    at = np.flatnonzero(negatives.query_rows_R == 2)
    wanted = [f"text of d{p}" for p in random_data[2].of(2)]
    mine_rows = [row for row in rows if row["anchor"] == "text of q2"]
    assert [row["positive"] for row in mine_rows] == wanted
    firsts = [f"text of d{negatives.doc_rows_RK[i, 0]}" for i in at]
    assert [row["negative_1"] for row in mine_rows] == firsts


def test_flag_embedding_jsonl(random_data, tables, tmp_path):
    (path,), negatives = exported("flagembedding", random_data, tables, tmp_path)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    record = next(one for one in records if one["query"] == "text of q8")
    assert record["pos"] == ["text of d3", "text of d13"]
    found = negatives.doc_rows_RK[8] >= 0
    assert record["neg"] == [f"text of d{doc}" for doc in negatives.doc_rows_RK[8, found]]
    assert record["neg_scores"] == negatives.scores_RK[8, found].tolist()
    assert record["pos_scores"] == [float(negatives.positive_scores_R[8])] * 2


def test_tevatron_jsonl_and_corpus(random_data, tables, tmp_path):
    (path, corpus), negatives = exported("tevatron", random_data, tables, tmp_path)
    record = json.loads(path.read_text().splitlines()[0])
    found = negatives.doc_rows_RK[0]
    assert record == {
        "query_id": "q0",
        "query": "text of q0",
        "positive_passages": [
            {"docid": f"d{doc}", "text": f"text of d{doc}"} for doc in random_data[2].of(0)
        ],
        "negative_passages": [
            {"docid": f"d{doc}", "text": f"text of d{doc}"} for doc in found[found >= 0]
        ],
    }
    documents = [json.loads(line) for line in corpus.read_text().splitlines()]
    assert documents == [{"docid": f"d{doc}", "text": f"text of d{doc}"} for doc in range(500)]
    again = load_dataset(str(path), cache_dir=tmp_path / "cache").split("train")
    kept = [q for q, row in zip(negatives.query_rows_R, negatives.found_R, strict=True) if row]
    assert len(again.relevant()) == sum(len(random_data[2].of(q)) for q in kept)


def test_nemo_files_read_back_by_datasets_and_by_whet(random_data, tables, tmp_path):
    datasets = pytest.importorskip("datasets")
    (path, about, table), negatives = exported("nemo", random_data, tables, tmp_path)
    whole = json.loads(path.read_text())
    corpus = path.parent / whole["corpus"][0]["path"]
    assert json.loads(about.read_text())["corpus_id"] == whole["data"][0]["corpus_id"]
    documents = datasets.load_dataset(str(corpus), cache_dir=str(tmp_path / "hf"))["train"]
    texts = dict(zip(map(str, documents["id"]), documents["text"], strict=True))
    found = negatives.doc_rows_RK[0]
    first = whole["data"][0]
    assert first["question"] == "text of q0"
    assert [texts[doc["id"]] for doc in first["pos_doc"]] == [
        f"text of d{doc}" for doc in random_data[2].of(0)
    ]
    assert [doc["id"] for doc in first["neg_doc"]] == [f"d{doc}" for doc in found[found >= 0]]
    again = load_dataset(str(path), cache_dir=tmp_path / "cache")
    assert (len(again.corpus), table.parent) == (500, corpus)
    judged = again.split("train")
    assert len(judged.relevant().query_rows) == len(whole["data"])


def test_ms_swift_rows_read_back(random_data, tables, tmp_path):
    (path,), negatives = exported("ms-swift", random_data, tables, tmp_path)
    record = json.loads(path.read_text().splitlines()[0])
    found = negatives.doc_rows_RK[0]
    assert record == {
        "messages": [{"role": "user", "content": "text of q0"}],
        "positive_messages": [
            [{"role": "user", "content": f"text of d{random_data[2].of(0)[0]}"}],
        ],
        "negative_messages": [
            [{"role": "user", "content": f"text of d{doc}"}] for doc in found[found >= 0]
        ],
    }
    again = load_dataset(str(path), cache_dir=tmp_path / "cache")
    positives = random_data[2]
    kept = [q for q, row in zip(negatives.query_rows_R, negatives.found_R, strict=True) if row]
    assert len(again.split("train").relevant()) == sum(len(positives.of(q)) for q in kept)


def test_trec_run_and_qrels_score_with_ir_measures(random_data, tables, tmp_path):
    import ir_measures

    (run, qrels), negatives = exported("trec", random_data, tables, tmp_path)
    read = list(ir_measures.read_trec_run(str(run)))
    assert len(read) == negatives.found_R[np.arange(40) != 7].sum()
    judged = list(ir_measures.read_trec_qrels(str(qrels)))
    # a negative that counts as a hit would be a positive
    assert ir_measures.calc_aggregate([ir_measures.R @ 3], judged, read)[ir_measures.R @ 3] == 0


def test_trec_files_hold_ids_with_spaces(random_data, tables, tmp_path, make_table):
    spaced = make_table("spaced", [f"q {i}" for i in range(40)])
    exported("trec", random_data, {**tables, "queries": spaced}, tmp_path)
    for name, columns in (("negatives.run", 6), ("positives.qrels", 4)):
        rows = [line.split() for line in (tmp_path / name).read_text().splitlines()]
        assert {len(row) for row in rows} == {columns}
        assert {row[0] for row in rows} <= {f"q%20{i}" for i in range(40)}


def test_unknown_format(random_data, tables, tmp_path):
    with pytest.raises(ConfigError, match="Choose from sentence-transformers, flagembedding"):
        exported("csv", random_data, tables, tmp_path)
