"""Negatives in the files other tools read: sentence-transformers, FlagEmbedding, Tevatron, NeMo,
ms-swift, TREC.

Every file is whole or absent. Rows a format cannot hold are left out, counted and told.

Shape suffixes: R rows of negatives, K negatives per row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from whet.data.text import TrecIds
from whet.errors import ConfigError
from whet.progress import say
from whet.storage.commit import whole_file
from whet.types import Negatives, Positives, Texts

BLOCK = 4096  # rows of texts in memory at a time


@dataclass(frozen=True)
class ExportRow:
    """One row of negatives, resolved to rows of the tables."""

    query: int
    positives: np.ndarray
    positive: np.ndarray  # those this row is for: all, or with reference=each the one
    negatives: np.ndarray
    scores: np.ndarray
    positive_score: float


@dataclass(frozen=True)
class Export:
    """The rows a format can hold, and the tables they are of."""

    rows: list[ExportRow]
    queries: Texts
    corpus: Texts
    width: int


def export_negatives(
    folder: Path,
    name: str,
    negatives: Negatives,
    *,
    queries: Texts,
    corpus: Texts,
    positives: Positives,
) -> list[Path]:
    """Write negatives in the named format into a folder; gives the files.

    Formats: sentence-transformers, flagembedding, tevatron, nemo, ms-swift, trec. `query_rows_R`
    are rows of `queries` and of `positives`. Says how many rows were left out and why.
    """
    check_formats([name])
    writer, full = FORMATS[name]
    width = negatives.doc_rows_RK.shape[1]
    least = width if full else 1
    rows = list(_rows(negatives, positives))
    held = [row for row in rows if len(row.negatives) >= least and len(row.positives)]
    if len(held) < len(rows):
        say(
            f"{name}: {len(rows) - len(held):,} of {len(rows):,} rows left out: the format needs a "
            f"positive and {least} negatives in each. mining.on_short=random fills short rows."
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    return writer(Path(folder), Export(held, queries, corpus, width))


def check_formats(formats: Sequence[str]) -> None:
    """ConfigError for no format or an unknown one."""
    if not formats:
        raise ConfigError(f"formats is empty. Name at least one of {', '.join(FORMATS)}.")
    for name in formats:
        if name not in FORMATS:
            near = get_close_matches(name, FORMATS, 1)
            hint = f"Did you mean {near[0]}? It takes" if near else "Choose from"
            raise ConfigError(f"formats={name} is not known. {hint} {', '.join(FORMATS)}.")


def _rows(negatives: Negatives, positives: Positives) -> Iterator[ExportRow]:
    """Rows in order; of several of a query the n-th is for its n-th positive (each)."""
    _, first, count = np.unique(negatives.query_rows_R, return_index=True, return_counts=True)
    several = {int(negatives.query_rows_R[i]): i for i in first[count > 1]}
    for r, kept in enumerate(negatives.found_R.tolist()):
        query = int(negatives.query_rows_R[r])
        every = positives.of(query)
        own = every[r - several[query] : r - several[query] + 1] if query in several else every
        yield ExportRow(
            query,
            every,
            own,
            negatives.doc_rows_RK[r, :kept],
            negatives.scores_RK[r, :kept],
            float(negatives.positive_scores_R[r]),
        )


def sentence_transformers(folder: Path, export: Export) -> list[Path]:
    """Parquet columns `anchor, positive, negative_1 ... negative_n`, one row for each positive."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["anchor", "positive", *(f"negative_{i + 1}" for i in range(export.width))]
    schema = pa.schema([(name, pa.string()) for name in names])
    path = folder / "sentence_transformers.parquet"
    with whole_file(path) as draft, pq.ParquetWriter(draft, schema) as writer:
        for start in range(0, len(export.rows), BLOCK):
            records = [
                [*export.queries.texts([row.query]), positive, *export.corpus.texts(row.negatives)]
                for row in export.rows[start : start + BLOCK]
                for positive in export.corpus.texts(row.positive)
            ]
            columns = [pa.array(column, pa.string()) for column in zip(*records, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return [path]


def flag_embedding(folder: Path, export: Export) -> list[Path]:
    """Jsonl `query, pos[], neg[], pos_scores[], neg_scores[]`; each positive's score is the row's
    s+.
    """
    records = (
        {
            "query": export.queries.texts([row.query])[0],
            "pos": export.corpus.texts(row.positive),
            "neg": export.corpus.texts(row.negatives),
            "pos_scores": [row.positive_score] * len(row.positive),
            "neg_scores": row.scores.tolist(),
        }
        for row in export.rows
    )
    return [_write_jsonl(folder / "flag_embedding.jsonl", records)]


def tevatron(folder: Path, export: Export) -> list[Path]:
    """Jsonl `query_id, query, positive_passages, negative_passages`, as the release 0.1.0 and the
    version 2 of its repository read it, and the whole corpus to encode.
    """

    def passages(docs: np.ndarray) -> list[dict[str, str]]:
        return list(_documents(export.corpus, docs))

    records = (
        {
            "query_id": export.queries.ids_of([row.query])[0],
            "query": export.queries.texts([row.query])[0],
            "positive_passages": passages(row.positive),
            "negative_passages": passages(row.negatives),
        }
        for row in export.rows
    )
    blocks = range(0, len(export.corpus), BLOCK)
    corpus = (
        document
        for start in blocks
        for document in passages(np.arange(start, min(start + BLOCK, len(export.corpus))))
    )
    return [
        _write_jsonl(folder / "tevatron.jsonl", records),
        _write_jsonl(folder / "tevatron_corpus.jsonl", corpus),
    ]


def _documents(corpus: Texts, docs: np.ndarray) -> Iterator[dict[str, str]]:
    for docid, text in zip(corpus.ids_of(docs), corpus.texts(docs), strict=True):
        yield {"docid": docid, "text": text}


def nemo(folder: Path, export: Export) -> list[Path]:
    """JSON of ids (question_id, question, pos_doc, neg_doc), and a folder with the corpus, as NeMo
    and Nemotron's recipes read them; the folder is named relative to the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    corpus = folder / "nemo_corpus"
    corpus.mkdir(exist_ok=True)
    about = {"class": "TextQADataset", "corpus_id": corpus.name}
    metadata = _write_lines(corpus / "merlin_metadata.json", [json.dumps(about)])
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    table = corpus / "train.parquet"
    with whole_file(table) as draft, pq.ParquetWriter(draft, schema) as writer:
        for start in range(0, len(export.corpus), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(export.corpus)))
            columns = [export.corpus.ids_of(rows), export.corpus.texts(rows)]
            arrays = [pa.array(column, pa.string()) for column in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    data = [
        {
            "question_id": export.queries.ids_of([row.query])[0],
            "question": export.queries.texts([row.query])[0],
            "corpus_id": corpus.name,
            "pos_doc": [{"id": id_} for id_ in export.corpus.ids_of(row.positive)],
            "neg_doc": [{"id": id_} for id_ in export.corpus.ids_of(row.negatives)],
        }
        for row in export.rows
    ]
    whole = {"corpus": [{"path": corpus.name}], "data": data}
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    return [_write_lines(folder / "nemo.json", [text]), metadata, table]


def ms_swift(folder: Path, export: Export) -> list[Path]:
    """Jsonl `messages, positive_messages, negative_messages`: each text is what a user says."""

    def turn(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    records = (
        {
            "messages": turn(export.queries.texts([row.query])[0]),
            "positive_messages": [turn(text) for text in export.corpus.texts([positive])],
            "negative_messages": [turn(text) for text in export.corpus.texts(row.negatives)],
        }
        for row in export.rows
        for positive in row.positive.tolist()
    )
    return [_write_jsonl(folder / "ms_swift.jsonl", records)]


def trec(folder: Path, export: Export) -> list[Path]:
    """A run of the negatives (`qid Q0 docid rank score tag`) and qrels of the positives.

    With reference=each a query's rows are merged. White space in ids is percent-encoded.
    """
    scored: dict[int, dict[int, float]] = {}
    positives: dict[int, np.ndarray] = {}
    for row in export.rows:
        scores_of_query = zip(row.negatives.tolist(), row.scores.tolist(), strict=True)
        scored.setdefault(row.query, {}).update(scores_of_query)
        positives[row.query] = row.positives

    def names(table: Texts) -> Callable[[int], str]:
        written = TrecIds()
        return lambda row: written[table.ids_of([row])[0]]

    def run() -> Iterator[str]:
        query_name, doc_name = names(export.queries), names(export.corpus)
        for query, scores_of_query in scored.items():
            ranked = sorted(scores_of_query.items(), key=lambda pair: (-pair[1], pair[0]))
            qid = query_name(query)
            for rank, (doc, score) in enumerate(ranked, 1):
                # !r writes the shortest digits that give the same number again.
                yield f"{qid} Q0 {doc_name(doc)} {rank} {score!r} whet-mine"

    def qrels() -> Iterator[str]:
        query_name, doc_name = names(export.queries), names(export.corpus)
        for query, docs in positives.items():
            for doc in docs.tolist():
                yield f"{query_name(query)} 0 {doc_name(doc)} 1"

    return [
        _write_lines(folder / "negatives.run", run()),
        _write_lines(folder / "positives.qrels", qrels()),
    ]


def _write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    return _write_lines(path, (json.dumps(record, ensure_ascii=False) for record in records))


def _write_lines(path: Path, lines: Iterable[str]) -> Path:
    with whole_file(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
    return path


# The writer of each format, and whether it needs every row full.
FORMATS: dict[str, tuple[Callable[[Path, Export], list[Path]], bool]] = {
    "sentence-transformers": (sentence_transformers, True),
    "flagembedding": (flag_embedding, False),
    "tevatron": (tevatron, False),
    "nemo": (nemo, False),
    "ms-swift": (ms_swift, False),
    "trec": (trec, False),
}
