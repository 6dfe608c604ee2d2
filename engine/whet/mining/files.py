"""Negatives on disk: one parquet file that says what made it, whole or absent.

Columns `query_id, positive_ids, negative_ids, scores, ranks, positive_score`, a row of negatives
each; the file's metadata holds, under the key `whet`, the resolved policy, the model's fingerprint
and the dataset's digest as JSON.

Shape suffixes: R rows of negatives, K negatives per row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whet.config import MiningConfig
from whet.errors import DataError
from whet.storage.commit import whole_file
from whet.types import Negatives, Positives, Texts

if TYPE_CHECKING:
    from whet.mining.miner import Mined

FORMAT = 1
KEY = b"whet"


def write_negatives(
    path: Path,
    mined: Mined,
    *,
    queries: Texts,
    corpus: Texts,
    positives: Positives,
    model: str,
    data: str,
) -> None:
    """Write negatives whose `query_rows_R` are rows of `queries` and of `positives`.

    `model` is the fingerprint of the encoder that mined them, `data` the digest of the data set.
    """
    negatives = mined.negatives
    # The file has lists as long as they are; the padding is put back by the reader.
    found_RK = negatives.doc_rows_RK >= 0
    offsets_R1 = np.concatenate([[0], np.cumsum(negatives.found_R)]).astype(np.int32)
    of_rows = positives.take(negatives.query_rows_R)

    def lists(offsets: np.ndarray, values: Any, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))

    table = pa.table(
        {
            "query_id": pa.array(queries.ids_of(negatives.query_rows_R), pa.string()),
            "positive_ids": lists(
                of_rows.offsets_Q1, corpus.ids_of(of_rows.doc_rows_P), pa.string()
            ),
            "negative_ids": lists(
                offsets_R1, corpus.ids_of(negatives.doc_rows_RK[found_RK]), pa.string()
            ),
            "scores": lists(offsets_R1, negatives.scores_RK[found_RK], pa.float32()),
            "ranks": lists(offsets_R1, negatives.ranks_RK[found_RK], pa.int64()),
            "positive_score": pa.array(negatives.positive_scores_R, pa.float32()),
        }
    )
    facts = {
        "format": FORMAT,
        "width": negatives.doc_rows_RK.shape[1],
        "policy": mined.report.policy,
        "model": model,
        "data": data,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        described = table.replace_schema_metadata({KEY: json.dumps(facts).encode()})
        # A checksum a page: a flipped bit is refused, not trained on.
        pq.write_table(described, draft, write_page_checksum=True)


def read_policy(path: Path) -> MiningConfig:
    """The policy a file's negatives were mined under. DataError if it is another file."""
    return MiningConfig(**_facts(Path(path))["policy"])


def read_negatives(
    path: Path,
    *,
    queries: Texts,
    corpus: Texts,
    model: str | None = None,
    data: str | None = None,
) -> Negatives:
    """The negatives of a file, as rows of `queries` and `corpus`.

    DataError if `model` or `data` is given and another one made them, or if an id is not in the
    tables.
    """
    path = Path(path)
    facts = _facts(path)
    for name, expected in (("model", model), ("data", data)):
        # Ids alone would fit another model's negatives as well.
        if expected is not None and facts[name] != expected:
            raise DataError(
                f"{path}: these negatives are of {name} {facts[name][:12]}, not of "
                f"{expected[:12]}. "
                "Mine again (whet mine), or read them with what they were mined with."
            )
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}). Restore it, or mine again.") from error
    count, width = len(table), facts["width"]
    found_R = table["negative_ids"].combine_chunks().value_lengths().to_numpy()
    found_RK = np.arange(width) < found_R[:, None]
    rows_RK = np.full((count, width), -1, np.int64)
    scores_RK = np.full((count, width), np.nan, np.float32)
    ranks_RK = np.full((count, width), -1, np.int64)
    rows_RK[found_RK] = _rows(path, corpus, _flat(table, "negative_ids").to_pylist(), "corpus")
    scores_RK[found_RK] = _flat(table, "scores").to_numpy()
    ranks_RK[found_RK] = _flat(table, "ranks").to_numpy()
    query_rows_R = _rows(path, queries, table["query_id"].to_pylist(), "queries")
    positive_R = table["positive_score"].to_numpy().astype(np.float32)
    return Negatives(query_rows_R, rows_RK, scores_RK, ranks_RK, positive_R)


def _flat(table: pa.Table, column: str) -> pa.Array:
    return table[column].combine_chunks().flatten()


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[KEY])
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not a file of negatives ({error}). Mine again: whet mine."
        ) from error
    if facts.get("format") != FORMAT:
        raise DataError(
            f"{path}: format {facts.get('format')}, this version reads {FORMAT}. Mine again: "
            "whet mine."
        )
    return facts


def _rows(path: Path, table: Texts, ids: list[str], name: str) -> np.ndarray:
    rows_M = table.rows_of(ids)
    unknown = np.flatnonzero(rows_M < 0)
    if len(unknown):
        raise DataError(
            f"{path}: {len(unknown):,} ids are not in the {name} ({len(table):,} rows), the "
            f"first {ids[unknown[0]]!r}. "
            "Mine again: whet mine."
        )
    return rows_M
