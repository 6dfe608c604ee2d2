"""A version that is opened holds nobody up: neither another change, nor the end of the server."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from whet.errors import ConfigError
from whet.serving.swapping import Current


def version(name: str) -> Any:
    return SimpleNamespace(version=name)


def test_one_change_at_a_time() -> None:
    go_on = threading.Event()

    def opened(name: str, before: Any) -> Any:
        assert go_on.wait(10)
        return version(name)

    async def change() -> None:
        current = Current(version("a"), opened)
        first = asyncio.create_task(current.use("b"))
        await asyncio.sleep(0)
        with pytest.raises(ConfigError, match="Another version is being opened"):
            await current.use("c")
        assert current.now.version == "a"
        go_on.set()
        assert (await first).version == "b" and current.now.version == "b"
        assert current.back().version == "a" and current.back().version == "b"

    asyncio.run(change())


def test_what_cannot_be_opened_changes_nothing() -> None:
    def opened(name: str, before: Any) -> Any:
        raise ConfigError(f"{name} is no model.")

    async def change() -> None:
        current = Current(version("a"), opened)
        for _ in range(2):  # the turn is given back
            with pytest.raises(ConfigError, match="b is no model"):
                await current.use("b")
        assert current.now.version == "a" and current.before is None

    asyncio.run(change())


def test_the_server_ends_while_a_version_is_opened() -> None:
    """Encoding a corpus may take hours: nobody who stops the server waits for it."""
    begun, never = threading.Event(), threading.Event()

    def opened(name: str, before: Any) -> Any:
        begun.set()
        never.wait(60)
        return version(name)

    async def begin() -> None:
        task = asyncio.create_task(Current(version("a"), opened).use("b"))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(begin())  # returns, or the test takes a minute and the thread is still there
    (left,) = [thread for thread in threading.enumerate() if thread.name == "open"]
    assert left.daemon and left.is_alive()
    never.set()
    left.join(10)
