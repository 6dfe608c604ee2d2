"""The report of a run: one self-contained HTML page, made from what lies in the run folder.

Names load when first used, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ReportInput": "folder",
    "read_run_folder": "folder",
    "render_report": "render",
    "report_from_run_folder": "render",
    "with_texts": "mining",
    "write_report": "render",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whet.report' has no attribute {name!r}")
    value = getattr(import_module(f"whet.report.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
