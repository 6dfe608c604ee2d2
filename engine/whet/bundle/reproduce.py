"""`whet reproduce`: a bundle's run, done again from its inputs, and compared."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whet.bundle.facts import WEIGHTS
from whet.bundle.inputs import base_root, data_path
from whet.bundle.provenance import BASE, CODE, DATA, NAME, about_input, made_by
from whet.bundle.verify import DIFFERS, MISSING, STRAY, Row, check_bundle, check_inputs, first_bad
from whet.checkpoint import file_sha256
from whet.config import FitConfig, LaunchConfig, ReproduceConfig
from whet.errors import CheckpointError, ConfigError, DataError
from whet.origin import FILE
from whet.printable import printable
from whet.progress import say
from whet.recorded import TRUST, fill, spelled_record
from whet.run_folder import new_folder, write_json

THREADS_A_CORE = 16  # a run of a larger machine comes out equal, only later
BIT_EQUAL, WITHIN, OTHER = "bit-equal", "within the spread", "another result"


@dataclass(frozen=True)
class Outcome:
    """How the repeat compares: the verdict, both weights' sha256, every measure (recorded, again,
    how far off it may be), and what differs that may explain it (what, then, now).
    """

    verdict: str
    weights: tuple[str, str]
    measures: dict[str, tuple[float, float, float]]
    spread: str
    differences: list[tuple[str, str, str]]

    def __str__(self) -> str:
        """Tables for the terminal, and the verdict below them."""
        lines = [f"{'measure':<10}  {'then':>7}  {'again':>7}  {'may be off by':>13}"]
        for name, (then, again, allowed) in self.measures.items():
            lines.append(f"{name:<10}  {then:7.4f}  {again:7.4f}  {allowed:13.4f}")
        lines.append(f"What it may be off by: {self.spread}.")
        if self.differences:
            cells = [("differs", "then", "now"), *self.differences]
            widths = [max(len(row[i]) for row in cells) for i in range(3)]
            spelled = (
                "  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in cells
            )
            lines += ["", *(line.rstrip() for line in spelled)]
        said = {
            BIT_EQUAL: f"Bit-equal: {WEIGHTS} is {self.weights[1]}, as it was.",
            WITHIN: f"Not the same bits, but every measure is {WITHIN}.",
            OTHER: "Another result: a measure is farther off than it may be.",
        }
        return "\n".join([*lines, "", said[self.verdict]])


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
    machine = statement["predicate"]["whet_machine"]
    say(
        f"As {printable(bundle / NAME)} says: {spelled_record(again)}; processes: "
        f"{again.launch.num_workers}, threads of each: {machine['threads']}."
    )
    with _as_then(machine, folder):
        code = fit(again)
    if code or not (folder / "model" / WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: the run was not done to its end. See what it said above.")
    outcome = compared(bundle, statement, folder, inputs)
    write_json(folder / "reproduction.json", asdict(outcome))
    print(outcome)
    say(f"Run folder: {folder}")
    return 1 if outcome.verdict == OTHER else 0


def about_name(statement: dict[str, Any]) -> str:
    """The data's short name."""
    return Path(_config(statement)["data"]["path"]).name.partition(".")[0]


def _config(statement: dict[str, Any]) -> dict[str, Any]:
    return statement["predicate"]["buildDefinition"]["externalParameters"]["config"]


def _checked(bundle: Path, config: ReproduceConfig) -> tuple[dict[str, Any], list[Row]]:
    """The statement, and the inputs' rows; other code may be tried, other data may not."""
    statement, rows = check_bundle(bundle)
    bad = first_bad(rows)
    if bad is not None:
        raise CheckpointError(
            f"{bundle / bad.name} {_spoken(bad)}. The bundle is not what it was; get it "
            "again. `whet verify` lists all that differs."
        )
    inputs = check_inputs(bundle, statement, data=config.data.path, model=config.model.name)
    for kind in (DATA, BASE):
        bad = first_bad([row for row in inputs if row.where == kind])
        if bad is not None:
            raise DataError(
                f"{kind}: {bad.name} {_spoken(bad)}: with other inputs it would be "
                "another run. Give those the bundle names."
            )
    return statement, inputs


def _spoken(row: Row) -> str:
    return {DIFFERS: "differs", MISSING: "is missing", STRAY: "is not listed"}[row.verdict]


