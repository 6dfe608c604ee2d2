"""A server that does `whet fit` again and again in forks of itself, each disturbed as asked.

Python, torch and Lightning are imported once, so a fault costs what the fit costs. It reads one
JSON object a line (`whet_faults.Driver.fit` writes it) and answers each with one: the exit code of
every process, and the seconds. What the processes say goes to the log file named in the request.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import whet
import whet.plan.forecast
import whet.plan.machine
import whet.verbs.fit
import whet_launch.cli.main
from whet.config import FitConfig, ModelConfig
from whet.config.given import configured
from whet.model.encoder import Encoder
from whet.report.render import write_report
from whet.storage.commit import write_json

WARM = """whet.training.run whet.training.restore whet.training.batches.examples
whet.report.render whet.encoding.table whet.data.load whet.data.build
transformers.models.bert pyarrow.parquet pandas fsspec
fsspec.implementations.local faiss ir_measures scipy.stats torch.utils.tensorboard
torch.distributed torch.utils.data safetensors.torch jinja2 yaml absl google.protobuf dateutil
transformers.models.bert.modeling_bert torch._dynamo""".split()
LOOK_EVERY_S = 0.005
STOPPED_S = 0.3  # a single process that was stopped is woken again after so long


def main() -> None:
    """Serve until stdin is closed."""
    _warm(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_serve(json.loads(line))), flush=True)
    os._exit(0)  # the forks' libraries have nothing to take down


def _warm(model: str) -> None:
    """Import and compile once what every fit needs; no backward, after which torch cannot fork."""
    for module in WARM:
        importlib.import_module(module)
    whet.plan.forecast.ENCODING_S = 0.02  # what plan.json says is of no interest here
    whet.plan.machine.WRITTEN = 1 << 12
    with tempfile.TemporaryDirectory() as folder:
        encoder = Encoder.load(ModelConfig(name=model))
        encoder.encode(["a"])
        encoder.save(f"{folder}/model")
        write_json(Path(folder) / "metrics.json", {"a": {"nDCG@10": 1.0}})
        write_report(folder)
    gc.freeze()


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    ranks = range(request["processes"])
    pids = [_forked(request, rank) for rank in ranks]
    codes = _wait(pids, request, start + request["timeout_s"])
    return {"codes": codes, "seconds": time.monotonic() - start}


def _forked(request: dict[str, Any], rank: int) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            code = _child(request, rank)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    return pid


def _wait(pids: list[int], request: dict[str, Any], deadline: float) -> list[int]:
    """Exit codes by process, negative for a signal. The victim of SIGSTOP sleeps for a moment, or,
    of several, until the others have given up on it.
    """
    codes: dict[int, int] = {}
    stopped: dict[int, float] = {}
    while len(codes) < len(pids):
        now = time.monotonic()
        for pid in [pid for pid in pids if pid not in codes]:
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if found and os.WIFSTOPPED(status):
                stopped[pid] = now
            elif found:
                codes[pid] = os.waitstatus_to_exitcode(status)
            elif pid in stopped and len(pids) == 1 and now > stopped[pid] + STOPPED_S:
                os.kill(pid, signal.SIGCONT)
                del stopped[pid]
        left = [pid for pid in pids if pid not in codes]
        if now > deadline or (left and all(pid in stopped for pid in left) and len(pids) > 1):
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)
    return [codes[pid] for pid in pids]


def _child(request: dict[str, Any], rank: int) -> int:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["WHET_CACHE"] = request["cache"]
    tempfile.tempdir = request["tmp"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    config = configured(FitConfig(), request["options"])
    config.select.policy = "last"
    if rank == 0:
        _before("whet.training.batches.examples:Examples.batch", _say_pairs, "training_step")
    if rank == request["victim"]:
        for kind, details in request["fault"].items():
            globals()[f"_{kind}"](**details)
    if request["processes"] == 1:
        code = whet_launch.cli.main.exit_code_of(lambda: _done(whet.fit(config)))
        print("operations:", ctypes.CDLL(None).operations() if _preloaded() else "?", flush=True)
        return code
    return _joined(config, rank, request)


def _done(run: whet.Run) -> int:
    """The exit code of a fit that came to its end."""
    return 0


def _joined(config: FitConfig, rank: int, request: dict[str, Any]) -> int:
    import torch.distributed as dist

    from whet.processes.world import joined

    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(request["processes"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(request["port"]),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    dist.init_process_group("gloo")
    with joined(seconds=60):
        # as machine/process.py does: its launcher has checked the job
        code = whet_launch.cli.main.exit_code_of(lambda: _done(whet.verbs.fit.fit_job(config)))
        if code == 0:
            dist.barrier()
    return code


def _preloaded() -> bool:
    return "disk" in os.environ.get("LD_PRELOAD", "")


def _disk(folder: str, at: int, action: str, error: int = 0) -> None:
    """The n-th operation on files below the folder kills, fails, or finds the disk full."""
    number = ["count", "kill", "fail", "full"].index(action)
    arm = ctypes.CDLL(None).arm
    arm.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    arm(folder.encode(), b"/tb/", at, number, error)


def _phase(entry: str, call: int, sent: int, after: str = "") -> None:
    """The process sends itself a signal when it enters a function for the n-th time; 0 raises.

    Calls count from when the function `after` was entered.
    """
    counted = itertools.count(1)
    begun = not after

    def begin(calls: int, arguments: tuple[Any, ...]) -> None:
        nonlocal begun
        begun = True

    def disturb(calls: int, arguments: tuple[Any, ...]) -> None:
        if not begun or next(counted) != call:
            return
        name = signal.Signals(sent).name if sent else "exception"
        os.write(2, f"phase {entry} call {call}: {name}\n".encode())
        if not sent:
            raise RuntimeError("put here by the test")
        os.kill(os.getpid(), sent)

    _before(entry, disturb)
    if after:
        _before(after, begin)


def _before(entry: str, do: Callable[[int, tuple[Any, ...]], None], within: str = "") -> None:
    """Do something with the number of the call and the arguments before a function's calls."""
    module, _, path = entry.partition(":")
    owner: Any = importlib.import_module(module)
    *holders, name = path.split(".")
    for holder in holders:
        owner = getattr(owner, holder)
    function = getattr(owner, name)
    calls = itertools.count(1)

    def entered(*arguments: Any, **options: Any) -> Any:
        if not within or sys._getframe(1).f_code.co_name == within:
            do(next(calls), arguments)
        return function(*arguments, **options)

    setattr(owner, name, entered)


