"""How a repeat compares with the bundle it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whet.bundle.checking.verify import FileRow
from whet.bundle.facts import WEIGHTS
from whet.bundle.provenance import about_input, made_by
from whet.bundle.schema import BASE, CODE
from whet.bundle.spread import MOST, bound_of, means_of, read_scores
from whet.errors import CheckpointError
from whet.printable import printable
from whet.run.origin import FILE
from whet.storage.commit import file_sha256
from whet.storage.readable import readable_json, readable_text

BIT_EQUAL, WITHIN, OTHER = "bit-equal", "within the spread", "another result"
SPREAD = f"half the 95 % interval of the repeat's own mean over its queries, at most {MOST}"
AGAIN = "Do it again."


@dataclass(frozen=True)
class Outcome:
    """How the repeat compares: the verdict, both weights' sha256, every measure (recorded, again,
    how far off it may be, how far the bundle claims), what that claim is, and what differs that may
    explain it (what, then, now).
    """

    verdict: str
    weights: tuple[str, str]
    measures: dict[str, tuple[float, float, float, float]]
    claim: str
    differences: list[tuple[str, str, str]]

    def __str__(self) -> str:
        """Tables for the terminal, and the verdict below them."""
        heads = ("then", "again", "may be off by", "claimed")
        widths = (7, 7, 13, 7)
        lines = [f"{'measure':<10}" + _row(heads, widths)]
        for name, values in self.measures.items():
            cells = [f"{value:.4f}" for value in values]
            lines.append(f"{printable(name):<10}" + _row(cells, widths))
        lines.append(f"What it may be off by, computed here: {SPREAD}.")
        lines.append(f"What the bundle claims, and nothing is judged by: {self.claim}.")
        if self.differences:
            lines += ["", *_table([("differs", "then", "now"), *self.differences])]
        equal = self.weights[0] == self.weights[1]
        last = {
            BIT_EQUAL: f"Bit-equal: {WEIGHTS} is {self.weights[1]}, as it was.",
            WITHIN: f"Not the same bits, but every measure is {WITHIN}.",
            OTHER: (
                "Another result: the weights are the same, and yet a measure is not what is claimed"
                if equal
                else "Another result: a measure is farther off than it may be"
            )
            + ".",
        }
        return "\n".join([*lines, "", last[self.verdict]])


def _row(cells: Any, widths: tuple[int, ...]) -> str:
    return "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    cells = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(3)]
    for row in cells:
        yield "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()


def compared(bundle: Path, statement: dict[str, Any], run: Path, inputs: list[FileRow]) -> Outcome:
    """Compare a finished run with a bundle that was checked.

    A measure may be off by what the repeat's own scores say, whatever the bundle claims; equal
    weights are no excuse for measures that are not theirs.
    """
    predicate = statement["predicate"]
    then, claim = predicate["whet_measures"]["tuned"], predicate["whet_spread"]
    scores = read_scores(run / "per_query.jsonl", remedy=AGAIN)["tuned"]
    again, allowed = means_of(scores), bound_of(scores)
    if set(then) != set(again):
        raise CheckpointError(
            f"{printable(bundle)} claims {printable(', '.join(then))}, and its run is judged by "
            f"{', '.join(again)}. Ask whoever made it."
        )
    measures = {
        name: (then[name], again[name], allowed[name], claim["allowed"][name]) for name in then
    }
    weights = file_sha256(bundle / WEIGHTS), file_sha256(run / "model" / WEIGHTS)
    within = all(abs(value - other) <= most for value, other, most, _ in measures.values())
    equal = weights[0] == weights[1]
    verdict = OTHER if not within else BIT_EQUAL if equal else WITHIN
    differences = list(_differences(bundle, statement, run, inputs))
    return Outcome(verdict, weights, measures, _claimed(claim), differences)


def _claimed(claim: dict[str, Any]) -> str:
    """What the claimed spread is said to be."""
    runs = "" if claim["runs"] == 1 else f", {claim['runs']} runs"
    return f"{printable(claim['kind'][:100])}{runs}"


def _differences(
    bundle: Path, statement: dict[str, Any], run: Path, inputs: list[FileRow]
) -> Iterator[tuple[str, str, str]]:
    """What was otherwise, from the hardware up to where the results part."""
    training = bundle / "training"
    here = readable_json(run / FILE, remedy=AGAIN)
    machine = statement["predicate"]["whet_machine"]
    for name, now in here["machine"].items():
        if name in machine and machine[name] != now:
            yield f"machine: {name}", _short(machine[name]), _short(now)
    packages = readable_text(training / "packages.txt", remedy=AGAIN).split()
    yield from _packages(packages, here["packages"])
    version, commit = made_by(statement)
    if version != here["code"]["version"]:
        yield "code: version of whet", version, here["code"]["version"]
    if commit and commit != here["code"].get("commit"):
        yield "code: commit", commit[:12], str(here["code"].get("commit"))[:12]
    base, now = about_input(statement, BASE)["digest"], here["model"]["fingerprint"]
    if base != now:  # the same files, read by other versions
        yield "base model: what decides a vector", base[:12], now[:12]
    for row in inputs:
        if row.where == CODE and row.bad:
            yield f"code: {row.name}", row.expected[:12], row.actual[:12]
    for path in sorted((training / "negatives").glob("*.parquet")):
        twin = run / "negatives" / path.name
        then, now = file_sha256(path), file_sha256(twin) if twin.is_file() else "none"
        if then != now:
            yield f"negatives: {path.stem}", then[:12], now[:12]
    yield from _first_loss(_log(training), _log(run))


def _first_loss(then: list[Any], now: list[Any]) -> Iterator[tuple[str, str, str]]:
    """The first logged step whose loss differs."""
    for former, latter in zip(then, now, strict=False):
        if former != latter:
            yield f"loss of step {latter[0]}", _short(former[1]), _short(latter[1])
            return


def _packages(then: list[str], now: list[str]) -> Iterator[tuple[str, str, str]]:
    """Those that both have in other versions; one alone more or less changes no sum."""
    versions = {name: number for name, _, number in (package.partition("==") for package in now)}
    for package in then:
        name, _, number = package.partition("==")
        if versions.get(name, number) != number:
            yield f"package: {name}", number, versions[name]


def _short(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:200]


def _log(folder: Path) -> list[tuple[Any, Any]]:
    """Step and loss of every line. CheckpointError where a line has none."""
    path = folder / "train_log.jsonl"
    try:
        rows = [json.loads(line) for line in readable_text(path, remedy=AGAIN).splitlines()]
        return [(row["step"], row["loss"]) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{printable(path)} is damaged: a line of it is no log's.") from error
