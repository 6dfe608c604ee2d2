"""The versions of a model in a folder of feedback: each a folder that stays, one of them current.

`versions/0003/model` is the model of version 3, `versions/0003/version.json` what is known of it,
`versions/current` the number of the one in use. Version 0 is the model the folder began with, and
is not copied.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from whet.config import ModelConfig
from whet.errors import CheckpointError, ConfigError
from whet.feedback.learn.tune import Tuned
from whet.model.encoder import Encoder
from whet.model.towers import Towers, open_model
from whet.run.model_card import tuned_card
from whet.storage.commit import verify_folder, whole_folder, write_atomically, write_json
from whet.storage.readable import readable_json, readable_text

FACTS = "version.json"
NUMBERED = "[0-9]" * 4  # the name of a version's folder, in a pattern
NUMBER = re.compile(r"[0-9]{1,4}")
LONGEST_CURRENT = 100  # bytes
KINDS: dict[str, type | tuple[type, ...]] = {  # what every version.json holds
    "version": int,
    "state": str,
    "time": (int, float),
    "method": str,
    "why": str,
    "seconds": (int, float),
    "held_out": dict,
    "losses": dict,
    "guard": dict,
    "verdict": str,
    "advice": str,
    "lists": list,
}
CANDIDATE, SHIPPED, DISCARDED = "candidate", "shipped", "discarded"


class Versions:
    """The versions in one folder of feedback. Every call looks at the disk: several servers and
    `whet tune` may share the folder.
    """

    def __init__(self, home: Path, base: ModelConfig) -> None:
        self.folder = home / "versions"
        self.base = base

    def current(self) -> int:
        """The version in use; 0 is the base model. CheckpointError if the file is damaged."""
        path = self.folder / "current"
        if not path.exists():
            return 0
        remedy = f"Say `whet tune {self.folder.parent} use=N`, with 0 for the base model."
        text = readable_text(path, remedy=remedy, most=LONGEST_CURRENT).strip()
        if not NUMBER.fullmatch(text):
            raise CheckpointError(
                f"{path} is damaged: it should hold the number of a version. {remedy}"
            )
        return int(text)

    def all(self) -> list[dict[str, Any]]:
        """What is known of each version, oldest first."""
        folders = sorted(self.folder.glob(NUMBERED))
        return [self.facts(0), *(self.facts(int(folder.name)) for folder in folders)]

    def facts(self, number: int) -> dict[str, Any]:
        """What is known of a version. ConfigError if there is none of this number."""
        if number:
            return self._facts(number)
        base = {"version": 0, "state": "base", "method": "", "why": self.base.name, "lists": []}
        base |= {"time": 0.0, "seconds": 0.0, "held_out": None, "guard": None, "losses": None}
        return base | {"verdict": "", "advice": ""}

    def add(self, tuned: Tuned, *, events: int) -> int:
        """Keep a tuned model as a candidate; its number. `events` is how many it learned from."""
        number = max((int(folder.name) for folder in self.folder.glob(NUMBERED)), default=0) + 1
        facts = {
            "version": number,
            "state": CANDIDATE,
            "time": time.time(),
            "events": events,
            "method": tuned.method,
            "share": tuned.share,
            "why": tuned.why,
            "seconds": round(tuned.seconds, 1),
            "held_out": tuned.held_out.summary(),
            "losses": tuned.losses.summary(),
            "guard": tuned.guard.summary(),
            "better": tuned.better,
            "verdict": tuned.verdict(),
            "advice": tuned.advice(),
            "lists": tuned.lists,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_folder(self._of(number)) as draft:
            tuned.model.save(draft / "model", tuned_card(facts, self.base.name))
            write_json(draft / FACTS, facts, private=True)  # it holds queries
        return number

    def ship(self, number: int) -> None:
        """Make a version the current one, and remember that it was shipped."""
        self._mark(number, SHIPPED)
        self.use(number)

    def discard(self, number: int) -> None:
        """Say that a version is not wanted; its files stay. ConfigError for the current one."""
        if number == self.current():
            raise ConfigError(f"Version {number} is in use. Use another one first.")
        self._mark(number, DISCARDED)

    def use(self, number: int) -> None:
        """Make any version the current one: back or forth, 0 for the base model."""
        if number:
            verify_folder(self.model_folder(number))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "current", f"{number}\n")

    def open(self, number: int) -> Encoder | Towers:
        """The model of a version."""
        if number == 0:
            return open_model(self.base)
        verify_folder(self.model_folder(number))
        return open_model(str(self.model_folder(number)))

    def model_folder(self, number: int) -> Path:
        """Where a version's model is. ConfigError if there is no such version."""
        self._facts(number)
        return self._of(number) / "model"

    def _of(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def _facts(self, number: int) -> dict[str, Any]:
        path = self._of(number) / FACTS
        if not path.exists():
            there = ", ".join(folder.name.lstrip("0") for folder in self.folder.glob(NUMBERED))
            raise ConfigError(
                f"There is no version {number} in {self.folder}. There are: 0"
                f"{', ' if there else ''}{there}."
            )
        remedy = f"Bring back a copy, or move {path.parent} away and tune again."
        facts: dict[str, Any] = readable_json(path, remedy=remedy)
        for name, kind in KINDS.items():
            if not isinstance(facts.get(name), kind):
                raise CheckpointError(f"{path} is damaged: {name} is missing or wrong. {remedy}")
        return facts

    def _mark(self, number: int, state: str) -> None:
        facts = self._facts(number)
        write_json(self._of(number) / FACTS, {**facts, "state": state}, private=True)
