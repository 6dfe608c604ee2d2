"""A tune that died can be started again, whatever has its process id by now."""

from __future__ import annotations

import json
import os

from harness import Page, data, done, expect, mark, model, place

JUDGED = 12

with place() as here:
    data(here / "data")
    model(here / "model")
    page = Page().enter()
    lines = (here / "data/queries.jsonl").read_text().splitlines()[:JUDGED]
    for number, query in enumerate(map(json.loads, lines)):
        event = mark(number, query=query["text"], query_id=query["_id"])
        page.ask("POST", "/api/events", {"events": [event]})
    page.stop()
    left = {"process": os.getpid(), "phase": "x", "done": 1, "total": 9}  # alive, and no tune
    (here / "feedback/tuning.json").write_text(json.dumps(left))
    page = Page().enter()
    running = json.loads(page.ask("GET", "/api/tune")[2])["running"]
    expect(running is False, "no tune runs")
    status, _, content = page.ask("POST", "/api/tune/start", {})
    expect(status == 200, f"one can be started ({status} {content[:80]!r})")
    expect(json.loads(content)["running"] is True, "and runs")
    page.ask("POST", "/api/tune/stop", {})
    page.stop()
done()
