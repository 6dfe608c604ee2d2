"""What the search page asks for: search, why, the next query, marks kept, versions swapped.

One object, shared by all requests and threads. No request reads a file that it names: what comes
from a page are texts, and ids that are looked up in the tables.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.errors import DataError
from whet.feedback.events import exports
from whet.feedback.events.event import LONGEST_QUERY, Event, event_of
from whet.feedback.events.judgments import order_after
from whet.feedback.events.known import Known, Snapshot, marks_for
from whet.feedback.events.store import EventStore
from whet.feedback.learn.versions import Versions
from whet.feedback.serve.searcher import Searcher
from whet.feedback.serve.unsure import Sureness

MOST_RESULTS = 50
MOST_EXPLAINED = 20  # documents per request
EXPLAIN_S = 2.0  # a request's share of the processor: 20 long documents took half a minute
MOST_EVENTS = 500  # a request
EXCERPT = 1_500  # characters of a result
GLIMPSE = 140  # characters of a document in a comparison


class Session:
    """Search, judgments and versions of one data set."""

    def __init__(
        self,
        data: Dataset,
        versions: Versions,
        store: EventStore,
        encode: EncodeConfig | None = None,
    ) -> None:
        """Open the current version; encodes the corpus where that was not done before."""
        self.data, self.versions = data, versions
        self._store, self._known = store, Known(store)
        self._encode = encode or EncodeConfig()
        self._swap = threading.Lock()
        self._searcher = self._opened(versions.current())
        self._sureness = Sureness(data, self._searcher)

    def search(self, query: str, query_id: str | None, k: int, who: str) -> dict[str, Any]:
        """The best documents of a query, with its earlier marks and moves made again.

        `found` is the order before those, `standing` are they: a page can undo without asking.
        """
        query = checked(query)
        self._check_query_id(query_id)
        self._sureness.hold()
        # Held for the whole search: a new version may be shipped meanwhile.
        searcher, start = self._searcher, time.perf_counter()
        vector = searcher.vectors([query])
        encoded = time.perf_counter()
        scores, rows = searcher.best([query], vector, max(1, min(k, MOST_RESULTS)))
        done = time.perf_counter()
        ids = self.data.corpus.ids_of(rows[0])
        score_of = dict(zip(ids, map(float, scores[0]), strict=True))
        events = self._known.now().of(query)
        known = self._rows(sorted({event.doc_id for event in events if event.doc_id}))
        events = [event for event in events if event.doc_id is None or event.doc_id in known]
        order = order_after(events, ids)
        return {
            "query": query,
            "query_id": query_id,
            "model": searcher.version,
            "results": self._results(order, score_of, marks_for(events, who)),
            "found": ids,
            "standing": [_standing(event) for event in events],
            "ms": {"embed": 1e3 * (encoded - start), "search": 1e3 * (done - encoded)},
        }

    def why(self, query: str, doc_ids: Sequence[str]) -> dict[str, str]:
        """The sentence of each document that is nearest to the query, as it stands in its text.

        After EXPLAIN_S no further document is begun: those left out can be asked for again.
        """
        query = checked(query)
        rows = self._rows(doc_ids[:MOST_EXPLAINED])
        self._sureness.hold()
        searcher = self._searcher
        vector = searcher.vectors([query])
        texts = self.data.corpus.texts(list(rows.values()))
        best: dict[str, str] = {}
        end = time.monotonic() + EXPLAIN_S
        for (doc_id, row), text in zip(rows.items(), texts, strict=True):
            best[doc_id] = searcher.best_sentence(vector, row, text)
            if time.monotonic() > end:
                break
        return best

    def find(self, text: str, k: int) -> list[dict[str, Any]]:
        """Documents for other words: one of them may be what the list lacks."""
        self._sureness.hold()
        searcher, texts = self._searcher, [checked(text)]
        scores, rows = searcher.best(texts, searcher.vectors(texts), max(1, min(k, MOST_RESULTS)))
        ids = self.data.corpus.ids_of(rows[0])
        return self._results(ids, dict(zip(ids, map(float, scores[0]), strict=True)), {})

    def document(self, doc_id: str) -> str:
        """The whole text. DataError if there is no such document."""
        rows = self._rows([doc_id])
        if not rows:
            raise DataError(f"{self.data.path}: has no document {doc_id!r}. Search again.")
        return self.data.corpus.text(rows[doc_id])

    def next_query(self, after: str | None) -> dict[str, Any]:
        """The query to judge next: the least sure one after `after` that nobody judged or skipped.

        `query` is None where none is left; `left` counts those that are.
        """
        done = self._known.now().done()
        order = self._sureness.order()
        texts = self.data.queries.texts(order)
        ids = self.data.queries.ids_of(order)
        start = ids.index(after) + 1 if after in ids else 0
        places = [*range(start, len(ids)), *range(start)]
        open_ = [
            place for place in places if _offered(texts[place]) and texts[place].strip() not in done
        ]
        others = [place for place in open_ if ids[place] != after]
        if not (others or open_):
            return {"query": None, "query_id": None, "margin": None, "left": 0}
        place = (others or open_)[0]
        return {
            "query": texts[place],
            "query_id": ids[place],
            "margin": self._sureness.margin(int(order[place])),
            "left": len(open_),
        }

    def add(self, payload: Sequence[Any]) -> int:
        """Store events as a page gives them; when, and on which model, is ours to say.

        Returns how many were new. DataError if one cannot be: nothing is stored then.
        """
        if len(payload) > MOST_EVENTS:
            raise DataError(
                f"{len(payload)} events at once are too many. Send {MOST_EVENTS} a time."
            )
        now, model = time.time(), self._searcher.name
        events = [
            replace(event_of(record, f"event {number}"), time=now, model=model)
            for number, record in enumerate(payload, 1)
        ]
        for event in events:
            self._check_ids(event)
        return self._store.add(events)

    def counts(self) -> dict[str, int]:
        """How much was judged, in numbers."""
        return self._known.now().counts()

    def export(self, kind: str) -> str:
        """What was judged as a file: "events", "qrels" or "pairs"."""
        known: Snapshot = self._known.now()
        if kind == "qrels":
            return exports.qrels_tsv(known.events)
        if kind == "pairs":
            return exports.pairs_jsonl(known.events, self._texts)
        return exports.events_jsonl(known.events)

    @property
    def offered(self) -> int:
        """How many queries there are to judge."""
        return len(self.data.queries)

    @property
    def version(self) -> int:
        """The version of the model that searches."""
        return self._searcher.version

    def follow(self) -> None:
        """Search with the version that is current in the folder, as another may have shipped one.

        Until the new one is ready the old one searches.
        """
        with self._swap:
            current = self.versions.current()
            if current == self._searcher.version:
                return
            searcher = self._opened(current)
            self._sureness.stop()
            self._searcher = searcher
            self._sureness = Sureness(self.data, searcher)

    def listed(self) -> list[dict[str, Any]]:
        """What is known of each version, oldest first, without its lists of documents."""
        return [
            {name: value for name, value in version.items() if name != "lists"}
            for version in self.versions.all()
        ]

    def described(self, number: int) -> dict[str, Any]:
        """All that is known of a version, with the first words of each document in its lists.

        ConfigError if there is no such version.
        """
        version = self.versions.facts(number)
        lists = version["lists"]
        names = {name for entry in lists for side in ("before", "after") for name in entry[side]}
        rows = self._rows(sorted(names))
        texts = self.data.corpus.texts(list(rows.values()))
        glimpses = {
            name: " ".join(text[: 2 * GLIMPSE].split())[:GLIMPSE]
            for name, text in zip(rows, texts, strict=True)
        }
        return {**version, "texts": glimpses}

    def close(self) -> None:
        """Measure no further and give the store back."""
        self._sureness.stop()
        self._store.close()

    def _opened(self, version: int) -> Searcher:
        return Searcher(version, self.versions.open(version), self.data, self._encode)

    def _results(
        self, ids: list[str], score_of: dict[str, float], marks: dict[str, int]
    ) -> list[dict[str, Any]]:
        texts = self.data.corpus.texts(self.data.corpus.rows_of(ids))
        return [
            {
                "doc_id": doc_id,
                "rank": rank,
                "score": score_of.get(doc_id),
                "text": text[:EXCERPT],
                "more": len(text) > EXCERPT,
                "mark": marks.get(doc_id, 0),
            }
            for rank, (doc_id, text) in enumerate(zip(ids, texts, strict=True), 1)
        ]

    def _rows(self, ids: Sequence[str]) -> dict[str, int]:
        """The rows of those documents that there are."""
        rows = self.data.corpus.rows_of(ids)
        return {doc_id: int(row) for doc_id, row in zip(ids, rows, strict=True) if row >= 0}

    def _texts(self, ids: list[str]) -> list[str]:
        return self.data.corpus.texts(list(self._rows(ids).values()))

    def _check_query_id(self, query_id: str | None) -> None:
        if query_id is not None and self.data.queries.rows_of([query_id])[0] < 0:
            raise DataError(f"{self.data.path}: has no query {query_id!r}. Leave query_id out.")

    def _check_ids(self, event: Event) -> None:
        """No id that the data lack is stored: exports would carry it on."""
        self._check_query_id(event.query_id)
        names = [result.doc_id for result in event.shown]
        names += [event.doc_id] if event.doc_id is not None else []
        lost = set(names) - set(self._rows(names))
        if lost:
            raise DataError(f"{self.data.path}: has no document {min(lost)!r}. Search again.")


def _offered(query: str) -> bool:
    """Whether a query of the data can be searched for and marked here."""
    return len(query.strip()) <= LONGEST_QUERY


def checked(query: str) -> str:
    """A query as it can be searched for. DataError if it is empty or too long."""
    query = query.replace("\0", "").encode("utf-8", "replace").decode().strip()
    if not query:
        raise DataError("The query is empty. Type what you look for.")
    if len(query) > LONGEST_QUERY:
        raise DataError(
            f"The query has {len(query):,} characters. Shorten it to {LONGEST_QUERY:,}."
        )
    return query


def _standing(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "action": event.action,
        "doc_id": event.doc_id,
        "place": event.place,
        "who": event.who,
    }
