"""What a launcher does with the processes of this machine: hand them their task, stop them, end
silent ones, read what they answered.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import whet.errors
from whet.config import FitConfig
from whet.data.load import Dataset
from whet.errors import WhetError
from whet.processes.host import cores
from whet_launch.machine.process import STOPPED, ProcessTask


@dataclass
class ProcessGroup:
    """The processes started from here with one task; their files lie in task.scratch."""

    task: ProcessTask
    seen: dict[int, tuple[int, float]] = field(default_factory=dict)  # pid: pulse, since when
    read: set[Path] = field(default_factory=set)  # files of which the last words were told

    @property
    def scratch(self) -> Path:
        """The folder shared with the processes."""
        return Path(self.task.scratch)

    def write_task(self) -> str:
        """The file that each process is started with."""
        path = self.scratch / "task"
        path.write_bytes(pickle.dumps(self.task))
        return str(path)

    def pids(self) -> dict[int, int]:
        """rank -> process id, of those that run."""
        running = {}
        for path in self.scratch.glob("pid_*"):
            with suppress(OSError, ValueError):
                pid = int(path.read_text(encoding="utf-8"))
                if _is_child(pid):
                    running[int(path.name.partition("_")[2])] = pid
        return running

    def stop(self) -> None:
        """Ask every process to save and end."""
        (self.scratch / "stop").touch()
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End every process at once."""
        (self.scratch / "stop").touch()
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self.pids().values():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end_silent(self, limit_s: float) -> list[str]:
        """Kill each process that has shown no sign of life for `limit_s` seconds (0: never); what
        to tell of them.

        Processes watch each other, too (processes/heartbeat.py), but a single one or all at once
        need this.
        It counts by its own clock, so that a machine that slept loses nobody.
        """
        lines = []
        for rank, pid in self.pids().items():
            pulse = (self.scratch / f"pid_{rank}").stat().st_mtime_ns
            before, since = self.seen.get(pid, (0, 0.0))
            if pulse != before:
                self.seen[pid] = (pulse, time.monotonic())
            elif limit_s and time.monotonic() - since > limit_s:
                os.kill(pid, signal.SIGKILL)
                lines.append(
                    f"Process {rank} (id {pid}) was silent for {limit_s:g} s and was ended."
                )
        return lines

    def last_words(self) -> list[str]:
        """What followers that died since the last call said last, each thing once."""
        words = {}
        for path in sorted(set(self.scratch.rglob("stderr.log")) - self.read):
            self.read.add(path)
            lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            words.update(dict.fromkeys(lines[-1:]))
        return list(words)

    def outcome(self) -> dict[str, str] | None:
        """The first answer that the user has to know: its kind and message."""
        for path in sorted(self.scratch.glob("outcome_*")):
            told: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            return told
        return None

    def trace(self) -> str:
        """The traceback of the process that failed first; empty if none was written."""
        paths = sorted(self.scratch.glob("trace_*"), key=lambda path: path.stat().st_mtime_ns)
        return paths[0].read_text(encoding="utf-8") if paths else ""


def begun(config: FitConfig, data: Dataset | None = None) -> Path:
    """The run folder of a job that other processes will do, as a path they can use; `data` are its
    data, where they are open already.
    """
    from whet.verbs.fit import begin

    return Path(os.path.abspath(begin(config, data)))


def raise_outcome(outcome: dict[str, str] | None, folder: Path) -> None:
    """The error that a process answered with, as if it had been raised here."""
    if outcome is None:
        return
    if outcome["kind"] == STOPPED:
        raise KeyboardInterrupt(str(folder))
    kind = getattr(whet.errors, outcome["kind"], WhetError)
    raise kind(outcome["message"])


def threads_each(processes: int) -> int:
    """CPU threads for each of so many processes on this machine; OMP_NUM_THREADS decides if set."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, cores() // processes))


def python_path() -> str:
    """PYTHONPATH for a process that is to import what this one does: the folders given to Ray, and
    not those in which Python and its packages are installed.
    """
    installed = (sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(os.__file__)))
    return os.pathsep.join(path for path in sys.path if path and not path.startswith(installed))


def gave_up(trace: str, failures: int, folder: Path) -> WhetError:
    """What to say when a job failed more often than launch.max_failures allows."""
    last = trace.strip().splitlines()[-1] if trace.strip() else "a process was killed"
    often = "once" if failures == 1 else f"{failures} times"
    return WhetError(
        f"the job failed {often}, at last by: {last}. What it reached is kept; go on with: "
        f"whet fit resume={folder}"
    )


def _is_child(pid: int) -> bool:
    """Whether it is ours and runs; another process may have got the id of a dead one."""
    try:
        process = psutil.Process(pid)
        ours: bool = process.ppid() == os.getpid() and process.status() != psutil.STATUS_ZOMBIE
        return ours
    except psutil.NoSuchProcess:
        return False
