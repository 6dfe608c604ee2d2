"""A run that goes on is the run that was begun: its options and base weights are held to those."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

import whet
from whet.config import FitConfig
from whet.config.recorded import deciding
from whet.errors import CheckpointError
from whet.storage.commit import commit_folder
from whet.training.restore import check_checkpoint, find_resume
from whet_launch.cli.main import main


@pytest.fixture(scope="module")
def begun(tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model is not there yet, beside a copy of its base model."""
    place = tmp_path_factory.mktemp("begun")
    shutil.copytree(tiny_model, place / "base")
    trainer = {"max_steps": 1, "batch_size": 8}
    options: dict[str, Any] = {"trainer": trainer, "output": str(place / "run")}
    options["select"] = {"policy": "last"}
    whet.fit(str(tiny_data), model=str(place / "base"), mining={"num_negatives": 0}, **options)
    shutil.rmtree(place / "run/model")
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path) -> Path:
    """The same, to be changed; the run's base model is the copy here."""
    place = Path(shutil.copytree(begun, tmp_path / "begun"))
    change(place, lambda config: config["model"].update(name=str(place / "base")))
    return place


def change(place: Path, how: Any) -> None:
    """Change the configuration in the run folder."""
    path = place / "run/config.yaml"
    config = yaml.safe_load(path.read_text())
    how(config)
    path.write_text(yaml.safe_dump(config))


def test_a_run_goes_on_where_its_base_model_lies_now(place: Path) -> None:
    assert main(["fit", f"resume={place / 'run'}"]) == 0


@pytest.mark.parametrize("name", ["tb/hparams.yaml", "tb", "checkpoints", "negatives/step.npy"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_written_there(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Also one that leads to nothing yet, which a writer would make."""
    path = place / "run" / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "outside")
    assert main(["fit", f"resume={place / 'run'}"]) == 1
    assert f"{path} is a link that leads out of the run folder" in capsys.readouterr().err
    assert not (tmp_path / "outside").exists()


def test_a_link_within_the_run_folder_is_none_that_leads_out(place: Path) -> None:
    (place / "run/notes").symlink_to("config.yaml")
    assert main(["fit", f"resume={place / 'run'}"]) == 0


def test_another_learning_rate_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(place, lambda config: config["trainer"].update(learning_rate=0.5))
    assert main(["fit", f"resume={place / 'run'}"]) == 1
    err = capsys.readouterr().err
    assert "begun with trainer.learning_rate=0.0001, and its config.yaml says 0.5 now" in err


def test_other_base_weights_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "base/model.safetensors"
    weights = {name: tensor * 1.01 for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    assert main(["fit", f"resume={place / 'run'}"]) == 1
    assert "was begun with other weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rate", "base", "reason"),
    [(0.5, "a", r"learning_rate=0\.0001, and"), (1e-4, "b", "began with other weights")],
)
def test_a_checkpoint_is_held_to_them_too(
    tmp_path: Path, rate: float, base: str, reason: str
) -> None:
    facts: dict[str, Any] = {"step": 1, "negatives_step": 0, "processes": 1, "steps": 3}
    facts |= {"order": {}, "config": deciding(FitConfig()), "base": "a"}
    with commit_folder(tmp_path / "step_00000001", facts):
        pass
    resume = find_resume(tmp_path)
    assert resume is not None and resume.base == "a"
    config = FitConfig()
    config.trainer.learning_rate = rate
    with pytest.raises(CheckpointError, match=reason):
        check_checkpoint(resume, None, None, config, base)
