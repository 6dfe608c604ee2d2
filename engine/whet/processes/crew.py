"""Workers beside this process: one function of many items, several at a time, answers in order.

A worker is a fresh Python that imports the function's module and nothing of the caller's script:
a fork would copy threads and their locks, and multiprocessing's spawn would run a script without
`if __name__ == "__main__":` once more in each. It ends with the pipe that it reads from, however
this process ends.

A ProcessPoolExecutor over a forkserver ran such a script in each worker, and joblib's loky, which
does not, would be a new dependency. With either, one killed worker loses the answers of all the
others, and Ctrl-C waited for the items that were begun.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_SERVE = "from whet.processes.crew import serve; serve()"
_LENGTH = 8  # bytes that say how many follow


class Crew:
    """Some workers, started when they are first asked; to be closed at the end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads = ThreadPoolExecutor(size, "crew")  # each waits for a worker's answer
        self._workers = [_Worker() for _ in range(size)]
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._closed = False

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """`function(item)` of each item, in order; a few items and answers are in memory at once.

        Both are pickled, so that the function is one of a module, or a `partial` of one. What it
        raises, or the items do, is raised when the answers before have been given. An item whose
        worker dies is done in this process.
        """
        asked: deque[Future[Answer]] = deque()
        fault: Exception | None = None
        rest = iter(items)
        while True:
            try:
                item = next(rest)
            except StopIteration:
                break
            except Exception as error:
                fault = error
                break
            asked.append(self._threads.submit(self._ask, function, item))
            if len(asked) > 2 * self._size:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
        if fault is not None:
            raise fault

    def close(self) -> None:
        """End the workers, also in the midst of an item."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def _ask(self, function: Callable[[Item], Answer], item: Item) -> Answer:
        worker = self._free.get()
        try:
            answered, answer = worker.ask((function, item))
        finally:
            self._free.put(worker)
        if self._closed:
            raise CancelledError
        if not answered:
            return function(item)
        if isinstance(answer, _Raised):
            raise answer.error
        return answer  # type: ignore[no-any-return]


class _Raised:
    """What a function raised, in the place of its answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Worker:
    """One process; None until it is asked, and after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lost = False

    def ask(self, question: object) -> tuple[bool, Any]:
        """(True, answer), or False where there is no such process, or no more."""
        if self._lost:
            return False, None
        try:
            if self._process is None:
                self._process = _started()
            _send(self._process.stdin, question)
            return True, _received(self._process.stdout)
        except (OSError, EOFError):
            self._lost = True
            self.close()
            return False, None

    def kill(self) -> None:
        """Who waits for its answer gets none."""
        self._lost = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Kill it, and take away what is left of it."""
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()
        self._process = None


def _started() -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


def _send(pipe: IO[bytes] | None, value: object) -> None:
    if pipe is None:
        raise EOFError
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(len(content).to_bytes(_LENGTH, "little"))
    pipe.write(content)
    pipe.flush()


def _received(pipe: IO[bytes] | None) -> Any:
    head = pipe.read(_LENGTH) if pipe is not None else b""
    length = int.from_bytes(head, "little")
    content = pipe.read(length) if pipe is not None and len(head) == _LENGTH else b""
    if not content or len(content) < length:
        raise EOFError
    return pickle.loads(content)


def serve() -> None:
    """What a worker does: answer what it reads, until there is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks, and ends the pipe
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(EOFError, BrokenPipeError):
        while True:
            function, item = _received(sys.stdin.buffer)
            try:
                answer = function(item)
            except Exception as error:
                answer = _Raised(error)
            _send(answers, answer)
