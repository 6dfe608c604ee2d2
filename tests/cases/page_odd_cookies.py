"""A script's cookie is found wherever it stands, whatever other cookies hold."""

from __future__ import annotations

from harness import Page, data, done, expect, model, place

OTHERS = (
    'prefs={"theme":"dark"}',
    "filters[year]=2026",
    'a="b; c',
    "odd name=1",
    "=x",
    "caf\u00e9=1",
)

with place() as here:
    data(here / "data")
    model(here / "model")
    page = Page().enter()
    for other in OTHERS:
        cookie = f"{other}; {page.cookie}".encode().decode("latin-1")
        status = page.ask("GET", "/api/counts", cookie=cookie)[0]
        expect(status == 200, f"behind {other!r} ({status})")
    status = page.ask("GET", "/api/counts", cookie=page.cookie[:-1])[0]
    expect(status == 401, f"a wrong one is still refused ({status})")
    page.stop()
done()
