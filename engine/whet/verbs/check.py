"""`whet check`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict

from whet.config import CheckConfig
from whet.data.check import check_dataset


def check_command(config: CheckConfig) -> int:
    """`whet check`: print the findings; 3 if there are problems, else 0."""
    findings = check_dataset(**asdict(config.data))
    print(findings)
    return 3 if findings.findings.problems else 0
