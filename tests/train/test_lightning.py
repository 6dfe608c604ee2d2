"""What the environment says of processes and options is not Lightning's to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only

from whet.config import FitConfig
from whet.training.strategies import strategy_of
from whet.training.strategies.saving import InPlace
from whet.training.trainer import Joined, trainer_of

ALLOCATIONS = {
    "salloc -n 4": {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "1"},
    "srun": {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x", "SLURM_LOCALID": "0"},
    "torchrun": {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"},
    "LSF": {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_SIZE": "4"},
    "Lightning": {"PL_TRAINER_ACCUMULATE_GRAD_BATCHES": "2", "PL_TRAINER_FAST_DEV_RUN": "1"},
}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_one_process_is_one_wherever_it_runs(
    allocation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ALLOCATIONS[allocation].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as its import under these sets it
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("of a stranger")
    monkeypatch.chdir(tmp_path)
    strategy = strategy_of(FitConfig().strategy, clip=1.0)
    trainer = trainer_of(FitConfig(), tmp_path / "run", strategy, [], 3)
    assert isinstance(trainer.strategy, SingleDeviceStrategy)
    assert (trainer.world_size, trainer.global_rank, rank_zero_only.rank) == (1, 0, 0)
    assert trainer.accumulate_grad_batches == 1 and not trainer.fast_dev_run
    assert isinstance(trainer._accelerator_connector.cluster_environment, Joined)
    assert isinstance(trainer.strategy.checkpoint_io, InPlace)
    assert trainer._checkpoint_connector._hpc_resume_path is None
