"""A flipped bit in the converted data: noticed before it is used, told, and mended."""

from __future__ import annotations

import random
import shutil

from harness import data, done, expect, model, place, whet

WORDS = ("data.path=data", "model.name=model")
FILES = ("corpus.arrow", "corpus.rows.npy", "split-1.npy", "manifest.json")

with place() as here:
    data(here / "data")
    model(here / "model")
    first = whet("eval", *WORDS, "output=o0")
    assert first.code == 0, first.said
    wanted = (here / "o0/metrics.json").read_text()
    (folder,) = (here / "cache/data").iterdir()
    chance = random.Random(3)
    for name in FILES:
        path = folder / name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        at = len(whole) - 8 * chance.randrange(3, 9)
        if name.endswith("arrow"):
            at = whole.find(b"mi", len(whole) // 4)  # in a text
        flipped[at] ^= 1
        path.write_bytes(bytes(flipped))
        shutil.rmtree(here / "cache/embeddings")
        shutil.rmtree(here / "o1", ignore_errors=True)
        again = whet("eval", *WORDS, "output=o1")
        mended = again.code == 0 and (here / "o1/metrics.json").read_text() == wanted
        told = f"{path} is damaged" in again.err and not again.trace
        expect(mended and told, f"a bit of {name}: noticed, told and mended ({again.state})")
        expect(path.read_bytes() == whole, f"{name} is as it was")
done()
