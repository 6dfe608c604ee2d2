"""A sweep ends with a table, and a sweeper that searches is told what each run was worth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hydra._internal.core_plugins import basic_sweeper
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback

from whet.config import FitConfig
from whet.errors import DataError
from whet_launch.cli.sweep_table import SweepRun, outcome_of, value_of, write_sweep

Whet = Callable[..., tuple[int, str, str]]


def _finish(folder: Path, tuned: float) -> None:
    """Leave what a fit leaves."""
    row = {"measure": "nDCG@10", "base": 0.5, "tuned": tuned, "difference": tuned - 0.5}
    other = {"measure": "RR@10", "base": 0.1, "tuned": 0.2, "difference": 0.1, "p_value": 0.1}
    record = {"main_measure": "nDCG@10", "rows": [other, {**row, "p_value": 0.0004}]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(record))


def test_a_sweep_prints_and_keeps_its_table(
    calls: Any, whet: Whet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(config: FitConfig) -> None:
        if config.seed == 3:
            raise DataError("the data are wrong. Mend them.")
        _finish(Path(config.output or ""), 0.5 + config.seed / 10)

    returned: list[float | None] = []

    class Kept(Callback):
        """What Hydra gets of each job, as a sweeper gets it."""

        def on_job_end(self, config: Any, job_return: Any, **options: Any) -> None:
            returned.append(job_return.return_value)

    module = ModuleType("stand_in_of_hydra")
    module.Kept = Kept  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in_of_hydra", module)
    keep = "+hydra.callbacks.kept._target_=stand_in_of_hydra.Kept"
    calls.answer = fit
    code, out, err = whet("fit", "data=x", "seed=1,2,3", "output=here", "-m", keep)
    assert code == DataError.exit_code and "Sweep: here/sweep.md\n" in err
    assert out.splitlines() == [
        "run  options  nDCG@10  base    change   p",
        "0    seed=1   0.6000   0.5000  +0.1000  <0.001",
        "1    seed=2   0.7000   0.5000  +0.2000  <0.001  best",
        "2    seed=3   failed",
    ]
    assert (tmp_path / "here" / "sweep.md").read_text().splitlines()[:3] == [
        "| run | options | nDCG@10 | base | change | p |  |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| 0 | seed=1 | 0.6000 | 0.5000 | +0.1000 | <0.001 |  |",
    ]
    first, _, last = json.loads((tmp_path / "here" / "sweep.json").read_text())
    assert (first["tuned"], first["folder"], last["failed"]) == (0.6, "here/0", True)
    assert returned == [0.6, 0.7, None]


def test_runs_without_figures_have_no_table(calls: Any, whet: Whet, tmp_path: Path) -> None:
    assert whet("mine", "data=x", "mining.seed=1,2", "output=here", "-m")[1] == ""
    assert not (tmp_path / "here" / "sweep.md").exists()


def test_one_run_is_no_sweep(calls: Any, whet: Whet) -> None:
    calls.answer = lambda config: _finish(Path(config.output), 0.9)
    assert whet("fit", "data=x", "output=here") == (0, "", "")


def test_an_evaluation_alone_is_worth_its_first_measure(tmp_path: Path) -> None:
    for name, value in (("a", 0.25), ("b", 0.75)):
        (tmp_path / name).mkdir()
        metrics = {"model": {"RR@10": value, "nDCG@10": 0.1}}
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    assert outcome_of(tmp_path / "a") == {"measure": "RR@10", "tuned": 0.25}
    runs = [SweepRun(n, (f"model={name}",), tmp_path / name) for n, name in enumerate("ab")]
    table = write_sweep(tmp_path, runs)
    assert table is not None and table.splitlines()[-1] == "1    model=b  0.7500  best"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"main_measure": "x", "rows": []}'])
def test_a_damaged_folder_is_worth_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    assert outcome_of(tmp_path) is None and value_of(tmp_path) is None
    assert value_of(None) is None


def test_a_sweeper_that_searches_is_told_of_a_cluster_s_run_before_the_next(
    calls: Any, whet: Whet, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = basic_sweeper.__name__  # Hydra takes a sweeper from its own modules and from plugins'
    known = Plugins.instance().class_name_to_class
    searching = type("Searching", (known[f"{own}.BasicSweeper"],), {"__module__": own})
    monkeypatch.setattr(sys.modules[own], "Searching", searching, raising=False)
    name = f"{own}.Searching"
    monkeypatch.setitem(known, name, searching)
    words = ["fit", "data=x", "launch=ray", "seed=1,2", "output=here", "-m"]
    ConfigStore.instance().store(
        group="hydra/sweeper", name="searching", node={"_target_": name, "max_batch_size": None}
    )
    code, _, err = whet(*words, "hydra/sweeper=searching")
    assert code == 0, err
    assert [config.seed for config in calls] == [1, 2]


@pytest.mark.slow
def test_optuna_searches(
    from_index: Any, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    packages = from_index("hydra-optuna-sweeper==1.3.0", f"hydra-core=={version('hydra-core')}")
    words = ["fit", f"data={tiny_data}", f"model={tiny_model}", "trainer.max_steps=2", "-m"]
    words += ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "output=found"]
    words += ["hydra.sweeper.n_trials=3", "trainer.batch_size=8"]
    words += ["trainer.learning_rate=tag(log,interval(1e-5,1e-3))"]
    code = f"""import sys; sys.path.append({str(packages)!r})
from whet_launch.cli.main import main
sys.exit(main(sys.argv[1:]))"""
    call = [sys.executable, "-c", code, *words]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = json.loads((tmp_path / "found" / "sweep.json").read_text())
    tried = [next(word for word in run["options"] if "learning_rate" in word) for run in runs]
    assert len(set(tried)) == 3
    best = yaml.safe_load((tmp_path / "found" / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(run["tuned"] for run in runs)
