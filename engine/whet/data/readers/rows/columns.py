"""Which column of a file of rows is what: as the user named them, else by names that are known.

A name that is not known is never taken by its place: id, category and date columns stand first as
often as queries do. What is not read is told.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from whet.config import DataConfig
from whet.data.findings import excerpt
from whet.data.readers.records import Reading
from whet.errors import ConfigError, DataError
from whet.printable import printable

MOST_LISTED = 20

QUERY_NAMES = (
    *("query", "anchor", "question", "queries", "query_text"),
    *("search_query", "user_query", "question_text", "query_string", "search_term"),
)
LABEL_NAMES = (
    *("label", "labels", "score", "scores", "relevance", "grade"),
    *("rel", "relevance_score", "relevance_grade", "judgment", "judgement", "gold_label"),
    *("is_relevant", "is_duplicate", "duplicate", "is_match", "match", "is_positive"),
    *("similarity", "similarity_score", "human_score", "rating", "stars"),
)
_NUMBER = r"(_?\d+)?$"
_UNIT = "(passage|document|doc|text|answer|context|ctx|response|example|sample|chunk|sentence)s?"
_POSITIVE = re.compile(
    r"(positives?|pos|answers?|documents?|doc|passages?|responses?"
    rf"|(positive|pos|gold|relevant|correct|best|accepted)_{_UNIT}){_NUMBER}"
)
_ANSWER = re.compile(rf"((correct|best|accepted)_)?(answer|response)s?{_NUMBER}")
_PLAIN_TEXT = re.compile(
    r"(text|contents?|contexts?|body|paragraphs?|chunks?|snippets?|page_content|output|completion"
    rf"|(document|doc|passage|answer|corpus|chunk|context|paragraph)_(text|content|body)){_NUMBER}"
)
_NEGATIVE = re.compile(
    rf"((hard_|random_|easy_)?(negs?|negatives?)(_{_UNIT})?|rejected(_{_UNIT})?s?|distractors?"
    rf"|(wrong|incorrect|irrelevant)_{_UNIT}){_NUMBER}"
)
_TEACHER = re.compile(
    r"((teacher|pos|positive|neg|negative|ce|cross_encoder|reranker|distill(ation)?)_scores?"
    r"|margins?)(_?\d+)?$"
)
_APART = [
    re.compile(r"(pos|positives?)_scores?$"),
    re.compile(r"(neg|negs|negatives?)_scores?$"),
]
# Two columns of one kind, as sentence-transformers' data sets have them: the first is the query.
TWINS = (
    *(("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b")),
    *(("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"), ("sent1", "sent2")),
    *(("question1", "question2"), ("question_1", "question_2"), ("query1", "query2")),
    ("premise", "hypothesis"),
)
# a task and what was written for it
ASKED = (
    *(("input", "output"), ("instruction", "response"), ("instruction", "output")),
    *(("prompt", "completion"), ("prompt", "response")),
)
_NO_NAME = re.compile(r"(unnamed:?_?\d*|index|__index_level_\d+__)?$")


@dataclass(frozen=True)
class Roles:
    """Which column is what; `twins` are two texts of one kind, whose label may be a class."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    label: str | None = None
    twins: bool = False
    scores: tuple[str, ...] = ()  # a teacher's: of positives and negatives, or one column of all

    @property
    def read(self) -> set[str]:
        """The columns that are read."""
        label = [] if self.label is None else [self.label]
        return {self.query, *self.positives, *self.negatives, *label, *self.scores}


