"""A kept connection is answered at once: no answer waits for the acknowledgement of its head."""

from __future__ import annotations

import http.client
import statistics
import time

from harness import Page, data, done, expect, model, place

ASKED = 31
MOST_MS = 20

with place() as here:
    data(here / "data")
    model(here / "model")
    page = Page().enter()
    kept = http.client.HTTPConnection(page.net)
    times = []
    for _ in range(ASKED):
        start = time.perf_counter()
        kept.request("GET", "/api/counts", None, {"cookie": page.cookie})
        kept.getresponse().read()
        times.append(time.perf_counter() - start)
    middle = 1e3 * statistics.median(times[1:])
    expect(middle < MOST_MS, f"an answer on a kept connection takes {middle:.0f} ms")
    page.stop()
done()
