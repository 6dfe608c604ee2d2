"""Where the figures of a training go; of a service only where its package is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import whet
from whet.config import FitConfig
from whet.config.ranges import check_logger
from whet.errors import CheckpointError, ConfigError, EnvironmentRefused
from whet.training.loggers import Figures, logged
from whet_launch.cli.main import main

needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
needs_neither = pytest.mark.skipif(
    find_spec("wandb") is not None or find_spec("mlflow") is not None, reason="they are here"
)


def config_of(**logger: Any) -> FitConfig:
    config = FitConfig()
    for name, value in logger.items():
        setattr(config.logger, name, value)
    return config


@pytest.fixture
def fit(tiny_data: Path, tiny_model: Path) -> Callable[..., int]:
    quick = [
        "select=last",
        "trainer.max_steps=3",
        "trainer.batch_size=16",
        "trainer.log_every_n_steps=1",
    ]

    def run(output: Path, *words: str) -> int:
        given = [f"data={tiny_data}", f"model={tiny_model}", f"output={output}", *quick, *words]
        return main(["fit", *given])

    return run


@needs_neither
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_there_is_a_run_folder(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).mkdir()  # as W&B makes one where it runs: a folder is no package
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert fit(tmp_path / "run", f"logger={name}") == 4
    line = capsys.readouterr().err.strip()
    assert (
        f'logger={name} needs the package {name}. Run `pip install "whet-search[{name}]"`' in line
    )
    assert "\n" not in line and not (tmp_path / "run").exists()


def test_an_address_that_nothing_is_sent_to_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"logger\.address is of MLflow's server"):
        check_logger(config_of(address="http://host:1").logger)


def test_a_logger_that_there_is_not_is_refused_by_the_names_there_are(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path / "run", "logger.name=wandbb") == 2
    assert (
        "Did you mean wandb? It takes tensorboard, wandb, mlflow, none" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_without_a_logger_the_log_of_the_run_folder_is_the_same(
    fit: Callable[..., int], tmp_path: Path
) -> None:
    assert fit(tmp_path / "none", "logger=none") == 0
    assert fit(tmp_path / "tb") == 0
    assert not (tmp_path / "none" / "tb").exists()
    assert list((tmp_path / "tb" / "tb").glob("events.*"))
    for name in ("train_log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "none" / name).read_bytes() == (tmp_path / "tb" / name).read_bytes()
    assert not (tmp_path / "tb" / "logger.json").exists()


def test_a_record_in_a_run_folder_sends_nothing_anywhere(tmp_path: Path) -> None:
    """A folder may be a stranger's: which service, and where, is for the command line to say."""
    with logged(config_of(), tmp_path) as figures:
        assert type(figures.logger).__name__ == "TensorBoardLogger"
    record = {"name": "wandb", "id": "x", "project": "of a stranger", "address": "http://stranger"}
    (tmp_path / "logger.json").write_text(json.dumps(record))
    with logged(config_of(), tmp_path) as figures:
        assert type(figures.logger).__name__ == "TensorBoardLogger"


@pytest.mark.parametrize(
    "record",
    [
        {"name": "wandb", "id": "../../x", "project": "p"},
        {"name": "wandb", "id": 7, "project": "p"},
        {"name": "wandb"},
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    (tmp_path / "logger.json").write_text(json.dumps(record))
    with (
        pytest.raises(CheckpointError, match=r"logger\.json"),
        logged(config_of(name="wandb"), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "end"),
    [(None, ("done",)), (KeyboardInterrupt, ("stopped",)), (ValueError, ("failed",))],
)
def test_a_logger_hears_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type | None, end: tuple[str]
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(Figures, "close", lambda self, how: heard.append(how))

    def job() -> None:
        with logged(config_of(name="none"), tmp_path):
            if error:
                raise error

    if error:
        with pytest.raises(error):
            job()
    else:
        job()
    assert tuple(heard) == end


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """W&B writes to the run folder alone, MLflow to a database here."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    yield f"sqlite:///{tmp_path}/mlflow.db"
    sys.stdout.flush()


@needs_wandb
def test_wandb_goes_on_with_the_run_it_began(
    fit: Callable[..., int], tmp_path: Path, offline: str
) -> None:
    assert fit(tmp_path / "run", "logger=wandb", "logger.project=search") == 0
    record = json.loads((tmp_path / "run" / "logger.json").read_text())
    assert record["name"] == "wandb" and record["project"] == "search"
    kept = list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{record['id']}"))
    assert len(kept) == 1 and not (tmp_path / "run" / "tb").exists()
    with logged(config_of(name="wandb"), tmp_path / "run") as figures:
        assert figures.logger is not None
        assert figures.logger.version == record["id"]
        assert figures.logger.experiment.project == "search"
    with logged(config_of(name="wandb", project="another"), tmp_path / "run") as figures:
        assert figures.logger is not None and figures.logger.version != record["id"]


@needs_mlflow
def test_mlflow_goes_on_with_the_run_it_began(
    fit: Callable[..., int], tmp_path: Path, offline: str
) -> None:
    from mlflow.tracking import MlflowClient

    assert fit(tmp_path / "run", "logger=mlflow", f"logger.address={offline}") == 0
    record = json.loads((tmp_path / "run" / "logger.json").read_text())
    client = MlflowClient(offline)
    run = client.get_run(record["id"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for of in ("base", "tuned"):
        assert run.data.metrics[f"{of}/nDCG_at_10"] == pytest.approx(metrics[of]["nDCG@10"])
    assert run.data.metrics["loss"] > 0 and run.info.status == "FINISHED"
    assert run.data.params["trainer.max_steps"] == "3"
    again = config_of(name="mlflow", address=offline)
    with pytest.raises(KeyboardInterrupt), logged(again, tmp_path / "run") as figures:  # noqa: PT012
        assert figures.logger is not None and figures.logger.version == record["id"]
        assert client.get_run(record["id"]).info.status == "RUNNING"
        raise KeyboardInterrupt
    assert client.get_run(record["id"]).info.status == "KILLED"
    (tmp_path / "run" / "logger.json").write_text(json.dumps({**record, "id": "0" * 32}))
    with (
        pytest.raises(EnvironmentRefused, match="which is to go on with run 0000"),
        logged(again, tmp_path / "run"),
    ):
        pass


@needs_mlflow
def test_a_server_that_goes_away_ends_no_training(
    tmp_path: Path, offline: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from lightning.pytorch.loggers import MLFlowLogger

    def gone(*_: Any, **__: Any) -> None:
        raise ConnectionError("refused\nby the server")

    with logged(config_of(name="mlflow", address=offline), tmp_path) as figures:
        monkeypatch.setattr(MLFlowLogger, "log_metrics", gone)
        figures.measures("base", {"nDCG@10": 0.5})
        figures.measures("tuned", {"nDCG@10": 0.5})
    err = capsys.readouterr().err
    assert err.count("MLflow takes no more figures (refused). train_log.jsonl has all.") == 1


def test_a_fit_from_python_takes_the_group(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logger\.name=x is unknown"):
        whet.fit(str(tiny_data), logger={"name": "x"}, output=str(tmp_path / "run"))
