"""`whet check`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, replace

from whet.config import CheckConfig, DataConfig, ModelConfig
from whet.config.sets import check_weights, paths_of, refuse_several
from whet.data.check import Check, check_dataset
from whet.data.joined import named
from whet.encoding.lengths import cut_documents


def check_command(config: CheckConfig) -> int:
    """`whet check`: print the findings of each data set; 3 if there are problems, else 0."""
    paths = paths_of(config.data.path)
    if config.data.path == paths[0]:
        refuse_several(config.data)  # weights
    check_weights(config.data)
    checks = [_checked(replace(config.data, path=path, weights=[]), config.model) for path in paths]
    named([check.dataset for check in checks])  # refuses two of one name
    print("\n\n".join(map(str, checks)))
    return 3 if any(check.findings.problems for check in checks) else 0


def _checked(data: DataConfig, model: ModelConfig) -> Check:
    check = check_dataset(**asdict(data))
    cut = cut_documents(check.dataset, model)
    if cut is not None:
        check.findings.add("documents that are cut", check.dataset.name, cut)
    return check
