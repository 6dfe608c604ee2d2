"""Data as strangers have them: read right, or refused, by `whet check`; what is not read is told.
(tests/data/test_strangers.py has seventy more, without a command each.)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from harness import data, done, expect, place, whet

TEXTS = [(f"how to do {n}", f"press the button {n} and wait") for n in "abcdefgh"]
PAIRS = "8 queries, 8 judgments (by grade 1: 8)"


def pairs(*names: str) -> list[dict[str, object]]:
    """The texts as rows with columns of these names."""
    return [dict(zip(names, row, strict=False)) for row in TEXTS]


def lines(rows: list[dict[str, object]]) -> str:
    """Rows as jsonl."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(header: str, separator: str = ",") -> str:
    """The texts under a header; a third column are row numbers before them."""
    numbered = header.count(separator) > 1
    rows = (
        [*([str(n)] if numbered else []), query, document]
        for n, (query, document) in enumerate(TEXTS)
    )
    return "\n".join([header, *map(separator.join, rows)]) + "\n"


def classes(folder: Path) -> None:
    """Labels that are classes, as `datasets` notes them in a parquet file."""
    features = {"label": {"names": ["entailment", "neutral"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    kinds = [("premise", pa.string()), ("hypothesis", pa.string()), ("label", pa.int64())]
    columns = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1]}
    pq.write_table(pa.table(columns, schema=pa.schema(kinds, metadata)), folder / "train.parquet")


def clone(folder: Path) -> None:
    """A clone from the hub."""
    (folder / "data").mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    rows = pa.Table.from_pylist(pairs("query", "positive"))
    pq.write_table(rows, folder / "data/train-00000-of-00001.parquet")


def in_parquet(folder: Path) -> None:
    """A BEIR folder in parquet."""
    data(folder / "whole", 12)
    (folder / "qrels").mkdir()
    for name in ("corpus", "queries"):
        text = (folder / "whole" / f"{name}.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    rows = [line.split("\t") for line in (folder / "whole/qrels/train.tsv").read_text().split("\n")]
    judged = [{"query-id": r[0], "corpus-id": r[1], "score": int(r[2])} for r in rows[1:-1]]
    pq.write_table(pa.Table.from_pylist(judged), folder / "qrels/train.parquet")
    shutil.rmtree(folder / "whole")


def qrels_in_jsonl(folder: Path) -> None:
    """Judgments in jsonl, and what a Mac leaves beside them."""
    data(folder / "set", 12)
    for path in sorted((folder / "set/qrels").iterdir()):
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        judged = [{"query-id": r[0], "corpus-id": r[1], "score": int(r[2])} for r in rows]
        path.with_suffix(".jsonl").write_text(lines(judged))
        path.unlink()
        (path.parent / f"._{path.name}").write_bytes(b"\0\x05\x16\x07")
    for path in (folder / "set").iterdir():
        path.rename(folder / path.name)
    (folder / "set").rmdir()


def one_object(folder: Path) -> None:
    """LlamaIndex's file."""
    queries = {f"q{n}": query for n, (query, _) in enumerate(TEXTS)}
    corpus = {f"d{n}": document for n, (_, document) in enumerate(TEXTS)}
    judged = {f"q{n}": [f"d{n}"] for n in range(len(TEXTS))}
    whole = {"queries": queries, "corpus": corpus, "relevant_docs": judged}
    (folder / "train.json").write_text(json.dumps(whole, indent=4))


def text(name: str, content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    """A folder of one file."""

    def write(folder: Path) -> None:
        (folder / name).write_text(content, encoding)

    return write


FIRST = lines([{"query": "a", "document": "b"}, {"query": "c", "document": "d", "label": 0}])
REJECTED = lines([{**row, "rejected_response": ["no"]} for row in pairs("query", "response")])
# what is written, the exit code, and what is told
CASES: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "classes as labels": (classes, 3, "holds the classes entailment, neutral, not grades"),
    "a clone from the hub": (clone, 0, f"split train      {PAIRS}"),
    "negatives that were rejected": (text("train.jsonl", REJECTED), 0, "(by grade 0: 8, 1: 8)"),
    "utf-16": (text("train.csv", table("query,positive"), "utf-16"), 0, PAIRS),
    "a label that line 1 lacks": (text("train.jsonl", FIRST), 3, "line 1: label None is not a"),
    "an id column first": (
        text("train.jsonl", lines([{"id": 1, **row} for row in pairs("query", "text")])),
        0,
        "'id' is not read",
    ),
    "row numbers first": (text("train.csv", table(",sentence1,sentence2")), 0, PAIRS),
    "semicolons": (text("train.csv", table("query;positive", ";")), 0, PAIRS),
    "capitals and blanks": (text("train.csv", table("Query , Positive Passage ")), 0, PAIRS),
    "unknown columns": (text("train.csv", table("nr,Frage,Antwort")), 3, "nr, Frage, Antwort. Say"),
    "one object a file": (one_object, 0, PAIRS),
    "BEIR in parquet": (in_parquet, 0, "8 queries, 8 judgments"),
    "judgments in jsonl": (qrels_in_jsonl, 0, "split test       4 queries"),
}

with place() as here:
    for name, (write, code, told) in CASES.items():
        folder = here / name.replace(" ", "_")
        folder.mkdir()
        write(folder)
        ended = whet("check", str(folder))
        fine = ended.code == code and told in ended.said and not ended.trace
        expect(fine, f"{name}: exit {code} and {told!r} ({ended.state})")
    shutil.copytree(here / "BEIR_in_parquet", here / "first")
    shutil.rmtree(here / "first/qrels")
    shutil.copytree(here / "first", here / "second")
    for named in ("first", "second"):
        ended = whet("check", named)
        expect(f"{named}: no query is judged" in ended.out, f"a finding names its folder, {named}")
    ended = whet("check", "unknown_columns", "data.query=Frage", "data.positive=Antwort")
    expect(ended.code == 0 and "'nr' is not read" in ended.out, f"named columns ({ended.state})")
done()
