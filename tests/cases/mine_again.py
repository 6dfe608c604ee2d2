"""A killed `whet mine` or `encode` is finished by the same command; what a verb cannot do is not
advised. (tests/e2e/test_killed_verbs.py kills these, eval and export.)
"""

from __future__ import annotations

from harness import data, done, expect, model, place, sha256, whet

# a file that a kill may leave out, and one without times in it
VERBS = {
    "mine": ("report.html", "negatives.parquet"),
    "encode": ("vectors/ids.txt", "vectors/vectors.npy"),
}

with place() as here:
    data(here / "data")
    model(here / "model")
    for verb, (lost, steady) in VERBS.items():
        words = [verb, "data.path=data", "model.name=model", f"output={verb}"]
        whet(*words)
        wanted = sha256(here / verb / steady)
        (here / verb / lost).unlink()  # as a kill before the last file leaves it
        again = whet(*words)
        told = "resume=" not in again.said
        expect(again.code == 0 and told, f"{verb}: the same command goes on ({again.state})")
        expect((here / verb / lost).is_file(), f"{verb}: {lost} is there again")
        expect(sha256(here / verb / steady) == wanted, f"{verb}: {steady} is as it was")
    other = whet("mine", "data.path=data", "model.name=model", "output=encode")
    expect(other.code == 2 and "resume=" not in other.said, f"another command ({other.state})")
    (here / "mine" / "report.html").write_text("mine")
    (here / "mine" / "mining_report.txt").unlink()
    changed = whet("mine", "data.path=data", "model.name=model", "output=mine")
    kept = (here / "mine" / "report.html").read_text() == "mine"
    expect(changed.code == 2 and kept, f"a file that somebody changed stays ({changed.state})")
done()
