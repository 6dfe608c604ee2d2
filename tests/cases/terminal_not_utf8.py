"""Documents in another script on a terminal that is not UTF-8: what it cannot hold is escaped."""

from __future__ import annotations

import json

from harness import done, expect, place, whet

ROWS = (
    {"query": "wie öffne ich die Tür 門", "positive": "Schlüssel drehen \N{EN DASH} fertig"},
    {"query": "café déjà vu", "positive": "Überall 東京"},
)
TERMINALS = (
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)

with place() as here:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (here / "pairs.jsonl").write_text(text, encoding="utf-8")
    (here / "Tür 門").mkdir()
    for terminal in TERMINALS:
        checked = whet("check", "pairs.jsonl", env=terminal)
        expect(checked.code == 0 and not checked.trace, f"{terminal} ({checked.state})")
        expect("\\u9580" in checked.out, "and what it cannot hold is escaped")
        lost = whet("check", "Tür 門", env=terminal)
        expect(lost.code == 3 and not lost.trace, f"an error, too ({lost.state})")
done()
