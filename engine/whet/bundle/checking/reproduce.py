"""`whet reproduce`: a bundle's run, done again from its inputs, and compared."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whet.bundle.checking.claims import false_measures
from whet.bundle.checking.inputs import base_root, check_base_name, data_path, is_packaged
from whet.bundle.checking.outcome import OTHER, compared
from whet.bundle.checking.verify import NOT_HERE, FileRow, check_bundle, check_inputs, first_bad
from whet.bundle.facts import WEIGHTS
from whet.bundle.provenance import NAME, about_input
from whet.bundle.schema import BASE, DATA
from whet.config import FitConfig, LaunchConfig, ReproduceConfig
from whet.config.losses import BESIDE, START
from whet.config.recorded import TRUST, as_it_was, fill, spelled_record
from whet.data.load import Dataset, read_dataset
from whet.errors import CheckpointError, ConfigError, DataError
from whet.printable import printable
from whet.processes.host import cores
from whet.progress import say
from whet.run.folder import new_folder
from whet.run.origin import FILE
from whet.storage.commit import write_json
from whet.storage.readable import readable_json

MOST_THREADS = 64  # or eight a core, on a machine with more: a bundle may name any number


def reproduce(config: ReproduceConfig, fit: Callable[[FitConfig], Any]) -> int:
    """Check the bundle and its inputs, do the run again with `fit`, print how it compares.

    Returns 0 if the weights are equal to the bit or every measure is within the spread, else 1.
    Raises CheckpointError for a bundle, and DataError for inputs, that are not what they were.
    """
    bundle = Path(config.bundle)
    statement, inputs = _checked(bundle, config)
    again = _recipe(bundle, statement, config)
    folder = new_folder(config.output, f"{about_name(statement)}_reproduced")
    again.output = str(folder)
    threads = _threads(statement)
    say(
        f"As {printable(bundle / NAME)} says: {spelled_record(again)}; processes: "
        f"{again.launch.num_workers}, threads of each: {threads}."
    )
    with _as_then(threads, folder):
        _same_data(statement, read_dataset(again.data))
        code = fit(again)
    if code or not (folder / "model" / WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: the run was not done to its end. See what it said above.")
    if any(row.where == BASE and row.verdict == NOT_HERE for row in inputs):
        _same_base(statement, folder)
    outcome = compared(bundle, statement, folder, inputs)
    write_json(folder / "reproduction.json", asdict(outcome))
    print(outcome)
    say(f"Run folder: {folder}")
    return 1 if outcome.verdict == OTHER else 0


def about_name(statement: dict[str, Any]) -> str:
    """The data's short name, as part of a folder's."""
    name = Path(_config(statement)["data"]["path"]).name.partition(".")[0]
    return re.sub(r"[^\w-]", "_", name)[:60] or "data"


def _same_data(statement: dict[str, Any], data: Dataset) -> None:
    """Refuse data that hold other ids, texts or judgments than the bundle's run read: files beside
    those listed may have changed what is read.
    """
    wanted = about_input(statement, DATA)["digest"]
    if data.digest != wanted:
        raise DataError(
            f"{printable(data.path)}: its ids, texts and judgments are not those of the bundle's "
            f"run (digest {data.digest[:12]}, not {wanted[:12]}). Give those the bundle names, and "
            "no files beside them."
        )


def _same_base(statement: dict[str, Any], run: Path) -> None:
    """Refuse a repeat that began with another base model, where that was fetched by its name and no
    file of it was compared before.
    """
    wanted = about_input(statement, BASE)["digest"]
    fingerprint = readable_json(run / FILE, remedy="Do it again.")["model"]["fingerprint"]
    if fingerprint != wanted:
        raise DataError(
            f"{run}: its base model is not that of the bundle's run (fingerprint "
            f"{fingerprint[:12]}, not {wanted[:12]}), so nothing can be compared. Say where the "
            "right one is: model=FOLDER."
        )


def _config(statement: dict[str, Any]) -> dict[str, Any]:
    build = statement["predicate"]["buildDefinition"]
    config: dict[str, Any] = build["externalParameters"]["config"]
    return config


def _checked(bundle: Path, config: ReproduceConfig) -> tuple[dict[str, Any], list[FileRow]]:
    """The statement, and the inputs' rows; other code may be tried, other data may not."""
    statement, rows = check_bundle(bundle)
    bad = first_bad(rows)
    if bad is not None:
        raise CheckpointError(
            f"{printable(bundle)}: {bad}. The bundle is not what it was; get it again. "
            "`whet verify` lists all that differs."
        )
    odd = false_measures(bundle, statement)
    if odd is not None:
        raise CheckpointError(
            f"{printable(bundle)} contradicts itself: {odd}. Ask whoever made it."
        )
    if config.model.name is None:
        check_base_name(statement)
    inputs = check_inputs(bundle, statement, data=config.data.path, model=config.model.name)
    for kind in (DATA, BASE):
        bad = first_bad([row for row in inputs if row.where == kind])
        if bad is not None:
            raise DataError(
                f"{kind}: {bad}: with other inputs it would be another run. Give those the bundle "
                "names."
            )
    return statement, inputs


