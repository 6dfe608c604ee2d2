"""A pipe as the statement, brackets without end, missing and wrong fields: one line, exit 1, within
seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness import bundle, done, forge, in_words, place, whet


def statement_as(folder: Path, write: Callable[[Path], Any]) -> Path:
    """A bundle whose statement somebody wrote."""
    bundle(folder)
    (folder / "provenance.json").unlink()
    write(folder / "provenance.json")
    return folder


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no version": lambda s: s["predicate"]["runDetails"]["builder"].pop("version"),
    "a digest that is true": lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"][1][
        "digest"
    ].update(sha256=True),
    "a subject's digest a number": lambda s: s["subject"][0]["digest"].update(sha256=5),
    "a measure that is none": lambda s: s["predicate"]["whet_measures"].update(tuned={"RR": "x"}),
    "no measures": lambda s: s["predicate"].pop("whet_measures"),
}

with place() as here:
    pipe = statement_as(here / "pipe", os.mkfifo)
    in_words(whet("verify", str(pipe), timeout=30), "a pipe")
    for number, text in enumerate(("[" * 200_000, '{"a":' * 100_000, "", "null")):
        folder = statement_as(here / f"text{number}", partial(Path.write_text, data=text))
        in_words(whet("verify", str(folder)), f"a statement of {text[:6]!r}")
    for name, change in CHANGES.items():
        folder = bundle(here / name.replace(" ", "_"))
        try:
            forge(folder, change, follow=False)
        except (KeyError, TypeError, AttributeError) as error:
            print("skip ", name, error)
            continue
        in_words(whet("verify", str(folder)), name)
done()
