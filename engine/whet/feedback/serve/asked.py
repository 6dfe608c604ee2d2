"""The search page as it asks for judgments of some queries first: those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.feedback.events.event import LONGEST_QUERY
from whet.feedback.events.store import EventStore
from whet.feedback.learn.versions import Versions
from whet.feedback.serve.session import Session


class AskedSession(Session):
    """A session whose next query is the next of a list; then, as ever, one of the data."""

    def __init__(
        self,
        asked: Sequence[str],
        data: Dataset,
        versions: Versions,
        store: EventStore,
        encode: EncodeConfig | None = None,
    ) -> None:
        super().__init__(data, versions, store, encode)
        fitting = (query.strip() for query in asked)
        self._asked = [query for query in dict.fromkeys(fitting) if len(query) <= LONGEST_QUERY]
        self._place = -1  # of the query that was offered last

    @property
    def offered(self) -> int:
        """How many queries there are to judge."""
        return len(self._asked) + super().offered

    def next_query(self, after: str | None) -> dict[str, Any]:
        """The next of the list that nobody judged or skipped, round and round; where none is left,
        of the data.
        """
        done = self._known.now().done()
        places = [*range(self._place + 1, len(self._asked)), *range(self._place + 1)]
        open_ = [place for place in places if self._asked[place] not in done]
        if not open_:
            return super().next_query(after)
        self._place = open_[0]
        query = self._asked[self._place]
        return {"query": query, "query_id": None, "margin": None, "left": len(open_)}
