"""Makes docs/report.png of a run folder, by the report's present look.

    python docs/report_picture.py runs/RUN      # the run of `make demo`

Needs Chromium and playwright. Prints what a phone of 390 pixels would have to scroll sideways for.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import sync_playwright

from whet.report.render import write_report

TO = Path(__file__).with_name("report.png")
SIZE = {"width": 1000, "height": 1330}
PHONE = {"width": 390, "height": 844}
WIDE = "document.documentElement.scrollWidth - innerWidth"


def main(run: Path) -> None:
    """Write the run's report again, and keep its beginning."""
    page = write_report(run)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport=SIZE, color_scheme="light")
        view.goto(page.resolve().as_uri())
        view.screenshot(path=TO)
        view.set_viewport_size(PHONE)
        print(f"wider than a phone by {view.evaluate(WIDE)} pixels")
        browser.close()
    if find_spec("PIL") is not None:
        from PIL import Image

        Image.open(TO).convert("RGB").quantize(128).save(TO, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
