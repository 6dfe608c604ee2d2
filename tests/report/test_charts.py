"""Charts: round ticks, places on the drawing, thinning that keeps the shape, and odd inputs."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whet.report.charts import (
    MOST_POINTS,
    Plot,
    change_chart,
    histogram,
    interval,
    line_chart,
    number,
    smooth,
    thinned,
    ticks,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 4650, [0, 1000, 2000, 3000, 4000]),
        (-1.05, 1.05, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0, 5e-5, [0.0, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5]),
        (0.61, 0.68, [0.62, 0.64, 0.66, 0.68]),
    ],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(3, 8))
def test_ticks_are_few_even_and_within(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert 1 <= len(found) <= most + 1
    assert all(low - span * 1e-6 <= one <= low + span * (1 + 1e-6) for one in found)
    gaps = [b - a for a, b in pairwise(found)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps)) if gaps else True


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *[(1200, "1,200"), (0.25, "0.25"), (5e-5, "5e-05"), (-3, "\N{MINUS SIGN}3"), (0.0, "0")],
        *[(float("nan"), "nan"), (1 / 3, "0.333"), (-0.5, "\N{MINUS SIGN}0.5"), (1e20, "1e+20")],
    ],
)
def test_numbers(value: float, words: str) -> None:
    assert number(value) == words


def test_places_on_the_drawing() -> None:
    plot = Plot(0, 10, 0, 1)
    assert (plot.x(0), plot.x(10)) == (100, 680)
    assert (plot.y(0), plot.y(1)) == (206, 16)


def test_a_curve_goes_through_its_points() -> None:
    chart = line_chart([(0, 0.0), (5, 1.0), (10, 0.0)], title="Loss", x_label="step")
    path = re.search(r'class="line" d="M([^"]*)"', chart)
    places = [tuple(map(float, pair.split(","))) for pair in path.group(1).split("L")]
    assert [x for x, _ in places] == [100, 390, 680]
    assert places[0][1] == places[2][1] == 206 > places[1][1]
    assert "From 0 to 0; lowest 0, highest 1." in chart


def test_long_curves_are_thinned_by_means() -> None:
    points = [(float(i), float(i % 2)) for i in range(10 * MOST_POINTS)]
    fewer = thinned(points)
    assert len(fewer) == MOST_POINTS
    assert {y for _, y in fewer} == {0.5}
    assert thinned(points[:7]) == points[:7]


def test_smoothing_keeps_constants_and_ends() -> None:
    assert smooth([(i, 2.0) for i in range(100)]) == [(i, 2.0) for i in range(100)]
    assert [y for _, y in smooth([(0, 1.0), (1, 4.0), (2, 1.0)])] == [1.0, 2.0, 1.0]


def test_histogram_bars_have_the_height_of_their_count() -> None:
    chart = histogram([("0", 10), ("1", 5), ("2", 0)], title="Rank", x_label="rank")
    heights = [float(h) for h in re.findall(r'<rect class="bar"[^>]* height="([\d.]+)"', chart)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.1)
    assert heights[2] == 0
    assert "15 in all; most, 10, at 0." in chart


def test_change_chart_counts() -> None:
    chart = change_chart([0.5] * 3 + [0.0] * 4 + [-0.25] * 2, measure="nDCG@10")
    assert "3 queries won, 4 stayed, 2 lost under nDCG@10." in chart
    wide = change_chart([0.001 * i for i in range(-2000, 2000)], measure="x")
    assert len(wide) < 60_000 and "1,999 won" in wide and "2,000 lost" in wide


def test_interval_has_zero_in_the_middle() -> None:
    drawing = interval(-0.02, 0.0, 0.02, reach=0.04)
    assert 'cx="75.0"' in drawing and 'x1="40.5" x2="109.5"' in drawing
    assert 'aria-label="\N{MINUS SIGN}0.02 to 0.02"' in drawing


@pytest.mark.parametrize("points", [[(3, 0.5)], [(0, 0.0), (1, 0.0)], [(1, -2.0), (2, -3.0)]])
def test_odd_curves_are_drawn(points: list[tuple[float, float]]) -> None:
    assert "nan" not in line_chart(points, title="x", x_label="step", smoothed=True)
