"""Answers of a language model, kept shard by shard, so that none is asked for, or paid for, twice.

A shard is named by the SHA-256 of who was asked and of every word that was asked; it appears by one
rename, with a manifest. A command that was killed, or one that asks for more documents, finds what
is there and asks for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from whet.adaptation.generate.prompt import Messages
from whet.errors import CheckpointError
from whet.storage.commit import commit_folder, verify_folder, write_json
from whet.storage.lock import locked
from whet.storage.places import cache_folder
from whet.storage.readable import readable_json

FILE = "answers.json"
MOST_KEPT = 20_000  # characters of an answer: a query has a few hundred


@dataclass(frozen=True)
class ModelAnswer:
    """What came back: a text, or None and what was wrong."""

    text: str | None
    problem: str = ""


Ask = Callable[[Sequence[Messages]], list[ModelAnswer]]


@dataclass(frozen=True)
class Writer:
    """A language model: what it is called, where it runs, its licence as far as it was told, how it
    is asked, and how many requests make a shard.
    """

    model: str
    where: str
    licence: str
    ask: Ask
    at_once: int

    @property
    def to_ask(self) -> dict[str, str]:
        """Who is asked: answers are kept by that."""
        return {"model": self.model, "where": self.where}

    def to_dict(self) -> dict[str, str]:
        """Who wrote, as records and cards name it."""
        return {**self.to_ask, "licence": self.licence}


def answers_folder() -> Path:
    """Where answers are kept, for every job."""
    return cache_folder() / "generated"


def answered(
    writer: Writer,
    prompts_of: Callable[[range], list[Messages]],
    count: int,
    *,
    check: Callable[[range, list[ModelAnswer]], None],
    shard_done: Callable[[int], None],
) -> list[str | None]:
    """The answers to `count` prompts, in order; None where none could be read.

    `check` sees the answers of each shard before they are kept, and may raise; `shard_done` is told
    how many are there more.
    """
    who, home = writer.to_ask, _home(writer)
    texts: list[str | None] = []
    with locked(home):
        for start in range(0, count, writer.at_once):
            places = range(start, min(start + writer.at_once, count))
            prompts = prompts_of(places)
            shard = home / _digest(prompts)
            kept = _kept(shard, len(prompts))
            if kept is None:
                answers = writer.ask(prompts)
                check(places, answers)
                kept = [_storable(answer.text) for answer in answers]
                with commit_folder(shard, {**who, "prompts": len(prompts)}) as draft:
                    write_json(draft / FILE, kept)
            texts += kept
            shard_done(len(places))
    return texts


def may_be_kept(writer: Writer, count: int) -> bool:
    """Whether answers to `count` prompts can all be there: as many shards as those make are. Which
    prompts these are of is known once the documents are encoded.
    """
    shards = sum(1 for _ in _home(writer).glob("*/manifest.json"))
    return shards >= -(-count // writer.at_once)


def _home(writer: Writer) -> Path:
    return answers_folder() / _digest(writer.to_ask)[:16]


def _storable(text: str | None) -> str | None:
    """As a file can hold it: JSON of a server may bring half of a surrogate pair."""
    return None if text is None else text[:MOST_KEPT].encode(errors="replace").decode()


def _kept(shard: Path, count: int) -> list[str | None] | None:
    """The answers of a shard that is there and whole."""
    with suppress(CheckpointError):
        verify_folder(shard)
        kept: list[str | None] = readable_json(
            shard / FILE, kind=list, remedy="It is asked for again."
        )
        return kept if len(kept) == count else None
    return None


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
