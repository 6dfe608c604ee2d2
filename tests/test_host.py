"""A container's limit counts where it is less than the computer's memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from whet.processes.host import cores, host_bytes

TOTAL = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "1073741824\n", 1 << 30),
        ("memory.max", "max\n", TOTAL),
        ("memory.max", str(TOTAL * 4), TOTAL),
        ("memory/memory.limit_in_bytes", "4096", 4096),
    ],
)
def test_the_lesser_of_computer_and_container(
    tmp_path: Path, name: str, text: str, limit: int
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert host_bytes(tmp_path) == limit


def test_without_a_container_the_computer_counts(tmp_path: Path) -> None:
    assert host_bytes(tmp_path) == TOTAL
    assert 1 <= cores() <= (psutil.cpu_count() or 1)
