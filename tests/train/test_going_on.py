"""A training that was stopped anywhere and goes on ends as one that was not, in this process."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whet.config import DataConfig, FitConfig, ModelConfig
from whet.data.load import load_dataset
from whet.data.positives import positives_of
from whet.data.splits import training_qrels
from whet.errors import CheckpointError
from whet.model.encoder import Encoder
from whet.storage.commit import seal, verify_folder
from whet.training.batches.examples import Examples
from whet.training.restore import find_resume
from whet.training.run import train
from whet.types import Negatives

STEPS = 9  # of 13 pairs, six an epoch


class InUse:
    """Negatives drawn once."""

    def __init__(self, rows: np.ndarray) -> None:
        docs = np.random.default_rng(4).integers(120, size=(len(rows), 2))
        self.negatives = Negatives(rows, docs, docs * 0.0, docs * 0, docs[:, 0] * 0.0)
        self.mined_at = 0


class Stopped(Exception):
    """The process was lost."""


class Training:
    """The same training, in any folder."""

    def __init__(self, data: Path, model: Path) -> None:
        self.config = FitConfig(
            data=DataConfig(path=str(data)), model=ModelConfig(name=str(model), dropout=0.2)
        )
        self.config.trainer = replace(
            self.config.trainer, batch_size=13, max_steps=STEPS, max_epochs=9, log_every_n_steps=1,
            learning_rate=1e-3, checkpoint_every_steps=2,
        )  # fmt: skip
        loaded = load_dataset(str(data))
        self.qrels = training_qrels(loaded, "train")
        self.tables = {"queries": loaded.queries, "corpus": loaded.corpus}
        self.positives = positives_of(self.qrels, loaded.queries, loaded.corpus)

    def run(
        self, folder: Path, done: Callable[[float], None] = lambda s: None, **changes: Any
    ) -> Encoder | None:
        """From the newest checkpoint of the folder, if it has one."""
        folder.mkdir(exist_ok=True)
        config = replace(self.config, trainer=replace(self.config.trainer, **changes))
        examples = Examples(self.qrels, self.positives, **self.tables)
        in_use: Any = InUse(self.qrels.relevant().query_rows)
        miner: Any = None
        return train(
            Encoder.load(config.model), examples, config, folder=folder, base="x", in_use=in_use,
            miner=miner, resume=find_resume(folder / "checkpoints"), step_done=done,
        )  # fmt: skip


def after(step: int, act: Callable[[], None]) -> Callable[[float], None]:
    """Do it once so many steps are done."""
    counted: list[float] = []

    def done(seconds: float) -> None:
        counted.append(seconds)
        if len(counted) == step:
            act()

    return done


def lost() -> None:
    raise Stopped


@pytest.fixture(scope="module")
def training(tiny_data: Path, tiny_model: Path) -> Training:
    return Training(tiny_data, tiny_model)


@pytest.fixture(scope="module")
def whole(training: Training, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The weights' fingerprint and the log of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    trained = training.run(folder)
    assert trained is not None
    return trained.fingerprint(), (folder / "train_log.jsonl").read_text()


@pytest.mark.parametrize("stops", [[1, 5], [7]])
def test_lost_after_any_step(
    training: Training, whole: tuple[str, str], tmp_path: Path, stops: list[int]
) -> None:
    """Before any checkpoint, then in an epoch's midst; and at an epoch's end. What the log had
    beyond the checkpoint, or half of a line, is written again.
    """
    for stop in stops:
        with pytest.raises(Stopped):
            training.run(tmp_path, after(stop, lost))
        with (tmp_path / "train_log.jsonl").open("a") as file:
            file.write('{"step": 1')
    found = training.run(tmp_path)
    assert found is not None
    assert (found.fingerprint(), (tmp_path / "train_log.jsonl").read_text()) == whole
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_00000008", "step_00000009"]  # the newest two


def test_asked_to_stop_twice(
    training: Training,
    whole: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The step is finished and saved, signals are given back, and what comes is the same."""
    for number, done, reached in ((signal.SIGTERM, 4, 5), (signal.SIGINT, 1, 7)):
        before = signal.getsignal(number)
        stop = after(done, partial(os.kill, os.getpid(), number))
        assert training.run(tmp_path, stop) is None
        assert signal.getsignal(number) == before
        assert "Stopping after this step; once more to stop at once." in capsys.readouterr().err
        resume = find_resume(tmp_path / "checkpoints")
        assert resume is not None and (resume.step, resume.negatives_step) == (reached, 0)
    found = training.run(tmp_path)
    assert "Going on at step 7 of 9." in capsys.readouterr().err
    assert found is not None
    assert (found.fingerprint(), (tmp_path / "train_log.jsonl").read_text()) == whole


@pytest.fixture(scope="module")
def begun(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of one checkpoint."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.raises(Stopped):
        training.run(folder, after(2, lost))
    return folder


def test_other_pairs_or_other_rates_are_refused(training: Training, begun: Path) -> None:
    """What a step sees follows from the number of pairs and of steps."""
    fewer = Training.__new__(Training)
    fewer.__dict__.update(training.__dict__)
    fewer.qrels = training.qrels.only(np.arange(len(training.qrels)) > 0)
    with pytest.raises(CheckpointError, match="pairs would be lost or repeated"):
        fewer.run(begun)


@pytest.mark.parametrize(
    "lacking",
    ["global_step", "loops", "state_dict", "optimizer_states", "lr_schedulers", "param_groups",
     "encoder.backbone.embeddings.LayerNorm.weight"],
)  # fmt: skip
def test_a_state_that_lacks_something_is_named(
    training: Training, begun: Path, tmp_path: Path, lacking: str
) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "run"))
    (checkpoint,) = (folder / "checkpoints").iterdir()
    facts = verify_folder(checkpoint)
    state = torch.load(checkpoint / "state.ckpt", weights_only=True)
    if lacking == "param_groups":
        state["optimizer_states"][0].pop(lacking)
    elif lacking.startswith("encoder"):
        state["state_dict"].pop(lacking)
    else:
        state.pop(lacking)
    torch.save(state, checkpoint / "state.ckpt")
    (checkpoint / "manifest.json").unlink()
    seal(checkpoint, facts)
    with pytest.raises(CheckpointError, match=rf"state\.ckpt lacks .*{lacking}"):
        training.run(folder)


@pytest.mark.parametrize("lacking", ["step", "negatives_step", "processes", "order", "base"])
def test_facts_that_are_lacking_are_named(begun: Path, tmp_path: Path, lacking: str) -> None:
    folder = Path(shutil.copytree(begun / "checkpoints", tmp_path / "checkpoints"))
    (checkpoint,) = folder.iterdir()
    facts = verify_folder(checkpoint)
    facts.pop(lacking)
    (checkpoint / "manifest.json").unlink()
    seal(checkpoint, facts)
    with pytest.raises(CheckpointError, match=f"step_00000002 lacks {lacking}: another version"):
        find_resume(folder)


def test_a_log_that_is_none_is_refused(training: Training, tmp_path: Path) -> None:
    (tmp_path / "train_log.jsonl").write_text('{"step": 1}\n["no line"]\n')
    with pytest.raises(CheckpointError, match=r"is damaged: .* is no line of it\. Move"):
        training.run(tmp_path)