def _recipe(bundle: Path, statement: dict[str, Any], config: ReproduceConfig) -> FitConfig:
    """The recorded options, with where data and model are here. Of where and how it ran only the
    number of processes is taken, and no more than this machine has cores or GPUs.
    """
    source = printable(bundle / NAME)
    again = FitConfig()
    left = fill(again, _config(statement), source)
    by_hand = "a bundle of others is not to decide that. Fit with its options by hand if you trust"
    if left.get(TRUST):
        raise ConfigError(
            f"{source}: its run trusted code that comes with the base model, and {by_hand} it."
        )
    if again.mining.cross_encoder is not None:
        raise ConfigError(
            f"{source}: its run scored candidates with mining.cross_encoder="
            f"{printable(again.mining.cross_encoder)}, whose weights it does not record, and "
            f"{by_hand} that model."
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
    elif about["package"]:
        again.model.name = "minilm"
    elif about["local"]:
        raise ConfigError(f"The base model is not in {bundle}. Say where it is: model=FOLDER.")
    if not statement["predicate"]["whet_machine"]["gpus"]:
        again.trainer.accelerator = again.encode.device = "cpu"
    return again


def _processes(statement: dict[str, Any], source: str) -> int:
    """As many processes as then. ConfigError where this machine has no room for so many, or for
    the threads of each.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = statement["predicate"]["buildDefinition"]["internalParameters"]["processes"]
    threads = statement["predicate"]["whet_machine"]["threads"]
    most = max(cores or 1, torch.cuda.device_count())
    bounds = {"processes": (processes, most), "threads": (threads, THREADS_A_CORE * (cores or 1))}
    for what, (count, limit) in bounds.items():
        if type(count) is not int or not 1 <= count <= limit:
            raise ConfigError(
                f"{source}: its run had {printable(count)} {what}, and this machine takes {limit} "
                "at most. Reproduce it on a larger machine."
            )
    return processes


@contextmanager
def _as_then(machine: dict[str, Any], folder: Path) -> Iterator[None]:
    """As many threads as then, and a cache of its own: nothing that an earlier run left is read."""
    import torch

    before = torch.get_num_threads()
    names = ("WHET_CACHE", "OMP_NUM_THREADS")
    kept = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as cache:
        torch.set_num_threads(machine["threads"])
        os.environ |= {"WHET_CACHE": cache, "OMP_NUM_THREADS": str(machine["threads"])}
        try:
            yield
        finally:
            torch.set_num_threads(before)
            for name, value in kept.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def compared(bundle: Path, statement: dict[str, Any], run: Path, inputs: list[Row]) -> Outcome:
    """Compare a finished run with a bundle."""
    predicate = statement["predicate"]
    then = predicate["whet_measures"]["tuned"]
    again = json.loads((run / "metrics.json").read_text())["tuned"]
    allowed = predicate["whet_spread"]["allowed"]
    measures = {name: (then[name], again[name], allowed[name]) for name in then}
    weights = file_sha256(bundle / WEIGHTS), file_sha256(run / "model" / WEIGHTS)
    within = all(abs(one - other) <= most for one, other, most in measures.values())
    verdict = BIT_EQUAL if weights[0] == weights[1] else WITHIN if within else OTHER
    differences = list(_differences(bundle, statement, run, inputs))
    return Outcome(verdict, weights, measures, predicate["whet_spread"]["kind"], differences)


def _differences(
    bundle: Path, statement: dict[str, Any], run: Path, inputs: list[Row]
) -> Iterator[tuple[str, str, str]]:
    """What was otherwise, from the hardware up to where the results part."""
    predicate = statement["predicate"]
    here = json.loads((run / FILE).read_text())
    for name, value in predicate["whet_machine"].items():
        now = here["machine"][name]
        if now != value:
            yield f"machine: {name}", _short(value), _short(now)
    yield from _packages((bundle / "training/packages.txt").read_text().split(), here["packages"])
    version, commit = made_by(statement)
    if version != here["code"]["version"]:
        yield "code: version of whet", version, here["code"]["version"]
    if commit and commit != here["code"].get("commit"):
        yield "code: commit", commit[:12], str(here["code"].get("commit"))[:12]
    for row in inputs:
        if row.where == CODE and row.bad:
            yield f"code: {row.name}", row.expected[:12], row.found[:12]
    for path in sorted((bundle / "training" / "negatives").glob("*.parquet")):
        twin = run / "negatives" / path.name
        then, now = file_sha256(path), file_sha256(twin) if twin.is_file() else "none"
        if then != now:
            yield f"negatives: {path.stem}", then[:12], now[:12]
    pairs = zip(_log(bundle / "training"), _log(run), strict=False)
    for then_row, now_row in pairs:
        if then_row["loss"] != now_row["loss"]:
            yield f"loss of step {then_row['step']}", f"{then_row['loss']}", f"{now_row['loss']}"
            return


def _packages(then: list[str], now: list[str]) -> Iterator[tuple[str, str, str]]:
    """Those that both have in other versions; one alone more or less changes no sum."""
    versions = {name: number for name, _, number in (one.partition("==") for one in now)}
    for one in then:
        name, _, number = one.partition("==")
        if versions.get(name, number) != number:
            yield f"package: {name}", number, versions[name]


def _short(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
