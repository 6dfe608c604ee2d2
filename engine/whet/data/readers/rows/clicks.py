"""Click logs: what was shown for a query, at which place, and what was clicked.

A click is a weak judgment, and what stands higher is clicked more. So a click counts as many times
as its place says it would be missed: place r is looked at with odds of 1 in r (Joachims,
Swaminathan and Schnabel, WSDM 2017, with eta 1). A document's rate is its counted clicks per time
it was shown; it is relevant if that is at least half the best rate of its query. One that was
clicked less than that is not judged. One that was never clicked and stood above a click was passed
over (Joachims, KDD 2002): not relevant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.records import Reading, Record
from whet.data.readers.rows.columns import QUERY_NAMES, plain
from whet.data.readers.rows.pairs import Rows, judged

SHOWN = ("shown", "results", "impressions", "displayed", "shown_text", "document_shown")
CLICKED = ("clicked", "clicks", "click", "is_clicked", "was_clicked")
PLACE = ("position", "rank", "place", "pos")
_HALF = 0.5


@dataclass(frozen=True)
class ClickColumns:
    """The columns of a click log; without a place the order of what is shown is it."""

    query: str
    shown: str
    clicked: str
    place: str | None

    @property
    def read(self) -> set[str]:
        """The columns that are read."""
        return {self.query, self.shown, self.clicked, *filter(None, [self.place])}


@dataclass
class _Seen:
    """One document for one query: times shown, clicks corrected for place, times passed over."""

    place: int
    shown: int = 0
    clicks: float = 0.0
    passed_over: int = 0


def click_columns(columns: Sequence[str]) -> ClickColumns | None:
    """The columns of a click log by their names; None where it is none."""

    def known(names: Sequence[str]) -> str | None:
        return next((c for name in names for c in columns if plain(c) == name), None)

    query, clicked, place = known(QUERY_NAMES), known(CLICKED), known(PLACE)
    shown = known((*SHOWN, "document", "doc", "text", "passage", "result")) if clicked else None
    if query is None or shown is None or clicked is None:
        return None
    return ClickColumns(query, shown, clicked, place)


def click_records(
    rows: Rows, columns: ClickColumns, split: str, reading: Reading, where: str
) -> Iterator[Record]:
    """Texts and judgments of a click log: a row for each page of results (lists of what was shown
    and clicked), or one for each result (clicked is 0 or 1). Says how many clicks became what.
    """
    log: dict[str, dict[str, _Seen]] = defaultdict(dict)
    for place, row in rows:
        query = row.get(columns.query)
        if reading.usable(query, place, repr(columns.query)):
            page = _page(row, columns, reading, place)
            if page is not None:
                _count(log[str(query)], page, place)
    relevant = left = passed = 0
    for query, seen in log.items():
        best = max((one.clicks / one.shown for one in seen.values()), default=0.0)
        graded = []
        for text, one in seen.items():
            if one.clicks and one.clicks / one.shown >= _HALF * best:
                graded.append((text, 1))
            elif not one.clicks and one.passed_over:
                graded.append((text, 0))
            left += bool(one.clicks and one.clicks / one.shown < _HALF * best)
        if any(relevance for _, relevance in graded):
            relevant += sum(relevance for _, relevance in graded)
            passed += sum(not relevance for _, relevance in graded)
            yield from judged(query, graded, split, next(iter(seen.values())).place)
    way = f"place r counts r times ({columns.place})" if columns.place else "place r counts r times"
    reading.findings.add(
        "clicks as judgments",
        where,
        f"clicks are weak judgments: {relevant:,} documents clicked often for their place "
        f"({way}) are relevant, {left:,} clicked less are not judged, {passed:,} passed over above "
        "a click are not relevant",
    )


def _page(
    row: dict[str, Any], columns: ClickColumns, reading: Reading, place: int
) -> list[tuple[str, int, bool]] | None:
    """(text, place from 1, clicked) of what a row shows; None where it cannot be told."""
    shown, clicked = row.get(columns.shown), row.get(columns.clicked)
    if isinstance(shown, list):
        if not all(reading.usable(text, place, f"a text of {columns.shown!r}") for text in shown):
            return None
        chosen = _chosen(shown, clicked)
        if chosen is not None:
            return [(text, n, n - 1 in chosen) for n, text in enumerate(shown, 1)]
    elif reading.usable(shown, place, repr(columns.shown)):
        was, at = _flag(clicked), _place(row.get(columns.place) if columns.place else 1)
        if was is not None and at is not None:
            return [(str(shown), at, was)]
    else:
        return None
    what = f"{columns.clicked} {excerpt(clicked)} does not say what was clicked"
    if columns.place and not isinstance(shown, list):
        what += f", or {columns.place} {excerpt(row.get(columns.place))} is no place from 1"
    reading.add("bad judgment", place, what)
    return None


def _chosen(shown: list[str], clicked: Any) -> set[int] | None:
    """Which of the list were clicked: given as texts, as 0 and 1 for each, or as numbers from 0."""
    if clicked is None:
        return set()
    one = clicked if isinstance(clicked, list) else [clicked]
    if all(isinstance(item, str) for item in one):
        return {shown.index(item) for item in one} if set(one) <= set(shown) else None
    flags = [_flag(item) for item in one]
    if len(one) == len(shown) > 1 and None not in flags:
        return {number for number, flag in enumerate(flags) if flag}
    if all(isinstance(item, int) and 0 <= item < len(shown) for item in one):
        return set(one)
    return None


def _flag(value: Any) -> bool | None:
    words = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}
    return words.get(str(value).strip().lower().removesuffix(".0"))


def _place(value: Any) -> int | None:
    try:
        number = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        return None
    return number if number >= 1 else None


def _count(seen: dict[str, _Seen], page: list[tuple[str, int, bool]], place: int) -> None:
    lowest = max((at for _, at, clicked in page if clicked), default=0)
    for text, at, clicked in page:
        one = seen.setdefault(text, _Seen(place))
        one.shown += 1
        one.clicks += at if clicked else 0.0
        one.passed_over += not clicked and at < lowest
