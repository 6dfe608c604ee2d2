"""Ids as TREC files hold them, whose columns are split at white space."""

from __future__ import annotations

import re
from urllib.parse import quote

from whet.errors import DataError

_SPLITS = re.compile(r"[\s\0]")  # what a reader of columns splits at, and what ends a string in C


def trec_id(text: str) -> str:
    """An id with its white space percent-encoded, and then its % too. DataError for an empty one.

    >>> trec_id("my doc"), trec_id("50%"), trec_id("50% off")
    ('my%20doc', '50%', '50%25%20off')
    """
    if not text:
        raise DataError("an id is empty, which a TREC file cannot hold. Give it a letter.")
    if not _SPLITS.search(text):
        return text
    return re.sub(r"[\s\0%]", lambda match: quote(match[0]), text)


class TrecIds:
    """The ids of a file as they are written in it; DataError where two become the same."""

    def __init__(self) -> None:
        self._encoded: dict[str, str] = {}  # as written, of those with a %: only these may meet

    def __getitem__(self, text: str) -> str:
        name = trec_id(text)
        if "%" in name and self._encoded.setdefault(name, text) != text:
            raise DataError(
                f"the ids {self._encoded[name]!r} and {text!r} are both {name} in a TREC file, "
                "where white space is percent-encoded. Rename one of them."
            )
        return name
