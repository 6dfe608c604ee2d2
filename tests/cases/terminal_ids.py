"""Escape sequences in ids, split names and file names: none reaches the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from harness import data, done, expect, place, whet

TITLE = "\x1b]0;PWNED\x07\x1b[2J\x1b[31mfake\x1b[0m"
MARKS = {"ESC": TITLE, "CSI": "\x9b31m", "bidi": "\u202egnp\u2066"}


def harmless(text: str) -> bool:
    """True if nothing in the text steers a terminal."""
    return not any(
        (ord(letter) < 32 and letter not in "\n\t\r")
        or 0x7F <= ord(letter) < 0xA0
        or letter in "\u202e\u2066\u2028"
        for letter in text
    )


def renamed(folder: Path, file: str, column: str, id_: str, mark: str) -> Path:
    """The tiny data with one id changed, in its table and in the judgments."""
    data(folder)
    rows, judgments = folder / file, folder / "qrels/train.tsv"
    rows.write_text(rows.read_text().replace(f'"{id_}"', json.dumps(id_ + mark)))
    spot = column.format(id_)
    judgments.write_text(judgments.read_text().replace(spot, column.format(id_ + mark)))
    return folder


with place() as here:
    for name, mark in MARKS.items():
        found = renamed(here / f"doc{name}", "corpus.jsonl", "\t{}\t", "d0", mark)
        checked = whet("check", f"data.path={found.name}")
        expect(harmless(checked.said), f"{name} in a document's id is not printed")
        expect(checked.code == 3 and "corpus.jsonl line 1: id" in checked.out, "and the id refused")
        found = renamed(here / f"query{name}", "queries.jsonl", "\n{}\t", "q0", mark)
        checked = whet("check", f"data.path={found.name}")
        expect(harmless(checked.said), f"{name} in a query's id is not printed")
    odd = TITLE.replace("/", "")
    split = data(here / "split")
    (split / "qrels/train.tsv").rename(split / f"qrels/train{odd}.tsv")
    checked = whet("check", "data.path=split")
    expect(harmless(checked.said), "ESC in a split's name is not printed")
    expect(checked.code == 0 and "train\\x1b" in checked.out, "the split is there, escaped")
    (here / "unknown").mkdir()
    (here / "unknown" / f"x{odd}.bin").write_text("z")
    checked = whet("check", "data.path=unknown")
    expect(harmless(checked.said) and checked.code == 3, "ESC in a file's name is not printed")
done()
