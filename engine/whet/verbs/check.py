"""`whet check`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict

from whet.config import CheckConfig
from whet.data.check import check_dataset
from whet.encoding.lengths import cut_documents


def check_command(config: CheckConfig) -> int:
    """`whet check`: print the findings; 3 if there are problems, else 0."""
    check = check_dataset(**asdict(config.data))
    cut = cut_documents(check.dataset, config.model)
    if cut is not None:
        check.findings.add("documents that are cut", check.dataset.name, cut)
    print(check)
    return 3 if check.findings.problems else 0
