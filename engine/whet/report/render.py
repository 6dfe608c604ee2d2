"""The page: what was read becomes one self-contained HTML file.

Nothing in it comes from the network and nothing in it runs: no script, no style or image from
elsewhere, and a content security policy that forbids both. Documents are hostile text: the template
escapes every value.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from whet.evaluation.pool.size import recorded_pool
from whet.report.charts import change_chart, interval, line_chart, number
from whet.report.folder import ReportInput, read_run_folder
from whet.report.mining import STATISTICS, view_minings
from whet.report.selection import view_selection
from whet.report.words import duration, is_number, label, p_text, short, signed, value_text
from whet.storage.commit import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

SIGNIFICANT = 0.05


def render_report(run: ReportInput) -> str:
    """The whole page as text. Parts that are missing are left out."""
    parts = {
        "title": run.title,
        "headline": _headline(run),
        "comparison": run.comparison,
        "rows": _rows(run.comparison),
        "sets": _sets(run.comparison),
        "main": _main(run.comparison),
        "pool": recorded_pool((run.comparison or {}).get("pool")),
        "systems": _systems(run.metrics) if not run.comparison else {},
        "change": _change(run),
        "examples": (run.comparison or {}).get("examples") or {},
        "training": _training(run.train_log),
        "selection": view_selection(run.selection) if run.selection else None,
        "minings": view_minings(run.mining) if run.mining else [],
        "statistics": STATISTICS,
        "config": run.config,
        "groups": _groups(run.environment),
    }
    return page("report.html", **parts)


def page(template: str, **parts: Any) -> str:
    """A page from one of the templates of this folder, with the style sheet in it."""
    text = _templates().get_template(template).render(parts)
    # Halves of surrogate pairs cannot be written, and NUL has no place in HTML.
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def report_from_run_folder(folder: str | Path) -> str:
    """The page of a run folder, as text. Raises CheckpointError when it is none, or torn."""
    return render_report(read_run_folder(folder))


def write_report(folder: str | Path) -> Path:
    """Make (again) the `report.html` of a run folder; returns its path."""
    path = Path(folder) / "report.html"
    write_atomically(path, report_from_run_folder(folder))
    return path


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    templates = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["style"] = Markup((here / "report.css").read_text(encoding="utf-8"))
    templates.filters.update(short=short, number=number, p=p_text, label=label, signed=signed)
    return templates


def _main(comparison: dict[str, Any] | None) -> dict[str, Any] | None:
    """The row of the measure that decides."""
    rows = (comparison or {}).get("rows") or []
    wanted = (comparison or {}).get("main_measure")
    return next((row for row in rows if row["measure"] == wanted), rows[0] if rows else None)


def _headline(run: ReportInput) -> str:
    main = _main(run.comparison)
    if main is None:
        return "How the search does"
    if (run.comparison or {}).get("base_came_back"):
        return "The base model came back"
    if main["p_value"] >= SIGNIFICANT:
        return "No clear change"
    return "The search got better" if main["difference"] > 0 else "The search got worse"


def _rows(comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The comparison's rows, each with the drawing of its interval, all on one scale."""
    rows = (comparison or {}).get("rows") or []
    return _with_plots(rows, [*rows, *_main_of_sets(comparison)])


def _sets(comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row for each of several data sets, by the measure that decides; on the same scale."""
    rows = (comparison or {}).get("rows") or []
    own = _main_of_sets(comparison)
    return _with_plots(own, [*rows, *own])


def _main_of_sets(comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    wanted = (comparison or {}).get("main_measure")
    sets = (comparison or {}).get("sets") or {}
    return [
        {**row, "name": name}
        for name, rows in sets.items()
        for row in rows
        if row["measure"] == wanted
    ]


def _with_plots(rows: list[dict[str, Any]], shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reach = max([0.01, *(abs(row[end]) for row in shown for end in ("low", "high"))])
    return [
        {**row, "plot": interval(row["low"], row["difference"], row["high"], reach=reach)}
        for row in rows
    ]


def _systems(metrics: dict[str, Any] | None) -> dict[str, dict[str, float]]:
    """System -> measure -> mean, from {"tuned": {...}} or, of one system, {"nDCG@10": ...}."""
    nested = {name: means for name, means in (metrics or {}).items() if isinstance(means, Mapping)}
    flat = {name: mean for name, mean in (metrics or {}).items() if is_number(mean) and "@" in name}
    named = {
        name: {measure: mean for measure, mean in means.items() if is_number(mean)}
        for name, means in nested.items()
    }
    return {name: means for name, means in {"value": flat, **named}.items() if means}


def _change(run: ReportInput) -> Markup | None:
    """The chart of every query's change under the main measure."""
    main = _main(run.comparison)
    if main is None:
        return None
    measure = main["measure"]
    pairs = [(row.get("base", {}), row.get("tuned", {})) for row in run.per_query]
    changes = [
        tuned[measure] - base[measure]
        for base, tuned in pairs
        if measure in base and measure in tuned
    ]
    return change_chart(changes, measure=measure) if changes else None


def _training(log: list[dict[str, Any]]) -> list[Markup]:
    """One chart a series that the log holds; a step logged again counts as logged last."""
    by_step = {row["step"]: row for row in log if is_number(row.get("step"))}
    refreshed = any("refresh_overlap" in row for row in by_step.values())
    names = {"loss": "Loss", "lr": "Learning rate"}
    # Without a refresh the age only counts up, which is no chart to look at.
    if refreshed:
        names["refresh_overlap"] = "Overlap of fresh negatives with the previous ones"
        names["negatives_age_steps"] = "Age of the negatives, in steps"
    names |= {key: key for row in by_step.values() for key in row if "@" in key}
    charts = []
    for key, title in names.items():
        points = [
            (step, row[key]) for step, row in sorted(by_step.items()) if is_finite(row.get(key))
        ]
        if points:
            charts.append(_curve(key, title, points))
    return charts


def _curve(key: str, title: str, points: list[tuple[float, float]]) -> Markup:
    """The loss is noisy and gets a running mean; refreshes are few and get dots."""
    smoothed = key == "loss" and len(points) > 40
    dots = key == "refresh_overlap"
    return line_chart(points, title=title, x_label="step", smoothed=smoothed, dots=dots)


def is_finite(value: Any) -> bool:
    """True for a number that can be drawn."""
    return is_number(value) and abs(value) < float("inf")


def _groups(environment: dict[str, Any] | None) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, [(name, value)]) of what was run: single values first, then each mapping."""
    facts = environment or {}
    single = {key: value for key, value in facts.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in facts.items() if isinstance(value, Mapping)}
    return [
        (label(heading), [(label(str(key)), _words(value, heading)) for key, value in some.items()])
        for heading, some in {"run": single, **nested}.items()
        if some
    ]


def _words(value: Any, heading: str) -> str:
    return duration(value) if heading == "seconds" and is_number(value) else value_text(value)
