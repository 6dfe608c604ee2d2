"""What a GPU machine without network lacks, packed into .gpu/, which make_gpu.py puts on the path.

    python benchmarks/gpu/pack.py                # the packages, for Python 3.12 on Linux x86_64
    python benchmarks/gpu/pack.py --python 3.11
    python benchmarks/gpu/pack.py --optional     # those for sentence-transformers' training, too
    python benchmarks/gpu/pack.py --model        # the default model's weights, rounded to bf16
    python benchmarks/gpu/pack.py --quick        # no network: a made-up wheel and a tiny model

The machine has torch, triton, transformers, lightning and numpy. Wheels come from the package index
by pip, at the versions of constraints.txt, without their dependencies, and are unzipped into
.gpu/site. .gpu/ is ignored by git and stays under 60 MiB. For the next machine put gpu.jsonl and
triton.tgz of an earlier call there, too: it then goes on where that one stopped.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import folders
import tiny

PACKAGES = (
    "hydra-core",
    "omegaconf",
    "antlr4-python3-runtime",
    "ir-measures",
    "pytrec_eval-terrier",
    "license-expression",
    "boolean.py",
    "pytest-timeout",
    "lazy-loader",
    "psutil",
)
OPTIONAL = ("datasets", "dill", "multiprocess", "xxhash")
SOURCES_ONLY = ("antlr4-python3-runtime",)  # no wheel on the index: one is built here
IMPORTS = ("hydra", "omegaconf", "antlr4", "license_expression", "boolean", "lazy_loader")
COMPILED = ("psutil", "pytrec_eval", "ir_measures")  # which import where the Pythons are the same
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
MOST_BYTES = 60 << 20


def main() -> None:
    """Pack, and say what there is."""
    options = parsed()
    if options.quick:
        quick()
        return
    options.to.mkdir(parents=True, exist_ok=True)
    if options.model:
        size = pack_model(options.to / "model")
        print(f"{options.to / 'model'}: {size / 2**20:.1f} MiB")
    else:
        names = (*PACKAGES, *(OPTIONAL if options.optional else ()))
        pack_wheels(names, options.python, options.to / "site")
        same = options.python == f"{sys.version_info[0]}.{sys.version_info[1]}"
        check_imports(options.to / "site", (*IMPORTS, *(COMPILED if same else ())))
    check_size(options.to)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="of the GPU machine")
    parser.add_argument("--optional", action="store_true", help="also datasets and its packages")
    parser.add_argument("--model", action="store_true", help="the default model, nothing else")
    parser.add_argument("--to", type=Path, default=folders.CARRIED, metavar="FOLDER")
    tiny.add_option(parser)
    return parser.parse_args()


def pack_wheels(names: tuple[str, ...], python: str, site: Path) -> None:
    """Wheels of these packages for a Python (X.Y), unzipped into a new folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    pinned = ["--no-deps", "-c", str(folders.ROOT / "constraints.txt")]
    target = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    target += [word for name in PLATFORMS for word in ("--platform", name)]
    with tempfile.TemporaryDirectory() as wheels:
        built = [name for name in names if name in SOURCES_ONLY]
        ready = [name for name in names if name not in SOURCES_ONLY]
        _run([*pip, "download", *pinned, *target, "-d", wheels, *ready])
        if built:
            _run([*pip, "wheel", *pinned, "-w", wheels, *built])
        unzip(sorted(Path(wheels).glob("*.whl")), site)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ... failed:\n{done.stderr[-2000:]}")


def unzip(wheels: list[Path], site: Path) -> None:
    """Unzip wheels into a folder, in place of what was there, and say which."""
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as file:
            file.extractall(site)
        print(f"{wheel.name}: {wheel.stat().st_size / 1024:.0f} KiB", flush=True)


def check_imports(site: Path, modules: tuple[str, ...]) -> None:
    """Import each in a process of its own, from there and from nowhere else."""
    code = (
        "import importlib, pathlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    found = pathlib.Path(importlib.import_module(name).__file__)\n"
        "    assert found.is_relative_to(sys.argv[1]), f'{name} is {found}'\n"
    )
    _run([sys.executable, "-B", "-c", code, str(site.resolve()), *modules])
    print(f"imported: {', '.join(modules)}")


def pack_model(target: Path, name: str = "minilm") -> int:
    """A model's folder with its weights rounded to bfloat16; its bytes.

    It is loaded as float32 again. Vectors are those of the rounded weights: close to the model's,
    not the same.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from whet.config import ModelConfig
    from whet.model.folder import find_folder

    source = find_folder(ModelConfig(name=name))
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", ".git*"))
    for path in source.glob("*.safetensors"):
        weights = {
            key: part.to(torch.bfloat16) if part.is_floating_point() else part
            for key, part in load_file(path).items()
        }
        save_file(weights, target / path.name, metadata={"format": "pt"})
    return size_of(target)


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_size(folder: Path) -> None:
    """Say how large what travels is; too much is an error. What calls leave here does not count:
    Triton's cache and logs.
    """
    total = sum(
        size_of(path) if path.is_dir() else path.stat().st_size
        for path in folder.iterdir()
        if path.name not in ("out", "triton")
    )
    print(f"{folder}: {total / 2**20:.1f} MiB")
    if total > MOST_BYTES:
        raise SystemExit(f"That is over {MOST_BYTES >> 20} MiB: leave something out.")


def quick() -> None:
    """All but the index: a made-up wheel, and a tiny model."""
    with tiny.place() as place:
        wheel = place.folder / "made_up-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("made_up/__init__.py", "there = True\n")
        site = place.folder / "carried" / "site"
        unzip([wheel], site)
        check_imports(site, ("made_up",))
        model = place.folder / "carried" / "model"
        pack_model(model, place.model)
        from whet.model.encoder import Encoder

        assert Encoder.load(str(model)).encode(["bace difo"]).shape == (1, 16)
        check_size(site.parent)


if __name__ == "__main__":
    main()
