"""How many bytes a process holds and moves, by strategy (docs/scaling.md derives each line).

P weights, of which T are trained, W processes, U texts of a step, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from whet.config import FitConfig, StrategyConfig
from whet.encoding.table import MEMORY_BYTES
from whet.model.activations import (
    BYTES_A_UNIT,
    chunk_tokens,
    layers_of,
    recompute,
    token_bytes,
    tokens_that_fit,
)
from whet.model.encoder import Encoder
from whet.plan.workload import Workload
from whet.processes.devices import training_device, training_precision
from whet.training.strategies.single import KEPT_WHOLE

FLOAT = 4
BUCKET = {"cpu": 5_000_000, "cuda": 200_000_000}  # elements DeepSpeed reduces at once
DENSE_COPIES = 6  # matrices of similarities the plain loss keeps
DENSE_AT_MOST = 1 << 24  # similarities; more go by tiles
# A CPU's allocator keeps freed blocks that fit no later batch: activations of the demo's 60 steps
# took 1.17 times what they took in the first two.
FRAGMENTS = 1.17
SEARCH_BYTES = 256 << 20  # what a search holds besides the vectors


@dataclass(frozen=True)
class Shape:
    """The model in numbers; `unit` are the weights gathered at a time when they are split."""

    weights: int
    trained: int
    unit: int
    dimension: int
    unit_bytes: int  # activations of a token, in float32

    @classmethod
    def of(cls, encoder: Encoder) -> Shape:
        """Count an encoder."""
        settings: Any = encoder.backbone.config
        sizes = [p.numel() for p in encoder.parameters()]
        layer = max(
            (sum(p.numel() for p in child.parameters()) for child in layers_of(encoder)), default=0
        )
        # some convolutional networks say nothing of the kind
        count = getattr(settings, "num_hidden_layers", len(layers_of(encoder)))
        return cls(
            weights=sum(sizes),
            trained=sum(p.numel() for p in encoder.parameters() if p.requires_grad),
            unit=max(layer, sum(sizes) - layer * count),
            dimension=encoder.dimension,
            unit_bytes=token_bytes(encoder, torch.device("cpu"), "32-true"),
        )


@dataclass(frozen=True)
class Footprint:
    """One process under one strategy: bytes by what they are for, on the device that computes and
    in the computer's memory, and bytes it sends per step.
    """

    strategy: str
    device: dict[str, float]
    host: dict[str, float]
    sent: dict[str, float]
    disk: float = 0.0

    @property
    def device_bytes(self) -> float:
        """All of it on the device."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> float:
        """All of it in the computer's memory."""
        return sum(self.host.values())

    @property
    def sent_bytes(self) -> float:
        """All of it a step."""
        return sum(self.sent.values())


@dataclass(frozen=True)
class Setting:
    """What decides a footprint besides the strategy."""

    shape: Shape
    work: Workload
    processes: int
    gpu: bool
    half: bool  # activations in 16 bits
    base: float  # bytes the process holds besides: libraries, data
    cached: bool
    chunk_tokens: int
    chunks: int  # forwards per step and process
    token_bytes: float = 0.0  # measured activations of a token; 0: by formula
    symmetric: bool = field(default=False)

    @property
    def live_tokens(self) -> float:
        """Tokens whose activations are held at once."""
        whole = self.work.step.most_tokens / self.processes
        return min(whole, self.chunk_tokens) if self.cached else whole


def setting_of(
    encoder: Encoder, config: FitConfig, work: Workload, *, base: float, gpu: bool
) -> Setting:
    """The setting of a job on devices like this machine's."""
    here = training_device(config.trainer), training_precision(config.trainer)
    recompute(encoder, config.trainer)
    chunk = config.loss.chunk_tokens or chunk_tokens(encoder, *here)
    processes = config.launch.num_workers
    whole = work.step.tokens / processes
    # Decided as the training decides it (`Contrastive._cached`).
    cached = config.loss.cache == "always" or (
        config.loss.cache == "auto"
        and whole > (config.loss.cache_tokens or tokens_that_fit(encoder, *here))
    )
    return Setting(
        shape=Shape.of(encoder),
        work=work,
        processes=processes,
        gpu=gpu,
        half=gpu and config.trainer.precision in ("auto", "bf16-mixed"),
        base=base,
        cached=cached,
        chunk_tokens=chunk,
        chunks=max(1, int(np.ceil(whole / chunk))),
        symmetric=config.loss.symmetric,
    )


def every_strategy(processes: int) -> dict[str, StrategyConfig]:
    """All there are for so many processes, by the names of the YAML files.

    >>> [*every_strategy(1)][:3]
    ['single', 'ddp', 'fsdp']
    """
    strategies = {} if processes > 1 else {"single": StrategyConfig(name="single")}
    strategies |= {"ddp": StrategyConfig(name="ddp"), "fsdp": StrategyConfig(name="fsdp")}
    for stage, offload in ((1, "none"), (2, "none"), (2, "cpu"), (3, "none"), (3, "cpu")):
        deepspeed = StrategyConfig(name="deepspeed", stage=stage, offload=offload)
        strategies[strategy_label(deepspeed, processes)] = deepspeed
    nvme = StrategyConfig(name="deepspeed", stage=3, offload="nvme")
    return {**strategies, strategy_label(nvme, processes): nvme}


def strategy_label(config: StrategyConfig, processes: int) -> str:
    """`ddp`, `deepspeed_stage_2_offload` ...: the name of its YAML file."""
    if config.name == "auto":
        return "ddp" if processes > 1 else "single"
    if config.name != "deepspeed":
        return config.name
    end = {"none": "", "cpu": "_offload", "nvme": "_nvme"}[config.offload]
    return f"deepspeed_stage_{config.stage}{end}"


