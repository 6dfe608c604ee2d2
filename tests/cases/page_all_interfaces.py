"""However host= is spelled: where others can reach the page it is said; empty is refused."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from harness import Page, data, done, expect, model, place

HOSTS = ("", "0", "0x0", "00.0.0.0", "::0")
LISTENS = "0A"  # as the kernel's tables of sockets say


def listens_everywhere(process: int) -> bool:
    """Whether a process listens on 0.0.0.0 or ::."""
    inodes = set()
    for handle in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            inodes.add(os.readlink(handle))
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return any(
        line[3] == LISTENS
        and f"socket:[{line[9]}]" in inodes
        and set(line[1].partition(":")[0]) == {"0"}
        for line in lines
    )


with place() as here:
    data(here / "data")
    model(here / "model")
    for number, host in enumerate(HOSTS):
        page = Page(f"host='{host}'", home=f"feedback{number}")
        warned = "everyone on this network" in page.said()
        everywhere = bool(page.net) and listens_everywhere(page.process.pid)
        if page.process.poll() is None:
            page.stop()
        told = "listens everywhere" if everywhere else "loopback or refused"
        expect(not everywhere or warned, f"host={host!r}: {told}, warned: {warned}")
done()
