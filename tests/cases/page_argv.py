"""The page's key is in no process's arguments, which other accounts can read; a token opens once.

The browser is given a file that only its owner can read, and which sends it on.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness import Page, data, done, expect, model, place

BROWSER = """#!/bin/sh
echo "$@" >> "$SEEN"
stat -c %a "${1#file://}" >> "$SEEN"
cat "${1#file://}" >> "$SEEN.file"
sleep 3
"""

with place() as here:
    data(here / "data")
    model(here / "model")
    browser, seen = here / "browser", here / "seen"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    page = Page(env={"DISPLAY": ":99", "BROWSER": f"{browser} %s &", "SEEN": str(seen)})
    time.sleep(3)
    arguments, mode = seen.read_text().split()
    expect("token" not in arguments, "the browser's arguments do not hold a token")
    expect(page.token not in arguments, "nor the one that was printed")
    expect(mode == "600", f"the file that sends it on is its owner's alone ({mode})")
    sent_on = Path(f"{seen}.file").read_text()
    expect(f"http://{page.net}/?token=" in sent_on, "it sends the browser to the page")
    page.enter()
    again = page.ask("GET", f"/?token={page.token}", cookie="")[0]
    expect(again == 401, f"a token that was used opens nothing more ({again})")
    expect(page.said().count("?token=") == 2, "the next address was printed")
    code = page.stop()
    expect(code == 0, f"it ended (exit {code})")
    expect(not list((here / "feedback").glob("*.html")), "the file is gone at the end")
done()
