"""A checkpoint is whole or not used: flipped bits, missing parts, other options."""

import random
import re
import shutil

import pytest
import torch
from matrix import BATCH
from whet_faults import TALLY, Place, check_end, facts_of

from whet.storage.checkpoints import newest_whole
from whet.storage.commit import commit_folder, verify_folder
from whet.storage.lock import locked

SLOW = pytest.mark.slow
STATE_KEYS = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "global_step",
    "loops",
    "pytorch-lightning_version",
    "optimizer_states/0/state",
    "optimizer_states/0/param_groups",
    "state_dict/encoder.backbone.embeddings.word_embeddings.weight",
)
FACTS = ("step", "negatives_step", "processes", "order", "steps")


@pytest.fixture(scope="module")
def begun(driver, whole, tmp_path_factory):
    """A fit that was killed after step 4: checkpoints of steps 2 and 4 lie in its run folder."""
    place = Place(tmp_path_factory.mktemp("begun"), whole.cache)
    fault = {"phase": {"entry": "torch.optim:AdamW.step", "call": 6, "sent": 9}}
    assert driver.fit(place, fault=fault).codes == [-9]
    assert [path.name[-1] for path in checkpoints(place)] == ["2", "4"]
    return place


@pytest.fixture
def copied(begun, whole, tmp_path):
    """A copy of it to spoil."""
    place = Place(tmp_path / "copy", whole.cache)
    shutil.copytree(begun.run, place.run)
    config = place.run / "config.yaml"
    config.write_text(config.read_text().replace(str(begun.run), str(place.run)))
    return place


def checkpoints(place):
    return sorted((place.run / "checkpoints").glob("step_*"))


@SLOW
@pytest.mark.parametrize("count", [500, 10_000])
def test_every_flipped_bit_is_noticed(copied, capsys, count):
    before, newest = checkpoints(copied)
    files = [path for path in newest.rglob("*") if path.is_file()]
    draw = random.Random(count)
    for _ in range(count):
        path = draw.choice(files)
        content = bytearray(path.read_bytes())
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        assert newest_whole(newest.parent) == before, (path.name, place, bit)
        said = capsys.readouterr().err
        assert str(path) in said or (path.name == "manifest.json" and str(newest) in said)
        content[place] ^= 1 << bit
        path.write_bytes(content)
    assert newest_whole(newest.parent) == newest


@SLOW
def test_the_one_before_a_damaged_checkpoint_is_used(driver, whole, copied):
    state = checkpoints(copied)[-1] / "state.ckpt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 16
    state.write_bytes(content)
    ended = driver.fit(copied)
    assert ended.done and ended.went_on_at == 2, ended.said
    assert f"Skipping a checkpoint: {state} is damaged" in ended.said
    assert facts_of(copied.run) == whole.facts
    TALLY.recoveries.append(ended.seconds)


def without(checkpoint, key):
    """Leave something out of a checkpoint that is whole otherwise."""
    facts = verify_folder(checkpoint)
    state = torch.load(checkpoint / "state.ckpt", weights_only=True)
    if key in FACTS:
        del facts[key]
    else:
        *path, last = [int(part) if part.isdigit() else part for part in key.split("/")]
        holder = state
        for part in path:
            holder = holder[part]
        del holder[last]
    with commit_folder(checkpoint, facts) as draft:
        torch.save(state, draft / "state.ckpt")


@pytest.mark.parametrize(
    "key", ["optimizer_states", *(pytest.param(k, marks=SLOW) for k in (*STATE_KEYS, *FACTS))]
)
def test_a_checkpoint_that_lacks_something_is_refused(driver, copied, key):
    newest = checkpoints(copied)[-1]
    without(newest, key)
    ended = driver.fit(copied)
    assert ended.codes == [1], ended.said
    assert re.search(rf"lacks \S*{key.rpartition('/')[-1]}\b", ended.said), ended.said
    assert str(newest) in ended.said and "Traceback" not in ended.said


@SLOW
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"trainer": {"batch_size": 8}}, "trainer.batch_size=16"),
        ({"seed": 1}, "seed=0"),
        ({"trainer": {"max_steps": 9}}, "trainer.max_steps=6"),
    ],
)
def test_other_options_would_lose_examples_and_are_refused(driver, copied, options, key):
    ended = driver.fit(copied, options=options)
    assert ended.codes == [1], ended.said
    assert f"was begun with {key}, and its config.yaml says" in ended.said
    assert "Traceback" not in ended.said


@SLOW
@pytest.mark.parametrize("name", ["step_00000000.parquet", "step_00000003.parquet"])
def test_flipped_bits_in_the_negatives_are_noticed(driver, copied, name):
    path = copied.run / "negatives" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    ended = driver.fit(copied)
    assert ended.codes == [3], ended.said
    assert str(path) in ended.said and "Traceback" not in ended.said


def test_a_folder_in_use_is_refused(driver, copied):
    with locked(copied.run):
        ended = driver.fit(copied)
    assert ended.codes == [1], ended.said
    holder = (copied.run / ".lock").read_text()
    assert f"is in use by process {holder}" in ended.said and "Traceback" not in ended.said


@SLOW
def test_killed_again_and_again(driver, whole, tmp_path):
    """Each attempt dies at its third batch, two steps further."""
    place = Place(tmp_path / "again", whole.cache)
    fault = {"phase": {"entry": BATCH, "call": 3, "sent": 9}}
    ends = [driver.fit(place, fault=fault) for _ in range(2)]
    assert [ended.codes for ended in ends] == [[-9], [-9]]
    ends.append(driver.fit(place))
    assert [ended.went_on_at for ended in ends] == [0, 2, 4]
    check_end(place, whole, ends)
