"""The copies in a bundle are the inputs that were recorded, and nothing else is among them.

A copy that was changed and listed anew is named, as are a file more, and copies of which no input
was recorded: exit 1. `whet reproduce` does not train on them.
"""

from __future__ import annotations

from harness import bundle, done, expect, forge, list_file, place, sha256, whet

POISON = '{"_id": "poison", "title": "", "text": "ba ce di"}\n'

with place() as here:
    folder = bundle(here / "data_changed")
    with open(folder / "data/corpus.jsonl", "a") as file:
        file.write(POISON)
    forge(folder)
    found = whet("verify", str(folder))
    named = found.code == 1 and "data/corpus.jsonl" in found.out
    expect(named, f"verify names the changed copy of the data ({found.state})")
    again = whet("reproduce", str(folder), "output=again")
    expect(again.code == 1, f"reproduce refuses other data ({again.state})")

    folder = bundle(here / "base_changed")
    weights = bytearray((folder / "base/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "base/model.safetensors").write_bytes(weights)
    forge(folder)
    found = whet("verify", str(folder))
    named = found.code == 1 and "base/model.safetensors" in found.out
    expect(named, f"verify names the changed copy of the base model ({found.state})")

    folder = bundle(here / "added")
    added = folder / "data/qrels/dev.tsv"
    added.write_text("q0\td5\t1\n")
    forge(folder, lambda s: list_file(s, "data/qrels/dev.tsv", sha256(added)))
    found = whet("verify", str(folder))
    named = found.code == 1 and "data/qrels/dev.tsv" in found.out
    expect(named, f"verify names a file among the data that was no input ({found.state})")

    folder = bundle(here / "no_inputs")
    forge(folder, lambda s: s["predicate"]["buildDefinition"].update(resolvedDependencies=[]))
    found = whet("verify", str(folder))
    expect(found.code == 1, f"copies without a recorded input are refused ({found.state})")
done()
