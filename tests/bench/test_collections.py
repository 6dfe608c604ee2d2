"""Parts of collections: the same everywhere, and whole in what they keep."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from whet.bench.collections import collection
from whet.data.load import load_dataset
from whet.errors import DataError


def test_a_sample_keeps_its_documents_and_what_is_judged_of_them(
    tiny_data: Path, tmp_path: Path
) -> None:
    whole = load_dataset(str(tiny_data))
    folder = collection(tiny_data.parent, f"{tiny_data.name}@40", tmp_path)
    part = load_dataset(str(folder))
    assert len(part.corpus) == 40
    for split in ("train", "test"):
        kept = set(part.corpus.ids)
        both = [
            {
                (data.queries.id(query), data.corpus.id(doc))
                for query, doc in zip(
                    data.split(split).query_rows_M, data.split(split).doc_rows_M, strict=True
                )
            }
            for data in (whole, part)
        ]
        assert both[1] == {pair for pair in both[0] if pair[1] in kept}
    more = load_dataset(str(collection(tiny_data.parent, f"{tiny_data.name}@60", tmp_path)))
    assert set(part.corpus.ids) < set(more.corpus.ids)


def test_a_part_is_written_once(tiny_data: Path, tmp_path: Path) -> None:
    folder = collection(tiny_data.parent, f"{tiny_data.name}@40", tmp_path)
    time = (folder / "corpus.jsonl").stat().st_mtime_ns
    assert collection(tiny_data.parent, f"{tiny_data.name}@40", tmp_path) == folder
    assert (folder / "corpus.jsonl").stat().st_mtime_ns == time
    assert collection(tiny_data.parent, tiny_data.name, tmp_path) == tiny_data


def test_a_language_keeps_its_own_and_the_last_of_equal_questions(tmp_path: Path) -> None:
    source = tmp_path / "xquad"
    (source / "qrels").mkdir(parents=True)
    docs = [
        {"_id": f"{lang}-{n}", "title": "", "text": f"{lang} {n}"}
        for lang in ("en", "es")
        for n in (1, 2)
    ]
    queries = [("en-a", "same"), ("en-b", "same"), ("en-c", "other"), ("es-a", "same")]
    with gzip.open(source / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(doc) + "\n" for doc in docs)
    with gzip.open(source / "queries.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries)
    (source / "qrels" / "test-en.tsv").write_text(
        "query-id\tcorpus-id\tscore\nen-a\ten-1\t1\nen-b\ten-2\t1\nen-c\ten-1\t1\n"
    )
    (source / "qrels" / "test-es.tsv").write_text("query-id\tcorpus-id\tscore\nes-a\tes-1\t1\n")
    data = load_dataset(str(collection(tmp_path, "xquad@en", tmp_path / "work")))
    assert list(data.corpus.ids) == ["en-1", "en-2"]
    assert list(data.queries.ids) == ["en-b", "en-c"]
    assert len(data.split("test")) == 2
    with pytest.raises(DataError, match=r"has no qrels/test-fr\.tsv"):
        collection(tmp_path, "xquad@fr", tmp_path / "work")
