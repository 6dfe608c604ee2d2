"""`launch=local` with several processes: torch's elastic agent starts them on this machine and
starts them again when one dies.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whet.config import FitConfig
from whet.errors import EnvironmentRefused
from whet.processes.interrupts import Interrupts
from whet.progress import say
from whet.run.early import check_job
from whet_launch.machine.group import ProcessGroup, begun, gave_up, raise_outcome, threads_each
from whet_launch.machine.process import ProcessTask

ALWAYS = 1_000_000_000  # restarts; the agent knows no "without end"


def fit_here(config: FitConfig) -> None:
    """Do the job in `launch.num_workers` processes of this machine.

    Raises what the job raises in its processes, and WhetError when they died too often.
    """
    data = check_job(config)
    use_gpu = uses_gpu(config)
    folder = begun(config, data)
    with tempfile.TemporaryDirectory(prefix="whet_") as scratch:
        task = ProcessTask(
            config=config,
            folder=str(folder),
            scratch=scratch,
            directory=os.getcwd(),
            threads=threads_each(config.launch.num_workers),
            use_gpu=use_gpu,
        )
        group = ProcessGroup(task)
        with _interruptible(group, folder), _watched(group, config.launch.hang_timeout_s):
            failed = _run(group)
        raise_outcome(group.outcome(), folder)
        if failed:
            print(group.trace(), end="", file=sys.stderr, flush=True)
            raise gave_up(group.trace(), config.launch.max_failures + 1, folder)


def uses_gpu(config: FitConfig) -> bool:
    """Whether each process takes a GPU of this machine; EnvironmentRefused if there are too few."""
    import torch

    wanted, workers = config.launch.use_gpu, config.launch.num_workers
    count = torch.cuda.device_count() if config.trainer.accelerator != "cpu" else 0
    if wanted is False or (wanted is None and count == 0):
        return False
    if count < workers:
        raise EnvironmentRefused(
            f"launch.num_workers={workers} needs a GPU for each process, and here are {count}. "
            f"Set launch.num_workers={max(1, count)}, or launch.use_gpu=false to use the CPU."
        )
    return True


def _run(group: ProcessGroup) -> bool:
    """Whether the processes failed for good."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a dead process is told in one line
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "5")  # s, for survivors of a dead one
    launch = group.task.config.launch
    quiet: dict[int, Std] = {rank: Std.ALL for rank in range(1, launch.num_workers)}
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=launch.num_workers,
        run_id=group.scratch.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=ALWAYS if launch.max_failures < 0 else launch.max_failures,
        logs_specs=DefaultLogsSpecs(log_dir=str(group.scratch), redirects=quiet),
        signals_to_handle="SIGHUP",  # the others are ours
    )
    command = [sys.executable, "-m", "whet_launch.machine.process", group.write_task()]
    try:
        elastic_launch(settings, command[0])(*command[1:])
    except ChildFailedError:
        return True
    return False


@contextmanager
def _interruptible(group: ProcessGroup, folder: Path) -> Iterator[None]:
    """Ctrl-C once: every process saves and ends. Twice: at once."""

    def end() -> None:
        group.kill()
        raise KeyboardInterrupt(str(folder))

    with Interrupts(group.stop, end) as interrupts:
        yield
    # Stopped, and no process gave a result or an error of its own.
    if interrupts.received and group.outcome() is None:
        raise KeyboardInterrupt(str(folder))


@contextmanager
def _watched(group: ProcessGroup, limit_s: float) -> Iterator[None]:
    """End silent processes; tell when the agent has started all again, and what the dead said."""
    done = threading.Event()

    def watch() -> None:
        last: set[int] = set()
        while not done.wait(1.0):
            for words in group.end_silent(limit_s):
                say(words)
            now = set(group.pids().values())
            # All ids are new: the agent ended every process when one died.
            if last and now and not last & now:
                for words in group.last_words():
                    say(words)
                say("A process died; all start again from the last checkpoint.")
            last = now or last

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
