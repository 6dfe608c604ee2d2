"""The page of an adaptation: what was done, what is proved, and whose judgment is wanted next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whet.report.render import page
from whet.storage.commit import write_atomically


def write_adaptation_report(folder: str | Path, record: dict[str, Any]) -> Path:
    """Make the `report.html` of an adaptation from its record (adaptation.json); its path."""
    path = Path(folder) / "report.html"
    write_atomically(path, adaptation_page(record))
    return path


def adaptation_page(record: dict[str, Any]) -> str:
    """The whole page as text."""
    gates = [
        (
            gate["name"],
            "not known" if gate["figure"] is None else f"{gate['figure']:,.4g}",
            f"{gate['least']:,.4g}",
            "open" if gate["open"] else "closed",
            gate["why"],
        )
        for gate in record["gates"]
    ]
    return page("adaptation.html", record=record, headline=_headline(record), gates=gates)


def _headline(record: dict[str, Any]) -> str:
    proof = record["proof"]
    if proof is None:
        return "Adapted, and not proved on your queries"
    change = proof["after"] - proof["before"]
    if proof["p_value"] >= 0.05:
        return "No clear change on your judged queries"
    return "Better on your judged queries" if change > 0 else "Worse on your judged queries"
