"""The growth bench: it measures what it says, on a small scale."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from bench import growth


async def test_messages_channels_and_their_charts(tmp_path: Path) -> None:
    content = {
        "messages stored": await growth.stored(tmp_path / "stored", (500, 1_000), messages=400),
        "channels": await growth.channels(tmp_path / "channels", (10, 60), messages=400),
        "connections": {100: {"message_us": 1.0}, 200: {"message_us": 2.0}},
    }
    assert all(found["message_us"] > 0 for sizes in content.values() for found in sizes.values())
    assert all(found["page_p50_ms"] > 0 for found in content["messages stored"].values())
    charts = growth.charts(content)
    assert set(charts) == {"stored.svg", "page.svg", "channels.svg", "connections.svg"}
    for svg in charts.values():
        assert ET.fromstring(svg).tag.endswith("svg")
