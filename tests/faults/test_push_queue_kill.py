from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tidings.backends.sqlite.database import Database
from tidings.backends.sqlite.push_queue import SqlitePushQueue
from tidings.core.values import PushProvider


@pytest.mark.parametrize("acknowledged_before", [1, 50, 400])
async def test_every_acknowledged_push_survives_sigkill(tmp_path: Path, acknowledged_before: int) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.push_writer", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    try:
        acknowledged = [int(await writer.stdout.readline()) for _ in range(acknowledged_before)]
    finally:
        writer.kill()
    # What it had said before it died counts as well; a line cut short does not.
    rest = await writer.stdout.read()
    acknowledged += [int(line) for line in rest.split(b"\n")[:-1]]
    await writer.wait()

    database = Database(tmp_path)
    claimed = await SqlitePushQueue(database).claim(PushProvider.LOG, 0, 60_000, 1_000_000)
    await database.close()
    kept = [each.push.request.seq for each in claimed]
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    assert len(acknowledged) >= acknowledged_before
