"""JSON that does not lie one value on a line: an array, one object over many lines, several."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whet.data.readers.lines import bad_bytes, read_some
from whet.errors import DataError
from whet.printable import printable

WHOLE_LIMIT = 100 << 20  # bytes, since such a file is in memory at once
_BLANK = re.compile(r"[ \t\r\n]*")


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
                raise json.JSONDecodeError("more text after the array", text, at)
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
