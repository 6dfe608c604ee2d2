"""The Ray cluster a job runs on: one that is there, or one started on this machine for the job."""

from __future__ import annotations

import logging
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whet.config import EncodeJobConfig, FitConfig, LaunchConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.progress import say
from whet.version import VERSION, install_line

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing phones home
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",  # of a cluster started here; Ray's 15 starves beside other work
}
OBJECT_STORE_BYTES = 200 * 2**20  # data and weights go over files, not through Ray
ANSWER_WITHIN_S = 60.0


def import_ray() -> Any:
    """The package ray. EnvironmentRefused with the command that installs it, if it is missing."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise EnvironmentRefused(
            f"launch=ray and launch=job need the package ray. Run `{install_line('ray')}`."
        ) from error
    return ray


@contextmanager
def connected(launch: LaunchConfig) -> Iterator[Any]:
    """The package ray, connected to the cluster for the block.

    Raises ConfigError for an address of the wrong kind and EnvironmentRefused if nothing answers.
    """
    address = launch.address or os.environ.get("RAY_ADDRESS")
    if not address:  # other users of this machine stay out; Ray reads it when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray = import_ray()
    if address and "://" in address:
        raise ConfigError(
            f"launch=ray runs on a node of the cluster, and {address} is for clients. Write "
            "launch.address=HEAD:6379 there, or send the job with launch=job."
        )
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        say("Starting Ray on this machine.")
        options |= {
            "num_cpus": max(os.cpu_count() or 1, launch.num_workers),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        # Ray Train's own actors ask "the" Ray of their machine, and give up where there are two.
        options["runtime_env"] = {"env_vars": {"RAY_ADDRESS": address}}
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise EnvironmentRefused(
            f"no Ray cluster answers at {address or 'this machine'} "
            f"({str(error).strip().splitlines()[0]}). Start it with `ray start`, or leave "
            "launch.address and RAY_ADDRESS out to start one here."
        ) from error
    _hush(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _hush(ray: Any) -> None:
    """Ray prints paragraphs about each worker that dies, on standard output. WHET_DEBUG=1 keeps
    them; what matters is told by us.
    """
    if os.environ.get("WHET_DEBUG") != "1" and hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *args, **options: None


def wants_gpu(ray: Any, config: FitConfig | EncodeJobConfig) -> bool:
    """Whether each process takes a GPU of the cluster."""
    if config.launch.use_gpu is not None:
        return config.launch.use_gpu
    workers = config.launch.min_workers or config.launch.num_workers
    if isinstance(config, FitConfig) and config.trainer.accelerator == "cpu":
        return False
    gpus: float = ray.cluster_resources().get("GPU", 0)
    return gpus >= workers


def check_nodes(ray: Any, folder: Path) -> None:
    """Let every node look for a file that is written here: all must see the run folder, and run
    this version of Whet. EnvironmentRefused names the first node that does not.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A new random name: an old file could be there on every node.
    token = folder / f".seen_{secrets.token_hex(8)}"
    token.touch()
    try:
        asked = {
            node["NodeManagerAddress"] + " " + node["NodeID"][:6]: ray.remote(num_cpus=0)(_look)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(str(token))
            for node in ray.nodes()
            if node["Alive"]
        }
        for node, answer in asked.items():
            _check_answer(ray, node, answer, folder)
    finally:
        token.unlink()


def _look(token: str) -> tuple[bool, str, str]:
    """On a node: does it see the file, and which Whet and Python does it have?"""
    return Path(token).exists(), VERSION, platform.python_version()


def _check_answer(ray: Any, node: str, answer: Any, folder: Path) -> None:
    try:
        seen, version, python = ray.get(answer, timeout=ANSWER_WITHIN_S)
    except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
        return  # it has just left the cluster
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise EnvironmentRefused(
            f"node {node} cannot run Whet: {last}. Install Whet {VERSION} there, in the "
            "Python that runs `ray start`."
        ) from error
    if version != VERSION:
        raise EnvironmentRefused(
            f"node {node} has Whet {version} (Python {python}), and here is {VERSION}. "
            "Install one version on all nodes."
        )
    if not seen:
        raise EnvironmentRefused(
            f"node {node} does not see {folder}. Checkpoints need storage that all nodes see: "
            "write output=FOLDER on it."
        )
