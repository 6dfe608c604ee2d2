"""A signal or an exception in each phase of a fit, in one process and in one of two."""

import shutil
import signal

import pytest
from matrix import FAULTS, PHASES, Phase, expected
from whet_faults import Driver, Place, survived

SLOW = pytest.mark.slow
HUNG = 75


@pytest.fixture
def each_phase(on_all_cores, tmp_path):
    """`do(driver, place, phase)` for some phases, on all drivers."""

    def run(phases, do):
        def work(driver: Driver, phase: Phase) -> None:
            place = Place(tmp_path / phase.name.replace(" ", "_"))
            do(driver, place, phase)
            shutil.rmtree(place.root)

        on_all_cores(work, phases)

    return run


def at(phase: Phase, sent: int) -> dict:
    where = {"entry": phase.entry, "call": phase.call, "after": phase.after}
    return {"phase": {**where, "sent": sent}}


@SLOW
@pytest.mark.parametrize("name", FAULTS)
def test_one_process(each_phase, whole, name):
    sent = FAULTS[name]

    def disturb(driver: Driver, place: Place, phase: Phase) -> None:
        place.cache = place.cache if phase.cold else whole.cache
        first = survived(driver, place, whole, at(phase, sent))
        assert first is not None, f"{phase} was not reached"
        assert first.codes == [expected(phase, sent)], first.said
        if first.codes == [130] and phase.graceful:
            assert f"Go on with: whet fit resume={place.run}" in first.said

    each_phase(PHASES, disturb)


@SLOW
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSTOP", "exception"])
def test_the_second_of_two_processes(each_phase, whole_of_two, name):
    sent = FAULTS[name]
    options = {"launch": {"hang_timeout_s": 5.0}}

    def disturb(driver: Driver, place: Place, phase: Phase) -> None:
        place.cache = place.cache if phase.cold else whole_of_two.cache
        request = {"processes": 2, "victim": 1, "options": options}
        first = survived(driver, place, whole_of_two, at(phase, sent), **request)
        assert first is not None, f"{phase} was not reached"
        leader, victim = first.codes
        assert leader != 0, first.said
        if sent == signal.SIGSTOP:
            assert leader == HUNG, first.said
            assert "process 1 (" in first.said and "has not answered for 5 s" in first.said
        if sent == signal.SIGTERM and phase.graceful:
            assert (leader, victim) == (130, 130), first.said

    each_phase([phase for phase in PHASES if phase.all_ranks][::2], disturb)
