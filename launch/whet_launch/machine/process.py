"""One of the processes that do a job together: `python -m whet_launch.machine.process TASK`.

A launcher (machine/local.py or cluster/fit.py) starts it with RANK, WORLD_SIZE, LOCAL_RANK (its
GPU among those it may use, of which it then sees no other), MASTER_ADDR and MASTER_PORT (a store
that is there already). It answers with its exit code and files in the scratch folder: 0 and
`outcome_RANK` when the user has to know something, another and `trace_RANK` when it failed and the
job is worth another try.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from whet.config import FitConfig, LaunchConfig
from whet.errors import INTERRUPTED, WhetError
from whet_launch.options.environment import prepare_for_torch

STOPPED = "interrupted"  # the kind of an outcome
PULSE_EVERY_S = 1.0
ENDED_ALONE = INTERRUPTED  # of a process that saved and ended, and does not know about the others
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessTask:
    """What a launcher tells its processes."""

    config: FitConfig
    folder: str  # the run folder, made by whet.verbs.fit.begin
    scratch: str  # a folder of this machine that launcher and processes share
    directory: str  # to work in, where it is there
    threads: int  # of the CPU for each process
    use_gpu: bool
    miners_elsewhere: bool = False  # for refresh=continuous; else a child of the leader mines


def main(path: str) -> int:
    """Do the task pickled in `path`; the exit code."""
    task: ProcessTask = pickle.loads(Path(path).read_bytes())
    scratch, rank = Path(task.scratch), int(os.environ["RANK"])
    _die_with_parent()
    _listen_to_signals()
    threading.Thread(target=_pulse, args=(scratch / f"pid_{rank}",), daemon=True).start()
    finished = (Path(task.folder) / "model").exists()  # before one who watched it was lost
    if finished or stopped(scratch) or any(scratch.glob("outcome_*")):
        return 0
    try:
        _work(task)
    except WhetError as error:
        return _answer(scratch, rank, type(error).__name__, str(error))
    except KeyboardInterrupt:
        if not stopped(scratch):  # another one was told first, or this survives a dead one
            return ENDED_ALONE
        return _answer(scratch, rank, STOPPED, "")
    except Exception:
        if not stopped(scratch):
            with suppress(OSError):  # a full disk: then the last line of stderr must do
                (scratch / f"trace_{rank}").write_text(traceback.format_exc(), encoding="utf-8")
            return 1
    return 0


def stopped(scratch: Path) -> bool:
    """Whether the launcher has been told to stop."""
    return (scratch / "stop").exists()


def _work(task: ProcessTask) -> None:
    if Path(task.directory).is_dir():
        os.chdir(task.directory)
    os.environ["OMP_NUM_THREADS"] = str(task.threads)  # read by numpy and torch when loaded
    prepare_for_torch(os.environ)
    # The tokenizer must keep a GPU fed; on a CPU its threads would take cores from the model.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if task.use_gpu else "false")
    os.environ.setdefault("RAYON_NUM_THREADS", str(task.threads))
    if task.use_gpu:
        see_one_gpu(os.environ, int(os.environ["LOCAL_RANK"]))
    else:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found no GPU
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    import torch
    import torch.distributed as dist

    from whet.processes.world import LONGEST_WAIT_S, joined

    if task.use_gpu:
        torch.cuda.set_device(0)
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"whet/{attempt}", dist.TCPStore(address, port, is_master=False))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if task.use_gpu else "gloo",
        store=store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timedelta(seconds=LONGEST_WAIT_S),
    )
    from whet.verbs.fit import fit_job

    with joined():
        launch = LaunchConfig(hang_timeout_s=task.config.launch.hang_timeout_s)
        config = replace(task.config, resume=task.folder, launch=launch)
        fit_job(config, _elsewhere if task.miners_elsewhere else None)
    dist.destroy_process_group()


def see_one_gpu(environment: MutableMapping[str, str], index: int) -> None:
    """Leave this process one of the GPUs it may use, as device 0. Before CUDA is loaded.

    All that says "cuda" then means this one: FAISS, DeepSpeed and Triton know no other number.

    >>> environment = {"CUDA_VISIBLE_DEVICES": "4,GPU-1a2b"}
    >>> see_one_gpu(environment, 1)
    >>> environment["CUDA_VISIBLE_DEVICES"], environment["LOCAL_RANK"]
    ('GPU-1a2b', '0')
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in visible.split(",")] if visible else []
    environment["CUDA_VISIBLE_DEVICES"] = names[index] if names else str(index)
    environment["LOCAL_RANK"] = "0"  # by which DeepSpeed chooses


def _elsewhere(config: FitConfig, folder: Path) -> Any:
    from whet.refresh.beside import FolderMiner

    return FolderMiner(folder)


def _answer(scratch: Path, rank: int, kind: str, message: str) -> int:
    """Leave the answer for the launcher; 1 where the disk takes none, so that it tries again."""
    from whet.storage.commit import write_json

    try:
        write_json(scratch / f"outcome_{rank}", {"kind": kind, "message": message})
    except OSError as error:
        print(message or f"{scratch}: {error.strerror}", file=sys.stderr, flush=True)
        return 1
    return 0


def _pulse(path: Path) -> None:
    """Show that this process runs: its id in a file whose time changes every second."""
    path.write_text(str(os.getpid()), encoding="utf-8")
    while True:
        with suppress(OSError):
            os.utime(path)
        time.sleep(PULSE_EVERY_S)


def _listen_to_signals() -> None:
    """Ray's workers block Ctrl-C, and their children inherit it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _die_with_parent() -> None:
    """Where the launcher is killed, nobody would stop this process (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it was killed before
            os._exit(1)


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(code)  # threads of a broken process group would keep it from ending
