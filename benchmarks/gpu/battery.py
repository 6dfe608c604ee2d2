"""The stages one after another, in a process of their own: each has its seconds, and gets a line
in the records however it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lines import Line, now, told
from stages import Stage

START_S = 180.0  # for a process to import torch and find its device; longer: something is wrong
GRACE_S = 2.0
PATIENCE = 20.0  # times the seconds of a stage, in a rehearsal


@dataclass
class Settings:
    """How a battery is run."""

    rehearsed: bool
    seconds: float  # in all
    out: Path
    scratch: Path
    commit: str


class Lost(Exception):
    """Why the process that does the stages is no more."""


class Worker:
    """The process that does the stages; `ended` and a new one where it is lost."""

    def __init__(self, settings: Settings) -> None:
        from worker import work

        spawn = multiprocessing.get_context("spawn")  # a fork would take half of what torch has
        self.line, theirs = spawn.Pipe()
        arguments = (theirs, settings.rehearsed, settings.out, settings.scratch)
        self.process = spawn.Process(target=work, args=arguments)
        self.process.start()
        theirs.close()
        try:
            _, self.facts = self.heard(time.monotonic() + START_S)
        except Lost:
            self.end()
            raise

    def heard(self, until: float) -> tuple[str, Any]:
        """What it tells next; Lost when it is over time or dead."""
        try:
            if not self.line.poll(max(0.0, until - time.monotonic())):
                raise Lost("over its time")
            news: tuple[str, Any] = self.line.recv()
            return news
        except (EOFError, ConnectionError):
            self.process.join(10)
            raise Lost(f"the process died, {_how(self.process.exitcode)}") from None

    def ask(self, stage: Stage, seconds: float) -> None:
        """Have it do a stage."""
        self.line.send((stage.name, seconds))

    def end(self) -> None:
        """Stop it and all that it has started; one that waits for a stage ends by itself."""
        with contextlib.suppress(OSError):
            self.line.send(None)
            self.process.join(GRACE_S)
        if self.process.pid is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, number)
                except (ProcessLookupError, PermissionError):
                    self.process.kill()  # not yet the leader of its group
                self.process.join(3)
        self.line.close()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    return f"with exit code {code}"


@dataclass
class Battery:
    """A call: its deadline, its worker, and who is told each line."""

    settings: Settings
    keep: Callable[[Line], None]
    say: Callable[[str], None]
    worker: Worker | None = None
    began: float = field(default_factory=time.monotonic)
    late: list[str] = field(default_factory=list)  # stages that there was no time for
    known: dict[str, Any] = field(default_factory=dict)  # the facts as they were told last

    def facts(self) -> dict[str, Any]:
        """Of the machine; starts the process where there is none. Lost where it does not come."""
        if self.worker is None:
            self.worker = Worker(self.settings)
            self.known = self.worker.facts
        return self.known

    def left(self) -> float:
        """Seconds until the end of the call."""
        return self.settings.seconds - (time.monotonic() - self.began)

    def run(self, stages: list[Stage]) -> None:
        """Do those that can end in time; each gets a line."""
        try:
            for stage in stages:
                if self.left() < stage.seconds and not self.settings.rehearsed:
                    self.late.append(stage.name)
                    continue
                self.keep(self._line(stage))
        finally:
            self.end()

    def end(self) -> None:
        """Stop the process."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def _line(self, stage: Stage) -> Line:
        """Do a stage; the next one gets a new process where this one ended badly, since a device
        error stays with the process that had it.
        """
        began = time.monotonic()
        line: Line = {"stage": stage.name, "figures": {}, "wrong": [], "notes": []}
        try:
            line |= {"status": "failed", "why": "interrupted"}  # unless it ends in another way
            self.facts()
            line["status"], line["why"] = self._done(stage, line)
        except Lost as why:
            line["status"], line["why"] = "failed", str(why)
        except KeyboardInterrupt:
            self.keep(self._finish(line, began))
            raise
        if line["status"] == "failed":
            self.end()
        return self._finish(line, began)

    def _done(self, stage: Stage, line: Line) -> tuple[str, str]:
        assert self.worker is not None
        seconds = stage.seconds * (PATIENCE if self.settings.rehearsed else 1)
        self.worker.ask(stage, seconds)
        until = time.monotonic() + seconds
        while True:
            kind, told = self.worker.heard(until)
            if kind == "end":
                return ("wrong", "; ".join(line["wrong"])[:300]) if line["wrong"] else told
            if kind == "figure":
                line["figures"][told[0]] = told[1]
            else:
                line["wrong" if kind == "wrong" else "notes"].append(told)

    def _finish(self, line: Line, began: float) -> Line:
        line["seconds"] = round(time.monotonic() - began, 1)
        line |= {"commit": self.settings.commit, "device": self.known.get("device", "unknown")}
        line["machine"] = {name: value for name, value in self.known.items() if name != "device"}
        line["time"] = now()
        self.say(told(line))
        return line
