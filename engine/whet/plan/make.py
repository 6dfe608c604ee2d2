"""Count, probe and estimate: what a fit would take, kept for the fit to compare itself with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from whet.config import (
    FitConfig,
)
from whet.data.load import Dataset
from whet.model.encoder import Encoder
from whet.plan.estimate import Estimate, Processes, estimate, step_cost
from whet.plan.footprint import (
    FLOAT,
    Footprint,
    Setting,
    calibrated,
    every_strategy,
    footprint,
    setting_of,
    strategy_label,
)
from whet.plan.machine import Machine, this_machine
from whet.plan.prices import Price, price_of
from whet.plan.probe import Rates, probe
from whet.plan.workload import Split, Workload, workload_of
from whet.processes.devices import training_device
from whet.run.determinism import base_store
from whet.storage.commit import write_json
from whet.storage.places import cache_folder

UNKNOWN_LINK = 1.2e9  # bytes per second where the price list does not know the device: 10 Gbit/s


NOT_RESULTS = ("output", "resume")


NOT_RESULTS_OF_LAUNCH = ("address", "name", "insecure", "prices", "max_failures", "hang_timeout_s")


@dataclass(frozen=True)
class Plan:
    """What a job will take. `footprints` are those of every strategy, `chosen` names one."""

    name: str
    work: Workload
    rates: Rates
    machine: Machine
    setting: Setting
    estimate: Estimate
    footprints: dict[str, Footprint]
    chosen: str
    price: Price | None
    load_s: float
    notes: tuple[str, ...]

    @property
    def held(self) -> Footprint:
        """The footprint of the chosen strategy."""
        return self.footprints[self.chosen]

    @property
    def seconds(self) -> float:
        """Of the whole job, from the command to the report."""
        return self.load_s + self.estimate.seconds

    @property
    def device_hours(self) -> float:
        """Hours of all devices together."""
        return self.setting.processes * self.seconds / 3600

    @property
    def usd(self) -> float | None:
        """Its price, None where the list has no such device."""
        return None if self.price is None else self.device_hours * self.price.usd_an_hour

    def fits(self, held: Footprint) -> bool:
        """Whether a process with such a footprint fits this machine."""
        return (
            held.device_bytes <= self.machine.device_bytes
            and held.host_bytes <= self.machine.host_bytes
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what plan.json of a run compares itself with."""
        held = self.held
        return {
            "seconds": round(self.seconds, 2),
            "stages": {name: round(s, 2) for name, s in self.estimate.stages.items()},
            "load_s": round(self.load_s, 2),
            "steps": self.work.steps,
            "step_s": self.estimate.step.seconds,
            "peak_bytes": round(held.device_bytes),
            "fits": self.fits(held),
            "strategy": self.chosen,
            "processes": self.setting.processes,
            "sent_bytes_a_step": round(held.sent_bytes),
            "device": self.machine.device,
            "device_hours": self.device_hours,
            "usd": self.usd,
            "probe_s": round(self.rates.seconds, 2),
        }


def make_plan(
    data: Dataset, split: Split, encoder: Encoder, config: FitConfig, *, load_s: float
) -> Plan:
    """Count, probe and estimate; `load_s` is how long data and model took to load."""
    device = training_device(config.trainer)
    store = base_store(config, data.digest)
    store.mkdir(parents=True, exist_ok=True)
    machine = this_machine(device, store)
    work = workload_of(data, split, encoder, config, store=store)
    setting = setting_of(encoder, config, work, base=0.0, gpu=machine.has_gpu)
    # `auto` of the cache would decide by the probe's step, which is smaller than the real one; what
    # a teacher and a guide say is not there yet.
    cache = "always" if setting.cached else "never"
    as_it_will = replace(config.loss, name="infonce", guide=None, guide_margin=0.0, cache=cache)
    rates = probe(data, split, encoder, replace(config, loss=as_it_will), work)
    # On a CPU the base was measured with the model loaded, which the footprint counts by itself.
    held_model = 0 if machine.has_gpu else FLOAT * setting.shape.weights
    setting = calibrated(
        replace(setting, base=rates.base_bytes - held_model),
        rates.step.grown_bytes,
        rates.step.most_tokens,
    )
    price = price_of(machine.device, config.launch.prices)
    link = price.link_bytes_s if price else UNKNOWN_LINK
    chosen = strategy_label(config.strategy, setting.processes)
    strategies = {**every_strategy(setting.processes), chosen: config.strategy}
    footprints = {name: footprint(strategy, setting) for name, strategy in strategies.items()}
    step = step_cost(rates.step, setting, footprints[chosen], machine=machine, link_bytes_s=link)
    processes = Processes(setting.processes, link)
    whole = estimate(work, rates.encode, rates.search, config, step=step, processes=processes)
    return Plan(
        name=data.name,
        work=work,
        rates=rates,
        machine=machine,
        setting=setting,
        estimate=whole,
        footprints=footprints,
        chosen=chosen,
        price=price,
        load_s=load_s,
        notes=tuple(_notes(config, work, rates, price, whole)),
    )


def _notes(
    config: FitConfig, work: Workload, rates: Rates, price: Price | None, whole: Estimate
) -> list[str]:
    """What the figures leave out, or take as given."""
    notes = []
    if rates.step.pairs < work.step.pairs:
        notes.append(
            f"The step was measured on {rates.step.pairs} of {work.step.pairs} pairs and scaled."
        )
    if config.launch.num_workers > 1:
        notes.append("Each process is taken to be on a device like this one, alone on it.")
    if config.refresh.policy == "continuous":
        steps = whole.refresh_s / whole.step.seconds
        notes.append(
            f"A refresh beside the training takes {whole.refresh_s:.0f} s on a device of its own, "
            f"{steps:,.0f} steps: so old are negatives when they are swapped in."
        )
    if config.mining.cross_encoder:
        notes.append("Not counted: the cross-encoder, whose time grows with the candidates.")
    if config.model.train == "query":
        notes.append(
            "Counted as if documents learned, too: with model.train=query the steps take less."
        )
    if config.distill.teacher is not None or config.loss.guide is not None:
        notes.append(
            "Not counted: the time of the teacher and of the guide, once per text or pair."
        )
    if config.strategy.offload != "none":
        notes.append("Not counted: the time to move what is offloaded.")
    if price is None:
        notes.append("The price list does not know this device: launch.prices=FILE names another.")
    return notes


def keep_plan(plan: Plan, config: FitConfig, digest: str) -> Path:
    """Write the plan where a fit of the same job will find it."""
    path = plan_path(config, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, plan.to_dict())
    return path


def plan_path(config: FitConfig, digest: str) -> Path:
    """The file in the cache for jobs with this configuration and these data."""
    options = asdict(config)
    for name in NOT_RESULTS:
        options.pop(name)
    for name in NOT_RESULTS_OF_LAUNCH:
        options["launch"].pop(name)
    spelled = json.dumps([options, digest], sort_keys=True)
    return cache_folder() / "plans" / f"{hashlib.sha256(spelled.encode()).hexdigest()[:32]}.json"
