"""Licences: which are stated, what each permits, and what they permit together.

A licence is an SPDX expression. What it permits comes from a table of common ones; of any other it
is unknown, and nothing is assumed. This is the only module that imports license_expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from whet.errors import ConfigError

# commercial use, passing on, changing, attribution asked, same licence asked for what is derived
PERMITS = {
    "MIT": "yes yes yes yes no",
    "MIT-0": "yes yes yes no no",
    "Apache-2.0": "yes yes yes yes no",
    "BSD-2-Clause": "yes yes yes yes no",
    "BSD-3-Clause": "yes yes yes yes no",
    "ISC": "yes yes yes yes no",
    "0BSD": "yes yes yes no no",
    "Unlicense": "yes yes yes no no",
    "CC0-1.0": "yes yes yes no no",
    "PDDL-1.0": "yes yes yes no no",
    "PSF-2.0": "yes yes yes yes no",
    "CC-BY-3.0": "yes yes yes yes no",
    "CC-BY-4.0": "yes yes yes yes no",
    "ODC-By-1.0": "yes yes yes yes no",
    "CDLA-Permissive-1.0": "yes yes yes yes no",
    "CDLA-Permissive-2.0": "yes yes yes yes no",
    "CC-BY-SA-3.0": "yes yes yes yes yes",
    "CC-BY-SA-4.0": "yes yes yes yes yes",
    "ODbL-1.0": "yes yes yes yes yes",
    "CDLA-Sharing-1.0": "yes yes yes yes yes",
    "MPL-2.0": "yes yes yes yes yes",
    "LGPL-3.0-only": "yes yes yes yes yes",
    "LGPL-3.0-or-later": "yes yes yes yes yes",
    "GPL-2.0-only": "yes yes yes yes yes",
    "GPL-2.0-or-later": "yes yes yes yes yes",
    "GPL-3.0-only": "yes yes yes yes yes",
    "GPL-3.0-or-later": "yes yes yes yes yes",
    "AGPL-3.0-only": "yes yes yes yes yes",
    "AGPL-3.0-or-later": "yes yes yes yes yes",
    "CC-BY-NC-3.0": "no yes yes yes no",
    "CC-BY-NC-4.0": "no yes yes yes no",
    "CC-BY-NC-SA-4.0": "no yes yes yes yes",
    "CC-BY-ND-4.0": "yes yes no yes no",
    "CC-BY-NC-ND-4.0": "no yes no yes no",
}
SPOKEN = {  # names that people write and that mean one licence
    "mit license": "MIT",
    "the mit license": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "cc0 1.0": "CC0-1.0",
    "cc0": "CC0-1.0",
    "cc by 4.0": "CC-BY-4.0",
    "cc by-sa 4.0": "CC-BY-SA-4.0",
    "cc by-nc 4.0": "CC-BY-NC-4.0",
    "cc by-nc-sa 4.0": "CC-BY-NC-SA-4.0",
    "odc-by 1.0": "ODC-By-1.0",
}
YES, NO, UNKNOWN = "yes", "no", "unknown"
PERMISSIONS, DUTIES = ("commercial", "redistribute", "derive"), ("attribution", "share_alike")


@dataclass(frozen=True)
class Licence:
    """A part's licence: the SPDX expression (None: unknown), where it was found, other words that
    were found beside it, and what it permits and asks: yes, no or unknown by name.
    """

    expression: str | None
    source: str
    words: tuple[str, ...]
    permits: dict[str, str]


def read_expression(text: str) -> str | None:
    """The SPDX expression in its usual spelling; None for what is none, or names no licence.

    >>> read_expression("mit"), read_expression("see the file")
    ('MIT', None)
    """
    spoken = SPOKEN.get(" ".join(text.lower().strip(" .").split()))
    if spoken is not None:
        return spoken
    from license_expression import ExpressionError, ExpressionParseError

    try:
        parsed = _spdx().parse(text, strict=True)
    except (ExpressionError, ExpressionParseError):
        return None
    # somebody's own licence is spelled LicenseRef-NAME: an expression, and nothing is known of it
    unknown = _spdx().unknown_license_keys(parsed) if parsed is not None else ["nothing"]
    return str(parsed) if all(name.startswith("LicenseRef-") for name in unknown) else None


def given_expression(option: str, text: str) -> str:
    """The same for what a user typed; ConfigError where it is none.

    >>> given_expression("data_licence", "cc-by-4.0 and mit")
    'CC-BY-4.0 AND MIT'
    """
    expression = read_expression(text)
    if expression is None:
        raise ConfigError(
            f"{option}={text} is no SPDX expression. Write an identifier of spdx.org/licenses, "
            "such as MIT, CC-BY-4.0 or 'CC-BY-4.0 AND ODC-By-1.0', or LicenseRef-NAME for your own."
        )
    return expression


def licence_of(option: str, given: str | None, statements: Sequence[dict[str, str]]) -> Licence:
    """The licence of a part: as given, else as its files state it where they state one.

    Where statements name different licences it is unknown, and all are quoted.
    """
    if given is not None:
        expression = given_expression(option, given)
        words = tuple(f"{statement['file']}: {statement['says']}" for statement in statements)
        return Licence(expression, f"given as {option}", words, permitted(expression))
    read = [(read_expression(statement["says"]), statement) for statement in statements]
    named = {expression for expression, _ in read if expression is not None}
    if len(named) == 1:
        (expression,) = named
        source = ", ".join(statement["file"] for named_here, statement in read if named_here)
        words = tuple(
            f"{statement['file']}: {statement['says']}"
            for named_here, statement in read
            if not named_here
        )
        return Licence(expression, source, words, permitted(expression))
    words = tuple(f"{statement['file']}: {statement['says']}" for statement in statements)
    source = "its files name different ones" if named else "stated in words alone" if words else ""
    return Licence(None, source or "not stated", words, permitted(None))


def permitted(expression: str | None) -> dict[str, str]:
    """What an expression permits and asks. AND: what all permit, what any asks; OR: of the choices
    the one that permits most, then asks least.

    >>> permitted("MIT")["redistribute"], permitted(None)["redistribute"]
    ('yes', 'unknown')
    """
    if expression is None:
        return dict.fromkeys((*PERMISSIONS, *DUTIES), UNKNOWN)
    return _permitted(_spdx().parse(expression))


def combined_permissions(parts: Iterable[dict[str, str]]) -> dict[str, str]:
    """What several permit at once: no where one says no, unknown where one is unknown; a duty is
    there where one asks it.

    >>> combined_permissions([permitted("MIT"), permitted("CC-BY-NC-4.0")])["commercial"]
    'no'
    """
    parts = list(parts)
    permissions = {}
    for name in PERMISSIONS:
        values = [part[name] for part in parts]
        permissions[name] = NO if NO in values else UNKNOWN if UNKNOWN in values else YES
    for name in DUTIES:
        values = [part[name] for part in parts]
        permissions[name] = YES if YES in values else UNKNOWN if UNKNOWN in values else NO
    return permissions


def _permitted(node: Any) -> dict[str, str]:
    kind = type(node).__name__
    if kind == "AND":
        return combined_permissions(_permitted(part) for part in node.args)
    if kind == "OR":
        return max((_permitted(part) for part in node.args), key=_freedom)
    # an exception to a licence (WITH) only permits more
    key = node.license_symbol.key if kind == "LicenseWithExceptionSymbol" else node.key
    values = PERMITS[key].split() if key in PERMITS else [UNKNOWN] * 5
    return dict(zip((*PERMISSIONS, *DUTIES), values, strict=True))


def _freedom(permissions: dict[str, str]) -> tuple[int, int]:
    rank = {YES: 2, UNKNOWN: 1, NO: 0}
    return sum(rank[permissions[n]] for n in PERMISSIONS), -sum(
        rank[permissions[n]] for n in DUTIES
    )


@cache
def _spdx() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def licence_fields(expression: str | None) -> dict[str, str]:
    """A licence in a model card's front matter, as model hubs read it.

    >>> licence_fields("MIT"), licence_fields("MIT AND CC-BY-4.0")
    ({'license': 'mit'}, {'license': 'other', 'license_name': 'MIT AND CC-BY-4.0'})
    """
    if expression is None:
        return {"license": "unknown"}
    if re.fullmatch(r"[\w.+-]+", expression):
        return {"license": expression.lower()}
    return {"license": "other", "license_name": expression}
