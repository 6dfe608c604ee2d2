"""A small sound BEIR folder, to be broken one way a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SOUND = {
    "corpus.jsonl": b'{"_id": "d1", "title": "Ants", "text": "live in hills"}\n'
    b'{"_id": "d2", "title": "", "text": "bees make honey"}\n'
    b'{"_id": "d3", "text": "cats sleep"}\n',
    "queries.jsonl": b'{"_id": "q1", "text": "where do ants live"}\n'
    b'{"_id": "q2", "text": "who makes honey"}\n',
    "qrels/train.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t0\n",
    "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq2\td2\t1\n",
}

Beir = Callable[..., Path]


@pytest.fixture
def beir(tmp_path: Path) -> Beir:
    """Write the sound folder with some files replaced (None: left out); returns its path."""

    def write(changes: dict[str, bytes | None] | None = None) -> Path:
        root = tmp_path / "set"
        for name, content in {**SOUND, **(changes or {})}.items():
            if content is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
        return root

    return write
