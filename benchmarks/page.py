"""How fast is the search page on a large corpus, and a tune on it, for the person who waits?

    python benchmarks/page.py            # debian-desc, 60,030 documents: encodes them first
    python benchmarks/page.py --table    # the table alone
    python benchmarks/page.py --quick    # does it run?

One run is what a person does: `whet label` starts; a headless Chromium opens the printed address
(where there is one: until its first paint); queries of the test split are searched one after the
other; 50 queries of the train split are judged by their judgments, ten documents each (clicks on
what is relevant and on what stands above); Tune, then Ship; the same searches again by the new
version. Milliseconds are medians (and 95th percentiles) of what the browser's side waits for, and
of the server's two parts. Rows go to records/page.jsonl.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPMessage
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import tiny
from kept import Records

if TYPE_CHECKING:
    from whet.data.load import Dataset

RECORDS = Records("page")
SHOWN = 10
RUN = "import sys; from whet_launch.cli.main import main; sys.exit(main(sys.argv[1:]))"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def main() -> None:
    """Measure, keep the row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/debian-desc"))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--searches", type=int, default=200, help="of the test split, each twice")
    parser.add_argument("--judged", type=int, default=50, help="queries of the train split")
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        if tiny.missing("fastapi", "uvicorn", "bm25s"):
            return
        with tiny.place(RECORDS) as here:
            options.data, options.model = here.collection(), here.model
            options.searches, options.judged = 5, 20
            RECORDS.keep(measured(options))
            print(table())
        return
    if not options.table:
        RECORDS.keep(measured(options))
    print(table())


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One run of everything."""
    from whet.data.load import load_dataset

    path = options.data.resolve()
    data = load_dataset(str(path), on_problem="drop")
    asked = sorted(data.split("test").relevant().query_rows.tolist())
    asked = data.queries.texts(asked[:: max(1, len(asked) // options.searches)][: options.searches])
    row = {"data": data.name, "documents": len(data.corpus), "searches": len(asked)}
    with tempfile.TemporaryDirectory() as folder:
        words = [f"data={path}", "data.on_problem=drop", f"output={folder}/feedback"]
        words += [f"model.name={options.model}"]
        command = [sys.executable, "-c", RUN, "label", *words, "port=0", "open_browser=false"]
        start = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            person = Person(address_of(process))
            row["start s"] = round(time.monotonic() - start, 1)
            row["first paint ms"] = first_paint(process)
            row["base"] = searches(person, asked)
            row |= judge_and_tune(person, data, options.judged)
            row["tuned"] = searches(person, asked)
        finally:
            process.terminate()
            process.communicate()
    return row | {"machine": f"{os.cpu_count()} CPUs", "date": time.strftime("%Y-%m-%d")}


class Person:
    """A page without a browser: it opens the printed address and asks as the page does."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._line = http.client.HTTPConnection(address.netloc, timeout=600)
        self._headers = {"origin": f"http://{address.netloc}", "content-type": "application/json"}
        headers, _ = self._ask("GET", f"/?{address.query}")
        self._headers["cookie"] = headers["set-cookie"].partition(";")[0]

    def get(self, path: str) -> Any:
        """What the server answers."""
        return json.loads(self._ask("GET", path)[1])

    def post(self, path: str, **said: object) -> Any:
        """What the server answers to this."""
        return json.loads(self._ask("POST", path, json.dumps(said))[1])

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[HTTPMessage, bytes]:
        self._line.request(method, path, body, self._headers)
        answer = self._line.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{path}: {answer.status} {content.decode()}")
        return answer.headers, content


def address_of(process: subprocess.Popen[str]) -> str:
    """The address `whet label` prints when it is ready."""
    told: list[str] = []
    for line in process.stderr or ():
        told.append(line)
        if line.startswith("Feedback:"):
            return _address("".join(told))
    raise SystemExit("".join(told))


def next_address(process: subprocess.Popen[str]) -> str:
    """The address `whet label` prints when the last one was used."""
    assert process.stderr is not None
    return _address(process.stderr.readline())


def _address(text: str) -> str:
    found = re.search(r"http://\S+", text)
    assert found is not None, text
    return found[0]


def first_paint(process: subprocess.Popen[str]) -> float | None:
    """Milliseconds until a browser that was never here shows something; None without a browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or find_spec("playwright") is None:
        tiny.left_out("the first paint", "needs chromium and playwright")
        return None
    from playwright.sync_api import sync_playwright

    found: list[float] = []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for _ in range(5):
            page = chromium.new_context().new_page()
            page.goto(next_address(process))
            found.append(page.evaluate(PAINTED))
        chromium.close()
    return round(statistics.median(found))


def searches(person: Person, texts: list[str]) -> dict[str, list[float]]:
    """[median, 95th percentile] of milliseconds: the whole request, and the server's two parts."""
    took: dict[str, list[float]] = {"whole": [], "embed": [], "search": []}
    for text in texts:
        start = time.perf_counter()
        answer = person.post("/api/search", query=text)
        took["whole"].append(1e3 * (time.perf_counter() - start))
        for part, value in answer["ms"].items():
            took[part].append(value)
    return {
        part: [
            round(statistics.median(values), 1),
            round(statistics.quantiles(values, n=20)[-1], 1),
        ]
        for part, values in took.items()
    }


def judge_and_tune(person: Person, data: Dataset, judged: int) -> dict[str, Any]:
    """Marks for some queries, a tune on them, and its version in use."""
    good = data.split("train").relevant()
    chosen = good.query_rows[:: len(good.query_rows) // judged][:judged].tolist()
    events = 0
    for query in chosen:
        text = data.queries.text(query)
        right = set(data.corpus.ids_of(good.doc_rows_M[good.query_rows_M == query]))
        shown = person.post("/api/search", query=text, k=SHOWN)["results"]
        names = [one["doc_id"] for one in shown]
        last = max((at for at, name in enumerate(names) if name in right), default=2)
        said = [
            {
                "id": uuid4().hex,
                "query": text,
                "action": "relevant" if name in right else "irrelevant",
                "doc_id": name,
                "who": "me",
                "shown": [[one["doc_id"], one["score"]] for one in shown],
            }
            for name in names[: last + 1]
        ]
        events += person.post("/api/events", events=said)["new"]
    start = time.monotonic()
    state = person.post("/api/tune/start")
    while state["running"]:
        time.sleep(0.2)
        state = person.get("/api/tune")
    tuned = time.monotonic()
    if state["error"]:
        raise SystemExit(state["error"])
    person.post("/api/versions/ship", version=state["version"])
    facts = person.post("/api/versions/look", version=state["version"])
    return {
        "judged": len(chosen),
        "events": events,
        "tune s": round(tuned - start, 1),
        "ship s": round(time.monotonic() - tuned, 1),
        "better": facts["better"],
        "why": facts["why"],
    }


def table() -> str:
    """A line a run."""
    heads = ["data", "documents", "first paint ms", "embed ms", "search ms", "whole ms"]
    heads += ["tune of 50, s", "ship s", "then search ms", "whole ms"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in RECORDS.rows():
        both = {name: row[name] for name in ("base", "tuned")}
        cells = [row["data"], f"{row['documents']:,}", row["first paint ms"]]
        cells += [told(both["base"][part]) for part in ("embed", "search", "whole")]
        cells += [row["tune s"], row["ship s"]]
        cells += [told(both["tuned"][part]) for part in ("search", "whole")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def told(pair: list[float]) -> str:
    """A median and a 95th percentile."""
    return f"{pair[0]} ({pair[1]})"


if __name__ == "__main__":
    main()
