"""The notebook of examples/ runs from its first cell to its last, and its model is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def outputs(notebook: Any) -> str:
    """All that the cells printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(part.get("text", "") for cell in cells for part in cell.outputs)


@pytest.mark.slow
@pytest.mark.nightly
def test_the_notebook_runs_and_its_model_is_better() -> None:
    notebook = nbformat.read(EXAMPLES / "own_data.ipynb", as_version=4)
    folder = {"metadata": {"path": str(EXAMPLES)}}
    NotebookClient(notebook, timeout=280, kernel_name="python3", resources=folder).execute()
    printed = outputs(notebook)
    assert "nDCG@10" in printed
    row = next(line for line in printed.splitlines() if line.startswith("nDCG@10 "))
    assert float(row.split()[3]) > 0


def test_the_notebook_is_kept_as_it_ran() -> None:
    text = (EXAMPLES / "own_data.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert "/tmp/" not in text and "/home/" not in text
