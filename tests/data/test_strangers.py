"""Data as strangers have them: each shape is read as its exact pairs, or refused in a sentence."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whet.data.load import Dataset, load_dataset
from whet.errors import WhetError

MOST_S = 2.0  # of CPU, each
ROWS = [
    ("how to reset", "hold the button", "buy paper"),
    ("who sells ink", "ink is in room 2", "b"),
]
PAIRS = {(query, document, 1) for query, document, _ in ROWS}
TRIPLES = PAIRS | {(query, negative, 0) for query, _, negative in ROWS}
GRADED = {("how to reset", "hold the button", 1), ("who sells ink", "ink is in room 2", 0)}
LONG = "hold the button on the back until all of the lights blink and then let it go"


def judged(data: Dataset) -> set[tuple[str, str, int]]:
    found = set()
    for qrels in data.splits.values():
        queries, docs = data.queries.texts(qrels.query_rows_M), data.corpus.texts(qrels.doc_rows_M)
        found |= set(zip(queries, docs, qrels.relevance_M.tolist(), strict=True))
    return found


def rows(*names: str, **more: Any) -> list[dict[str, Any]]:
    """The rows with their columns called so."""
    return [{**dict(zip(names, row, strict=False)), **more} for row in ROWS]


def lines(items: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def files(**contents: str | bytes) -> Callable[[Path], Path]:
    """A folder of files, by their names in it."""

    def write(root: Path) -> Path:
        for name, content in contents.items():
            path = root / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = content.encode() if isinstance(content, str) else content
            path.write_bytes(raw)
        return root / "set"

    return write


def one(name: str, content: str | bytes) -> Callable[[Path], Path]:
    """A single file."""
    folder = files(**{name: content})
    return lambda root: folder(root) / name


def parquet(name: str, columns: dict[str, Any], schema: pa.Schema | None = None) -> Any:
    def write(root: Path) -> Path:
        path = root / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema), path)
        return root / "set"

    return write


def tables(**contents: list[dict[str, Any]]) -> Callable[[Path], Path]:
    """A folder of parquet files."""

    def write(root: Path) -> Path:
        for name, items in contents.items():
            parquet(name, {key: [item[key] for item in items] for key in items[0]})(root)
        return root / "set"

    return write


@dataclass
class Case:
    """What is written, and what comes: pairs, or words of the refusal; what is told besides."""

    write: Callable[[Path], Path]
    pairs: set[tuple[str, str, int]] | None = None
    refused: str = ""
    told: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    inner: str = ""  # the file that is given, of a folder


ROWS_AS = [{"query": query, "positive": document} for query, document, _ in ROWS]
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1234\n"
CORPUS = [{"_id": "d1", "text": ROWS[0][1]}, {"_id": "d2", "text": ROWS[1][1]}]
QUERIES = [{"_id": "q1", "text": ROWS[0][0]}, {"_id": "q2", "text": ROWS[1][0]}]
QRELS = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in (1, 2)]
BEIR = {"corpus.jsonl": lines(CORPUS), "queries.jsonl": lines(QUERIES)}
TSV_QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"
TREC_QRELS = "q1 0 d1 1\nq2 0 d2 1\n"
TOPICS = (
    "<top>\n<num> Number: q1\n<title> how to reset\n<desc> Description:\nmore words\n</top>\n"
    "<top>\n<num> Number: q2\n<title> who sells ink\n</top>\n"
)
SPREADSHEET = "id,category,Question,Best answer,created\n" + "".join(
    f"{n},x,{query},{document},2024\n" for n, (query, document, _) in enumerate(ROWS)
)


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def nemo(root: Path) -> Path:
    docs = {"id": ["a", "b", "c"], "text": [ROWS[0][1], ROWS[1][1], "b"]}
    parquet("wiki/train.parquet", docs)(root)
    about = json.dumps({"class": "TextQADataset", "corpus_id": "wiki"})
    (root / "set" / "wiki" / "merlin_metadata.json").write_text(about)
    data = [
        {"question": ROWS[0][0], "corpus_id": "wiki", "pos_doc": [{"id": "a"}], "neg_doc": []},
        {"question": ROWS[1][0], "corpus_id": "wiki", "pos_doc": ["b"], "neg_doc": [{"id": "c"}]},
    ]
    data = [{"question_id": f"n{n}", **row} for n, row in enumerate(data)]
    corpus = [{"path": "/somewhere/else/wiki"}]
    path = root / "set" / "train.json"
    path.write_text(json.dumps({"corpus": corpus, "data": data}, indent=2))
    return path


def classes(*names: str) -> Callable[[Path], Path]:
    """A parquet file as `datasets` writes one, with classes of these names."""
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    kinds = [("premise", pa.string()), ("hypothesis", pa.string()), ("label", pa.int64())]
    columns = {"premise": [r[0] for r in ROWS], "hypothesis": [r[1] for r in ROWS]}
    return parquet("a.parquet", {**columns, "label": [1, 0]}, pa.schema(kinds, metadata))


def saved_by_datasets(root: Path) -> Path:
    """What save_to_disk leaves, made without `datasets`."""
    folder = root / "set"
    folder.mkdir()
    columns = {"anchor": [r[0] for r in ROWS], "positive": [r[1] for r in ROWS]}
    table = pa.table(columns)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


CLICKS = [
    # the second result is clicked twice as often as its place says, so it is the better one
    {"query": "ink", "shown": ["first", "second", "third"], "clicked": ["second"]},
    {"query": "ink", "shown": ["first", "second", "third"], "clicked": ["first"]},
    {"query": "ink", "shown": ["passed", "second", "third"], "clicked": ["second"]},
]
CLICKED = {("ink", "second", 1), ("ink", "passed", 0)}

CASES: dict[str, Case] = {
    "columns in another case with blanks": Case(
        one("a.csv", "Query , Positive Passage \nhow to reset,hold the button\n"),
        {("how to reset", "hold the button", 1)},
    ),
    "semicolons": Case(
        one("a.csv", 'query;positive\n"how, so";a,b\nwho;"c;d"\n'),
        {("how, so", "a,b", 1), ("who", "c;d", 1)},
    ),
    "tabs in a csv": Case(one("a.csv", "query\tpositive\na, b\tc, d\n"), {("a, b", "c, d", 1)}),
    "a spreadsheet's first line": Case(
        one("a.csv", "sep=;\nquery;positive\na,b;c,d\n"), {("a,b", "c,d", 1)}
    ),
    "two columns of one name": Case(
        one("a.csv", "query,positive,positive,query\na,b,c,d\n"),
        {("a", "b", 1), ("a", "c", 1)},
        told="'query_2' is not read",
    ),
    "labels that say yes and no": Case(
        one("a.csv", "query,document,label\na,b,True\na,c,False\n"),
        {("a", "b", 1), ("a", "c", 0)},
    ),
    "a workbook": Case(one("a.xlsx", b"PK\x03\x04"), refused="Save its table as csv (UTF-8)."),
    "a pointer of git lfs": Case(
        files(**{**BEIR, "corpus.jsonl": LFS, "qrels.txt": TREC_QRELS}),
        refused="corpus.jsonl: is a pointer of Git LFS, not the file. Run `git lfs pull`",
    ),
    "parquet as a pointer": Case(one("a.parquet", LFS), refused="is a pointer of Git LFS"),
    "csv as a pointer": Case(one("a.csv", LFS), refused="is a pointer of Git LFS"),
    "a page of an error": Case(
        one("a.jsonl", "<!DOCTYPE html>\n<html>404</html>"), refused="is a web page, as a failed"
    ),
    "a corpus that is a page": Case(
        files(**{**BEIR, "corpus.jsonl": "<html>no</html>", "qrels.txt": TREC_QRELS}),
        refused="corpus.jsonl: is a web page",
    ),
    "splits in one object": Case(
        one("a.json", json.dumps({"train": ROWS_AS, "test": ROWS_AS[:1]})),
        refused="several lists of rows (train, test). Write each to a file of its name: jq -c",
    ),
    "splits in one object over lines": Case(
        one("a.json", json.dumps({"train": ROWS_AS, "test": ROWS_AS}, indent=1)),
        refused="several lists of rows (train, test)",
    ),
    "arrays by line": Case(
        one("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        refused="line 2, column 1: a second array; rows need names",
    ),
    "a chat": Case(
        one("a.jsonl", lines([{"messages": [{"role": "user", "content": "how"}]}])),
        refused="holds conversations. Write of each what is asked as query",
    ),
    "upright bars": Case(one("a.csv", "question|answer\na, b|c\n"), {("a, b", "c", 1)}),
    "utf-16 of a spreadsheet": Case(
        one("a.csv", "query\tpositive\r\nwie geht es dir heute, Zoë\tgut\r\n".encode("utf-16")),
        {("wie geht es dir heute, Zoë", "gut", 1)},
    ),
    "a table's row numbers": Case(
        one("a.csv", ",sentence1,sentence2\n0,how,so\n1,who,he\n"),
        {("how", "so", 1), ("who", "he", 1)},
        told="row numbers",
    ),
    "pandas' nameless column": Case(
        one("a.csv", "Unnamed: 0,question,answer\n0,how,so\n"), {("how", "so", 1)}, told="row num"
    ),
    "a spreadsheet of five columns": Case(
        one("a.csv", SPREADSHEET), PAIRS, told="'id', 'category', 'created' are not read"
    ),
    "unknown names": Case(
        one("a.csv", "Frage;Antwort\nwie;so\n"), refused="Its columns are Frage, Antwort. Say which"
    ),
    "unknown names, named": Case(
        one("a.csv", "nr;Frage;Antwort\n1;wie;so\n"),
        {("wie", "so", 1)},
        options={"query": "Frage", "positive": "Antwort"},
        told="'nr' is not read",
    ),
    "no header, two texts": Case(
        one("a.tsv", "how to reset\thold it\nwho sells ink\troom 2\n"),
        {("how to reset", "hold it", 1), ("who sells ink", "room 2", 1)},
        told="the first line is taken as data",
    ),
    "no header, ids first": Case(
        one("a.tsv", "12\thow to reset\n13\twho sells ink\n"), refused="it begins ['12', 'how to"
    ),
    "no header, three columns": Case(
        one("a.tsv", "how to\thold it\tbuy it\n"),
        refused="data.query='column 1' data.positive='column 2', or write a header",
    ),
    "a first line that may be a header": Case(
        one("a.csv", f"die Frage,die Antwort\nhow to reset,{LONG}\n"), refused="names or texts?"
    ),
    "an id column first": Case(
        one("a.jsonl", lines([{"id": "7", "query": q, "text": d} for q, d, _ in ROWS])),
        PAIRS,
        told="'id' is not read",
    ),
    "two columns that could be the document": Case(
        one("a.jsonl", lines([{"question": "q", "answer": "a", "context": "c"}])),
        refused="'answer' or 'context' could be the document",
    ),
    "one of them named": Case(
        one("a.jsonl", lines([{"question": "q", "answer": "a", "context": "c"}])),
        {("q", "c", 1)},
        options={"positive": "context"},
        told="'answer' is not read",
    ),
    "answers that were rejected": Case(
        one("a.jsonl", lines(rows("query", "response", "rejected_response"))), TRIPLES
    ),
    "negatives in camel case": Case(
        one("a.jsonl", lines([{"query": "q", "positivePassages": ["a"], "hardNegatives": ["b"]}])),
        {("q", "a", 1), ("q", "b", 0)},
    ),
    "a label that the first row lacks": Case(
        one(
            "a.jsonl",
            lines([{"query": "q", "document": "d"}, {"query": "q", "document": "e", "label": 0}]),
        ),
        refused="label None is not a whole number",
    ),
    "negatives that later rows have": Case(
        one("a.jsonl", lines([{"query": "q", "positive": "d"}, *rows("query", "pos", "neg")[:1]])),
        {("q", "d", 1), ("how to reset", "hold the button", 1), ("how to reset", "buy paper", 0)},
        told="each of 'positive', 'pos' is a relevant document",
    ),
    "classes": Case(
        classes("entailment", "neutral", "contradiction"), refused="holds the classes entailment, n"
    ),
    "classes that say no and yes": Case(classes("not_same", "same"), GRADED),
    "classes the other way round": Case(
        classes("entailment", "not_entailment"), refused="holds the classes entailment, not_ent"
    ),
    "classes in words": Case(
        one("a.csv", "sentence1,sentence2,label\na,b,entailment\nc,d,neutral\n"),
        refused="label holds the classes entailment, neutral",
    ),
    "numbers that may be classes": Case(
        one("a.csv", "sentence1,sentence2,label\na,b,0\nc,d,2\n"), refused="grades or classes?"
    ),
    "questions that are duplicates or not": Case(
        one("a.tsv", "id\tquestion1\tquestion2\tis_duplicate\n0\ta\tb\t1\n1\tc\td\t0\n"),
        {("a", "b", 1), ("c", "d", 0)},
        told="'id' is not read",
    ),
    "scores in fractions": Case(
        one("a.csv", "sentence1,sentence2,score\na,b,0.93\nc,d,0.1\n"),
        refused="score holds fractions such as 0.1, not grades. Say from which score",
    ),
    "scores in fractions, from a half": Case(
        one("a.csv", "sentence1,sentence2,score\na,b,0.93\nc,d,0.1\n"),
        {("a", "b", 1), ("c", "d", 0)},
        options={"relevant_from": 0.5},
    ),
    "a teacher's scores": Case(
        one("a.jsonl", lines([{"query": "q", "pos": ["a"], "neg": ["b"], "neg_scores": [0.2]}])),
        {("q", "a", 1), ("q", "b", 0)},
        told="'neg_scores' is not read: a teacher's scores, of positives or negatives alone",
    ),
    "a margin beside negatives": Case(
        one("a.jsonl", lines(rows("query", "positive", "negative", score=-2.5))),
        TRIPLES,
        told="'score' is taken as a teacher's scores, for loss=margin_mse and distill_kl",
    ),
    "one JSON array": Case(
        one("a.json", json.dumps(rows("query", "positive", "negative"))), TRIPLES
    ),
    "a JSON array over many lines": Case(
        one("a.json", json.dumps(rows("query", "positive"), indent=2)), PAIRS
    ),
    "a JSON array that ends early": Case(
        one("a.json", '[{"query": "a", "positive": "b"},\n'), refused="a.json line 2, column 1"
    ),
    "objects over many lines": Case(
        one("a.json", "\n".join(json.dumps(row, indent=1) for row in rows("query", "pos"))), PAIRS
    ),
    "rows under one name": Case(
        one("a.json", json.dumps({"version": "1", "data": rows("question", "answer")})), PAIRS
    ),
    "columns of pandas": Case(
        one(
            "a.json",
            json.dumps(
                {
                    "query": {str(n): row[0] for n, row in enumerate(ROWS)},
                    "positive": {str(n): row[1] for n, row in enumerate(ROWS)},
                }
            ),
        ),
        PAIRS,
    ),
    "SQuAD": Case(
        one(
            "a.json",
            json.dumps(
                {
                    "version": "2",
                    "data": [
                        {
                            "title": "t",
                            "paragraphs": [
                                {"context": d, "qas": [{"question": q, "id": "1", "answers": []}]}
                                for q, d, _ in ROWS
                            ],
                        }
                    ],
                }
            ),
        ),
        PAIRS,
    ),
    "LlamaIndex": Case(
        one(
            "a.json",
            json.dumps(
                {
                    "queries": {row["_id"]: row["text"] for row in QUERIES},
                    "corpus": {row["_id"]: row["text"] for row in CORPUS},
                    "relevant_docs": {"q1": ["d1"], "q2": ["d2"]},
                    "mode": "text",
                },
                indent=4,
            ),
        ),
        PAIRS,
    ),
    "NeMo and Nemotron by ids": Case(nemo, PAIRS | {(ROWS[1][0], "b", 0)}),
    "NeMo without its corpus": Case(
        one("a.json", json.dumps({"corpus": [{"path": "/etc"}], "data": []})),
        refused="its documents are in /etc, which is not beside it",
    ),
    "NeMo with a corpus elsewhere": Case(
        files(
            **{
                "in/train.json": json.dumps({"corpus": {"path": "../out"}, "data": []}),
                "out/train.jsonl": lines(CORPUS),
            }
        ),
        refused="its documents are in ../out, which is not beside it",
        inner="in/train.json",
    ),
    "NeMo inline": Case(
        one("a.jsonl", lines([{"question": "q", "pos_doc": {"text": "a"}, "neg_doc": ["b"]}])),
        {("q", "a", 1), ("q", "b", 0)},
    ),
    "DPR": Case(
        one(
            "a.json",
            json.dumps(
                [
                    {
                        "question": "q",
                        "answers": ["x"],
                        "positive_ctxs": [{"title": "t", "text": "a", "score": 1000}],
                        "negative_ctxs": [],
                        "hard_negative_ctxs": [{"title": "", "text": "b"}],
                    }
                ]
            ),
        ),
        {("q", "t a", 1), ("q", "b", 0)},
        told="'answers' is not read",
    ),
    "ms-swift": Case(
        one(
            "a.jsonl",
            lines(
                [
                    {
                        "messages": say(query),
                        "positive_messages": [say(document)],
                        "negative_messages": [say(negative)],
                    }
                    for query, document, negative in ROWS
                ]
            ),
        ),
        TRIPLES,
    ),
    "MS MARCO": Case(
        one(
            "a.jsonl",
            lines(
                [{"query": "q", "passages": {"passage_text": ["a", "b"], "is_selected": [0, 1]}}]
            ),
        ),
        {("q", "a", 0), ("q", "b", 1)},
    ),
    "clicks, a page a row": Case(
        one("a.jsonl", lines(CLICKS)), CLICKED, told="clicks are weak judgments: 1 documents"
    ),
    "clicks, a result a row": Case(
        one("a.csv", "query,shown,clicked,position\nq,a,1,4\nq,b,1,1\nq,c,0,2\n"),
        {("q", "a", 1)},
        told="1 documents clicked often for their place (place r counts r times (position)",
    ),
    "clicks that do not say on what": Case(
        one("a.jsonl", lines([{"query": "q", "shown": ["a"], "clicked": ["z"]}])),
        refused="does not say what was clicked",
    ),
    "saved to disk": Case(saved_by_datasets, PAIRS),
    "a clone from the hub": Case(
        lambda root: (
            files(**{"README.md": "---\nlicense: mit\n---\n", ".gitattributes": "x"})(root),
            parquet(
                "data/train-00000-of-00001.parquet",
                {"query": [r[0] for r in ROWS], "positive": [r[1] for r in ROWS]},
            )(root),
        )[1],
        PAIRS,
    ),
    "several sets in one folder": Case(
        files(
            **{"en/train.jsonl": lines(rows("query", "pos")), "de/train.csv": "query,pos\na,b\n"}
        ),
        refused="holds several data sets (de, en). Give one of them: data=",
    ),
    "BEIR with judgments in jsonl": Case(
        files(**BEIR, **{"qrels/test.jsonl": lines(QRELS)}), PAIRS
    ),
    "judgments in another order": Case(
        files(
            **BEIR,
            **{"qrels/test.tsv": "score\tcorpus-id\tquery-id\n1\td1\tq1\n1\td2\tq2\n"},
        ),
        PAIRS,
    ),
    "BEIR packed on a Mac": Case(
        files(**BEIR, **{"qrels/test.tsv": TSV_QRELS, "qrels/._test.tsv": "\0", ".DS_Store": "x"}),
        PAIRS,
    ),
    "BEIR in capitals": Case(
        files(
            **{
                "CORPUS.JSONL": BEIR["corpus.jsonl"],
                "Queries.JSONL": BEIR["queries.jsonl"],
                "qrels/test.TSV": TSV_QRELS,
            }
        ),
        PAIRS,
    ),
    "BEIR packed": Case(
        files(
            **{
                "corpus.jsonl.gz": gzip.compress(BEIR["corpus.jsonl"].encode()),
                "queries.jsonl": BEIR["queries.jsonl"],
                "qrels.tsv": TSV_QRELS,
            }
        ),
        PAIRS,
    ),
    "BEIR in parquet": Case(
        tables(
            **{"corpus.parquet": CORPUS, "queries.parquet": QUERIES, "qrels/train.parquet": QRELS}
        ),
        PAIRS,
    ),
    "BEIR, a folder for each table": Case(
        tables(
            **{
                "corpus/a-00000-of-00001.parquet": CORPUS,
                "queries/a-00000-of-00001.parquet": QUERIES,
                "data/train-00000-of-00001.parquet": QRELS,
            }
        ),
        PAIRS,
    ),
    "TREC topics and qrels": Case(
        files(
            **{
                "collection.tsv": "d1\thold the button\nd2\tink is in room 2\n",
                "topics.txt": TOPICS,
                "qrels.txt": TREC_QRELS,
            }
        ),
        PAIRS,
        told="of topics the title is the query; desc are not read",
    ),
    "BEIR beside files that are not read": Case(
        files(**BEIR, **{"qrels/test.tsv": TSV_QRELS, "train.jsonl": "{}", "notes.odt": "x"}),
        PAIRS,
        told="1 file .odt not read: notes.odt",
    ),
    "splits of other names": Case(
        files(**{"faq.csv": "query,positive\na,b\n", "export.csv": "query,positive\nc,d\n"}),
        {("a", "b", 1), ("c", "d", 1)},
    ),
    "an archive": Case(one("a.zip", b"PK\x03\x04"), refused="is an archive. Unpack it"),
    "columns named for a folder that has none": Case(
        files(**BEIR, **{"qrels/test.tsv": TSV_QRELS}),
        refused="is a BEIR folder, which has no columns to name",
        options={"query": "text"},
    ),
}


def test_there_are_forty() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_strangers_file_is_read_right_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = case.write(tmp_path) / case.inner
    began = time.process_time()
    try:
        data = load_dataset(str(path), cache_dir=tmp_path / "cache", **case.options)
    except WhetError as error:
        assert case.refused and case.refused in str(error), error
        assert "\n" not in str(error)
    else:
        assert judged(data) == case.pairs
        assert case.told in data.findings.remarks() if case.told else not data.findings.remarks()
    assert time.process_time() - began < MOST_S


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://example.com/set.zip", "is an address, and data are read from files"),
        ("s3://bucket/set", "is an address"),
        ("file:///set/a.jsonl", "is an address"),
        ("hf://datasets/mteb/scifact/corpus.jsonl", "Give the set.s name: mteb/scifact"),
        ("-", "is standard input"),
        ("", "data is empty"),  # and not this folder
    ],
)
def test_an_address_is_no_path(path: str, words: str) -> None:
    with pytest.raises(WhetError, match=words):
        load_dataset(path)
