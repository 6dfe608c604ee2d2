"""`whet verify`: is a bundle what it says, and are the inputs that are here those that made it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.bundle.checking.claims import contradiction
from whet.bundle.checking.inputs import base_root, code_roots, data_root
from whet.bundle.checking.pointers import bad_pointers
from whet.bundle.contents import LINK, SPECIAL, contents_of
from whet.bundle.names import is_beside_data
from whet.bundle.provenance import (
    MODEL_SIGNATURE,
    NAME,
    OWN,
    SIGNATURE,
    about_input,
    copied,
    inputs_of,
    made_by,
    read_statement,
)
from whet.bundle.schema import BASE, CODE, DATA
from whet.bundle.signing import check_signature, verifier_of
from whet.config import VerifyConfig
from whet.printable import printable
from whet.storage.commit import file_sha256

SAME, DIFFERS, MISSING, STRAY, NOT_HERE = "same", "DIFFERS", "MISSING", "NOT LISTED", "not here"
NO_INPUT, BESIDE, ASTRAY = "NO INPUT", "no input, states the licence", "LEADS ASTRAY"
SPOKEN = {
    DIFFERS: "differs",
    MISSING: "is missing",
    STRAY: "is not listed",
    NO_INPUT: "was no input of the run",
    LINK: "is a link",
    SPECIAL: "is no ordinary file",
    ASTRAY: "leads astray",
}
BUNDLE, COPY = "bundle", "copy of "
TITLES = {
    DATA: "training data",
    BASE: "base model",
    CODE: "code installed here",
    **{f"{COPY}{kind}": f"{kind}/ against what was recorded" for kind in (DATA, BASE, CODE)},
}


@dataclass(frozen=True)
class FileRow:
    """One file: where it was looked for, its name, the sha256 expected and found, the verdict."""

    where: str
    name: str
    expected: str
    actual: str
    verdict: str

    @property
    def bad(self) -> bool:
        """Whether it is not as it should be."""
        return self.verdict not in (SAME, NOT_HERE, BESIDE)

    def __str__(self) -> str:
        """Its name and the verdict, for a sentence."""
        return f"{printable(self.name)} {SPOKEN.get(self.verdict, self.verdict)}"


def check_bundle(folder: Path) -> tuple[dict[str, Any], list[FileRow]]:
    """A bundle's statement, a row per file of it, and a row per file of its copies of inputs,
    compared with the inputs recorded.

    No link is followed: one is named, as are pipes and devices. CheckpointError if the statement is
    changed, or not of the shape it should have.
    """
    statement = read_statement(folder)
    contents = contents_of(folder)
    here = set(contents.files)
    expected = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    rows = [FileRow(BUNDLE, name, "-", "-", kind) for name, kind in contents.odd.items()]
    for name, digest in expected.items():
        rows.append(_compared(BUNDLE, name, digest, folder / name if name in here else None))
    for name in contents.files:
        if name not in expected and name not in OWN:
            rows.append(FileRow(BUNDLE, name, "-", "-", STRAY))
    rows += _astray(folder, {row.name for row in rows if row.verdict == SAME})
    for kind in (DATA, BASE, CODE):
        rows += _copy_rows(statement, kind)
    return statement, rows


def _astray(folder: Path, names: set[str]) -> Iterator[FileRow]:
    for name, target, reason in bad_pointers(folder, names):
        spoken = f"{name}, its '{target[:200]}' {reason}," if target else f"{name}, it {reason},"
        yield FileRow(BUNDLE, spoken, "-", "-", ASTRAY)


def _copy_rows(statement: dict[str, Any], kind: str) -> Iterator[FileRow]:
    """The bundle's copy of an input, by the hashes listed, against those recorded as the input's:
    both ways, so that neither has a file more. Nothing where there is no copy.
    """
    where, copy, recorded = f"{COPY}{kind}", copied(statement, kind), inputs_of(statement, kind)
    for name in dict.fromkeys([*recorded, *copy]) if copy else ():
        wanted, listed = recorded.get(name, "-"), copy.get(name, "-")
        if wanted == listed:
            verdict = SAME
        elif name in recorded:
            verdict = DIFFERS if name in copy else MISSING
        else:
            about = about_input(statement, DATA)
            beside = kind == DATA and is_beside_data(name, about["kind"])
            verdict = BESIDE if beside else NO_INPUT
        yield FileRow(where, f"{kind}/{name}", wanted, listed, verdict)


def check_inputs(
    folder: Path, statement: dict[str, Any], *, data: str | None, model: str | None
) -> list[FileRow]:
    """A row per file of what the bundle was made from, where it is here; else one that says so."""
    roots = {
        DATA: data_root(folder, statement, data),
        BASE: base_root(folder, statement, model),
    }
    rows: list[FileRow] = []
    for kind, root in roots.items():
        if root is None:
            rows.append(_not_here(kind, statement))
        elif root != folder / kind:  # a copy in the bundle was looked at with its other files
            rows += _compared_in(kind, root, inputs_of(statement, kind))
    packages = code_roots(statement)
    if not packages:
        return [*rows, _not_here(CODE, statement)]
    for package, root in packages.items():
        expected = {
            name.partition("/")[2]: digest
            for name, digest in inputs_of(statement, CODE).items()
            if name.startswith(f"{package}/")
        }
        compared = _compared_in(CODE, root, expected)
        rows += [
            FileRow(r.where, f"{package}/{r.name}", r.expected, r.actual, r.verdict)
            for r in compared
        ]
    return rows


def _not_here(kind: str, statement: dict[str, Any]) -> FileRow:
    about = about_input(statement, kind)
    name = str(about.get("hub") or about.get("name") or "")
    if kind == CODE:
        version, commit = made_by(statement)
        name = f"whet {version}" + (f", commit {commit[:12]}" if commit else "")
    return FileRow(kind, name[:200], str(about.get("digest") or "-"), "-", NOT_HERE)


def _compared_in(where: str, root: Path, expected: dict[str, str]) -> Iterator[FileRow]:
    for name, digest in expected.items():
        path = root / name
        yield _compared(where, name, digest, path if path.is_file() else None)


def _compared(where: str, name: str, digest: str, path: Path | None) -> FileRow:
    """The row of a file; `path` is None where it is not there."""
    if path is None:
        return FileRow(where, name, digest, "-", MISSING)
    actual = file_sha256(path)
    return FileRow(where, name, digest, actual, SAME if actual == digest else DIFFERS)


def first_bad(rows: list[FileRow]) -> FileRow | None:
    """The first file that is not as it should be."""
    return next((row for row in rows if row.bad), None)


def spelled_rows(rows: list[FileRow]) -> str:
    """A table: a line for each place that is as it should be, and each file that is not."""
    cells = [("where", "what", "expected", "found", "verdict")]
    for where in dict.fromkeys(row.where for row in rows):
        own = [row for row in rows if row.where == where]
        title = TITLES.get(where, where)
        good = [row for row in own if row.verdict == SAME]
        if good:
            cells.append((title, f"{len(good):,} files", "", "", SAME))
        for row in own:
            if row.verdict != SAME:
                verdict = f"{NOT_HERE}, not checked" if row.verdict == NOT_HERE else row.verdict
                hashes = (row.expected[:12], row.actual[:12])
                cells.append((title, printable(row.name), *hashes, verdict))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    spelled = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in spelled)


def verify_command(config: VerifyConfig) -> int:
    """`whet verify`: print the table; 1 if something differs, and its name; else 0.

    With `key`, CheckpointError where the signature does not hold for it.
    """
    folder = Path(config.bundle)
    verifier = None if config.key is None else verifier_of(config.key)
    statement, rows = check_bundle(folder)
    rows += check_inputs(folder, statement, data=config.data.path, model=config.model.name)
    print(spelled_rows(rows))
    print(f"root {statement['predicate']['whet_tree']['root']}")
    bad = first_bad(rows)
    if bad is not None:
        place = TITLES.get(bad.where, bad.where)
        print(f"The first that differs: {printable(bad.name)} ({place}): {bad.verdict}.")
        return 1
    # Files may be as listed and the list still not be true of itself.
    odd = contradiction(folder, statement)
    if odd is not None:
        print(f"The bundle contradicts itself: {odd}.")
        return 1
    if verifier is not None:
        check_signature(folder, verifier)
    unseen = [TITLES[row.where] for row in rows if row.verdict == NOT_HERE]
    rest = f" Not here, so not checked: {', '.join(unseen)}." if unseen else ""
    print(f"All that is here is what {NAME} says.{rest}")
    print(_signed(folder, config.key))
    return 0


def _signed(folder: Path, key: str | None) -> str:
    """Who says so: whether anybody signed it, and whether that was checked."""
    if key is not None:
        return f"Signed: {MODEL_SIGNATURE} holds for {printable(key)}, and covers every file."
    if (folder / MODEL_SIGNATURE).is_file():
        return f"{MODEL_SIGNATURE} is there, and not checked: say whose it should be, key=FILE."
    if (folder / SIGNATURE).is_file():
        return f"{SIGNATURE} is there, and not checked here: docs/bundles.md says how to."
    return (
        "But nobody signed it: whoever could change a file could write all of it anew. Compare the "
        "root with one that you have from its maker."
    )
