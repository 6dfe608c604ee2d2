"""Which Whet this is, its name on the package index, and the line that installs it."""

from __future__ import annotations

VERSION = "0.2.0"
NAME = "whet-search"  # the index has another package called whet; import and command are `whet`


def install_line(extra: str = "") -> str:
    """The command that installs Whet, with one of its extras where a feature needs it.

    >>> install_line("ray")
    'pip install "whet-search[ray]"'
    """
    return f'pip install "{NAME}[{extra}]"' if extra else f"pip install {NAME}"
