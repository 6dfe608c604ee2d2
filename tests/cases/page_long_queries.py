"""Queries as long as letters and logs: what the page offers it searches for, and marks."""

from __future__ import annotations

import json

from harness import Page, done, expect, mark, model, place, write_lines

with place() as here:
    model(here / "model")
    rows = [
        {"query": f"{word} \n" * length, "positive": f"{word} ce di fo"}
        for word, length in (("baba", 400), ("cece", 3_000), ("fogu", 20_000))
    ]
    write_lines(here / "letters.jsonl", rows)
    page = Page("data.path=letters.jsonl").enter()
    expect("1 of 3 queries have more than 100,000 characters" in page.said(), "one is not offered")
    for _ in range(2):
        offered = json.loads(page.ask("POST", "/api/next", {"after": None})[2])
        asked = {"query": offered["query"], "query_id": offered["query_id"]}
        status, _, content = page.ask("POST", "/api/search", asked)
        expect(status == 200, f"{len(offered['query']):,} characters are searched for ({status})")
        best = json.loads(content)["results"][0]["doc_id"]
        event = mark(**asked, doc_id=best)
        status = page.ask("POST", "/api/events", {"events": [event]})[0]
        expect(status == 200, f"and can be marked ({status})")
    left = json.loads(page.ask("POST", "/api/next", {"after": None})[2])
    expect(left["query"] is None, "then none is left")
    page.stop()
done()
