"""Full and read-only disks, clocks that jump, few handles, folders that vanish."""

import pytest
import torch
from matrix import BATCH
from whet_faults import Place, mounted, survived

from whet.refresh.beside import FolderMiner

SLOW = pytest.mark.slow
SAVE = "whet.training.callbacks:Checkpoints._save"


@SLOW
def test_full_disk_that_gets_room_again(driver, whole, tmp_path):
    """The checkpoint that does not fit is left out; training goes on, and no line is lost."""
    with mounted(tmp_path / "disk", "size=8m"):
        place = Place(tmp_path, whole.cache)
        fill = {"folder": str(place.disk), "entry": SAVE, "call": 2, "until": 3}
        ended = survived(driver, place, whole, {"fill": fill})
    assert ended.codes == [0], ended.said
    assert ended.said.count("no checkpoint, No space left on device") == 1
    assert ended.said.count("checkpoints are written again") == 1


@SLOW
@pytest.mark.parametrize(
    "entry",
    [
        "whet.refresh.scopes:All.find",
        "whet.verbs.judging:judge",
        "whet.model.encoder:Encoder.save",
        SAVE,
    ],
)
def test_full_disk_that_stays_full(driver, whole, tmp_path, entry):
    with mounted(tmp_path / "disk", "size=8m"):
        place = Place(tmp_path, whole.cache)
        fill = {"folder": str(place.disk), "entry": entry, "call": 1, "until": 0}
        ended = survived(driver, place, whole, {"fill": fill}, mend=(place.disk / "filler").unlink)
    assert ended.codes == [1], ended.said
    assert "No space left on device" in ended.said and "Traceback" not in ended.said
    assert f"go on with: whet fit resume={place.run}" in ended.said


def test_no_room_for_the_snapshot_of_a_miner(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("whet.refresh.beside.RETRY_S", 0.05)
    with mounted(tmp_path, "size=1m"):
        miner = FolderMiner(tmp_path)
        miner.submit(3, {"weight": torch.zeros(1 << 20)})
        miner.writer.join()
        assert miner.idle() and miner.ready() is None
        assert "Step 3: no snapshot to mine with, No space left" in capsys.readouterr().err
        miner.submit(4, {"weight": torch.zeros(4)})
        miner.writer.join()
        assert [path.name for path in miner.folder.iterdir()] == ["step_00000004.safetensors"]
        miner.close()


@SLOW
def test_disk_that_cannot_be_written(driver, whole, tmp_path):
    place = Place(tmp_path, whole.cache)
    with mounted(place.disk / "readonly", "size=1m,ro"):
        place.run = place.disk / "readonly" / "run"
        ended = driver.fit(place)
    assert ended.codes == [4], ended.said  # before anything is read or made
    assert "may not be written to. Say where" in ended.said and "Traceback" not in ended.said


@SLOW
@pytest.mark.parametrize("by_s", [-3600.0, 365 * 86400.0])
def test_clock_that_jumps(driver, whole, tmp_path, by_s):
    place = Place(tmp_path, whole.cache)
    ended = survived(driver, place, whole, {"clock": {"by_s": by_s, "call": 3}})
    assert ended.codes == [0], ended.said


@SLOW
def test_few_handles(driver, whole, tmp_path):
    place = Place(tmp_path, whole.cache)
    ended = survived(driver, place, whole, {"handles": {"limit": 64}})
    assert ended.codes == [0], ended.said


@SLOW
def test_checkpoints_that_somebody_deletes(driver, whole, tmp_path):
    place = Place(tmp_path, whole.cache)
    entry = BATCH
    fault = {"delete": {"folder": f"{place.run}/checkpoints", "entry": entry, "call": 4}}
    ended = survived(driver, place, whole, fault)
    assert ended.codes == [0], ended.said
