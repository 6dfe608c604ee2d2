"""Models that other tools saved: trained, judged and exported, or refused in a sentence that is
true. Their vectors: tests/model/test_conventions.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness import FIT, data, done, expect, in_words, place, whet

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
import strangers as of
from test_conventions import python_tokenizer

NAMES = {"search": "find: ", "group": "like: "}
TRAIN = ("data.path=data", *FIT, "trainer.max_steps=1")

with place() as here:
    data(here / "data")
    of.static(of.NORMALIZE)(here / "static")
    python_tokenizer(here / "python")
    use = {"prompts": NAMES, "default_prompt_name": "search"}
    of.of_bert(of.pooling(), of.NORMALIZE, use=use)(here / "prompts")
    of.router(here / "router")
    for name in ("static", "python", "prompts"):
        ended = whet("fit", *TRAIN, f"model.name={name}", f"output=run_{name}")
        expect(ended.code == 0 and not ended.trace, f"{name}: it trains ({ended.state})")
        if name == "prompts":
            told = "none is used" in ended.err and "search, group" in ended.err
            expect(told, "which prompts are not used is told")
            saved = here / "run_prompts/model/config_sentence_transformers.json"
            said = json.loads(saved.read_text())
            kept = NAMES.items() <= said["prompts"].items()
            expect(kept and said["default_prompt_name"] == "search", "they are kept")
    files = {path.name for path in (here / "run_python/model").iterdir()}
    expect({"vocab.txt", "bpe.codes"} <= files, "all files of a tokenizer are saved")
    judged = whet("eval", "data.path=data", "model.name=router", "output=judged")
    expect(judged.code == 0 and not judged.trace, f"a router is judged ({judged.state})")
    for words in (["fit", *TRAIN, "output=x"], ["export"], ["mine", "data.path=data"]):
        ended = whet(*words, "model.name=router")
        in_words(ended, f"a router, {words[0]}")
        expect("one encoder" in ended.err, "and it says which model would do")
    expect(not (here / "x").exists(), "no run folder is left")
    in_words(whet("export", "model.name=static"), "a table of words, export")
done()
