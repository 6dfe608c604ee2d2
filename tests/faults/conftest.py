"""Two drivers to disturb, one for each core, and the undisturbed run to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from whet_faults import TALLY, Driver, Place, Undisturbed, facts_of, shim

CORES = 2


@pytest.fixture(scope="session")
def drivers(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Driver]]:
    """Servers that fork fits."""
    preload = shim(tmp_path_factory.mktemp("shim"))
    started = [Driver(tiny_data, tiny_model, preload) for _ in range(CORES)]
    yield started
    for driver in started:
        driver.close()


@pytest.fixture(scope="session")
def driver(drivers: list[Driver]) -> Driver:
    """One of them."""
    return drivers[0]


@pytest.fixture(scope="session")
def whole(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A run that nobody disturbs; its cache serves others."""
    place = Place(tmp_path_factory.mktemp("whole"))
    ended = driver.fit(place)
    assert ended.done, ended.said
    return Undisturbed(facts_of(place.run), ended.batches, place.cache)


@pytest.fixture(scope="session")
def whole_of_two(
    driver: Driver, whole: Undisturbed, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """The same by two processes, whose sums have another order."""
    place = Place(tmp_path_factory.mktemp("whole2"), whole.cache)
    ended = driver.fit(place, processes=2)
    assert ended.done, ended.said
    assert ended.batches == whole.batches
    return Undisturbed(facts_of(place.run), ended.batches, place.cache)


@pytest.fixture
def on_all_cores(drivers: list[Driver]) -> Callable[..., list[Any]]:
    """`do(driver, item)` for each item, by whichever driver is free."""

    def run(do: Callable[[Driver, Any], Any], items: Iterable[Any]) -> list[Any]:
        free: Queue[Driver] = Queue()
        for driver in drivers:
            free.put(driver)

        def work(item: Any) -> Any:
            driver = free.get()
            try:
                return do(driver, item)
            finally:
                free.put(driver)

        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(work, items))

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many faults there were, and what they cost."""
    if TALLY.recoveries:
        terminalreporter.write_line(TALLY.line())
