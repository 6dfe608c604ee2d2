"""The records as one page. So far it is the list of stages."""

from __future__ import annotations

from html import escape
from typing import Any


def page(found: list[dict[str, Any]]) -> str:
    """HTML that stands alone, of lines as lines.py keeps them."""
    rows = [f"<li>{escape(line['stage'])}: {escape(line['status'])}</li>" for line in found]
    return f"<!doctype html><title>Whet on a GPU</title><ul>{''.join(rows)}</ul>\n"
