"""Line charts as SVG, for the documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_MOST_TICKS = 7
_COLOURS = ("#1f6f8b", "#c8553d", "#588157", "#8e7dbe")


def chart(title: str, x_name: str, y_name: str, series: Mapping[str, Points]) -> str:
    """A chart of one or several series, x on a logarithmic scale, y from 0.

    Args:
        title: What is shown.
        x_name: What x is, with its unit.
        y_name: What y is, with its unit.
        series: By name: points, x above 0.
    """
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    top, step = _scale(max(y for points in series.values() for _, y in points))

    def across(x: float) -> float:
        share = (math.log10(x) - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def up(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 18, title, "middle", ' font-size="14"'),
        _text(_WIDTH / 2, _HEIGHT - 10, x_name, "middle"),
        _text(-_HEIGHT / 2, 14, y_name, "middle", ' transform="rotate(-90)"'),
    ]
    for n in range(round(top / step) + 1):
        y = up(n * step)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{n * step:,g}", "end"))
    parts += [_text(across(x), _HEIGHT - _BOTTOM + 18, f"{x:,g}", "middle") for x in _ticks(xs)]
    for n, (name, points) in enumerate(series.items()):
        colour = _COLOURS[n % len(_COLOURS)]
        line = " ".join(f"{across(x)},{up(y)}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x)}" cy="{up(y)}" r="3" fill="{colour}"/>' for x, y in points]
        if len(series) > 1:
            parts.append(_text(_LEFT + 10 + 150 * n, _TOP - 6, name, "start", f' fill="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])


def _ticks(xs: Sequence[float]) -> Sequence[float]:
    """What to write below: the values themselves when they are few, else round ones between them."""
    if len(xs) <= _MOST_TICKS:
        return xs
    powers = range(math.floor(math.log10(xs[0])), math.ceil(math.log10(xs[-1])) + 1)
    return [
        tick for power in powers for tick in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if xs[0] <= tick <= xs[-1]
    ]


def _scale(most: float) -> tuple[float, float]:
    """The end of an axis that shows `most`, and the step between its lines: 1, 2 or 5 times a power of ten."""
    rough = most / 4 if most > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    return step * math.ceil(most / step) if most > 0 else step, step


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
