"""An event of a wrong type is refused by its field's name; nothing is stored or damaged."""

from __future__ import annotations

import json
from typing import Any

from harness import Page, data, done, expect, mark, model, place

BIG = 10**400
WRONG: tuple[dict[str, Any], ...] = (
    {"place": "x"},
    {"place": []},
    {"place": {}},
    {"place": 1.5},
    {"place": -1},
    {"place": True},
    {"place": 2**63},
    {"place": BIG},
    {"time": BIG},
    {"shown": [["d1", BIG]]},
)

with place() as here:
    data(here / "data")
    model(here / "model")
    page = Page().enter()
    for wrong in WRONG:
        status, _, content = page.ask("POST", "/api/events", {"events": [mark(1, **wrong)]})
        named = next(iter(wrong)).encode() in content and b"damaged" not in content
        expect(status == 400 and named, f"{wrong!s:.40}: {status} {content[:60]!r}")
    kept = json.loads(page.ask("GET", "/api/counts")[2])["events"]
    expect(kept == 0, f"nothing is stored ({kept})")
    expect("Traceback" not in page.said(), "no traceback on the terminal")
    page.stop()
done()
