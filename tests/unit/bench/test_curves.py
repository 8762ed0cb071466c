"""What is drawn of results: the right figure of the right load at the right place."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bench.curves import CURVES, Curve
from bench.plan import rate
from bench.run import Measured

_SVG = "{http://www.w3.org/2000/svg}"
LOADS = [rate(each) for each in (10, 100, 1_000)]


def measured(server: str, *figures: dict[str, float]) -> list[Measured]:
    return [Measured(load, server, figures=[each]) for load, each in zip(LOADS, figures, strict=True)]


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in ET.fromstring(svg).iter(f"{_SVG}circle")]


def texts(svg: str) -> list[str | None]:
    return [each.text for each in ET.fromstring(svg).iter(f"{_SVG}text")]


def test_there_is_a_line_for_each_server_and_figure() -> None:
    curve = Curve("f.svg", "title", "x", "y", {"p50": "accept_p50_ms", "p99": "accept_p99_ms"}, LOADS, (10, 100, 1_000))
    figures = [{"accept_p50_ms": float(n), "accept_p99_ms": 2.0 * n} for n in (1, 2, 3)]
    # In any order; a load that is not drawn is left out.
    results = [
        *reversed(measured("tidings", *figures)),
        *measured("relay", *figures),
        Measured(rate(7), "relay", figures=[figures[0]]),
    ]

    svg = curve.draw(results)

    assert {"tidings p50", "tidings p99", "relay p50", "relay p99"} <= set(texts(svg))
    assert len(circles(svg)) == 4 * len(LOADS)
    (first, second, third), p99 = circles(svg)[:3], circles(svg)[3:6]
    assert second[0] - first[0] == pytest.approx(third[0] - second[0])
    assert [each[0] for each in p99] == [first[0], second[0], third[0]]
    assert first[1] > second[1] > third[1]


def test_loads_may_stand_where_a_figure_says() -> None:
    curve = Curve("f.svg", "title", "x", "y", {"": "accept_p50_ms"}, LOADS, "rate_per_s")
    figures = [{"accept_p50_ms": 1.0, "rate_per_s": each} for each in (100.0, 10_000.0, 1_000.0)]

    (first, second, third) = circles(curve.draw(measured("tidings", *figures)))

    assert first[0] < third[0] < second[0]


def test_every_curve_has_a_place_for_each_of_its_loads() -> None:
    assert len({curve.file_name for curve in CURVES}) == len(CURVES)
    for curve in CURVES:
        names = [load.name for load in curve.loads]
        assert len(set(names)) == len(names)
        assert isinstance(curve.x, str) or len(curve.x) == len(names)
