"""How connections to Redis are made."""

from __future__ import annotations

from unittest import mock

from tidings.backends.redis.pipeline import AutoPipeline


async def test_a_connection_is_made_without_a_look_at_the_disk() -> None:
    # redis-py reads its own version from a file for each connection that is not told it: on the event loop.
    pipeline = AutoPipeline("redis://127.0.0.1:1/0")
    with mock.patch("builtins.open", side_effect=AssertionError), mock.patch("io.open", side_effect=AssertionError):
        pipeline.connection()
    await pipeline.close()
