"""`whet verify`: is a bundle what it says, and are the inputs that are here those that made it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.bundle.inputs import base_root, code_roots, data_root
from whet.bundle.provenance import (
    BASE,
    CODE,
    DATA,
    NAME,
    SIGNATURE,
    about_input,
    bundle_files,
    inputs_of,
    made_by,
    read_statement,
)
from whet.checkpoint import file_sha256
from whet.config import VerifyConfig

SAME, DIFFERS, MISSING, STRAY, NOT_HERE = "same", "DIFFERS", "MISSING", "NOT LISTED", "not here"
TITLES = {
    DATA: "training data",
    BASE: "base model",
    CODE: "code installed here",
}


@dataclass(frozen=True)
class Row:
    """One file: where it was looked for, its name, the sha256 expected and found, the verdict."""

    where: str
    name: str
    expected: str
    found: str
    verdict: str

    @property
    def bad(self) -> bool:
        """Whether it is not as it should be."""
        return self.verdict not in (SAME, NOT_HERE)


def check_bundle(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """A bundle's statement and a row a file of it. CheckpointError if the statement is changed."""
    statement = read_statement(folder)
    expected = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    rows = list(_compared("bundle", folder, expected))
    for name in bundle_files(folder):
        if name not in expected:
            rows.append(Row("bundle", name, "-", file_sha256(folder / name), STRAY))
    return statement, rows


def check_inputs(
    folder: Path, statement: dict[str, Any], *, data: str | None, model: str | None
) -> list[Row]:
    """A row a file of what the bundle was made from, where it is here; else one that says so."""
    roots = {
        DATA: data_root(folder, data),
        BASE: base_root(folder, statement, model),
    }
    rows: list[Row] = []
    for kind, root in roots.items():
        if root is None:
            rows.append(_not_here(kind, statement))
        elif root != folder / kind:  # a copy in the bundle was looked at with its other files
            rows += _compared(kind, root, inputs_of(statement, kind))
    ours = code_roots(statement)
    if not ours:
        return [*rows, _not_here(CODE, statement)]
    for package, root in ours.items():
        expected = {
            name.partition("/")[2]: digest
            for name, digest in inputs_of(statement, CODE).items()
            if name.startswith(f"{package}/")
        }
        found = _compared(CODE, root, expected)
        rows += [Row(r.where, f"{package}/{r.name}", r.expected, r.found, r.verdict) for r in found]
    return rows


def _not_here(kind: str, statement: dict[str, Any]) -> Row:
    about = about_input(statement, kind)
    name = str(about.get("hub") or about.get("name") or "")
    if kind == CODE:
        version, commit = made_by(statement)
        name = f"whet {version}" + (f", commit {commit[:12]}" if commit else "")
    return Row(kind, name, str(about.get("digest") or "-"), "-", NOT_HERE)


def _compared(where: str, root: Path, expected: dict[str, str]) -> Iterator[Row]:
    for name, digest in expected.items():
        path = root / name
        if not path.is_file():
            yield Row(where, name, digest, "-", MISSING)
            continue
        found = file_sha256(path)
        yield Row(where, name, digest, found, SAME if found == digest else DIFFERS)


def first_bad(rows: list[Row]) -> Row | None:
    """The first file that is not as it should be."""
    return next((row for row in rows if row.bad), None)


def spelled_rows(rows: list[Row]) -> str:
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
                cells.append((title, row.name, row.expected[:12], row.found[:12], verdict))
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    spelled = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in spelled)


def verify_command(config: VerifyConfig) -> int:
    """`whet verify`: print the table; 1 if something differs, and its name; else 0."""
    folder = Path(config.bundle)
    statement, rows = check_bundle(folder)
    rows += check_inputs(folder, statement, data=config.data.path, model=config.model.name)
    print(spelled_rows(rows))
    print(f"root {statement['predicate']['whet_tree']['root']}")
    if (folder / SIGNATURE).is_file():
        print(f"{SIGNATURE} is there, and not checked here: docs/bundles.md says how to.")
    bad = first_bad(rows)
    if bad is None:
        unseen = [TITLES[row.where] for row in rows if row.verdict == NOT_HERE]
        rest = f" Not here, so not checked: {', '.join(unseen)}." if unseen else ""
        print(f"All that is here is what {NAME} says.{rest}")
        return 0
    print(
        f"The first that differs: {bad.name} ({TITLES.get(bad.where, bad.where)}): {bad.verdict}."
    )
    return 1
