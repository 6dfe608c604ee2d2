"""What made a run, recorded when it begins, since later nobody can know it: code, packages, data,
base weights, seeds, machine. It goes to origin.json of the run folder; no path of this machine, no
user's and no host's name is in it.
"""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import whet.version
from whet.config import FitConfig, ModelConfig
from whet.data.load import Dataset
from whet.data.readers.detect import find_source
from whet.errors import CheckpointError
from whet.model.folder import PACKAGED, find_folder
from whet.model.parts.layout import backbone_folder
from whet.processes.world import world
from whet.run.checkout import OURS, commit_here, diff_here, is_checkout, new_files_here
from whet.run.determinism import is_deterministic, what_stands_against
from whet.run.licences_found import statements_in
from whet.storage.commit import file_sha256, write_atomically, write_json
from whet.storage.places import user_path
from whet.storage.readable import readable_json

FILE, DIFF = "origin.json", "code.diff"
REMEDY = "Bring back a copy, or start a new run."
PARTS = {"code", "packages", "data", "model", "machine", "processes"}  # may change in between
SUMS = (  # what of a CPU decides in which order numbers are added
    "avx2 fma avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 avx_vnni"
    " amx_tile amx_bf16 amx_int8 asimd sve sve2 bf16 i8mm"
).split()


def record_origin(folder: Path, config: FitConfig, data: Dataset, fingerprint: str) -> None:
    """Write what makes this run to its folder; `fingerprint` is that of the base model.

    Where a resumed run goes on with something else, the record keeps what it began with, and names
    what has changed since.
    """
    now = {
        "begun": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "code": code_here(),
        "packages": packages_here(),
        "data": data_here(data),
        "model": {**model_here(config.model), "fingerprint": fingerprint},
        "seeds": {"seed": config.seed, "mining.seed": config.mining.seed},
        "determinism": {
            "on": is_deterministic(config),
            "against": what_stands_against(config),
        },
        "machine": machine_here(),
        "processes": world().size,
        "changed": [],
    }
    first = read_origin(folder)
    # A resume must not rewrite what the run began with.
    if first is not None:
        changed = {*first["changed"], *(part for part in PARTS if first[part] != now[part])}
        now = {**first, "changed": sorted(changed)}
    else:
        diff = diff_here()
        if diff:
            write_atomically(folder / DIFF, diff)
    write_json(folder / FILE, now)


def read_origin(folder: Path) -> dict[str, Any] | None:
    """What made the run in a folder, None where nothing was recorded yet. CheckpointError where the
    record cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return None
    record: dict[str, Any] = readable_json(path, remedy=REMEDY)
    names = record.get("changed")
    if not isinstance(names, list) or not set(names) <= set(PARTS) or not record.keys() >= PARTS:
        raise CheckpointError(f"{path} is not as it was written. {REMEDY}")
    return record


def code_here() -> dict[str, Any]:
    """Our source files by sha256, and the commit where they are a checkout's.

    `diff` is the sha256 of what differs from the commit, None where nothing does; `new_files`
    counts those that no commit has.
    """
    files = {}
    for package in OURS:
        spec = find_spec(package)
        root = Path(next(iter(spec.submodule_search_locations or []))) if spec else None
        for path in sorted(root.rglob("*")) if root else []:
            if path.is_file() and "__pycache__" not in path.parts:
                assert root is not None
                files[f"{package}/{path.relative_to(root).as_posix()}"] = file_sha256(path)
    record: dict[str, Any] = {"version": whet.version.VERSION, "kind": "installed", "files": files}
    if is_checkout():
        diff = diff_here()
        record |= {
            "kind": "checkout",
            "commit": commit_here(),
            "diff": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
            "new_files": new_files_here(),
        }
    return record


def packages_here() -> list[str]:
    """Every installed distribution as `name==version`, sorted."""
    installed = {
        (d.metadata["Name"] or "").lower().replace("_", "-"): d.version for d in distributions()
    }
    return sorted(f"{name}=={number}" for name, number in installed.items() if name)


def data_here(data: Dataset) -> dict[str, Any]:
    """The data's files by sha256, the digest of what was read from them, and what they say of their
    licence. Data from the hub are named instead: they have no files of ours. Of several data sets
    that is said of each.
    """
    if data.parts:
        sets = [data_here(part) for part in data.parts]
        return {
            **_counts(data),
            "hub": None,
            "file": None,
            "files": [],
            "statements": [statement for one in sets for statement in one["statements"]],
            "sets": sets,
        }
    here = user_path(data.path)
    source = find_source(data.path) if here.exists() else None
    digests = files_by_name(source.root, source.files) if source else {}
    return {
        **_counts(data),
        "hub": None if here.exists() else data.path,
        "file": here.name if here.is_file() else None,
        "files": [{"name": name, **facts} for name, facts in digests.items()],
        "statements": _statements(here) if here.is_dir() else [],
    }


def _counts(data: Dataset) -> dict[str, Any]:
    return {
        "name": data.name,
        "kind": data.kind,
        "digest": data.digest,
        "documents": len(data.corpus),
        "queries": len(data.queries),
        "splits": {name: len(qrels) for name, qrels in data.splits.items()},
    }


def files_by_name(root: Path, files: tuple[Path, ...] | list[Path]) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of files, by their names relative to `root`."""
    return {
        path.relative_to(root).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in files
    }


def model_here(config: ModelConfig) -> dict[str, Any]:
    """The base model: a name that others know it by where it has one, its files by sha256, and what
    they say of their licence.
    """
    folder = find_folder(config)
    local = user_path(config.name).is_dir()
    package = None
    if config.name in PACKAGED:
        name = PACKAGED[config.name].replace("_", "-")
        try:
            package = f"{name}=={version(name)}"
        except PackageNotFoundError:
            package = name
    revision = config.revision
    if not local and package is None and folder.parent.name == "snapshots":
        revision = folder.name  # the hub's cache names the folder by the commit
    return {
        "name": folder.resolve().name if local else config.name,
        "local": local,
        "package": package,
        "revision": revision,
        "files": files_by_name(folder, model_files(folder)),
        "statements": _statements(folder),
    }


def model_files(folder: Path) -> list[Path]:
    """The files of a model's folder that decide its vectors, and its card."""
    inner = backbone_folder(folder)
    kinds = ["*.json", "*.safetensors", "*.txt", "*.model", "*.codes", "*.spm", "*.jinja"]
    kinds += ["README.md", "LICENSE*"]
    roots = dict.fromkeys([folder, inner, *(p for p in folder.iterdir() if p.is_dir())])
    candidates = {path for root in roots for kind in kinds for path in root.glob(kind)}
    return sorted(path for path in candidates if path.is_file())


def _statements(folder: Path) -> list[dict[str, str]]:
    return [asdict(statement) for statement in statements_in(folder)]


def machine_here() -> dict[str, Any]:
    """What of the hardware and the libraries below Python may change a sum, and how large it is."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    # Flags and capability: they choose the kernels, which add in different orders.
    cpu = _cpu()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu": cpu["name"],
        "cpu_flags": cpu["flags"],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "gpus": gpus,
        "driver": _driver() if gpus else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
    }


def _cpu() -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {"name": platform.processor() or "unknown", "flags": []}
    fields = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or platform.processor() or "unknown"
    return {"name": name, "flags": [flag for flag in SUMS if flag in flags]}


def _driver() -> str | None:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    return next((word for word in text.split() if word.count(".") >= 1 and word[0].isdigit()), None)
