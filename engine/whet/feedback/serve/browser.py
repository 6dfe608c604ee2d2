"""Showing the page in a browser, without its address in a command line.

Every account of a machine can read the arguments of every process. So the browser is given a file
that its owner alone can read, and which sends it on (as Jupyter does).
"""

from __future__ import annotations

import html
import os
import sys
import threading
import webbrowser
from pathlib import Path

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>Whet</title>
<p><a href="{url}">To the page</a></p>
"""


def redirect_file(home: Path, port: int) -> Path:
    """Where the file for `send_on` is, for one of the servers on a folder of feedback."""
    return home.resolve() / f"open_{port}.html"


def send_on(path: Path, url: str) -> None:
    """Write the file that sends a browser on to `url`, and open it in the user's browser, which is
    not waited for. OSError where no file can be kept from others.
    """
    path.unlink(missing_ok=True)  # of an earlier start
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        if os.fstat(handle).st_mode & 0o077:
            raise OSError(f"{path.parent} is on a disk that keeps no file from other accounts")
        file.write(PAGE.format(url=html.escape(url)))
    threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True).start()


def has_screen() -> bool:
    """Whether a browser window can be shown (a text browser would take the terminal)."""
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
