"""`whet doctor`: this machine, or with launch=ray every node of a cluster, looked through."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from whet.config import DoctorConfig
from whet.errors import EnvironmentRefused
from whet.storage.places import cache_folder
from whet_launch.doctor.health import DASHBOARD_PORT, FAIL, OK, WARN, Finding, dashboard, examine

LOCAL = "this machine"


def doctor_command(config: DoctorConfig) -> int:
    """Print what was found, to be pasted into a report; 4 if something is wrong, else 0."""
    folders = {"disk of runs": config.output or "runs", "disk of the cache": str(cache_folder())}
    if config.launch.mode == "local":
        nodes = {LOCAL: examine(folders)}
    else:
        from whet_launch.doctor.nodes import examine_nodes

        nodes = examine_nodes(config.launch.address, folders)
        asked = _asked_address(config.launch.address)
        if asked is not None and not config.launch.insecure:
            nodes[asked[0]] = [*nodes.get(asked[0], []), dashboard(*asked)]
    print(spelled_findings(nodes))
    failed = any(finding.state == FAIL for findings in nodes.values() for finding in findings)
    return EnvironmentRefused.exit_code if failed else 0


def _asked_address(address: str | None) -> tuple[str, int] | None:
    """Host and port of a Jobs API given by URL."""
    address = address or os.environ.get("RAY_ADDRESS", "")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return None
    return parts.hostname, parts.port or DASHBOARD_PORT


def spelled_findings(nodes: dict[str, list[Finding]]) -> str:
    """A block per node, what is wrong once more at the end."""
    parts = []
    for node, findings in nodes.items():
        width = max((len(finding.what) for finding in findings), default=0)
        lines = [
            f"{finding.state:<4}  {finding.what:<{width}}  {finding.detail}" for finding in findings
        ]
        parts.append("\n".join([f"{node}:", *lines]))
    parts.append(_verdict(nodes))
    return "\n\n".join(parts)


def _verdict(nodes: dict[str, list[Finding]]) -> str:
    lines = []
    for state in (FAIL, WARN):
        for node, findings in nodes.items():
            where = "" if len(nodes) == 1 else f"{node}: "
            lines += [
                f"{state}: {where}{finding.what}: {finding.detail}. {finding.remedy}"
                for finding in findings
                if finding.state == state
            ]
    looked = sum(map(len, nodes.values()))
    well = sum(finding.state == OK for findings in nodes.values() for finding in findings)
    return "\n".join([*lines, f"{well} of {looked} are well."])
