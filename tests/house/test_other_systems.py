"""Whet imports where the modules of Unix are missing: on Windows Python has none of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Every module of ours is imported by a Python that refuses these to us, and to us alone: libraries
# of this machine were built for it, and may have them.
IMPORT_ALL = """
import builtins, importlib, os, pkgutil, signal
ABSENT = {"fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog", "posix", "spwd"}
real = builtins.__import__

def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    asks = str((globals or {}).get("__name__", ""))
    if asks.partition(".")[0] in OURS and not level and name.partition(".")[0] in ABSENT:
        raise ModuleNotFoundError(f"No module named {name!r}, and {asks} asks for it")
    return real(name, globals, locals, fromlist, level)

OURS = ("whet", "whet_kernels", "whet_launch", "whet_conf")
builtins.__import__ = guarded
count = 0
for package in map(importlib.import_module, OURS):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        importlib.import_module(module.name)
        count += 1
print(count)
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=280
    )


@pytest.mark.slow
def test_every_module_imports_without_those_of_unix() -> None:
    done = _python(IMPORT_ALL)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 200


def test_what_starts_a_command_imports_without_those_of_unix() -> None:
    """And one that is asked for anyway is seen."""
    start = IMPORT_ALL.partition("count = 0")[0]
    ours = "import whet, whet_launch.cli.main, whet.storage.lock, whet_launch.doctor.health"
    assert _python(f"{start}\n{ours}").returncode == 0
    asks = "exec('import fcntl', {'__name__': 'whet.storage.lock'})"
    assert "No module named 'fcntl'" in _python(f"{start}\n{asks}").stderr
