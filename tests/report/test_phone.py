"""The report on a phone, as a browser draws it; and one look for report and search page."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from test_report import full_run

from whet.mining.report import RANK_EDGES
from whet.report.mining import FATES
from whet.report.render import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTH = 390
LONG = RANK_EDGES.index(10_000)  # bars, the last one of the ranks 1,000 to 9,999
LOOK = """() => {
  const box = (at) => {
    const b = at.getBoundingClientRect();
    return [b.left, b.top, b.right, b.bottom];
  };
  const meet = (a, b) => a[0] < b[2] - 1 && b[0] < a[2] - 1 && a[1] < b[3] - 1 && b[1] < a[3] - 1;
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const all = (names) => [...document.querySelectorAll(names)];
  const wide = all("body *")
    .filter((at) => box(at)[2] > innerWidth + 1 && !at.closest("pre"))
    .map((at) => at.outerHTML.slice(0, 80));
  const scrolls = all(".wide").filter((at) => at.scrollWidth > at.clientWidth).length;
  const words = [];
  for (const chart of document.querySelectorAll("svg.chart")) {
    const texts = [...chart.querySelectorAll("text")].map((at) => [at.textContent, box(at)]);
    const frame = box(chart);
    for (const [i, [name, place]] of texts.entries()) {
      if (place[0] < frame[0] - 1 || place[2] > frame[2] + 1) words.push(`${name} is cut off`);
      for (const [other, where] of texts.slice(i + 1))
        if (meet(place, where)) words.push(`${name} on ${other}`);
    }
  }
  return {wide, scrolls, words, across: document.documentElement.scrollWidth};
}"""


@pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason="needs Chromium (apt install chromium) and playwright",
)
def test_nothing_overflows_or_collides_on_a_phone(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    run = full_run("a text of some words")
    assert run.mining is not None
    # as large as they are for 10,000 queries and documents; the last bar's name is a long one
    large = {
        "rank_counts": [5] * LONG + [0] * (14 - LONG),
        **{fate: [92_125_592] for fate in FATES},
    }
    path = tmp_path / "report.html"
    page = render_report(replace(run, mining={**run.mining, **large}))
    path.write_text(page, encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view: Any = browser.new_page(viewport={"width": WIDTH, "height": 844})
        view.goto(path.as_uri())
        seen = view.evaluate(LOOK)
        interval = view.locator(".interval").first.bounding_box()
        view.screenshot(path=tmp_path / "phone.png", full_page=True)
        browser.close()
    assert seen == {"wide": [], "scrolls": 0, "words": [], "across": WIDTH}
    assert interval is not None and interval["x"] + interval["width"] <= WIDTH


def colours(text: str, names: tuple[str, ...]) -> list[str]:
    """The values of a style sheet's variables, those of light before those of dark."""
    found = [re.findall(rf"--{name}: ([^;]+);", text)[:2] for name in names]
    return [value for pair in found for value in pair]


def test_report_and_search_page_have_one_palette_and_one_type() -> None:
    report, page = (
        Path(str(find_spec(name).submodule_search_locations[0])) / file  # type: ignore[union-attr,index]
        for name, file in (("whet.report", "report.css"), ("whet.feedback.serve", "page/style.css"))
    )
    ours, theirs = report.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    names = ("paper", "ink", "soft", "line", "accent", "accent-wash")
    same_as = ("ground", "ink", "quiet", "line", "right", "right-soft")
    assert colours(ours, names) == colours(theirs, same_as)
    assert len(colours(ours, names)) == 2 * len(names)
    families = [re.search(r"font: 1(?:6px|rem)/[\d.]+ (.+?);", text) for text in (ours, theirs)]
    assert families[0] is not None and families[1] is not None
    assert families[0][1] == families[1][1] and "serif" not in ours.replace("sans-serif", "")
