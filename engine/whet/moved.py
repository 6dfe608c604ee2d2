"""Modules that have moved: importing one by its old name names the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {  # in 0.2.0
    "whet.checkpoint": "whet.storage.commit",
    "whet.encode": "whet.encoding.table",
    "whet.evaluate": "whet.evaluation",
    "whet.mine": "whet.mining",
    "whet.store": "whet.encoding.store",
    "whet.train": "whet.training",
    "whet.world": "whet.processes.world",
}


class _Moved(MetaPathFinder):
    """Asked first: a checkout keeps the empty folders of modules that moved, and Python takes such
    a folder for a package.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, or ImportError for a module that has another name now."""
        if fullname in MOVED:
            new = MOVED[fullname]
            raise ModuleNotFoundError(f"{fullname} is {new} since Whet 0.2.0.", name=fullname)
        return None


def tell() -> None:
    """From now on."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
