"""Where things are. Importing this puts the repository's packages and the benchmarks' own modules
on the path, here and in processes started from here: nothing has to be installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CARRIED = ROOT / ".gpu"  # what pack.py made for a machine without network; git ignores it
PACKAGES = CARRIED / "site"
MODEL = CARRIED / "model"
COMPILED = CARRIED / "triton.tgz"  # kernels that an earlier call compiled
SOURCES = tuple(ROOT / name for name in ("engine", "kernels", "launch", "conf"))


def on_path() -> None:
    """Put the packages on the path: ours first, those of pack.py last, so that what is installed
    goes before what was carried.
    """
    first = [str(path) for path in (HERE, *SOURCES)]
    last = [str(HERE.parent), *([str(PACKAGES)] if PACKAGES.exists() else [])]
    between = [path for path in sys.path if path not in (*first, *last)]
    sys.path[:] = [*first, *between, *last]
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in before if path and path not in (*first, *last)]
    # not the benchmarks' folders: a module there could hide one that a test imports
    os.environ["PYTHONPATH"] = os.pathsep.join([*first[1:], *kept, *last[1:]])


on_path()