def _say_pairs(call: int, arguments: tuple[Any, ...]) -> None:
    os.write(2, f"pairs: {json.dumps(arguments[1].tolist())}\n".encode())


def _fill(folder: str, entry: str, call: int, until: int) -> None:
    """Fill the disk of a folder to the last byte before one call, and make room before another."""
    filler = Path(folder) / "filler"

    def do(calls: int, arguments: tuple[Any, ...]) -> None:
        if calls == until:
            filler.unlink()
        if calls != call:
            return
        os.write(2, f"phase {entry} call {call}: the disk is full\n".encode())
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))

    _before(entry, do)


def _delete(folder: str, entry: str, call: int) -> None:
    """Somebody deletes a folder that is in use."""

    def do(calls: int, arguments: tuple[Any, ...]) -> None:
        if calls == call:
            os.write(2, f"phase {entry} call {call}: {folder} is deleted\n".encode())
            shutil.rmtree(folder)

    _before(entry, do)


def _clock(by_s: float, call: int) -> None:
    """The wall clock jumps at its n-th reading."""
    real, readings = time.time, 0

    def now() -> float:
        nonlocal readings
        readings += 1
        if readings == call:
            os.write(2, f"phase time.time call {call}: {by_s} s\n".encode())
        return real() + (by_s if readings >= call else 0.0)

    time.time = now


def _handles(limit: int) -> None:
    """No more than so many open files."""
    import resource

    os.write(2, f"phase open files: at most {limit}\n".encode())
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
