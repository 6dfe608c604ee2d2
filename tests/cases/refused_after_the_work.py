"""Formats and output folders that cannot be are refused before a model is loaded."""

from __future__ import annotations

from harness import data, done, expect, place, whet

REFUSED = (
    ("mine", "formats=[tevatronn]", "output=m1"),
    ("mine", "formats=[]", "output=m1"),
    ("mine", "output=taken"),
    ("encode", "output=taken"),
    ("eval", "output=taken"),
    ("fit", "output=taken"),
    ("fit", "output=m1", "loss.matryoshka_dims=[1000]"),
    ("fit", "output=m1", "mining.cross_encoder=./nowhere"),
    ("fit", "output=m1", "encode.device=gpu"),
    ("fit", "output=m1", "model=./nowhere"),
)

with place() as here:
    data(here / "data")
    (here / "taken").mkdir()
    (here / "taken" / "x").touch()
    for verb, *words in REFUSED:
        ended = whet(verb, "data=data", *words)
        what = f"{verb} {' '.join(words)}"
        expect(ended.code == 2 and not ended.trace, f"{what}: refused ({ended.state})")
        expect(ended.err.count("\n") == 1, "in one line: nothing was encoded before")
        expect(verb == "fit" or "resume=" not in ended.err, "and no option is advised that is none")
        expect(
            not (here / "m1").exists() and not (here / "runs").exists(), "no half folder is left"
        )
    expect([path.name for path in (here / "taken").iterdir()] == ["x"], "what was there stays")
done()
