"""The process that does the stages, one after another. It may die, hang or lose its device: who
started it (battery.py) has every figure it told before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stages import STAGES, Here, LeftOut


def work(line: Connection, rehearsed: bool, out: Path, scratch: Path) -> None:
    """Tell the facts of the machine, then do the stages asked for until there is nothing more."""
    os.setsid()  # whoever stops this process stops what it has started, too
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _speak_to(out / "gpu.log")
    with pretended_device() if rehearsed else contextlib.nullcontext():
        import machine
        import timing

        if not rehearsed:
            machine.unpack_compiled()
        facts = machine.facts()
        line.send(("facts", facts))
        here = Here(rehearsed, out, scratch, peak=timing.peak_of(facts["device"]))
        while (task := line.recv()) is not None:
            name, here.seconds = task
            line.send(("end", _ended(name, here, line)))


def _ended(name: str, here: Here, line: Connection) -> tuple[str, str]:
    """How a stage ended, and why."""
    here.tell = lambda kind, value: line.send((kind, value))
    stage = next(stage for stage in STAGES if stage.name == name)
    print(f"--- {name}", flush=True)
    try:
        stage.run(here)
    except LeftOut as why:
        return "left out", str(why)
    except Exception as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        _free_memory()
    return "ok", ""


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    with contextlib.suppress(RuntimeError):  # a device that is lost
        torch.cuda.empty_cache()


def _speak_to(path: Path) -> None:
    """What libraries and their processes print goes to a file: the terminal has the table."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)


def _end_with(parent: int) -> None:
    """End, with all that was started here, when the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


@contextlib.contextmanager
def pretended_device() -> Iterator[Any]:
    """The pretended GPU of the tests; Triton's interpreter does its kernels."""
    import folders

    sys.path.append(str(folders.ROOT / "tests" / "dry_run"))
    from pretend_cuda import pretend_cuda
    from quick_interpreter import quick_interpreter

    from whet_kernels.topk.gpu import search

    quick_interpreter()
    # The interpreter takes memory of the host; here it is given what claims to be a device's.
    search.INTERPRET = False  # type: ignore[attr-defined]
    with pretend_cuda() as device:
        yield device
