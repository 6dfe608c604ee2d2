"""The shape of a statement: every field that is read later is there, and of its type."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from whet.bundle.contents import MOST_FILES, is_of_hubs
from whet.bundle.names import clash, refusal
from whet.printable import printable

STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD, BUILDER = "urn:whet:fit:1", "urn:whet"
DATA, BASE, CODE = "data", "base", "code"  # inputs, and the folders their copies are in
NEEDED = (  # without these it is no bundle, and cannot be compared with
    "model.safetensors",
    "training/config.yaml",
    "training/metrics.json",
    "training/packages.txt",
    "training/per_query.jsonl",
    "training/train_log.jsonl",
)
DEEPEST, LONGEST_TEXT = 32, 65_536  # levels of the statement; characters of one text in it
HIGHEST = 1e9  # of a score; those that count documents are over 1
Kind = TypeVar("Kind")
TYPES: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
    object: "there",
}


class Misshapen(ValueError):
    """A field is missing, of another type, or holds what it may not; the message says which."""


def check_shape(statement: dict[str, Any], own: tuple[str, ...]) -> None:
    """Raise Misshapen where a statement is not of the shape that Whet writes; `own` are the names
    that no listed file may have: the record, and its signatures.
    """
    _bounded(statement)
    _is(statement, "_type", STATEMENT, "the statement")
    _is(statement, "predicateType", PREDICATE, "the statement")
    _subjects(field(statement, "subject", list, "the statement"), own)
    predicate = field(statement, "predicate", dict, "the statement")
    build = field(predicate, "buildDefinition", dict, "predicate")
    _is(build, "buildType", BUILD, "buildDefinition")
    parameters = field(build, "externalParameters", dict, "buildDefinition")
    config = field(parameters, "config", dict, "externalParameters")
    check_fields(config, {"data": {"path": str}, "model": {"name": str}}, "config")
    check_fields(build, {"internalParameters": {"processes": int}}, "buildDefinition")
    _dependencies(field(build, "resolvedDependencies", list, "buildDefinition"))
    details = field(predicate, "runDetails", dict, "predicate")
    builder = field(details, "builder", dict, "runDetails")
    _is(builder, "id", BUILDER, "builder")
    field(field(builder, "version", dict, "builder"), "whet", str, "builder.version")
    for entry in field(details, "byproducts", list, "runDetails"):
        _described(entry, "byproducts")
    _machine(field(predicate, "whet_machine", dict, "predicate"))
    _measures(predicate)
    tree = field(predicate, "whet_tree", dict, "predicate")
    field(tree, "groups", dict, "whet_tree")


def field(holder: Any, name: str, kind: type[Kind], where: str) -> Kind:
    """What a field holds. Misshapen where it is not there, or not of this type."""
    if type(holder) is not dict or name not in holder:
        raise Misshapen(f"{where} lacks {name}")
    value: Kind = holder[name]
    if type(value) is not kind:
        is_now = TYPES.get(type(value), "something else")
        raise Misshapen(f"{name} of {where} should be {TYPES[kind]}, and is {is_now}")
    return value


def check_fields(holder: Any, shape: dict[str, Any], where: str) -> None:
    """Raise Misshapen where an object lacks a field of `shape`, which gives the type of each; an
    object in it may have a shape of its own, and `object` is any type. A whole number is a number.
    """
    for name, kind in shape.items():
        if isinstance(kind, dict):
            check_fields(field(holder, name, dict, where), kind, name)
        elif kind is object and type(holder) is dict and name in holder:
            continue
        elif kind is not float or type(holder) is not dict or type(holder.get(name)) is not int:
            field(holder, name, kind, where)


def _is(holder: dict[str, Any], name: str, wanted: str, where: str) -> None:
    value = field(holder, name, str, where)
    if value != wanted:
        raise Misshapen(f"{name} of {where} is {printable(value[:80])}, and not {wanted}")


def _text_or_none(holder: dict[str, Any], name: str, where: str) -> str | None:
    return None if holder.get(name) is None else field(holder, name, str, where)


def _bounded(statement: dict[str, Any]) -> None:
    """No deeper than a statement is, and no text that no option needs."""
    waiting: list[tuple[Any, int]] = [(statement, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise Misshapen(f"it is nested deeper than {DEEPEST} levels")
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise Misshapen(f"it holds a text of {len(value):,} characters, over {LONGEST_TEXT:,}")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]


def _subjects(subjects: list[Any], own: tuple[str, ...]) -> None:
    if len(subjects) > MOST_FILES:
        raise Misshapen(f"it lists {len(subjects):,} files, over {MOST_FILES:,}")
    names = [_described(entry, "subject") for entry in subjects]
    for name in names:
        if name.casefold() in own or is_of_hubs(name):
            raise Misshapen(f"it lists {name}, which is no file of a bundle's own")
    _distinct(names)
    for name in NEEDED:
        if name not in names:
            raise Misshapen(f"it does not list {name}")


def _distinct(names: list[str]) -> None:
    pair = clash(names)
    if pair is not None:
        raise Misshapen(f"it lists {pair[1]} twice, as {pair[0]}, or as one file on some systems")


def _described(entry: Any, where: str) -> str:
    """The name of a file that is listed with its sha256."""
    if type(entry) is not dict:
        raise Misshapen(f"{where} lists {TYPES.get(type(entry), 'something')}, and no file")
    name = field(entry, "name", str, where)
    reason = refusal(name)
    if reason is not None:
        raise Misshapen(f"the name '{printable(name[:200])}' {reason}")
    _hex(field(entry, "digest", dict, name), "sha256", 64, name)
    return name


def _hex(digest: dict[str, Any], name: str, length: int, where: str) -> None:
    value = field(digest, name, str, f"the digest of {where}")
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
        raise Misshapen(f"{name} of {where} is no digest of {length} lower-case hex digits")


def _dependencies(inputs: list[Any]) -> None:
    if len(inputs) > MOST_FILES:
        raise Misshapen(f"it lists {len(inputs):,} inputs, over {MOST_FILES:,}")
    wholes = [kind for kind in map(_dependency, inputs) if kind]
    for kind in (DATA, BASE, CODE):
        count = wholes.count(kind)
        if count > 1 or (count == 0 and kind != CODE):
            raise Misshapen(f"it says {count} times what the {kind} as a whole were, and not once")
    _distinct([entry["name"] for entry in inputs])


def _dependency(entry: Any) -> str | None:
    """The kind that an input is about as a whole; None where it is a file."""
    if type(entry) is not dict:
        raise Misshapen("resolvedDependencies lists something that is no input")
    name = field(entry, "name", str, "an input")
    about = field(entry, "annotations", dict, printable(name[:200]))
    kind = field(about, "input", str, "an input's annotations")
    if kind not in (DATA, BASE, CODE) or not name.startswith((f"{kind}/", f"{kind}: ")):
        raise Misshapen(f"the input {printable(name[:200])} is neither data, base nor code")
    if name.startswith(f"{kind}/"):
        _described(entry, "resolvedDependencies")
        return None
    if printable(name) != name:
        raise Misshapen(f"the name '{printable(name[:200])}' holds a control or format character")
    _whole(kind, field(entry, "digest", dict, "an input"), about)
    return kind


def _whole(kind: str, digest: dict[str, Any], about: dict[str, Any]) -> None:
    if kind == CODE:
        _hex(digest, "gitCommit", 40, "the code")
        if "sha256" in digest:
            _hex(digest, "sha256", 64, "the code")
        return
    _hex(digest, "sha256", 64, f"the {kind}")
    if kind == BASE:
        field(about, "name", str, "the base model")
        field(about, "local", bool, "the base model")
        _text_or_none(about, "package", "the base model")
        _text_or_none(about, "revision", "the base model")
        return
    field(about, "kind", str, "the data")
    _text_or_none(about, "hub", "the data")
    file = _text_or_none(about, "file", "the data")
    if file is not None and ("/" in file or refusal(file) is not None):
        raise Misshapen(f"the data's file '{printable(file[:200])}' is no name of a file")


def _machine(machine: dict[str, Any]) -> None:
    if field(machine, "threads", int, "whet_machine") < 1:
        raise Misshapen("threads of whet_machine is under 1")
    if any(type(name) is not str for name in field(machine, "gpus", list, "whet_machine")):
        raise Misshapen("gpus of whet_machine holds something that is no name")


def _measures(predicate: dict[str, Any]) -> None:
    """Measures of both models, and how far off they may be: finite numbers by the same names."""
    measures = field(predicate, "whet_measures", dict, "predicate")
    tuned, base = (field(measures, name, dict, "whet_measures") for name in ("tuned", "base"))
    spread = field(predicate, "whet_spread", dict, "predicate")
    field(spread, "kind", str, "whet_spread")
    field(spread, "runs", int, "whet_spread")
    allowed = field(spread, "allowed", dict, "whet_spread")
    if not tuned or set(tuned) != set(base) or set(tuned) != set(allowed):
        raise Misshapen("whet_measures and whet_spread are not about the same measures")
    for values in (tuned, base, allowed):
        for name, value in values.items():
            if not is_score(value):
                raise Misshapen(f"{printable(name[:80])} should be a finite number from 0")


def is_score(value: Any) -> bool:
    """Whether this is a finite number that is not negative, as measures and spreads are.

    >>> is_score(0.5), is_score(-0.5), is_score(True), is_score(float("nan"))
    (True, False, False, False)
    """
    return type(value) in (int, float) and 0 <= value <= HIGHEST
