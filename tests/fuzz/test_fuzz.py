"""Folders of strangers and of bad disks, mutated by seed: each is used as it was, or refused in
words. Nothing hangs, nothing ends in a traceback, nothing of others is read, and no result changes
without a word.

`WHET_FUZZ_S` is how many seconds each kind gets, `WHET_FUZZ_SEED` the first seed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from forks import Ended, in_fork, seeds
from mutators import files_of, flipped, fresh_copy, mutate_folder, mutated_value

from whet.checkpoint import file_sha256
from whet_launch.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]


def _check(ended: Ended, seed: int, what: str) -> None:
    assert ended.in_words, f"seed {seed}, {what}: exit {ended.code}\n{ended.printed[-3000:]}"
    assert "PRIVATE-CANARY" not in ended.printed, f"seed {seed}, {what}"
    steering = [
        c for c in ended.printed if (ord(c) < 32 and c not in "\n\t\r") or c in "\u202e\x9b"
    ]
    assert not steering, f"seed {seed}, {what}: {steering[:5]}"


def test_model_folders(tiny_model: Path, outside: Path, tmp_path: Path) -> None:
    from whet.model.towers import open_model

    target = tmp_path / "vectors.npy"

    def encode() -> int:
        def action() -> int:
            np.save(target, open_model(str(folder)).encode(["ba ce di", "fo"]))
            return 0

        from whet_launch.cli import guarded

        return guarded(action)

    for seed, rng in seeds("model folders"):
        folder = fresh_copy(tiny_model, tmp_path / "model")
        what = mutate_folder(rng, folder, outside)
        target.unlink(missing_ok=True)
        ended = in_fork(encode)
        _check(ended, seed, what)
        if ended.code == 0:
            assert np.isfinite(np.load(target)).all(), f"seed {seed}, {what}"


def test_run_folders(begun: tuple[Path, Path], outside: Path, tmp_path: Path) -> None:
    run, whole = begun
    for seed, rng in seeds("run folders"):
        folder = fresh_copy(run, tmp_path / "run")
        what = mutate_folder(rng, folder, outside)
        ended = in_fork(lambda: main(["fit", f"resume={tmp_path / 'run'}"]))
        _check(ended, seed, what)
        if ended.code == 0:
            for name in ("model/model.safetensors", "metrics.json"):
                same = (folder / name).read_bytes() == (whole / name).read_bytes()
                assert same, f"seed {seed}, {what}: another {name}\n{ended.printed[-2000:]}"
        text = "".join(path.read_text(errors="replace") for path in files_of(folder))
        assert "PRIVATE-CANARY" not in text, f"seed {seed}, {what}"


def test_statements(published: Path, outside: Path, tmp_path: Path) -> None:
    from whet.bundle.provenance import NAME, spelled, tree_of

    for seed, rng in seeds("statements"):
        folder = fresh_copy(published, tmp_path / "bundle")
        statement = json.loads((folder / NAME).read_text())
        if rng.random() < 0.2:
            what = mutate_folder(rng, folder, outside)
        else:
            what = "statement"
            statement = mutated_value(rng, statement)
            try:  # as a stranger would, who knows how the tree is made
                statement["predicate"].pop("whet_tree")
                statement["predicate"]["whet_tree"] = tree_of(statement)
                text = spelled(statement)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                text = json.dumps(statement)
            (folder / NAME).write_text(text, encoding="utf-8", errors="surrogatepass")
        ended = in_fork(lambda: main(["verify", str(tmp_path / "bundle")]))
        _check(ended, seed, what)


def test_caches(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    words = ["eval", f"data={tiny_data}", f"model={tiny_model}"]

    def judged(output: Path, cache: Path) -> Ended:
        shutil.rmtree(output, ignore_errors=True)
        pytest.MonkeyPatch().setenv("WHET_CACHE", str(cache))
        return in_fork(lambda: main([*words, f"output={output}"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHET_CACHE", str(tmp_path / "whole"))
        first = judged(tmp_path / "first", tmp_path / "whole")
        assert first.code == 0, first.printed
        right = file_sha256(tmp_path / "first/metrics.json")
        for seed, rng in seeds("caches"):
            cache = fresh_copy(tmp_path / "whole", tmp_path / "cache")
            path = rng.choice(files_of(cache))
            path.write_bytes(flipped(rng, path.read_bytes()))
            name = path.relative_to(cache).as_posix()
            ended = judged(tmp_path / "again", cache)
            _check(ended, seed, name)
            if ended.code == 0:
                same = file_sha256(tmp_path / "again/metrics.json") == right
                assert same, f"seed {seed}, a bit of {name}: another result"
