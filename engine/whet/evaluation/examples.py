"""Queries that won and lost most, with the texts or pictures a person needs to see why."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from whet.evaluation.comparison import differences
from whet.evaluation.judge import Evaluation
from whet.evaluation.significance import TIE
from whet.evaluation.trec import Judgments, Run
from whet.storage.pictures import thumbnail
from whet.types import Item, Texts

TEXT_LIMIT = (
    2_000  # characters of a text that are kept: examples are to be read, and the report stays small
)
PICTURE_EDGE = 96  # pixels of a picture that is kept
RELEVANT_LIMIT = 5  # relevant documents shown per query, highest grade first


def changed_queries(
    base: Evaluation,
    tuned: Evaluation,
    judgments: Judgments,
    *,
    queries: Texts,
    corpus: Texts,
    measure: str,
    count: int = 10,
    top: int = 5,
) -> dict[str, list[dict[str, Any]]]:
    """The `count` biggest wins and losses under `measure`, biggest first, ready for JSON.

    Each holds the query, both scores, its relevant documents with their rank before and after (from
    1; None when not retrieved) and the `top` documents of both runs. Queries that did not change
    are never shown.
    """
    before, after = base.scores.per_query[measure], tuned.scores.per_query[measure]
    change = differences(before, after)
    # Ties by id, so that the same run always shows the same examples.
    won = sorted((query for query in change if change[query] > TIE), key=lambda q: (-change[q], q))[
        :count
    ]
    lost = sorted(
        (query for query in change if change[query] < -TIE), key=lambda q: (change[q], q)
    )[:count]

    def example(query_id: str) -> dict[str, Any]:
        grades = judgments.get(query_id, {})
        return {
            "query_id": query_id,
            **_queried(queries, query_id),
            "measure": measure,
            "base": before[query_id],
            "tuned": after[query_id],
            "difference": change[query_id],
            "relevant": _relevant(query_id, grades, base.run, tuned.run, corpus),
            "relevant_total": sum(grade > 0 for grade in grades.values()),
            "before": _top(base.run.get(query_id, {}), grades, corpus, top),
            "after": _top(tuned.run.get(query_id, {}), grades, corpus, top),
        }

    return {"won": [example(query) for query in won], "lost": [example(query) for query in lost]}


def _relevant(
    query_id: str, grades: Mapping[str, int], base: Run, tuned: Run, corpus: Texts
) -> list[dict[str, Any]]:
    """The relevant documents, highest grade first, and where each system put them."""
    docs = sorted((doc for doc in grades if grades[doc] > 0), key=lambda doc: (-grades[doc], doc))
    docs = docs[:RELEVANT_LIMIT]
    shown = _shown(corpus, docs)
    ranks = [_ranks(run.get(query_id, {})) for run in (base, tuned)]
    return [
        {
            "id": doc,
            **shown[doc],
            "relevance": grades[doc],
            "rank_base": ranks[0].get(doc),
            "rank_tuned": ranks[1].get(doc),
        }
        for doc in docs
    ]


def _ranks(scores: Mapping[str, float]) -> dict[str, int]:
    """Ranks from 1; a run is kept best first."""
    return {doc: rank for rank, doc in enumerate(scores, start=1)}


def _top(
    scores: Mapping[str, float], grades: Mapping[str, int], corpus: Texts, top: int
) -> list[dict[str, Any]]:
    docs = list(scores)[:top]
    shown = _shown(corpus, docs)
    return [
        {
            "rank": rank,
            "id": doc,
            **shown[doc],
            "score": scores[doc],
            "relevant": grades.get(doc, 0) > 0,
        }
        for rank, doc in enumerate(docs, start=1)
    ]


def _queried(queries: Texts, query_id: str) -> dict[str, str]:
    shown = _shown(queries, [query_id])[query_id]
    return {"query": shown.pop("text"), **shown}


def _shown(table: Texts, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Ids to what is seen of them: the text, a long one cut, and of a picture a small one, as an
    address that holds it.
    """
    items = table.items(table.rows_of(ids)) if ids else []
    return dict(zip(ids, map(_seen, items), strict=True))


def _seen(item: Item) -> dict[str, str]:
    text = item if isinstance(item, str) else item.text
    cut = text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
    if isinstance(item, str):
        return {"text": cut}
    picture = b64encode(thumbnail(item.payload, PICTURE_EDGE)).decode()
    return {"text": cut, "picture": f"data:image/jpeg;base64,{picture}"}