def footprint(config: StrategyConfig, setting: Setting) -> Footprint:
    """Bytes of one process of the job."""
    label = strategy_label(config, setting.processes)
    device, host, disk = _state(config, label, setting)
    device["activations"] = _activations(setting)
    device["loss"] = _loss(setting)
    vectors = setting.work.documents / setting.processes * setting.shape.dimension * FLOAT
    host["vectors"] = min(vectors, MEMORY_BYTES)
    if setting.gpu:
        device["search"] = SEARCH_BYTES
    else:
        host["search"] = min(vectors / FLOAT + SEARCH_BYTES, vectors)  # its int8 copy, its tiles
    if label not in ("single", "ddp"):  # whole weights again, to encode with
        host["encoder"] = FLOAT * setting.shape.weights
    state = 3 * FLOAT * setting.shape.trained  # a checkpoint is made in memory before it is written
    host["checkpoint"] = state / (setting.processes if config.name == "deepspeed" else 1)
    host["base"] = setting.base
    if not setting.gpu:  # one memory, and searching and steps alternate
        step = FRAGMENTS * device.pop("activations") + device.pop("loss")
        host["step or search"] = max(step, host.pop("search"))
        host = _sum(host, device)
        device = dict(host)
    return Footprint(label, device, host, _sent(label, setting), disk)


def _sum(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in (*second, *first)}


def _state(
    config: StrategyConfig, label: str, setting: Setting
) -> tuple[dict[str, float], dict[str, float], float]:
    """Weights, gradients, optimizer and what is gathered: on the device, the host and the disk."""
    shape, w = setting.shape, setting.processes
    stage = config.stage if config.name == "deepspeed" else 0
    small = 2 if stage and setting.half else FLOAT  # DeepSpeed trains a 16-bit copy
    weights, gradients = float(small * shape.weights), float(small * shape.trained)
    # AdamW's two moments; DeepSpeed keeps its own float32 copy of the trained weights besides.
    optimizer = float((3 if stage else 2) * FLOAT * shape.trained)
    gathered = 0.0
    if label == "fsdp" or stage == 3:
        weights, gradients, optimizer = weights / w, gradients / w, optimizer / w
        each = _gathered_bytes(setting)  # of the unit computed with, and the next, or of all
        gathered = float(each * (shape.weights if _kept_whole(label, setting) else 2 * shape.unit))
    elif stage:
        optimizer /= w
        gradients = gradients / w if stage == 2 else gradients
        gathered = small * min(shape.trained, BUCKET["cuda" if setting.gpu else "cpu"])
    device = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "gathered": gathered,
    }
    host: dict[str, float] = {}
    disk = 0.0
    if config.offload != "none" and stage > 1:
        names = ["gradients", "optimizer", *(["weights"] if stage == 3 else [])]
        moved = {name: device[name] for name in names}
        device |= dict.fromkeys(names, 0.0)
        if config.offload == "nvme":
            disk = sum(moved.values())
            host["buffers"] = 5 * FLOAT * shape.unit
        else:
            host |= moved
    return device, host, disk


def _activations(setting: Setting) -> float:
    less = BYTES_A_UNIT["bf16-mixed"] / BYTES_A_UNIT["32-true"] if setting.half else 1.0
    formula = setting.shape.unit_bytes * less
    return (setting.token_bytes or formula) * setting.live_tokens


def _loss(setting: Setting) -> float:
    """Vectors of the whole batch with their gradient, and similarities where they are held."""
    step = setting.work.step
    vectors = 3 * step.texts * setting.shape.dimension * FLOAT
    similarities = step.pairs * step.documents
    return vectors + DENSE_COPIES * FLOAT * min(similarities, DENSE_AT_MOST)


def _sent(label: str, setting: Setting) -> dict[str, float]:
    """Bytes a process sends per step, by the ring algorithms: (W - 1)/W of what is gathered, twice
    that of what is summed.
    """
    w, shape = setting.processes, setting.shape
    share = (w - 1) / w
    small = 2 if label.startswith("deepspeed") and setting.half else FLOAT
    vectors = share * setting.work.step.texts * shape.dimension * FLOAT
    if label == "fsdp" or label.startswith("deepspeed_stage_3"):
        # Every forward and backward of a chunk gathers the weights; a cached one runs twice.
        passes = 1 if _kept_whole(label, setting) else 3 if setting.cached else 2
        gathers = setting.chunks * passes
        weights = gathers * share * _gathered_bytes(setting) * shape.weights
        return {"vectors": vectors, "weights": weights, "gradients": share * small * shape.trained}
    return {"vectors": vectors, "gradients": 2 * share * small * shape.trained}


def _gathered_bytes(setting: Setting) -> int:
    """Of a weight, as fsdp and DeepSpeed gather it: as it is multiplied."""
    return 2 if setting.half else FLOAT


def _kept_whole(label: str, setting: Setting) -> bool:
    """Whether fsdp keeps what it gathered for a forward until the backward."""
    return label == "fsdp" and _gathered_bytes(setting) * setting.shape.weights <= KEPT_WHOLE


def calibrated(setting: Setting, grown_bytes: float, tokens: float) -> Setting:
    """The setting with the bytes per token measured in one process: what its steps added, less
    gradients and optimizer.
    """
    alive = min(tokens, setting.chunk_tokens) if setting.cached else tokens
    state = 3 * FLOAT * setting.shape.trained
    measured = (grown_bytes - state) / max(1.0, alive)
    return replace(setting, token_bytes=max(0.0, measured))
