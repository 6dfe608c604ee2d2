"""`launch=job`: send a fit to a cluster, follow it, and answer with its exit code; `whet jobs`,
`whet logs` and `whet stop`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import whet.version
from whet.config import FitConfig, JobConfig, JobsConfig
from whet.config.sets import paths_of
from whet.errors import INTERRUPTED, ConfigError
from whet.printable import printable, printable_lines
from whet.processes.interrupts import CTRL_C, Interrupts
from whet.progress import say
from whet.storage.places import cache_folder
from whet_launch.options.words import changed_options, refuse_secrets
from whet_launch.remote.head import Head, head_url, job_client
from whet_launch.remote.packing import look_through, pack

POLL_S = 0.5
STOP_WITHIN_S = 60.0


def submit(config: FitConfig) -> int:
    """Send the fit, or find the one of this name that runs already, and follow it to its end; its
    exit code. With launch.dry_run print what would be sent, and reach for no cluster.
    """
    if config.launch.dry_run:
        print(look_through(Path.cwd()).listing())
        return 0
    words = words_for_cluster(config)
    name = job_name(config)
    client = job_client(config.launch.address, insecure=config.launch.insecure)
    there = _find(client, name)
    if there is not None:
        _refuse_ended(there, config)
        say(f"Job {name} runs already; this is what it says.")
    else:
        packing = look_through(Path.cwd())
        say(packing.summary())
        with _scratch() as scratch:
            pack(packing, Path(scratch) / "work.zip")
            client.submit_job(
                entrypoint=shlex.join(["python", "-m", "whet_launch", "fit", *words]),
                submission_id=name,
                runtime_env={"working_dir": f"{scratch}/work.zip"},
                metadata={"whet": whet.version.VERSION, "output": str(config.output)},
            )
        say(f"Job {name} was sent to {head_url(config.launch.address)}. Ctrl-C stops it.")
    return _follow(client, name, stops=True)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the zip file, which may be bigger than what /tmp holds."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="job-", dir=cache)


def words_for_cluster(config: FitConfig) -> list[str]:
    """The words after `fit` that a node of the cluster is to run.

    Raises ConfigError for a run folder that would be lost there, and for secrets.
    """
    if config.output is None or not os.path.isabs(config.output):
        raise ConfigError(
            f"launch={config.launch.mode} needs output=/FOLDER on storage that all nodes of the "
            f"cluster see, and here is output={config.output}."
        )
    here = {"mode": "ray", "address": None, "name": None, "insecure": False}
    here |= {"image": None, "claim": None}
    but = {f"launch.{key}": value for key, value in here.items()} | {"resume": "auto"}
    words = changed_options(config, but)
    refuse_secrets(words)
    return words


def job_name(config: FitConfig) -> str:
    """The name asked for, or one from the data and the time."""
    names = "-".join(Path(path).name for path in paths_of(config.data.path))
    data = re.sub(r"[^\w-]+", "-", names).strip("-")
    return config.launch.name or f"{data}-{datetime.now():%Y%m%d-%H%M%S}"


def list_jobs(config: JobsConfig) -> None:
    """`whet jobs`: the newest first."""
    client = job_client(config.address, insecure=config.insecure)
    for job in sorted(_jobs(client), key=lambda job: -(job.start_time or 0)):
        begun = _date(job.start_time or 0)
        name, output = job.submission_id, (job.metadata or {}).get("output", "")
        print(f"{printable(name):<32} {job.status.value:<10} {begun}  {printable(output)}".rstrip())


def _date(milliseconds: float) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):  # no time of this world
        return "????-??-?? ??:??"


def show_log(config: JobConfig) -> int:
    """`whet logs NAME`: everything said so far and from now on; the job's exit code."""
    client = job_client(config.address, insecure=config.insecure)
    _known(client, config.name)
    return _follow(client, config.name, stops=False)


def stop_job(config: JobConfig) -> int:
    """`whet stop NAME`: 0 when it has ended."""
    client = job_client(config.address, insecure=config.insecure)
    job = _known(client, config.name)
    if job.status.is_terminal():
        say(f"Job {config.name} had ended: {job.status.value.lower()}.")
        return 0
    client.stop_job(config.name)
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline:
        if _known(client, config.name).status.is_terminal():
            say(f"Job {config.name} is stopped.")
            return 0
        time.sleep(POLL_S)
    say(f"Job {config.name} has not ended within {STOP_WITHIN_S:g} s.")
    return 1


def _jobs(client: Head) -> list[Any]:
    """Jobs that were submitted; Ray lists programs that merely connected, too."""
    return [job for job in client.list_jobs() if job.submission_id]


def _find(client: Head, name: str) -> Any | None:
    return next((job for job in _jobs(client) if job.submission_id == name), None)


def _known(client: Head, name: str) -> Any:
    job = _find(client, name)
    if job is None:
        raise ConfigError(
            f"the cluster knows no job {name!r}. `whet jobs` lists those it knows, and the name is "
            "what launch.name said."
        )
    return job


def _refuse_ended(job: Any, config: FitConfig) -> None:
    """One name, one job: an ended one is not begun again by accident."""
    if not job.status.is_terminal():
        return
    name = job.submission_id
    if job.status.value == "SUCCEEDED":
        raise ConfigError(
            f"job {name} is done; its model is in {config.output}/model on the cluster. For "
            "another run choose another launch.name and output."
        )
    raise ConfigError(
        f"job {name} has {job.status.value.lower()}; `whet logs {name}` shows how. To go on with "
        f"what it reached, send it with launch.name={name}-2 and the same output."
    )


def _follow(client: Head, name: str, *, stops: bool) -> int:
    """Print the log until the job ends; its exit code. Ctrl-C stops the job if it is ours to
    stop, and a second one only leaves.
    """
    printed = 0
    with Interrupts(signals=CTRL_C) as interrupts:
        asked = interrupts.received
        while True:
            ended = _known(client, name).status.is_terminal()  # before the log, so that it is whole
            printed = _print_log(client, name, printed, asked, stops=stops)
            if asked and (not stops or len(asked) > 1):
                say(f"Job {name} goes on. Stop it with: whet stop {name}")
                return INTERRUPTED
            if ended:
                return _exit_code(_known(client, name))
            time.sleep(POLL_S)


def _print_log(client: Head, name: str, skip: int, asked: list[int], *, stops: bool) -> int:
    """Print the log from line `skip` on until it ends or the user has had enough; lines so far."""
    count = 0
    stop_sent = False

    async def tail() -> None:
        nonlocal count
        rest = ""
        async for text in client.tail_job_logs(name):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                count += 1
                if count > skip:
                    print(printable_lines(line), file=sys.stderr, flush=True)

    def run() -> None:
        with suppress(Exception):  # a broken connection; the caller comes again
            asyncio.run(tail())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        if len(asked) > (1 if stops else 0):
            break
        if asked and stops and not stop_sent:
            stop_sent = True
            say(f"Stopping job {name}; once more to leave it running.")
            client.stop_job(name)
    return max(count, skip)


def _exit_code(job: Any) -> int:
    if job.status.value == "STOPPED":
        return INTERRUPTED
    if job.status.value == "SUCCEEDED":
        return 0
    code: int | None = job.driver_exit_code
    if not code:
        say(f"Job {job.submission_id} failed: {(job.message or '').strip()}")
        return 1
    return code if code > 0 else 128 - code
