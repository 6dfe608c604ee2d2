"""The n-th thing a fit does to its files is the last one it does, or fails, for n = 1, 2, 3 ...
until it runs through untouched (SQLite tests itself so: sqlite.org/testing.html).
"""

from __future__ import annotations

import errno
import shutil
from threading import Event

import pytest
from whet_faults import Driver, Place, survived

SLOW = pytest.mark.slow
pytestmark = pytest.mark.timeout(1200)  # some hundred fits, of a second or two each
MOST = 2000  # operations of a fit, far more than there are


@pytest.fixture
def loop(drivers, whole, on_all_cores, tmp_path):
    """Disturb every `step`-th operation, as long as the fit comes to it; how many it came to."""
    if "LD_PRELOAD" not in drivers[0].env:
        pytest.skip("no C compiler here to build disk.c, which breaks the disk")

    def run(action: str, error: int = 0, *, first: int = 1, step: int = 1) -> int:
        untouched = Event()

        def disturb(driver: Driver, number: int) -> bool:
            if untouched.is_set():
                return False
            place = Place(tmp_path / str(number))
            fault = {"folder": str(place.disk), "at": number, "action": action, "error": error}
            ended = survived(driver, place, whole, {"disk": fault})
            shutil.rmtree(place.root)
            if ended is None:
                untouched.set()
                return False
            if action != "kill":
                assert "Traceback" not in ended.said, ended.said
            return True

        return sum(on_all_cores(disturb, range(first, MOST, step)))

    return run


@SLOW
def test_killed_at_every_operation(loop):
    assert loop("kill") > 200


@SLOW
def test_error_at_every_second_operation(loop):
    assert loop("fail", errno.EIO, first=1, step=2) > 100


@SLOW
def test_full_from_every_second_operation(loop):
    assert loop("full", errno.ENOSPC, first=2, step=2) > 100
