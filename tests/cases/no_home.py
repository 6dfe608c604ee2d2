"""A container's user: an id without an entry in /etc/passwd, and no HOME."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from typing import Any

from harness import data, done, expect, place, whet


def nobody() -> int:
    """An id that no user has."""
    known = {user.pw_uid for user in pwd.getpwall()}
    return next(number for number in range(54321, 60000) if number not in known)


def can_be_nobody() -> bool:
    """Whether this user may become another, and that one may run this Python."""
    try:
        subprocess.run([sys.executable, "-c", ""], check=True, user=nobody(), capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


with place() as here:
    data(here / "data")
    root = can_be_nobody()
    if root:
        (here / "cache").mkdir()
        for folder, _, names in os.walk(here):
            os.chmod(folder, 0o755)
            for name in names:
                os.chmod(os.path.join(folder, name), 0o644)
        os.chmod(here / "cache", 0o777)
    who: dict[str, Any] = {"user": nobody(), "group": nobody(), "extra_groups": []} if root else {}
    for name in ("HOME", "WHET_CACHE"):
        os.environ.pop(name)
    if root:
        checked = whet("check", "data", **who)
        expect(checked.code == 4 and not checked.trace, f"no home is told ({checked.state})")
        expect("Set WHET_CACHE" in checked.err, "with what to set")
    os.environ["WHET_CACHE"] = str(here / "cache")
    checked = whet("check", "data", **who)
    expect(checked.code == 0, f"with WHET_CACHE set it works ({checked.state})")
    if root:
        for verb in ("eval", "fit"):
            ended = whet(verb, "data", **who)
            expect(ended.code == 4 and not ended.trace, f"{verb}: not writable ({ended.state})")
            expect("output=FOLDER" in ended.err, "and output= is named")
    for words in (["~nosuchuser/data"], ["data=~nosuchuser/data"]):
        checked = whet("check", *words)
        expect(checked.code == 3 and not checked.trace, f"no such user ({checked.state})")
        expect("no such file or folder" in checked.err, "is a path that is not there")
done()
