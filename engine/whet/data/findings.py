"""What was found wrong or odd in a dataset: every case counted, the first few of each kind kept to
show.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from whet.errors import DataError
from whet.printable import printable
from whet.version import install_line

SHOWN_OF_A_KIND = 5
_DROP = "or pass data.on_problem=drop."

# kind -> (severity, what to do about it); a problem stops loading, a warning or a note is only told
KINDS: dict[str, tuple[str, str]] = {
    "bad UTF-8": ("problem", f"Save the file as UTF-8, {_DROP}"),
    "line too long": ("problem", f"Put one row on one line of at most 16 MiB, {_DROP}"),
    "bad JSON": ("problem", f"Write one JSON object a line, {_DROP}"),
    "bad CSV": ("problem", f"Quote the fields as RFC 4180 says, {_DROP}"),
    "missing field": ("problem", f"Add the field, {_DROP}"),
    "bad id": ("problem", f"Give the row an id of printable text, no blank at its ends, {_DROP}"),
    "duplicate id": (
        "problem",
        "Give each row its own id, or pass data.on_problem=drop to keep the first.",
    ),
    "empty text": ("problem", f"Fill the text in or take the row out, {_DROP}"),
    "text that is not a string": ("problem", f"Write the text as a string, {_DROP}"),
    "text with NUL or lone surrogate": ("problem", f"Take the character out, {_DROP}"),
    "document that cannot be read": ("problem", f"Save it as text, {_DROP}"),
    "picture that cannot be read": ("problem", f"Save it anew as PNG or JPEG, {_DROP}"),
    "bad judgment": ("problem", f"Write query id, document id and a whole number, {_DROP}"),
    "bad relevance": ("problem", f"Write a whole number, 0 for not relevant, {_DROP}"),
    "unknown document": ("problem", "Fix the id, or pass data.on_problem=drop."),
    "unknown query": ("problem", "Fix the id, or pass data.on_problem=drop."),
    "conflicting judgments": (
        "problem",
        "Keep one of them, or pass data.on_problem=drop to keep the first.",
    ),
    "empty split": (
        "problem",
        "Add judgments or take the file away, or pass data.on_problem=drop.",
    ),
    "no judgments": (
        "warning",
        "It can be checked and encoded; training and evaluation need judgments.",
    ),
    "documents that are cut": (
        "warning",
        "Say data.passages=auto to cut them into passages, or raise model.max_length if it can be.",
    ),
    "query in train and in another split": ("warning", "Take it out of train: the score flatters."),
    "positive also given as negative": ("warning", "Kept as positive."),
    "repeated judgment": ("note", "Counted once."),
    "document not read": ("warning", f"Run `{install_line('docs')}` to read them."),
    "columns by order": ("note", "Name them query, positive, negative to be sure."),
    "no header": ("note", "Add a header line with query, positive, negative to be sure."),
    "pictures not read": ("note", "Copy the files beside the data to read them."),
    "part of the queries": ("note", "Their documents are all there."),
    "several positive columns": ("note", "Say data.positive=COLUMN for one of them."),
    "column not read": ("note", "Name it with data.positive or data.negatives to read it."),
    "teacher scores that do not fit": ("warning", "Give one per text of the row, or a margin."),
    "teacher scores that differ": ("warning", "The first is kept."),
    "teacher scores": ("note", "Say data.relevant_from= where they are grades."),
    "column without a name": ("note", "Give it a name to read it."),
    "clicks as judgments": ("note", "Judge by hand where it matters: whet label."),
    "file not read": ("note", "Move it elsewhere, or give it a format that is read."),
    "query that is a document": ("note", "A query's own document is left out of its ranking."),
    "query without a relevant document": ("note", "It is not trained on and scores 0."),
}
# what only `whet check` tells: nothing is guessed or lost by it
QUIET = ("repeated judgment", "query without a relevant document", "no judgments")


def excerpt(value: object, limit: int = 60) -> str:
    """`value` as it goes into a message: quoted, at most about `limit` characters.

    >>> excerpt("short"), excerpt("a long text", 5)
    ("'short'", "'a l...'")
    """
    text = repr(value[: limit + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= limit + 2 else f"{text[: limit - 1]}...{text[0]}"


@dataclass
class Cases:
    """All cases of one kind: how many, and the first few sentences."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """Kind of finding -> its cases. Printing it shows all kinds, worst first."""

    cases: dict[str, Cases] = field(default_factory=dict)

    def add(self, kind: str, where: str, what: str) -> None:
        """Count one case of `kind` (a key of KINDS); the first few keep their sentence."""
        case = self.cases.setdefault(kind, Cases())
        case.count += 1
        if len(case.examples) < SHOWN_OF_A_KIND:
            case.examples.append(printable(f"{where}: {what}"))

    def more(self, kind: str, count: int) -> None:
        """Count `count` further cases of `kind` without sentences."""
        self.cases.setdefault(kind, Cases()).count += count

    def take(self, others: Findings) -> None:
        """Add what was found later."""
        for kind, later in others.cases.items():
            case = self.cases.setdefault(kind, Cases())
            case.count += later.count
            case.examples += later.examples[: SHOWN_OF_A_KIND - len(case.examples)]

    def count(self, kind: str) -> int:
        """How many cases of one kind there are."""
        return self.cases[kind].count if kind in self.cases else 0

    def of(self, severity: str) -> list[str]:
        """The kinds found of one severity (problem, warning or note), in the order of KINDS."""
        return [kind for kind in KINDS if kind in self.cases and KINDS[kind][0] == severity]

    @property
    def problems(self) -> int:
        """How many problems there are: 0 means the data can be used as it is."""
        return sum(self.count(kind) for kind in self.of("problem"))

    def describe(self, kind: str) -> str:
        """All that is known of one kind: one line, or several where there are several cases."""
        case, remedy = self.cases[kind], KINDS[kind][1]
        if case.count == 1 and case.examples:
            return f"{_sentence(case.examples[0])} {remedy}"
        lines = [f"{kind} ({case.count:,}): {remedy}", *(f"  {line}" for line in case.examples)]
        if case.count > len(case.examples):
            lines.append(f"  and {case.count - len(case.examples):,} more")
        return "\n".join(lines)

    def remarks(self) -> str:
        """Warnings and notes, a line each kind: what every command that uses the data tells."""
        kinds = [*self.of("warning"), *self.of("note")]
        return "\n".join(self._in_a_line(kind) for kind in kinds if kind not in QUIET)

    def _in_a_line(self, kind: str) -> str:
        case = self.cases[kind]
        if case.count == 1:
            return self.describe(kind)
        first = f"; {case.examples[0]}" if case.examples else ""
        return f"{kind} ({case.count:,}){first}. {KINDS[kind][1]}"

    def refuse(self, name: str) -> None:
        """Raise DataError with every problem, if there is any; one problem is one line."""
        kinds = self.of("problem")
        if not kinds:
            return
        problems = "\n".join(self.describe(kind) for kind in kinds)
        if self.problems == 1:
            raise DataError(problems)
        raise DataError(f"{printable(name)} has {self.problems:,} problems:\n{problems}")

    def __str__(self) -> str:
        parts = []
        for severity in ("problem", "warning", "note"):
            kinds = self.of(severity)
            if kinds:
                total = sum(self.count(kind) for kind in kinds)
                parts.append(f"{total:,} {severity}{'s' if total > 1 else ''}")
                parts += ["  " + self.describe(kind).replace("\n", "\n  ") for kind in kinds]
        return "\n".join(parts) if parts else "no problems"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {kind: asdict(case) for kind, case in self.cases.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Findings:
        """The inverse of `to_dict`."""
        return cls({kind: Cases(**case) for kind, case in plain.items()})


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."
