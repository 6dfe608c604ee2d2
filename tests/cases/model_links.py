"""A link in a stranger's model folder puts no private file into what is saved or published: links
that lead out of the folder are refused.
"""

from __future__ import annotations

from pathlib import Path

from harness import FIT, data, done, expect, in_words, model, place, whet

CANARY = b"PRIVATE-CANARY"


def leaks(folder: Path) -> list[Path]:
    """The files that hold the private text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if CANARY in path.read_bytes()]


with place() as here:
    data(here / "data")
    (here / "private").write_bytes(CANARY)
    (here / "private_folder").mkdir()
    (here / "private_folder" / "notes.txt").write_bytes(CANARY)
    links = {
        "vocab.txt": here / "private",
        "notes": here / "private_folder",
    }
    for name, target in links.items():
        folder = f"model_{name.partition('.')[0]}"
        (model(here / folder) / name).symlink_to(target)
        run = f"run_{folder}"
        fitted = whet("fit", "data.path=data", f"model.name={folder}", f"output={run}", *FIT)
        in_words(fitted, f"fit, {name} is a link")
        expect(not leaks(here / run), f"{name}: the private file is not in the run folder")
        if fitted.code == 0:
            whet("bundle", f"./{run}", f"output=published_{folder}", "include=[base]")
            expect(not leaks(here / f"published_{folder}"), f"{name}: nor in the bundle")
done()
