"""The search page as it asks about mined negatives: one query after the other, with the documents
in question and no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.feedback.events.known import marks_for
from whet.feedback.events.store import EventStore
from whet.feedback.learn.versions import Versions
from whet.feedback.serve.session import Session, checked


@dataclass(frozen=True)
class Question:
    """Is this document relevant to this query?"""

    query_id: str
    query: str
    doc_id: str
    score: float
    gap: float


class AuditSession(Session):
    """A session in which a query of the audit finds what is asked about; other words search as
    ever.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        data: Dataset,
        versions: Versions,
        store: EventStore,
        encode: EncodeConfig | None = None,
    ) -> None:
        super().__init__(data, versions, store, encode)
        self._asked: dict[str, list[Question]] = defaultdict(list)
        for question in questions:
            self._asked[question.query.strip()].append(question)

    def search(self, query: str, query_id: str | None, k: int, who: str) -> dict[str, Any]:
        """The documents asked about, in the order of their scores."""
        found = super().search(query, query_id, k, who)
        asked = self._asked.get(checked(query))
        if asked is None:
            return found
        scores = {question.doc_id: question.score for question in asked}
        marks = self._marks(query, who)
        standing = [event for event in found["standing"] if event["doc_id"] in scores]
        results = self._results(list(scores), scores, marks)
        return {**found, "results": results, "found": list(scores), "standing": standing}

    def next_query(self, after: str | None) -> dict[str, Any]:
        """The next query with a document that nobody answered, the likeliest to be relevant
        first.
        """
        answered = {
            (judged.query, doc_id)
            for judged in self._known.now().judged
            for doc_id in (*judged.relevant, *judged.irrelevant)
        }
        skipped = {judged.query for judged in self._known.now().judged if judged.skipped}
        open_ = [
            questions[0]
            for query, questions in self._asked.items()
            if query not in skipped
            and any((query, question.doc_id) not in answered for question in questions)
        ]
        others = [question for question in open_ if question.query_id != after] or open_
        if not others:
            return {"query": None, "query_id": None, "margin": None, "left": 0}
        first = others[0]
        return {
            "query": first.query,
            "query_id": first.query_id,
            "margin": None,
            "left": len(open_),
        }

    def _marks(self, query: str, who: str) -> dict[str, int]:
        return marks_for(self._known.now().of(query), who)
