"""Names in a statement that lead out of the bundle, or come twice, are refused before any file is
opened, as is a statement of another type: exit 1, and no digit of a foreign file's hash.
"""

from __future__ import annotations

from functools import partial

from harness import bundle, done, expect, forge, in_words, list_file, place, sha256, whet

with place() as here:
    private = here / "private.txt"
    private.write_text("secret")
    names = ("../private.txt", str(private), "data/../../private.txt", "a\0b", "a\nb", "a\x1b[2Jb")
    folder = bundle(here / "bundle")
    whole = (folder / "provenance.json").read_bytes()
    for name in names:
        for digest in (sha256(private), "0" * 64):
            (folder / "provenance.json").write_bytes(whole)
            forge(folder, partial(list_file, name=name, digest=digest))
            found = whet("verify", str(folder))
            in_words(found, repr(name.replace(str(here), "")))
            silent = sha256(private)[:12] not in found.said and "\x1b" not in found.said
            expect(silent, "and nothing of the file outside is printed")
    for name in ("README.md", "ReadMe.md"):
        (folder / "provenance.json").write_bytes(whole)
        forge(folder, partial(list_file, name=name, digest="0" * 64))
        in_words(whet("verify", str(folder)), f"{name} beside README.md")
    (folder / "provenance.json").write_bytes(whole)
    forge(folder, lambda s: s.update(_type="x", predicateType="y"), follow=False)
    in_words(whet("verify", str(folder)), "a statement of another type")
done()
