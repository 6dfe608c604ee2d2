"""What the index would offer: wheel and sdist are made, and used away from the checkout."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from whet.version import NAME, VERSION

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, made from the sdist as the index's users would, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; other packages are those of this one, without ours."""
    folder = tmp_path_factory.mktemp("away") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    place = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    # a path in a .pth file is searched; the .pth files in it, as that of our checkout, are not read
    Path(place, "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
    ]
    subprocess.run([*command, made[0]], check=True, capture_output=True)
    return folder


def _whet(installed: Path, here: Path, *words: str) -> str:
    """What the installed command prints, run in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [installed / "bin" / "whet", *words], cwd=here, env=kept, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_packages_hold_what_they_need(made: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(made[0]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        text = wheel.read(metadata).decode("utf-8")
    with tarfile.open(made[1]) as sdist:
        inside = {member.name.partition("/")[2] for member in sdist}
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    roots = ("engine/", "kernels/", "launch/", "conf/")
    ours = {name.partition("/")[2] for name in listed if name.startswith(roots)}
    demo = {f"whet_conf/{name}" for name in listed if name.startswith("examples/nl2bash/")}
    assert (ours | demo) - names == set()
    assert {name for name in listed if name.startswith((*roots, "tests/"))} - inside == set()
    assert text.startswith("Metadata-Version") and f"\nName: {NAME}\n" in text
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []  # links beside README.md
    assert "](https://raw.githubusercontent.com/whet-search/whet/main/docs/report.png)" in text


def test_the_index_would_take_them(made: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *made], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout + done.stderr


def test_a_stranger_installs_it_and_makes_a_model_better(installed: Path, tmp_path: Path) -> None:
    code = (
        "import whet, whet_conf, whet_kernels, whet_launch as l; print(whet.__file__, l.__file__)"
    )
    where = subprocess.check_output([installed / "bin" / "python", "-c", code], cwd=tmp_path)
    assert str(ROOT) not in where.decode() and str(installed) in where.decode()
    assert _whet(installed, tmp_path, "--version").startswith(f"whet {VERSION}, Python 3.")
    checked = _whet(installed, tmp_path, "check", "data=nl2bash")  # the demo's data came along
    assert "10,594" in checked
    rows = ["query,positive"] + [
        f"where is room {n},room {n} is on floor {n // 7}" for n in range(40)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    steps = ["trainer.max_steps=2", "trainer.batch_size=8", "output=run"]
    _whet(installed, tmp_path, "fit", "data=pairs.csv", *steps)
    assert {"model", "report.html"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_the_demo_says_where_its_data_are(installed: Path, tmp_path: Path) -> None:
    composed = _whet(installed, tmp_path, "fit", "experiment=demo", "--cfg", "job", "--resolve")
    assert f"path: {installed}" in composed
    assert importlib.metadata.version(NAME) == VERSION
