"""The push queue in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from tidings.backends.rows import PUSH_COLUMNS, device_push, push_row
from tidings.backends.sqlite.database import Database
from tidings.core.ports import DeadLetter, DevicePush, PushQueue, PushQueueDepth, QueuedPush
from tidings.core.ports.push import LONGEST_WAIT_MS
from tidings.core.values import PushProvider


class SqlitePushQueue(PushQueue):
    """The push queue in SQLite.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, pushes: Sequence[DevicePush], now_ms: int) -> None:
        """See `PushQueue.enqueue`."""

        def work(connection: sqlite3.Connection) -> None:
            for push in pushes:
                _enqueue(connection, push, now_ms)

        await self._database.write(work)

    async def cancel(self, device_ids: Collection[str], channel_id: str, upto_seq: int) -> int:
        """See `PushQueue.cancel`."""
        return await self._database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM push_queue WHERE device_id IN (SELECT value FROM json_each(?)) AND channel_id = ?"
                    " AND seq <= ? AND NOT claimed",
                    (json.dumps(list(device_ids)), channel_id, upto_seq),
                ).rowcount
            )
        )

    async def claim(self, provider: PushProvider, now_ms: int, lease_ms: int, limit: int) -> Sequence[QueuedPush]:
        """See `PushQueue.claim`."""

        def work(connection: sqlite3.Connection) -> Sequence[QueuedPush]:
            connection.execute(
                "UPDATE push_queue SET due_at_ms = ? WHERE provider = ? AND due_at_ms > ?",
                (now_ms, provider, now_ms + LONGEST_WAIT_MS),
            )
            claimed = [
                QueuedPush(row[0], device_push(row[3:]), row[1], row[2])
                for row in connection.execute(
                    f"SELECT push_id, attempts, queued_at_ms, {PUSH_COLUMNS} FROM push_queue"
                    " WHERE provider = ? AND due_at_ms <= ? ORDER BY due_at_ms, push_id LIMIT ?",
                    (provider, now_ms, limit),
                )
            ]
            connection.executemany(
                "UPDATE push_queue SET claimed = 1, due_at_ms = ? WHERE push_id = ?",
                [(now_ms + lease_ms, each.push_id) for each in claimed],
            )
            return claimed

        return await self._database.write(work)

    async def next_due_ms(self, provider: PushProvider) -> int | None:
        """See `PushQueue.next_due_ms`."""

        def work(connection: sqlite3.Connection) -> int | None:
            due: int | None
            (due,) = connection.execute(
                "SELECT min(due_at_ms) FROM push_queue WHERE provider = ?", (provider,)
            ).fetchone()
            return due

        return await self._database.read(work)

    async def done(self, push_id: int) -> None:
        """See `PushQueue.done`."""
        await self._database.write(lambda connection: _delete(connection, push_id))

    async def retry(self, push_id: int, at_ms: int, *, failed: bool = True) -> None:
        """See `PushQueue.retry`."""

        def work(connection: sqlite3.Connection) -> None:
            superseded = connection.execute(
                "SELECT 1 FROM push_queue AS old JOIN push_queue AS new USING (device_id, channel_id)"
                " WHERE old.push_id = ? AND new.push_id > old.push_id",
                (push_id,),
            ).fetchone()
            if superseded:
                _delete(connection, push_id)
            else:
                connection.execute(
                    "UPDATE push_queue SET claimed = 0, due_at_ms = ?, attempts = attempts + ? WHERE push_id = ?",
                    (at_ms, failed, push_id),
                )

        await self._database.write(work)

    async def give_up(self, push_id: int, error: str, now_ms: int) -> None:
        """See `PushQueue.give_up`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"REPLACE INTO push_dead_letters (push_id, {PUSH_COLUMNS}, attempts, error, died_at_ms)"
                f" SELECT push_id, {PUSH_COLUMNS}, attempts + 1, ?, ? FROM push_queue WHERE push_id = ?",
                (error, now_ms, push_id),
            )
            _delete(connection, push_id)

        await self._database.write(work)

    async def depth(self) -> PushQueueDepth:
        """See `PushQueue.depth`."""
        return await self._database.read(
            lambda connection: PushQueueDepth(
                *connection.execute(
                    "SELECT (SELECT count(*) FROM push_queue), (SELECT count(*) FROM push_dead_letters),"
                    " coalesce((SELECT min(queued_at_ms) FROM push_queue), 0)"
                ).fetchone()
            )
        )

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """See `PushQueue.dead_letters`."""
        return await self._database.read(
            lambda connection: [
                DeadLetter(row[0], device_push(row[4:]), *row[1:4])
                for row in connection.execute(
                    f"SELECT push_id, attempts, error, died_at_ms, {PUSH_COLUMNS} FROM push_dead_letters"
                    " ORDER BY died_at_ms DESC, push_id DESC LIMIT ?",
                    (limit,),
                )
            ]
        )

    async def requeue(self, push_id: int, now_ms: int) -> bool:
        """See `PushQueue.requeue`."""

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                f"SELECT {PUSH_COLUMNS} FROM push_dead_letters WHERE push_id = ?", (push_id,)
            ).fetchone()
            if row is None:
                return False
            _enqueue(connection, device_push(row), now_ms)
            return _drop(connection, push_id)

        return await self._database.write(work)

    async def drop(self, push_id: int) -> bool:
        """See `PushQueue.drop`."""
        return await self._database.write(lambda connection: _drop(connection, push_id))


def _enqueue(connection: sqlite3.Connection, push: DevicePush, now_ms: int) -> None:
    """Enqueue a push in place of earlier ones for its device and channel, unless the queue holds a later one."""
    request = push.request
    held = connection.execute(
        "SELECT push_id, (seq, sender_id = '') >= (?, ?), claimed AND due_at_ms > ?, queued_at_ms, due_at_ms"
        " FROM push_queue"
        " WHERE device_id = ? AND channel_id = ?",
        (*request.rank, now_ms, push.device_id, request.channel_id),
    ).fetchall()
    if any(is_later for _, is_later, *_ in held):
        return
    queued_at_ms = due_at_ms = now_ms
    for push_id, _, under_way, queued_before_ms, due_before_ms in held:
        if not under_way:
            # The later push takes the place in the queue, so that a busy channel is not put off for ever.
            queued_at_ms = min(queued_at_ms, queued_before_ms)
            due_at_ms = min(due_at_ms, due_before_ms)
            _delete(connection, push_id)
    connection.execute(
        f"INSERT INTO push_queue ({PUSH_COLUMNS}, queued_at_ms, due_at_ms, claimed, attempts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        (*push_row(push), queued_at_ms, due_at_ms),
    )


def _delete(connection: sqlite3.Connection, push_id: int) -> None:
    connection.execute("DELETE FROM push_queue WHERE push_id = ?", (push_id,))


def _drop(connection: sqlite3.Connection, push_id: int) -> bool:
    return connection.execute("DELETE FROM push_dead_letters WHERE push_id = ?", (push_id,)).rowcount > 0
