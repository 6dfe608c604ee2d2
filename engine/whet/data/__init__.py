"""Data in: readers of all formats, the checks, and the tables everything else works on.
 Formats, told by content: a BEIR folder; pairs and triplets in jsonl, csv, tsv or parquet (a file,
or a folder with train, dev and test files); FlagEmbedding and Tevatron jsonl; a folder of .txt and
.md files; a Hugging Face datasets folder or name. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whet.data.check import Check, check_dataset
    from whet.data.findings import Findings
    from whet.data.holdout import eval_split_name, hold_out
    from whet.data.load import Dataset, load_dataset
    from whet.data.positives import positives_of
    from whet.data.table import TextTable, write_table

_HOMES = {
    "Check": "check",
    "Dataset": "load",
    "Findings": "findings",
    "TextTable": "table",
    "check_dataset": "check",
    "eval_split_name": "holdout",
    "hold_out": "holdout",
    "load_dataset": "load",
    "positives_of": "positives",
    "write_table": "table",
}

__all__ = [
    "Check",
    "Dataset",
    "Findings",
    "TextTable",
    "check_dataset",
    "eval_split_name",
    "hold_out",
    "load_dataset",
    "positives_of",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"whet.data.{_HOMES[name]}"), name)
