"""A log of queries that people asked, without judgments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from whet.data.text import WORD, normalise
from whet.feedback.events.query_file import read_queries

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
