"""The checks of `whet doctor` on every node of a Ray cluster, and the nodes compared."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from whet.errors import EnvironmentRefused
from whet.version import install_line
from whet_launch.doctor import health
from whet_launch.doctor.health import FAIL, Finding

PATIENCE_S = 60.0  # for a node to answer


def examine_nodes(address: str | None, folders: dict[str, str]) -> dict[str, list[Finding]]:
    """Findings by node. Raises EnvironmentRefused where Ray is not installed or no cluster answers.

    One task per node, for which it needs no free CPU. The checks travel with the task, so a node
    without Whet is found and named.
    """
    try:
        import ray
    except ImportError as error:
        raise EnvironmentRefused(
            f"launch=ray needs the package ray. Run `{install_line('ray')}`."
        ) from error
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    joined_here = not ray.is_initialized()
    if joined_here:
        _join(ray, address)
    try:
        return _asked(ray, folders)
    finally:
        if joined_here:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    _must_answer(address)
    try:
        ray.init(address=_without_jobs_api(address), log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise _no_cluster(address, " ".join(str(error).split())[:200]) from error


def _must_answer(address: str) -> None:
    """Ray would try for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port and not health.answers(parts.hostname, parts.port):
        raise _no_cluster(address, "nothing answers there.")


def _no_cluster(address: str, why: str) -> EnvironmentRefused:
    return EnvironmentRefused(
        f"no Ray cluster answers at {address}: {why} Start one with `ray start --head`, or "
        "set launch.address."
    )


def _without_jobs_api(address: str) -> str:
    """The Jobs API's URL names the dashboard; a driver joins the cluster it stands on."""
    return "auto" if address.startswith(("http://", "https://")) else address


def _asked(ray: Any, folders: dict[str, str]) -> dict[str, list[Finding]]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: a node without Whet could not import the checks, and is just what is looked for.
    ray.cloudpickle.register_pickle_by_value(health)
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(health.report)
        running = {}
        for node in ray.nodes():
            if node["Alive"]:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})"
                running[name] = task.options(scheduling_strategy=where).remote(folders)
        ray.wait(list(running.values()), num_returns=len(running), timeout=PATIENCE_S)
        answers = {name: _answer(ray, reference) for name, reference in running.items()}
    finally:
        ray.cloudpickle.unregister_pickle_by_value(health)
    return {**{name: findings for name, (findings, _) in answers.items()}, **_compared(answers)}


def _answer(ray: Any, reference: Any) -> tuple[list[Finding], dict[str, str]]:
    try:
        findings, versions = ray.get(reference, timeout=0.1)
        return [Finding(*values) for values in findings], versions
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = "Look at its raylet's log, or take it out of the cluster."
        return [Finding(FAIL, "node", f"did not answer: {reason}", remedy)], {}


def _compared(
    answers: dict[str, tuple[list[Finding], dict[str, str]]],
) -> dict[str, list[Finding]]:
    """Versions that are not the same everywhere: what one process pickles another cannot read, and
    results differ.
    """
    reported = {name: versions for name, (_, versions) in answers.items() if versions}
    if len(reported) < 2:
        return {}
    findings = []
    for package in sorted({package for versions in reported.values() for package in versions}):
        there = {versions.get(package, "none") for versions in reported.values()}
        if len(there) > 1:
            spelled = ", ".join(f"{v.get(package, 'none')} on {n}" for n, v in reported.items())
            findings.append(
                Finding(FAIL, package, spelled, "Install the same version on every node.")
            )
    if not findings:
        findings = [Finding(health.OK, "versions", f"the same on all {len(reported)} nodes")]
    return {"the nodes compared": findings}
