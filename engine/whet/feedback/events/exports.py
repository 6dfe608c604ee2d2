"""What was judged, as files that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from whet.data.judgments import HEADER
from whet.data.text import text_id
from whet.feedback.events.event import Event
from whet.feedback.events.judgments import Judged, judgments

Texts = Callable[[list[str]], list[str]]  # the texts of document ids


def events_jsonl(events: Iterable[Event]) -> str:
    """Every gesture, one per line, as `whet.feedback.events.store.read_events` takes them."""
    return "".join(event.to_json() + "\n" for event in events)


def qrels_tsv(events: Iterable[Event]) -> str:
    """The marks as BEIR judgments: 1 is relevant, 0 is not.

    A query that was typed, and so has no id, gets one made from its text.
    """
    lines = [
        f"{query_id_of(judged)}\t{doc_id}\t{score}\n"
        for judged in judgments(events)
        for score, ids in ((1, judged.relevant), (0, judged.irrelevant))
        for doc_id in ids
    ]
    return HEADER + "".join(lines)


def pairs_jsonl(events: Iterable[Event], texts: Texts) -> str:
    """Query, positive and, where one was marked, negative texts: rows for any trainer."""
    rows = []
    for judged in judgments(events):
        wrong = texts(judged.irrelevant)
        for number, right in enumerate(texts(judged.relevant)):
            row = {"query": judged.query, "positive": right}
            if wrong:
                row["negative"] = wrong[number % len(wrong)]
            rows.append(row)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def query_id_of(judged: Judged) -> str:
    """The id of a judged query."""
    return judged.query_id or text_id("q", judged.query)