def _threads(statement: dict[str, Any]) -> int:
    """As many as then, and no more than this machine bears; that is told, since sums change."""
    then: int = statement["predicate"]["whet_machine"]["threads"]
    most = max(MOST_THREADS, 8 * (os.cpu_count() or 1))
    if then > most:
        say(f"The run used {then:,} threads; {most} are used here, so the bits may differ.")
    return min(then, most)


def _recipe(bundle: Path, statement: dict[str, Any], config: ReproduceConfig) -> FitConfig:
    """The recorded options, with where data and model are here. Of where and how it ran only the
    number of processes is taken, and no more than this machine has cores or GPUs.
    """
    source = printable(bundle / NAME)
    again = FitConfig()
    left = fill(again, as_it_was(_config(statement), FitConfig), source)
    by_hand = "a bundle of others is not to decide that. Fit with its options by hand if you trust"
    if left.get(TRUST):
        raise ConfigError(
            f"{source}: its run trusted code that comes with the base model, and {by_hand} it."
        )
    for group, name in BESIDE:
        model = getattr(getattr(again, group), name)
        if model not in (None, START):
            raise ConfigError(
                f"{source}: its run asked {group}.{name}={printable(model)}, whose weights it does "
                f"not record, and {by_hand} that model."
            )
    if again.guard.data is not None:
        raise ConfigError(
            f"{source}: its run was guarded by guard.data={printable(again.guard.data)}, which it "
            f"does not record, and {by_hand} those data."
        )
    again.launch = LaunchConfig(num_workers=_processes(statement, source))
    path = data_path(bundle, statement, config.data.path)
    if path is None:
        raise ConfigError(
            f"The training data are not in {bundle}. Say where they are: data=FOLDER."
        )
    again.data.path = path
    about = about_input(statement, BASE)
    root = base_root(bundle, statement, config.model.name)
    if config.model.name is not None or (bundle / BASE).is_dir():
        again.model.name = str(root)
    elif is_packaged(about):
        again.model.name = about["name"]
    elif about["local"]:
        raise ConfigError(f"The base model is not in {bundle}. Say where it is: model=FOLDER.")
    if not statement["predicate"]["whet_machine"]["gpus"]:
        again.trainer.accelerator = again.encode.device = "cpu"
    return again


def _processes(statement: dict[str, Any], source: str) -> int:
    """As many processes as then, since another number adds up in another order. ConfigError where
    this machine has fewer cores and GPUs than that.
    """
    import torch

    most = max(cores(), torch.cuda.device_count())
    processes: int = statement["predicate"]["buildDefinition"]["internalParameters"]["processes"]
    if not 1 <= processes <= most:
        raise ConfigError(
            f"{source}: its run had {processes:,} processes, and this machine takes {most} at "
            "most. Reproduce it on a larger machine."
        )
    return processes


@contextmanager
def _as_then(threads: int, folder: Path) -> Iterator[None]:
    """As many threads as then, and a cache of its own: nothing that an earlier run left is read."""
    import torch

    before = torch.get_num_threads()
    names = ("WHET_CACHE", "OMP_NUM_THREADS")
    kept = {name: os.environ.get(name) for name in names}
    # Stored vectors may differ in their last bits from those the run computed.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as cache:
        torch.set_num_threads(threads)
        os.environ |= {"WHET_CACHE": cache, "OMP_NUM_THREADS": str(threads)}
        try:
            yield
        finally:
            torch.set_num_threads(before)
            for name, value in kept.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