def plain(name: str) -> str:
    """A column's name as it is compared: small letters, words joined by `_`.

    >>> plain(" Positive Passage "), plain("rejected-response"), plain("negativePassages")
    ('positive_passage', 'rejected_response', 'negative_passages')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s\-.]+", "_", parted).lower()


def known_name(name: str) -> bool:
    """True if a column of this name has a meaning here.

    >>> known_name("Question "), known_name("negative_3"), known_name("url")
    (True, True, False)
    """
    low = plain(name)
    fixed = (
        low in QUERY_NAMES or low in LABEL_NAMES or any(low in pair for pair in (*TWINS, *ASKED))
    )
    patterns = (_POSITIVE, _NEGATIVE, _PLAIN_TEXT)
    return fixed or any(pattern.match(low) for pattern in patterns)


def is_label(name: str) -> bool:
    """True for a column of grades, by its name."""
    return plain(name) in LABEL_NAMES


def roles_of(columns: Sequence[str], config: DataConfig, where: str) -> Roles:
    """The role of each column; `where` names the file. DataError that lists the columns where it is
    not certain, ConfigError for a column that is named and not there.
    """
    if config.query or config.positive or config.negatives:
        return _as_named(columns, config, where)
    query, positives, negatives, label = _by_name(columns)
    if query is None:
        return _twins(columns, negatives, label, where)
    if not positives:
        positives = _plain_texts(columns)
    elif all(_ANSWER.match(plain(name)) for name in positives) and _plain_texts(columns):
        _ask(
            where, columns, f"{_either([*positives, *_plain_texts(columns)])} could be the document"
        )
    if not positives:
        _ask(where, columns, "no column is known as the document", query)
    if not _POSITIVE.match(plain(positives[0])) and len(positives) > 1:
        _ask(where, columns, f"{_either(positives)} could be the document", query)
    return Roles(query, positives, negatives, label)


def _by_name(
    columns: Sequence[str],
) -> tuple[str | None, tuple[str, ...], tuple[str, ...], str | None]:
    names = {name: plain(name) for name in columns}
    query = next((name for known in QUERY_NAMES for name in names if names[name] == known), None)
    label = next((name for known in LABEL_NAMES for name in names if names[name] == known), None)
    positives = tuple(name for name in names if _POSITIVE.match(names[name]))
    negatives = tuple(name for name in names if _NEGATIVE.match(names[name]))
    return query, positives, negatives, label


def _plain_texts(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if _PLAIN_TEXT.match(plain(name)))


def negatives_named(config: DataConfig) -> list[str]:
    """The columns of data.negatives, a name or several: `a`, `a,b`, `[a, b]`.

    >>> negatives_named(DataConfig(negatives="[wrong, very wrong]"))
    ['wrong', 'very wrong']
    """
    given = (config.negatives or "").strip()
    inner = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    return [name.strip().strip("'\"") for name in inner.split(",") if name.strip()]


def _as_named(columns: Sequence[str], config: DataConfig, where: str) -> Roles:
    """What is named goes before what is known; the rest is looked for by name among the others."""

    def find(name: str, option: str) -> str:
        for column in columns:
            if column == name or plain(column) == plain(name):
                return column
        raise ConfigError(f"data.{option}={name}: no such column in {where}. {_list(columns)}")

    named_query = find(config.query, "query") if config.query else None
    named_positive = find(config.positive, "positive") if config.positive else None
    negatives = tuple(find(name, "negatives") for name in negatives_named(config))
    taken = {named_query, named_positive, *negatives}
    rest = [name for name in columns if name not in taken]
    query, positives, others, label = _by_name(rest)
    query = named_query or query
    positives = (named_positive,) if named_positive else positives or _plain_texts(rest)
    if query is None:
        _ask(where, columns, "no column is known as the query")
    if len(positives) != 1 and named_positive is None and not _by_name(rest)[1]:
        reason = f"{_either(positives)} could be" if positives else "no column is known as"
        _ask(where, columns, f"{reason} the document", query)
    return Roles(query, positives, negatives or others, label)


def _twins(
    columns: Sequence[str], negatives: tuple[str, ...], label: str | None, where: str
) -> Roles:
    of_plain = {plain(name): name for name in columns}
    pairs = [pair for pair in (*TWINS, *ASKED) if set(pair) <= set(of_plain)]
    if len(pairs) != 1:
        _ask(where, columns, "no column is known as the query")
    first, second = (of_plain[name] for name in pairs[0])
    third = re.sub(r"2$", "3", re.sub(r"b$", "c", pairs[0][1]))
    if third != pairs[0][1] and third in of_plain:
        _ask(where, columns, f"{of_plain[third]!r} could be a negative", first)
    return Roles(first, (second,), negatives, label, twins=pairs[0] in TWINS)


def _ask(where: str, columns: Sequence[str], reason: str, query: str | None = None) -> NoReturn:
    if not {"messages", "conversations"}.isdisjoint(columns):
        raise DataError(
            f"{where}: holds conversations. Write of each what is asked as query, and what answers "
            "it as positive."
        )
    raise DataError(
        f"{where}: {reason}. {_list(columns)} Say which is which: "
        f"data.query={spelled(query or 'COLUMN')} data.positive=COLUMN data.negatives=[COLUMN,...]"
    )


def _either(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))


def _list(columns: Sequence[str]) -> str:
    return f"Its columns are {printable(', '.join(columns[:MOST_LISTED]))}" + (
        f" and {len(columns) - MOST_LISTED:,} more." if len(columns) > MOST_LISTED else "."
    )


def spelled(name: str) -> str:
    """A column's name as one types it in a shell.

    >>> spelled("Best answer"), spelled("query")
    ("'Best answer'", 'query')
    """
    return shlex.quote(name)


def tell_unread(
    columns: Sequence[str],
    read: Collection[str],
    reading: Reading,
    where: str,
    *,
    scores: Collection[str] = (),
) -> None:
    """Note the columns that are not read: a teacher's scores, nameless ones and the others;
    `scores` are known to be a teacher's, and told where they are read, too.
    """
    unread = [name for name in columns if name not in read]
    of_teacher = [name for name in unread if name in scores or is_teacher(name)]
    others = [name for name in unread if name not in of_teacher and not _NO_NAME.match(plain(name))]
    nameless = len(unread) - len(of_teacher) - len(others)
    if others:
        reading.findings.add("column not read", where, f"{_named(others)} not read")
    if of_teacher:
        what = f"{_named(of_teacher)} not read: a teacher's scores, of positives or negatives alone"
        reading.findings.add("teacher scores", where, what)
    if learned := [name for name in columns if name in scores and name in read]:
        what = f"{_named(learned)} taken as a teacher's scores, for loss=margin_mse and distill_kl"
        reading.findings.add("teacher scores", where, what)
    if nameless:
        reading.findings.add(
            "column without a name", where, "the column of row numbers is not read"
        )


def _named(names: Sequence[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(excerpt(name, 40) for name in names[:MOST_LISTED])} {verb}"


def scores_of(columns: Sequence[str], label: str | None) -> tuple[str, ...]:
    """The columns of a teacher's scores: of positives and of negatives, or one of all texts of a
    row; `label` is one that is known to be a teacher's. Empty where there are none.

    >>> scores_of(["query", "pos", "neg", "neg_scores", "pos_scores"], None)
    ('pos_scores', 'neg_scores')
    >>> scores_of(["query", "positive", "negative", "margin"], None)
    ('margin',)
    """
    apart = [next((c for c in columns if known.match(plain(c))), None) for known in _APART]
    if None not in apart:
        return tuple(filter(None, apart))
    if label is not None:
        return (label,)
    alone = (c for c in columns if is_teacher(c) and not any(k.match(plain(c)) for k in _APART))
    return tuple(islice(alone, 1))


def is_teacher(name: str) -> bool:
    """True for a column of a cross-encoder's scores, by its name."""
    return bool(_TEACHER.match(plain(name)))
