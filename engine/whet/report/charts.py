"""Charts as inline SVG: no script, no network; colours come from the page's style sheet (light,
dark, print).

Every chart is an image to a screen reader: role, title and a description with the numbers that
matter. Text goes in through `Markup.format`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

# Room for labels around the plot, also where they are 24 units high, as on a phone.
WIDTH, HEIGHT = 720, 276
LEFT, RIGHT, TOP, BOTTOM = 100, 40, 16, 70
BELOW, UNDER = 32, 7  # from the plot down to the numbers, from the label to the end
LETTER = 14  # the widest that a character of a number is
MINUS = "\N{MINUS SIGN}"
MOST_POINTS = 600  # more cannot be told apart on 720 units

Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """The plot's area: values to places on the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Place of an x value, in drawing units."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Place of a y value; larger values stand higher."""
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 (3 or more) round numbers in [low, high], 1, 2 or 5 times 10^n apart.

    >>> ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def number(value: float) -> str:
    """A number as short as it reads well: 1,200, 0.25, 5e-05, with a true minus sign.

    >>> number(1200), number(0.25), number(0.00005), number(-3)
    ('1,200', '0.25', '5e-05', '−3')
    """
    if not math.isfinite(value):
        return str(value)
    whole = value == int(value) and abs(value) < 1e15
    return (f"{int(value):,}" if whole else f"{value:.3g}").replace("-", MINUS, int(value < 0))


def line_chart(
    points: Sequence[Point], *, title: str, x_label: str, smoothed: bool = False, dots: bool = False
) -> Markup:
    """A curve of (x, y) points in order of x; `smoothed` draws it faint under its running mean."""
    points = thinned(points)
    ys = [y for _, y in points]
    low, high = min(ys), max(ys)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    # From 0 where that leaves at most half of the height empty: else small changes look large.
    bottom = 0.0 if 0 <= low < 0.5 * high else low - room
    plot = Plot(points[0][0], points[-1][0], bottom, high + room)
    kind = "line faint" if smoothed else "line"
    parts = [_axes(plot, x_label), _curve(points, plot, kind)]
    parts += [_curve(smooth(points), plot, "line")] if smoothed else []
    if dots or len(points) == 1:
        dot = Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>')
        parts += [dot.format(plot.x(x), plot.y(y)) for x, y in points]
    ends = f"From {number(ys[0])} to {number(ys[-1])}"
    about = f"{ends}; lowest {number(low)}, highest {number(high)}."
    return _image(title, about, Markup("").join(parts))


def histogram(bins: Sequence[tuple[str, float]], *, title: str, x_label: str) -> Markup:
    """Bars for (label, count) bins, in the order given; labels are thinned where there is no
    room, and left out where one would be cut off at the end.
    """
    high = max(count for _, count in bins) or 1
    plot = Plot(0, len(bins), 0, high * 1.05)
    longest = max(len(label) for label, _ in bins)  # so that labels do not overlap
    every = math.ceil(longest * LETTER * len(bins) / (WIDTH - LEFT - RIGHT))
    parts = [_axes(plot, x_label, with_x=False)]
    for place, (label, count) in enumerate(bins):
        left, right, top = plot.x(place + 0.06), plot.x(place + 0.94), plot.y(count)
        bar = '<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>'
        height = round(HEIGHT - BOTTOM - top, 1)
        parts.append(
            Markup(bar).format(left, top, round(right - left, 1), height, label, number(count))
        )
        if place % every == 0 and plot.x(place + 0.5) + len(label) * LETTER / 2 <= WIDTH:
            parts.append(_text(plot.x(place + 0.5), HEIGHT - BOTTOM + BELOW, label, "middle"))
    most = max(bins, key=lambda pair: pair[1])
    total = number(sum(count for _, count in bins))
    return _image(
        title, f"{total} in all; most, {number(most[1])}, at {most[0]}.", Markup("").join(parts)
    )


def change_chart(differences: Sequence[float], *, measure: str) -> Markup:
    """Every query's change, largest gain first: above the line it won, below it lost."""
    ordered = sorted(differences, reverse=True)
    won, lost = sum(d > 0 for d in ordered), sum(d < 0 for d in ordered)
    high = max(0.1, *(abs(d) for d in ordered))
    plot = Plot(0, len(ordered), -high * 1.05, high * 1.05)
    body = _axes(plot, "queries, by their change")
    body += Markup('<path class="won" d="{}"/>').format(_area(ordered, plot, 1))
    body += Markup('<path class="lost" d="{}"/>').format(_area(ordered, plot, -1))
    body += Markup('<line class="zero" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        plot.x(0), plot.x(len(ordered)), plot.y(0), plot.y(0)
    )
    body += _text(LEFT + 10, plot.y(0) + BELOW, f"{won:,} won", "start", "strong") if won else ""
    body += (
        _text(WIDTH - RIGHT - 10, plot.y(0) - 8, f"{lost:,} lost", "end", "strong") if lost else ""
    )
    about = (
        f"{won:,} queries won, {len(ordered) - won - lost:,} stayed, {lost:,} lost under {measure}."
    )
    return _image(f"Change in {measure} of every query", about, body)


