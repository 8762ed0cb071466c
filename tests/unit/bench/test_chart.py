"""Charts: every point where it belongs."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from bench.chart import chart

_SVG = "{http://www.w3.org/2000/svg}"


def test_points_stand_where_their_values_are() -> None:
    root = ET.fromstring(chart("a < b", "x", "y", {"one": [(1, 0), (10, 5), (100, 10)], "two": [(100, 20)]}))
    circles = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in root.iter(f"{_SVG}circle")]
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = circles
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert x3 == x4
    assert y1 - y2 == pytest.approx(y2 - y3)
    assert y1 - y4 == pytest.approx(2 * (y1 - y3))
    texts = [each.text for each in root.iter(f"{_SVG}text")]
    assert {"a < b", "x", "y", "one", "two", "1", "10", "100", "0", "20"} <= set(texts)


@pytest.mark.parametrize("points", [[(1, 0)], [(5, 0.003)], [(1, 7), (1_000_000, 123_456)]])
def test_any_values_make_a_chart(points: list[tuple[float, float]]) -> None:
    root = ET.fromstring(chart("t", "x", "y", {"one": points}))
    box = root.attrib["viewBox"].split()
    for each in root.iter(f"{_SVG}circle"):
        assert 0 <= float(each.attrib["cx"]) <= float(box[2])
        assert 0 <= float(each.attrib["cy"]) <= float(box[3])
