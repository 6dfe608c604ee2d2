"""The house stays one that a newcomer finds the way in: few doors per folder, a class per name."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from source import FOLDERS, ROOT, sources

DOORS, DOORS_AT_THE_TOP = 12, 29  # modules and packages of a folder; at the top of engine/whet


def doors(folder: Path) -> list[str]:
    """What can be opened in a folder: its modules but `__init__` and `__main__`, its packages."""
    modules = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")]
    return sorted([*modules, *(path.parent.name for path in folder.glob("*/__init__.py"))])


def rooms() -> list[Path]:
    """Every package of ours."""
    return sorted(
        {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")}
    )


@pytest.mark.parametrize("folder", rooms(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_has_few_doors(folder: Path) -> None:
    most = DOORS_AT_THE_TOP if folder == ROOT / "engine/whet" else DOORS
    assert len(doors(folder)) <= most, doors(folder)


def test_a_class_has_a_name_of_its_own() -> None:
    names = Counter(
        node.name
        for source in sources()
        for node in source.tree.body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_a_module_bears_the_name_of_no_verb_of_its_package() -> None:
    """`whet.mine` is a function: a module of that name would take its place."""
    tree = ast.parse((ROOT / "engine/whet/api.py").read_text(encoding="utf-8"))
    verbs = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert verbs & set(doors(ROOT / "engine/whet")) == set()


# Module names of several folders: in each the folder says whose. A new one wants a name of its own
# first, and comes here when there is no better word.
IN_SEVERAL_FOLDERS = {
    *("fit", "encode", "check", "reproduce"),  # a verb, and who brings it to processes or a bundle
    "adapt",  # a verb, and how a tune changes the query side
    *("command", "verbs", "version", "words", "make"),
    *("folder", "job", "results", "store", "table"),
    *("checks", "examples", "exports", "judgments", "probe"),
    *("exact", "search"),  # of the kernels: for all, for CPUs, for GPUs
}


def test_a_module_has_a_name_of_its_own_or_its_folder_tells_whose_it_is() -> None:
    names = Counter(Path(source.path).stem for source in sources())
    several = {name for name, count in names.items() if count > 1 and not name.startswith("_")}
    assert several == IN_SEVERAL_FOLDERS