def interval(low: float, middle: float, high: float, *, reach: float) -> Markup:
    """A difference and its interval on a short scale from -reach to +reach, with a mark at 0."""

    def place(value: float) -> float:
        return round(75 + max(-1.0, min(1.0, value / reach)) * 69, 1)

    words = f"{number(low)} to {number(high)}"
    return Markup(
        '<svg class="interval" viewBox="0 0 150 18" role="img" aria-label="{words}">'
        '<title>{words}</title><line class="grid" x1="6" x2="144" y1="9" y2="9"/>'
        '<line class="zero" x1="75" x2="75" y1="1" y2="17"/>'
        '<line class="whisker" x1="{low}" x2="{high}" y1="9" y2="9"/>'
        '<circle class="dot" cx="{middle}" cy="9" r="4"/></svg>'
    ).format(words=words, low=place(low), high=place(high), middle=place(middle))


def dot_rows(
    rows: Sequence[tuple[str, tuple[float, float], float, float | None]], *, title: str
) -> Markup:
    """A row each of (label, (low, high), value, mark): a dot with its interval, and a line where
    the mark is.
    """
    ends = [x for _, (low, high), _, mark in rows for x in (low, high, mark) if x is not None]
    # `or`: one value alone has no range to take a share of.
    room = (max(ends) - min(ends)) * 0.05 or 0.05
    low, high = min(ends) - room, max(ends) + room
    left, step, top = 190, 26, 8
    height = top + step * len(rows) + 26
    parts = []

    def place(value: float) -> float:
        return round(left + (value - low) / (high - low) * (WIDTH - RIGHT - left), 1)

    for value in ticks(low, high, 6):
        line = '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        parts.append(Markup(line).format(place(value), top, height - 24))
        parts.append(_text(place(value), height - 6, number(value), "middle"))
    for i, (label, (lowest, highest), value, mark) in enumerate(rows):
        y = top + step * i + step // 2
        parts.append(_text(left - 10, y + 4, label, "end"))
        whisker = '<line class="whisker" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
        parts.append(Markup(whisker).format(place(lowest), place(highest), y=y))
        parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>').format(place(value), y))
        if mark is not None:
            line = '<line class="zero" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
            parts.append(Markup(line).format(place(mark), y - 9, y + 9))
    values = "; ".join(f"{label} {value:.4f}" for label, _, value, _ in rows)
    return _image(title, values, Markup("").join(parts), height=height)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most MOST_POINTS points: the means of neighbours where there are more.

    >>> thinned([(0, 1.0), (1, 3.0)])
    [(0.0, 1.0), (1.0, 3.0)]
    """
    size = math.ceil(len(points) / MOST_POINTS)
    groups = (points[i : i + size] for i in range(0, len(points), size or 1))
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def smooth(points: Sequence[Point]) -> list[Point]:
    """Each point's mean with its neighbours, a 25th of all on either side (fewer near the ends).

    >>> smooth([(0, 1.0), (1, 4.0), (2, 1.0)])
    [(0, 1.0), (1, 2.0), (2, 1.0)]
    """
    reach = max(1, len(points) // 25)
    means = []
    for i, (x, _) in enumerate(points):
        near = min(reach, i, len(points) - 1 - i)
        window = points[i - near : i + near + 1]
        means.append((x, sum(y for _, y in window) / len(window)))
    return means


def _curve(points: Sequence[Point], plot: Plot, kind: str) -> Markup:
    path = "M" + "L".join(f"{plot.x(x)},{plot.y(y)}" for x, y in points)
    return Markup('<path class="{}" d="{}"/>').format(kind, path)


def _area(ordered: Sequence[float], plot: Plot, sign: int) -> str:
    """The steps of the values with this sign, each down to the zero line."""
    size = math.ceil(len(ordered) / MOST_POINTS)
    zero, path = plot.y(0), ""
    for i in range(0, len(ordered), size):
        if ordered[i] * sign > 0:
            right = plot.x(min(i + size, len(ordered)))
            path += f"M{plot.x(i)},{zero}V{plot.y(ordered[i])}H{right}V{zero}Z"
    return path


def _axes(plot: Plot, x_label: str, *, with_x: bool = True) -> Markup:
    """Faint lines with numbers for y, numbers for x, and the x label."""
    parts = []
    for value in ticks(plot.y_low, plot.y_high, 4):
        y = plot.y(value)
        line = '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        parts.append(
            Markup(line).format(LEFT, WIDTH - RIGHT, y, y)
            + _text(LEFT - 8, y + 4, number(value), "end")
        )
    for value in ticks(plot.x_low, plot.x_high, 6) if with_x else []:
        parts.append(_text(plot.x(value), HEIGHT - BOTTOM + BELOW, number(value), "middle"))
    return Markup("").join(parts) + _text(
        (LEFT + WIDTH - RIGHT) / 2, HEIGHT - UNDER, x_label, "middle", "label"
    )


def _text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, x, round(y, 1), anchor, words
    )


def _image(title: str, about: str, body: Markup, *, height: int = HEIGHT) -> Markup:
    """The figure: a title above the drawing for all, title and description for a screen reader."""
    key = "".join(
        character if character.isalnum() and character.isascii() else "-"
        for character in title.lower()
    )
    return Markup(
        "<figure><figcaption>{title}</figcaption>"
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="t-{key} d-{key}">'
        '<title id="t-{key}">{title}</title><desc id="d-{key}">{about}</desc>{body}</svg></figure>'
    ).format(title=title, about=about, body=body, width=WIDTH, height=height, key=key)
