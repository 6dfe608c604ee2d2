"""How many documents a model is judged on: all, or a pool (`evaluate.pool`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whet.config import EvaluateConfig
from whet.errors import ConfigError
from whet.evaluation.lexical import check_installed
from whet.printable import printable
from whet.types import Qrels

WHOLE = 1_000_000  # documents up to which auto judges on all
USUAL = 50_000  # documents of the pool that auto takes for more


@dataclass(frozen=True)
class PoolSize:
    """A pool's documents, and those of the corpus that it is of.

    >>> str(PoolSize(20_000, 150_000)), PoolSize(20_000, 150_000).of_all
    ('a pool of 20,000', 'a pool of 20,000 of the 150,000 documents')
    """

    documents: int
    of: int

    def __str__(self) -> str:
        return f"a pool of {self.documents:,}"

    @property
    def of_all(self) -> str:
        """With the size of the corpus."""
        return f"{self} of the {self.of:,} documents"

    @property
    def share(self) -> str:
        """As a share of them.

        >>> PoolSize(30_000, 150_000).share
        '30,000 of the 150,000 documents (20%)'
        """
        return f"{self.documents:,} of the {self.of:,} documents ({self.documents / self.of:.0%})"


def recorded_pool(record: Any) -> PoolSize | None:
    """The pool that a comparison's record names; None where it names none, or no numbers."""
    if not isinstance(record, Mapping) or set(record) != {"documents", "of"}:
        return None
    return PoolSize(**record) if all(type(one) is int for one in record.values()) else None


def pool_size(pool: str, documents: int) -> int | None:
    """How many of so many documents are judged on, None for all. ConfigError for what is neither
    auto, all nor a number.

    >>> pool_size("auto", 10_000), pool_size("auto", 2_000_000), pool_size("20000", 10_000)
    (None, 50000, None)
    """
    if pool == "all":
        return None
    if pool == "auto":
        return None if documents <= WHOLE else USUAL
    if not (str(pool).isascii() and str(pool).isdigit() and int(pool) > 0):
        raise ConfigError(
            f"evaluate.pool={printable(pool)} is not known. Give auto, all, or a number of "
            "documents such as 20000."
        )
    return int(pool) if int(pool) < documents else None


def check_pool(config: EvaluateConfig, judged: Qrels, documents: int) -> None:
    """Refuse a pool without room for the judged documents (ConfigError), or without the packages
    that find the others (EnvironmentRefused), before anything is encoded.
    """
    size = pool_size(config.pool, documents)
    if size is None:
        return
    check_installed()
    needed = len(set(judged.doc_rows_M.tolist()))
    if needed >= size:
        raise ConfigError(
            f"evaluate.pool={config.pool} has no room: {needed:,} documents are judged, and all of "
            "them are in it, beside others to tell them from. Give several times as many, or all."
        )
