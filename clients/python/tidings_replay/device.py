"""One device: it says what it is told to, writes down what it sees, drops out and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from tidings.v1 import chat_pb2
from tidings_client import Connection, Status, Tidings, TidingsError
from tidings_replay.churn import Churn, DropKind
from tidings_replay.record import RecordedEntry, entry_of


class _Crash(Exception):  # noqa: N818 - on purpose
    """Leaves a connection as a crash of the program does: nothing is finished, nothing is said."""


class ReplayDevice:
    """An application on the SDK.

    What it keeps itself is only what it was given, as it was given; it asks nothing about it and corrects nothing, so
    that what it has in the end is what the SDK and the server made of it.
    """

    def __init__(self, client: Tidings, *, data: Path | None = None, churn: Churn | None = None) -> None:
        """Signed in, not connected yet.

        Args:
            client: The device.
            data: The file that the client keeps its state in, which a device that drops out needs to come back.
            churn: When it drops out; None for never.
        """
        self.client = client
        self.seen: list[RecordedEntry] = []
        """What came of any channel's log, in the order in which it came."""
        self.times_live = 0
        """How often it went from no stream to being up to date."""
        self._data = data
        self._churn = churn
        self._last_seqs: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._here: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[DropKind | None] | None = None
        self._way: DropKind | None = None
        self._is_over = False

    # --- being there --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Is there, with interruptions, until `finish`.

        Raises:
            TidingsError: No server will take this device.
        """
        while not self._is_over:
            way = await self._attend()
            if way is not None and self._data is not None:
                await self.client.close()
                await asyncio.sleep(self._churn.away() if self._churn is not None else 0)
                self.client = await Tidings.resume(self._data)

    async def until_live(self) -> None:
        """Waits until it is up to date, with a stream."""
        connection = await asyncio.shield(self._here)
        await connection.until_live()

    async def until_seen(self, channel_id: str, seq: int) -> None:
        """Waits until it has been given the event `seq` of a channel, or a later one."""
        while self._last_seqs.get(channel_id, 0) < seq:
            self._moved.clear()
            await self._moved.wait()

    def stay(self) -> None:
        """Drops out no more."""
        self._churn = None

    def finish(self) -> None:
        """Leaves for good; `run` returns then."""
        self._is_over = True
        if self._reading is not None:
            self._reading.cancel()

    # --- saying something ---------------------------------------------------------------------------------------------

    async def say(self, channel_id: str, text: str, name: str) -> tuple[chat_pb2.Accepted, float]:
        """Says a line, however often it takes.

        Args:
            channel_id: Where.
            text: What.
            name: The line's client_message_id, the same for every try.

        Returns:
            What it was accepted as, and the seconds from when the device was there to say it.

        Raises:
            TidingsError: It is refused.
        """
        connection = await asyncio.shield(self._here)
        started = time.monotonic()
        breaks = self._churn.says() if self._churn is not None else None
        while True:
            try:
                if breaks is None:
                    accepted = await connection.send(channel_id, text, client_message_id=name)
                else:
                    accepted = await self._say_and_drop(connection, channel_id, text, name, *breaks)
                return accepted, time.monotonic() - started
            except TidingsError as error:
                # Whoever drops out while saying something has not heard what came of it, and says it again.
                if error.reason != "CONNECTION_CLOSED" or self._is_at(connection):
                    raise
            breaks = None
            connection = await asyncio.shield(self._here)

    async def _say_and_drop(
        self, connection: Connection, channel_id: str, text: str, name: str, way: DropKind, seconds: float
    ) -> chat_pb2.Accepted:
        saying = asyncio.create_task(connection.send(channel_id, text, client_message_id=name))
        try:
            await asyncio.wait({saying}, timeout=seconds)
            if self._is_at(connection):
                self._drop(connection, way)
            return await saying
        finally:
            if not saying.done():
                saying.cancel()
                await asyncio.wait({saying})

    # --- behind the scenes --------------------------------------------------------------------------------------------

    async def _attend(self) -> DropKind | None:
        """Holds one connection.

        Returns:
            How it dropped out; None when it was told to finish.
        """
        self._way = None
        with contextlib.suppress(_Crash):
            async with self.client.connect(on_status=self._note_status) as connection:
                self._reading = asyncio.create_task(self._read(connection))
                self._here.set_result(connection)
                try:
                    await asyncio.wait({self._reading})
                finally:
                    self._here = asyncio.get_running_loop().create_future()
                    self._reading.cancel()
                if not self._reading.cancelled():
                    self._way = self._reading.result()
                if self._way is DropKind.CRASH:
                    raise _Crash
        return self._way

    async def _read(self, connection: Connection) -> DropKind | None:
        """Takes what comes.

        Returns:
            How it drops out over it.
        """
        async for event in connection:
            entry = entry_of(event)
            if entry is None:
                continue
            way = self._churn.sees() if self._churn is not None else None
            if way is DropKind.CRASH:
                # With the event in its hands and not written down: it has to come again.
                return way
            self.seen.append(entry)
            self._last_seqs[entry.channel_id] = max(self._last_seqs.get(entry.channel_id, 0), entry.seq)
            self._moved.set()
            if way is DropKind.RECONNECT:
                connection.reconnect()
            elif way is not None:
                return way
        return None

    def _is_at(self, connection: Connection) -> bool:
        return self._here.done() and self._here.result() is connection

    def _drop(self, connection: Connection, way: DropKind) -> None:
        if way is DropKind.RECONNECT:
            connection.reconnect()
        elif self._reading is not None:
            self._way = way
            self._reading.cancel()

    def _note_status(self, status: Status) -> None:
        self.times_live += status is Status.LIVE
