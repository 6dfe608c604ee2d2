"""A crew: answers in order, faults where they belong, and no answer is lost with a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from whet.errors import DataError
from whet.processes.crew import Crew


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(2) as crew:
        yield crew


def test_answers_come_in_order_from_other_processes(crew: Crew) -> None:
    assert list(crew.each(partial(pow, 2), range(40))) == [2**n for n in range(40)]
    assert list(crew.each(len, [])) == []
    processes = set(crew.each(_process, range(20)))
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2


def test_what_a_function_raises_is_raised_after_the_answers_before(crew: Crew) -> None:
    answers = crew.each(int, ["1", "2", "three", "4"])
    assert [next(answers), next(answers)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(answers)


def test_what_the_items_raise_is_raised_after_the_answers_before(crew: Crew) -> None:
    def items() -> Iterator[str]:
        yield from ["1", "2"]
        raise DataError("The file is torn here, and cannot be read on. Fetch it again.")

    answers = crew.each(int, items())
    assert [next(answers), next(answers)] == [1, 2]
    with pytest.raises(DataError, match="torn"):
        next(answers)


def test_what_a_dead_worker_should_have_done_is_done_here() -> None:
    with Crew(2) as crew:
        answers = list(crew.each(partial(_die_in_a_worker, os.getpid()), range(9)))
        assert answers == list(range(9))
        assert list(crew.each(abs, [-1, -2])) == [1, 2]


def test_closing_ends_workers_in_the_midst() -> None:
    crew = Crew(2)
    answers = crew.each(time.sleep, [0.0, 0.0, 0.0, 0.0, 0.0, 600.0, 600.0])
    next(answers)
    began = time.monotonic()
    crew.close()
    assert time.monotonic() - began < 30


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun')\n"
        "from whet.processes.crew import Crew\n"
        "with Crew(2) as crew:\n"
        "    print(list(crew.each(abs, [-1, -2, -3])))\n"
    )
    said = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (said.stdout, said.stderr) == ("begun\n[1, 2, 3]\n", "")


def test_workers_end_with_who_asks(tmp_path: Path) -> None:
    code = (
        "import os; from whet.processes.crew import Crew; crew = Crew(1)\n"
        "from tests_crew_help import process\n"
        "print(*crew.each(process, [0]), flush=True); os.kill(os.getpid(), 9)"
    )
    (tmp_path / "tests_crew_help.py").write_text("import os\ndef process(_): return os.getpid()\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    worker = int(done.stdout)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def _process(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def _die_in_a_worker(asker: int, item: int) -> int:
    if os.getpid() != asker:
        os._exit(3)
    return item
