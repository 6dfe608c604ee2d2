"""In a Slurm allocation, or where torchrun or LSF left their variables, a fit of one process is the
fit outside: Whet's own launcher decides how many processes there are.
"""

from __future__ import annotations

from pathlib import Path

from harness import FIT, data, done, expect, model, place, sha256, whet

SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
OTHERS = {
    "SLURM_NTASKS": "1",
    "SLURM_JOB_NAME": "bash",
    "SLURM_JOB_ID": "7",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "nowhere.example",
    "TORCHELASTIC_RUN_ID": "x",
    "LSB_JOBID": "1",
    "LSB_DJOB_RANKFILE": "/nowhere",
    "JSM_NAMESPACE_SIZE": "4",
    "JSM_NAMESPACE_RANK": "2",
    "PL_TRAINER_ACCUMULATE_GRAD_BATCHES": "2",
    "PL_TRAINER_FAST_DEV_RUN": "1",
}


def files(run: Path) -> set[str]:
    """The names in a run folder, without the times in those of the logs."""
    names = (path.relative_to(run).as_posix() for path in run.rglob("*"))
    return {name.partition(".tfevents")[0] for name in names}


with place() as here:
    data(here / "data")
    model(here / "model")
    fit = ["fit", "data.path=data", "model.name=model", *FIT]
    for name, variables in {"outside": {}, "slurm": SLURM, "others": OTHERS}.items():
        ended = whet(*fit, f"output={name}", env=variables)
        expect(ended.code == 0 and not ended.trace, f"a fit, {name} ({ended.state})")
    if all((here / name / "model").is_dir() for name in ("outside", "slurm", "others")):
        for name in ("slurm", "others"):
            expect(files(here / name) == files(here / "outside"), f"{name}: the same files")
            weights = [sha256(here / run / "model/model.safetensors") for run in (name, "outside")]
            expect(weights[0] == weights[1], f"{name}: the same bits")
done()
