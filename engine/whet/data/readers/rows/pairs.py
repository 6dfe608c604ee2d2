"""Rows of pairs and triplets as queries, documents and judgments, with ids made from the texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.records import Judgment, Reading, Record, TeacherScore, Text
from whet.data.readers.rows.columns import Roles, plain
from whet.data.readers.values import text_of, whole_number
from whet.data.text import text_id

Rows = Iterable[tuple[int, dict[str, Any]]]
Grade = Callable[[object], "int | None"]
Sides = tuple[list[float], list[float]]  # of positives, of negatives

MOST_CLASSES = 20
_NOT = ("not_", "non_", "not", "no_", "in", "ir", "un")
_YES_OR_NO = {"false": 0, "no": 0, "true": 1, "yes": 1}
_WORDS_OF_NO = {"no", "false", "negative", "different", "irrelevant"}


def records_of(
    rows: Rows, roles: Roles, split: str, reading: Reading, grade: Grade
) -> Iterator[Record]:
    """Texts and judgments of rows (place, column -> value). A positive or negative may be a text, a
    passage with title and text, or a list of them; `grade` reads the label.
    """
    for place, row in rows:
        query = row.get(roles.query)
        if query is None:
            reading.add("missing field", place, f"no {roles.query!r}, only {excerpt(list(row))}")
            continue
        relevance = _relevance(row, roles, grade, reading, place)
        positives = list(_texts_in(row, roles.positives, reading, place))
        if not any(row.get(name) for name in roles.positives):
            fields = " or ".join(map(repr, roles.positives))
            reading.add("missing field", place, f"no {fields}, only {excerpt(list(row))}")
        if (
            not reading.usable(query, place, repr(roles.query))
            or relevance is None
            or not positives
        ):
            continue
        negatives = list(_texts_in(row, roles.negatives, reading, place))
        graded = [(text, relevance) for text in positives] + [(text, 0) for text in negatives]
        yield from judged(query, graded, split, place)
        if roles.scores:
            texts = positives, negatives
            yield from scores_in(row, roles.scores, query, texts, reading=reading, place=place)


def judged(
    query: str, graded: Iterable[tuple[str, int]], split: str, place: int
) -> Iterator[Record]:
    """One query and its documents, with ids made from their texts."""
    query_id = text_id("q", query)
    yield Text("queries", query_id, query, place)
    for text, relevance in graded:
        doc_id = text_id("d", text)
        yield Text("corpus", doc_id, text, place)
        yield Judgment(split, query_id, doc_id, relevance, place)


def row_grade(value: object) -> int | None:
    """A label that is a whole number, or says no or yes.

    >>> row_grade(2), row_grade(True), row_grade("False"), row_grade("maybe")
    (2, 1, 0, None)
    """
    grade = whole_number(value)
    return _YES_OR_NO.get(str(value).strip().lower()) if grade is None else grade


def grade_from(threshold: float) -> Grade:
    """A label as a grade: 0 below the threshold, 1 from it on, one more for each whole step above.

    >>> [grade_from(0.5)(value) for value in (0.49, 0.5, "0.93", 1, "x")]
    [0, 1, 1, 1, None]
    >>> [grade_from(3)(stars) for stars in (1, 3, 5)]
    [0, 1, 3]
    """
    return partial(_grade_from, threshold)


def _grade_from(threshold: float, value: object) -> int | None:
    number = _number(value)
    if number is None:
        return None
    return max(0, math.floor(min(number, 2.0**31) - threshold) + 1)


def label_fault(
    values: set[object],
    classes: tuple[str, ...],
    roles: Roles | None = None,
    threshold: float | None = None,
) -> str | None:
    """Why the values of a label column are no grades and what to do, as words that follow its name;
    None where they are grades.

    `classes` are the names that come with the data. Beside two texts of one kind (`roles.twins`) a
    label beyond 0 and 1 is as likely a class. From a `threshold` on any number is relevant.
    """
    words = sorted(str(v) for v in values if isinstance(v, str) and _is_word(v))
    if not classes and words and len(words) == len(values - {None, type(None)}) <= MOST_CLASSES:
        classes = tuple(words)
    if classes and not _are_grades(classes):
        return (
            f"holds the classes {', '.join(classes[:MOST_CLASSES])}, not grades. Keep the rows "
            "that are pairs without that column, or write 0 for not relevant and 1 for relevant."
        )
    numbers = sorted({number for value in values if (number := _number(value)) is not None})
    fractions = [number for number in numbers if number % 1]
    if threshold is not None:
        return None
    if fractions:
        return (
            f"holds fractions such as {fractions[0]:g}, not grades. Say from which score on a row "
            "is relevant: data.relevant_from=0.5"
        )
    twins = roles is not None and roles.twins and not classes
    entails = twins and roles is not None and plain(roles.query) == "premise"
    if entails or (twins and any(number not in (0, 1) for number in numbers)):
        return (
            f"holds {', '.join(f'{number:g}' for number in numbers[:MOST_CLASSES])} beside two "
            "texts of one kind: grades or classes? If grades, say data.relevant_from=1"
        )
    return None


def _are_grades(classes: tuple[str, ...]) -> bool:
    """True where class number n is grade n: its name is the number, or the first says no.

    >>> _are_grades(("0", "1")), _are_grades(("not_duplicate", "duplicate"))
    (True, True)
    >>> _are_grades(("entailment", "not_entailment")), _are_grades(("bad", "good"))
    (False, False)
    """
    if all(name == str(number) for number, name in enumerate(classes)):
        return True
    if len(classes) != 2:
        return False
    no, yes = map(plain, classes)
    return no in _WORDS_OF_NO or any(no == f"{prefix}{yes}" for prefix in _NOT)


def _relevance(
    row: dict[str, Any], roles: Roles, grade: Grade, reading: Reading, place: int
) -> int | None:
    if roles.label is None:
        return 1
    relevance = grade(row.get(roles.label))
    if relevance is None:
        what = f"{roles.label} {excerpt(row.get(roles.label))} is not a whole number"
        reading.add("bad relevance", place, what)
    return relevance


def _texts_in(
    row: dict[str, Any], names: tuple[str, ...], reading: Reading, place: int
) -> Iterator[str]:
    """The usable texts of some columns; a null is no text, anything else unusable is noted."""
    for name in names:
        value = row.get(name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, dict) and "text" in text:
                inner = text_of(text, "text", reading, place)
                if inner is not None:
                    yield inner
            elif text is not None and reading.usable(text, place, repr(name)):
                yield str(text)  # a text, says `usable`


def scores_in(
    row: dict[str, Any],
    names: Sequence[str],
    query: str,
    texts: tuple[Sequence[str], Sequence[str]],
    *,
    reading: Reading,
    place: int,
) -> Iterator[TeacherScore]:
    """The scores in the columns `names` of a row whose positives and negatives are `texts`; what
    does not fit these is noted, null is nothing.

    FlagEmbedding has `pos_scores` and `neg_scores`, lists beside `pos` and `neg`.
    sentence-transformers has one column: a list of the scores of positives and negatives
    (MarginMSELoss, DistillKLDivLoss), a list of margins, or one margin.
    """
    values = [row.get(name) for name in names]
    if not any(value is not None for value in values):
        return
    scores = _apart(values, texts) if len(names) == 2 else _of_all(values[0], texts)
    if scores is None:
        count = f"{len(texts[0])} positives and {len(texts[1])} negatives"
        what = f"{', '.join(names)} {excerpt(values if len(names) > 1 else values[0])} for {count}"
        reading.add("teacher scores that do not fit", place, what)
        return
    query_id = text_id("q", query)
    ids = [[text_id("d", text) for text in side] for side in texts]
    for positive, score in zip(ids[0], scores[0], strict=True):
        yield TeacherScore(query_id, positive, positive, score, place)
        for negative, below in zip(ids[1], scores[1], strict=True):
            yield TeacherScore(query_id, positive, negative, below, place)


def _apart(values: Sequence[Any], texts: tuple[Sequence[str], Sequence[str]]) -> Sides | None:
    of_positives, of_negatives = map(_numbers, values)
    if of_positives is None or of_negatives is None:
        return None
    fits = len(of_positives) == len(texts[0]) and len(of_negatives) == len(texts[1])
    return (of_positives, of_negatives) if fits else None


def _of_all(value: Any, texts: tuple[Sequence[str], Sequence[str]]) -> Sides | None:
    numbers, (positives, negatives) = _numbers(value), texts
    if numbers is None:
        return None
    if len(numbers) == len(positives) + len(negatives):
        return numbers[: len(positives)], numbers[len(positives) :]
    if len(positives) == 1 and len(numbers) == len(negatives):
        return [0.0], [-margin for margin in numbers]  # of a margin only the difference is known
    return None


def _numbers(value: Any) -> list[float] | None:
    try:
        numbers = [float(one) for one in (value if isinstance(value, list) else [value])]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)) or (isinstance(value, str) and _is_number(value)):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def _is_word(text: str) -> bool:
    return not _is_number(text) and text.strip().lower() not in _YES_OR_NO


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
