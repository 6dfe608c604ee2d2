"""JSON files that are no jsonl: an array of rows, or one object that holds all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.data.findings import excerpt
from whet.data.readers.lines import Row, bad_bytes, read_some
from whet.data.readers.records import Reading
from whet.data.readers.rows.shapes import shape_of
from whet.errors import DataError
from whet.printable import printable

WHOLE_LIMIT = 100 << 20  # bytes, since such a file is in memory at once
_BLANK = re.compile(r"[ \t\r\n]*")
_PEEKED = 1 << 20  # bytes of a first line that may be one object
_ABOUT = ("version", "name", "split", "mode", "license")  # of an object's texts, no row's


def is_whole_json(path: Path) -> bool:
    """True for a file whose first line is no JSON of its own, or is the one object of all."""
    head = read_some(path, _PEEKED).removeprefix(b"\xef\xbb\xbf").lstrip()
    first, ended, rest = head.partition(b"\n")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        if len(head) == _PEEKED and not ended:  # one line beyond what is looked at
            return path.name.lower().endswith((".json", ".json.gz"))
        return first.strip() == b"{" or _begins_a_value(head)
    one = isinstance(row, dict) and not rest.strip()
    if one:
        _refuse_lists(path, row)
    return one and (rows_inside(row) is not None or holds_a_set(row))


def _begins_a_value(head: bytes) -> bool:
    """True where the first value ends on a later line, or is not at fault as far as is looked."""
    text = head.decode("utf-8", "replace")
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return len(head) == _PEEKED and error.pos >= len(text) - 1
    except (ValueError, RecursionError):
        return False
    return True


def holds_a_set(value: Any) -> bool:
    """True for one object with a whole data set in it: queries and documents by their ids."""
    if not isinstance(value, dict):
        return False
    return {"queries", "corpus"} <= set(value) or {"corpus", "data"} <= set(value)


def is_set(path: Path) -> bool:
    """True for a file of one such object."""
    _, value = next(json_values(path), (0, None))
    return holds_a_set(value)


def json_file_rows(path: Path, reading: Reading, base: int) -> Iterator[Row]:
    """The rows of a JSON file: an array's, or those in its one object."""
    for line, value in json_values(path):
        _refuse_lists(path, value)
        inside = rows_inside(value) if isinstance(value, dict) else None
        for row in [value] if inside is None else inside:
            if isinstance(row, dict):
                yield base + line, row
            else:
                reading.add("bad JSON", base + line, f"not an object but {excerpt(row)}")


def rows_inside(value: dict[str, Any]) -> list[Any] | None:
    """The rows of an object that holds all of them; None where it is a row itself.

    A list of objects under one name (SQuAD's `data` paragraph by paragraph), or columns: lists of
    one length, or values by row number as pandas writes them.

    >>> rows_inside({"query": {"0": "a", "1": "b"}, "positive": {"0": "c", "1": "d"}})
    [{'query': 'a', 'positive': 'c'}, {'query': 'b', 'positive': 'd'}]
    >>> rows_inside({"query": "a", "pos": ["b"]})
    """
    if shape_of(list(value)) is not None or "messages" in value:
        return None
    rest = {name: item for name, item in value.items() if name not in _ABOUT}
    if len(rest) == 1 and _are_objects(rows := next(iter(rest.values()))):
        return _paragraphs(rows) if all("paragraphs" in row for row in rows) else rows
    columns = list(rest.values())
    if len(columns) < 2:
        return None
    if all(isinstance(item, dict) and item and all(map(str.isdigit, item)) for item in columns):
        numbers = dict.fromkeys(number for item in columns for number in item)
        return [{name: item.get(n) for name, item in rest.items()} for n in numbers]
    if all(isinstance(item, list) for item in columns) and len(set(map(len, columns))) == 1:
        return [dict(zip(rest, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _refuse_lists(path: Path, value: Any) -> None:
    """DataError for one object with several lists of rows, such as a list per split."""
    if not isinstance(value, dict) or len(value) < 2 or holds_a_set(value):
        return
    if shape_of(list(value)) is None and all(map(_are_objects, value.values())):
        first = printable(next(iter(value)))
        raise DataError(
            f"{printable(path)}: holds several lists of rows ({', '.join(map(printable, value))}). "
            "Write each to a file of its name: "
            f"jq -c '.[\"{first}\"][]' {printable(path.name)} > {first}.jsonl"
        )


def _are_objects(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(row, dict) for row in item)


def _paragraphs(articles: list[dict[str, Any]]) -> list[Any]:
    """SQuAD's questions, each with the paragraph that answers it, or none where nothing does."""
    return [
        {"question": asked["question"], "context": paragraph.get("context")}
        for article in articles
        for paragraph in _objects(article["paragraphs"])
        for asked in _objects(paragraph.get("qas"))
        if "question" in asked and not asked.get("is_impossible")
    ]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def json_values(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of each JSON value of a file, however they lie over lines; the values of an
    array that is all of it one by one. DataError for what is no JSON, or over WHOLE_LIMIT bytes.
    """
    raw = read_some(path, WHOLE_LIMIT + 1)
    if len(raw) > WHOLE_LIMIT:
        raise DataError(
            f"{printable(path)}: is JSON over many lines, which is read to 100 MB. Write one "
            f"object a line: jq -c '.[]' {printable(path.name)} (or jq -c . where it is no array)."
        )
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode()
        yield from _values(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{printable(path)} line {line:,}: {bad_bytes(raw, error.start)}. Save it as UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{printable(path)} line {error.lineno:,}, column {error.colno:,}: {error.msg}. "
            "Write whole JSON."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{printable(path)}: {str(error).split(';')[0]}. Write plain JSON."
        ) from error


def _values(text: str) -> Iterator[tuple[int, Any]]:
    def skip(at: int) -> int:
        blank = _BLANK.match(text, at)
        return blank.end() if blank else at

    scan = json.JSONDecoder().raw_decode
    at, line, counted = skip(0), 1, 0
    array = text[at : at + 1] == "["
    at = skip(at + 1) if array else at
    first = True
    while at < len(text):
        if array and text[at] == "]":
            if (at := skip(at + 1)) < len(text):
                what = "more text after the array"
                if text[at] == "[":
                    what = 'a second array; rows need names, as in {"query": ..., "positive": ...}'
                raise json.JSONDecodeError(what, text, at)
            return
        if array and not first:
            if text[at] != ",":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            at = skip(at + 1)
        value, end = scan(text, at)
        line, counted = line + text.count("\n", counted, at), at
        yield line, value
        at, first = skip(end), False
    if array:
        raise json.JSONDecodeError("the array does not end", text, len(text))
