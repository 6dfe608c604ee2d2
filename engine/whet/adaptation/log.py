"""A log of queries that people asked, without judgments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from whet.config import AdaptConfig
from whet.data.load import Dataset, open_dataset, refuse_pictures
from whet.data.text import WORD, normalise
from whet.encoding.lengths import tell_cut_documents
from whet.errors import DataError
from whet.evaluation.lexical import check_installed
from whet.feedback.events.query_file import read_queries
from whet.model.folder import find_folder
from whet.printable import printable
from whet.progress import say
from whet.run.early import check_device

FEWEST_WORDS, MOST_WORDS = 3, 32
MOST_QUERIES = 10_000


@dataclass(frozen=True)
class QueryLog:
    """Queries as they were asked, each once, and how many were left out why."""

    queries: list[str]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def digest(self) -> str:
        """The SHA-256 of the queries, which says no word of them."""
        return sha256("\0".join(self.queries).encode()).hexdigest()

    def __str__(self) -> str:
        dropped = "; ".join(f"{count:,} {why}" for why, count in self.left_out.items())
        return f"{len(self):,} queries" + (f" (left out: {dropped})" if dropped else "")


def read_log(path: str, *, seed: int = 0) -> QueryLog:
    """The log in a file of queries: txt, csv, tsv or jsonl. Raises what `read_queries` raises."""
    return log_of(read_queries(path), seed=seed)


def data_and_log(config: AdaptConfig) -> tuple[Dataset, QueryLog]:
    """What an adaptation is given; and what else can be refused before a model is loaded.

    Raises ConfigError, DataError or EnvironmentRefused.
    """
    check_installed()
    data = open_dataset(config.data)
    refuse_pictures(data, "whet adapt")
    if not len(data.corpus):
        raise DataError(f"{printable(data.path)} holds no documents. Nothing to search.")
    log = log_given(config.queries, data, seed=config.seed)
    check_device(config.encode)
    find_folder(config.model)
    tell_cut_documents(data, config.model)
    return data, log


def log_given(path: str | None, data: Dataset, *, seed: int) -> QueryLog:
    """The log in a file, or else the queries of the data that nobody judged; told, where there is
    one.
    """
    log = log_of(unjudged_queries(data), seed=seed) if path is None else read_log(path, seed=seed)
    if len(log) or log.left_out:
        whose = "the data, which nobody judged" if path is None else path
        say(f"The log: {log} of {printable(whose)}.")
    return log


def unjudged_queries(data: Dataset) -> list[str]:
    """The texts of the data's queries that no split judges."""
    judged = [qrels.query_rows for qrels in data.splits.values()]
    rows = np.setdiff1d(np.arange(len(data.queries)), np.concatenate([*judged, np.empty(0, int)]))
    return data.queries.texts(rows)


def log_of(texts: Sequence[str], *, seed: int = 0) -> QueryLog:
    """A log of texts: equal ones once (but for capitals), those of 3 to 32 words, at most 10,000,
    drawn by seed where there are more.
    """
    left_out, kept = Counter[str](), dict[str, str]()
    for text in texts:
        words = sum(1 for _ in WORD.finditer(text))
        if words < FEWEST_WORDS:
            left_out[f"of fewer than {FEWEST_WORDS} words"] += 1
        elif words > MOST_WORDS:
            left_out[f"of more than {MOST_WORDS} words"] += 1
        elif (key := normalise(text)) in kept:
            left_out["asked before"] += 1
        else:
            kept[key] = " ".join(text.split())
    queries = list(kept.values())
    if len(queries) > MOST_QUERIES:
        left_out[f"beyond {MOST_QUERIES:,}, drawn at random"] = len(queries) - MOST_QUERIES
        drawn = np.random.default_rng(seed).permutation(len(queries))[:MOST_QUERIES]
        queries = [queries[int(place)] for place in np.sort(drawn)]
    return QueryLog(queries, dict(left_out))
