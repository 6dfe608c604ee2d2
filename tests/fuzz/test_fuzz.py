"""Folders of strangers and of bad disks, mutated by seed: each is used as it was, or refused in
words. Nothing hangs, nothing ends in a traceback, nothing of others is read, and no result changes
without a word.

`WHET_FUZZ_S` is how many seconds each kind gets, `WHET_FUZZ_SEED` the first seed.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
from forks import Ended, in_fork, seeds
from harness import Page, mark
from mutators import files_of, flipped, fresh_copy, mutate_folder, mutated_bytes, mutated_value

from whet.storage.commit import file_sha256
from whet_launch.cli.main import main

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

        from whet_launch.cli.main import exit_code_of

        return exit_code_of(action)

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
        own = [path for path in files_of(folder) if not path.is_symlink()]  # the rest is planted
        text = "".join(path.read_text(errors="replace") for path in own)
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


@pytest.fixture
def page(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    """A search page that is served, and somebody who may use it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_data, "data")
    shutil.copytree(tiny_model, "model")
    served = Page().enter()
    yield served
    served.stop()


def _request(rng: Random, page: Page) -> bytes:
    """A request of somebody who may ask, before or after something happened to its bytes."""
    event = mark(rng.randrange(50))
    bodies = ({"events": [mutated_value(rng, event)]}, mutated_value(rng, {"events": [event]}))
    path = rng.choice(("/api/events", "/api/search", "/api/why", "/api/find", "/api/tune/start"))
    body = json.dumps(rng.choice(bodies)).encode()
    head = [
        f"POST {path} HTTP/1.1",
        f"Host: {page.net}",
        f"Origin: http://{page.net}",
        "Content-Type: application/json",
        f"Cookie: {page.cookie}",
        f"Content-Length: {len(body)}",
    ]
    if rng.random() < 0.3:
        body = b""
        head = [f"GET /api/counts?x={rng.random()} HTTP/1.1", *head[1:2], head[4]]
    whole = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    return whole if rng.random() < 0.5 else mutated_bytes(rng, whole)


def _answered(page: Page, request: bytes) -> bytes:
    """What comes back within a second, which may be nothing: the server waits for the rest."""
    host, port = page.net.split(":")
    connection = socket.create_connection((host, int(port)), timeout=1)
    with connection, suppress(OSError):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1 << 16)
    return b""


def test_requests(page: Page) -> None:
    for seed, rng in seeds("requests"):
        request = _request(rng, page)
        answer = _answered(page, request)
        assert not answer.startswith(b"HTTP/1.1 5"), f"seed {seed}: {request!r}\n{answer!r}"
        if seed % 50 == 0:
            assert page.ask("GET", "/api/counts", timeout=10)[0] == 200, f"seed {seed}"
    assert "Traceback" not in page.said(), page.said()[-3000:]
