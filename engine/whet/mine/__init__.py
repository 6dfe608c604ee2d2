"""Hard negatives: which documents a model ranks too high for a query, and may be trained against.

`mine` is the one function; policy.py says what may be a negative, search.py finds it, sample.py
draws from it, report.py tells what happened, files.py and exports.py write it down. The exact
semantics: docs/mining.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whet.mine.crossencoder import mining_rescorer as mining_rescorer
    from whet.mine.exports import export_negatives as export_negatives
    from whet.mine.files import read_negatives as read_negatives
    from whet.mine.files import write_negatives as write_negatives
    from whet.mine.miner import Mined as Mined
    from whet.mine.miner import mine as mine
    from whet.mine.policy import check_policy as check_policy
    from whet.mine.policy import policy_from as policy_from
    from whet.mine.report import MiningReport as MiningReport
    from whet.mine.report import overlap as overlap
    from whet.mine.search import check_backend as check_backend

_HOME = {  # where each name lives
    "mine": "miner.mine",
    "Mined": "miner.Mined",
    "MiningReport": "report.MiningReport",
    "overlap": "report.overlap",
    "check_backend": "search.check_backend",
    "check_policy": "policy.check_policy",
    "policy_from": "policy.policy_from",
    "read_negatives": "files.read_negatives",
    "write_negatives": "files.write_negatives",
    "export_negatives": "exports.export_negatives",
    "mining_rescorer": "crossencoder.mining_rescorer",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: numpy, torch and faiss stay out of `import whet.mine`."""
    if name in _HOME:
        module, attribute = _HOME[name].split(".")
        return getattr(import_module(f"whet.mine.{module}"), attribute)
    raise AttributeError(f"module 'whet.mine' has no attribute {name!r}")
