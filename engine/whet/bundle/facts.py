"""A finished run, read: its configuration without anything private, what made it, its results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whet.bundle.schema import Misshapen, check_fields
from whet.config import LaunchConfig
from whet.config.losses import BESIDE
from whet.errors import CheckpointError, ConfigError
from whet.model.parts.layout import ROUTER
from whet.printable import printable
from whet.run.origin import FILE
from whet.storage.places import user_path
from whet.storage.readable import readable_json, readable_text, readable_yaml

AGAIN = "Run the fit again."
NEEDED = ("config.yaml", FILE, "environment.json", "metrics.json", "comparison.json")
WEIGHTS = "model.safetensors"
SHAPES: dict[str, dict[str, Any]] = {  # what is read of each, so that a damaged one is told
    "config.yaml": {
        "data": {"path": str},
        "model": {"name": str},
        "mining": {"num_negatives": int, "sampling": str},
        "loss": {"temperature": float},
        "trainer": {"batch_size": int, "learning_rate": float, "warmup_ratio": float},
        "strategy": {},
        "seed": int,
    },
    FILE: {
        "begun": str,
        "code": {"kind": str, "version": str, "files": dict},
        "data": {
            "name": str,
            "kind": str,
            "hub": object,
            "file": object,
            "digest": str,
            "documents": int,
            "queries": int,
            "splits": dict,
            "files": list,
            "statements": list,
        },
        "model": {
            "name": str,
            "local": bool,
            "package": object,
            "revision": object,
            "fingerprint": str,
            "files": dict,
            "statements": list,
        },
        "determinism": {"against": list},
        "machine": {"cpu": str, "threads": int, "gpus": list},
        "packages": list,
        "processes": int,
        "seeds": {},
        "changed": list,
    },
    "environment.json": {"seconds": dict, "joules": dict, "versions": dict, "data": dict},
    "metrics.json": {"tuned": dict, "base": dict},
    "comparison.json": {"rows": list, "verdict": str},
}


@dataclass(frozen=True)
class Facts:
    """What is known of a run. `config` is fit to publish: folders are named, not located."""

    folder: Path
    config: dict[str, Any]
    private: dict[str, Any]
    origin: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, Any]
    comparison: dict[str, Any]
    steps: int

    @property
    def has_negatives(self) -> bool:
        """Whether negatives were mined."""
        return (self.folder / "negatives").is_dir()

    @property
    def new_files(self) -> bool:
        """Whether the checkout it ran from had source files that no commit has."""
        return bool(self.origin["code"].get("new_files"))


def read_facts(folder: Path) -> Facts:
    """Read a run folder. CheckpointError if it is none, is not done, or is of an older Whet."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder} is no run folder, config.yaml is missing. Give a fit's.")
    if (folder / "model" / ROUTER).is_file():
        raise ConfigError(
            f"{folder} trained the query side alone (model.train=query), and a bundle holds "
            "a model with one encoder. Publish its folder model/ itself."
        )
    if not (folder / "model" / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder} is not done: it has no model. Go on with it: whet fit resume={folder}"
        )
    for name in NEEDED:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} lacks {name}: what made it was not recorded when it ran (an older "
                "Whet?), and cannot be known now. Run the fit again."
            )
    private = readable_yaml(folder / "config.yaml", remedy=AGAIN)
    read = {name: readable_json(folder / name, remedy=AGAIN) for name in NEEDED[1:]}
    for name, value in {"config.yaml": private, **read}.items():
        try:
            check_fields(value, SHAPES[name], name)
            for file in value["data"]["files"] if name == FILE else []:
                check_fields(file, {"name": str, "bytes": int, "sha256": str}, "a file of the data")
        except Misshapen as error:
            raise CheckpointError(f"{folder / name} is damaged: {error}. {AGAIN}") from error
    if "sets" in read[FILE]["data"]:
        raise ConfigError(
            f"{folder} was fitted on several data sets, and the record of a bundle names one. "
            "Publish its folder model/ itself."
        )
    return Facts(
        folder=folder,
        config=public_config(private, read[FILE]),
        private=private,
        origin=read[FILE],
        environment=read["environment.json"],
        metrics=read["metrics.json"],
        comparison={k: v for k, v in read["comparison.json"].items() if k != "examples"},
        steps=_steps(folder / "train_log.jsonl"),
    )


@contextmanager
def naming_damage(folder: Path) -> Iterator[None]:
    """Where records of a run hold what no run wrote, deeper than `read_facts` looks, say so."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = printable(f"{type(error).__name__}: {error}")[:200]
        raise CheckpointError(
            f"{folder}: a record of this run is damaged, one of {', '.join(NEEDED)} ({reason}). "
            f"{AGAIN}"
        ) from error


def _steps(path: Path) -> int:
    """The step of the log's last line, 0 where nothing was logged."""
    lines = readable_text(path, remedy=AGAIN).splitlines()
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its last line is no line of a log. {AGAIN}"
        ) from error


def public_config(config: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    """The configuration with names instead of paths, and without where it ran: addresses, hosts,
    images. What decides the result stays.
    """
    public = deepcopy(config)
    public["data"]["path"] = origin["data"]["hub"] or origin["data"]["name"]
    public["model"]["name"] = origin["model"]["name"]
    if origin["model"]["revision"]:
        public["model"]["revision"] = origin["model"]["revision"]
    for group, name in BESIDE:
        model = public.get(group, {}).get(name)  # an older run has no such option
        if model is not None and user_path(model).exists():
            public[group][name] = Path(model).name
    if public["data"].get("added") is not None:
        public["data"]["added"] = Path(public["data"]["added"]).name
    public["strategy"]["nvme_path"] = None
    public["launch"] = asdict(LaunchConfig(num_workers=origin["processes"]))
    public["output"] = public["resume"] = None
    return public
