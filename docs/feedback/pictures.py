"""The pictures of docs/feedback.md, taken of the real page: nl2bash, searched with MiniLM, is
judged as its training judgments say, and the model is tuned twice.

    PYTHONPATH=tests/feedback .venv/bin/python docs/feedback/pictures.py

Minutes on two cores; some more the first time, when the 10,594 documents are encoded. The folder
of feedback is a temporary one.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from labelling import (
    PHONE,
    WIDE,
    Visitor,
    address_of,
    chromium,
    event,
    labelling_process,
    next_address,
    search_for,
    see_result,
    ship,
    start_drag,
    start_tune,
    until,
)

from whet.data.load import load_dataset

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "examples" / "nl2bash"
WHO = "Ann"
FIRST, ALL = 8, 24  # queries judged before the first and the second tune
TUNE_S = 1200


def main() -> None:
    """Play the session and take the pictures."""
    asked = questions()
    with (
        TemporaryDirectory() as work,
        labelling_process(f"data={DATA}", "port=0", folder=Path(work)) as process,
        chromium() as browser,
    ):
        visitor = Visitor(address_of(process))
        view = opened(browser, next_address(process), viewport=WIDE)
        query, place = pictured(visitor, asked)
        while_judging(view, query, place)
        judge(visitor, asked[:FIRST])
        first = visitor.tune(TUNE_S)
        visitor.post("/api/versions/ship", version=first["version"])
        judge(visitor, asked[FIRST:ALL])
        view.reload()
        while_tuning(view)
        phone = opened(
            browser, next_address(process), viewport=PHONE, has_touch=True, is_mobile=True
        )
        search_for(phone, query)
        picture(phone, "phone")
        for version in visitor.get("/api/versions")["versions"][1:]:
            print(f"Version {version['version']}: {version['verdict']} {version['why']}")


def questions() -> list[dict[str, Any]]:
    """Training queries drawn at random, with their ids and the ids of their documents."""
    data = load_dataset(str(DATA))
    good = data.split("train").relevant()
    rows = np.random.default_rng(4).permutation(np.unique(good.query_rows_M))[:ALL]
    return [
        {
            "query": data.queries.text(int(row)),
            "query_id": data.queries.id(int(row)),
            "right": data.corpus.ids_of(good.doc_rows_M[good.query_rows_M == row]),
        }
        for row in rows
    ]


def judge(visitor: Visitor, asked: list[dict[str, Any]]) -> None:
    """Mark what answers each query, in the list or found by other words."""
    for one in asked:
        said = {name: one[name] for name in ("query", "query_id")}
        found = visitor.post("/api/search", **said, who=WHO)["results"]
        said |= {"shown": [[row["doc_id"], row["score"]] for row in found], "who": WHO}
        marks = [event("relevant", **said, doc_id=doc_id) for doc_id in one["right"]]
        visitor.post("/api/events", events=marks)


def pictured(visitor: Visitor, asked: list[dict[str, Any]]) -> tuple[str, int]:
    """A query whose answer is in the window, but not on top, and the answer's place."""
    for one in asked:
        found = visitor.post("/api/search", query=one["query"], who=WHO)["results"]
        for row in found:
            if row["doc_id"] in one["right"] and 3 <= row["rank"] <= 5:
                return one["query"], row["rank"]
    raise SystemExit("No answer stands at place 3 to 5. Draw other queries.")


def while_judging(view: Any, query: str, place: int) -> None:
    """A list as it was found, the answer on its way to the top, and the list judged."""
    search_for(view, query)
    picture(view, "search")
    view.click(f".result:nth-child({place}) .relevant")
    start_drag(view, place, 1)
    picture(view, "dragging")
    view.mouse.up()
    view.click(f".result:nth-child({place}) .irrelevant")
    view.mouse.move(5, 5)
    picture(view, "marked")


def while_tuning(view: Any) -> None:
    """A tune under way, what it brought, and the versions."""
    start_tune(view)
    until(view, "document.querySelector('#tune-phase').textContent.includes('encoder')", seconds=90)
    until(view, "document.querySelector('#tune-bar').value > 8", seconds=TUNE_S)
    picture(view, "tuning")
    until(view, "document.querySelector('#tune-progress').hidden", seconds=TUNE_S)
    see_result(view)
    picture(view, "result")
    ship(view)
    picture(view, "versions")


def opened(browser: Any, url: str, **options: Any) -> Any:
    """The page in a window of its own, as Ann sees it."""
    view = browser.new_context(reduced_motion="reduce", **options).new_page()
    view.goto(url)
    until(view, "document.title.includes('·')")
    view.fill("#who", WHO)
    view.press("#who", "Enter")
    return view


def picture(view: Any, name: str) -> None:
    """Keep what the window shows, in few colours where Pillow is installed."""
    path = HERE / f"{name}.png"
    view.wait_for_timeout(500)
    view.screenshot(path=path)
    if find_spec("PIL") is not None:
        from PIL import Image

        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB", file=sys.stderr)


if __name__ == "__main__":
    main()
