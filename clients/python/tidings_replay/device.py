"""A device of the replay: it says its lines, records what it receives, drops out and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from tidings.v1 import chat_pb2
from tidings_client import ClientReason, Connection, Status, Tidings, TidingsError
from tidings_replay.churn import Churn, DropKind
from tidings_replay.record import RecordedEntry, entry_of


class _Crash(Exception):  # noqa: N818 - on purpose
    """Ends a connection as a crash of the program does: nothing is acknowledged or saved."""


class ReplayDevice:
    """An application of the SDK that records each event as it was given.

    It looks nothing up and corrects nothing, so what it has in the end is what the SDK and the server delivered.

    Args:
        client: The signed-in device, not connected yet.
        data: The file in which the client keeps its state; a device that drops out needs it to come back.
        churn: Decides when the device drops out; None for never.
    """

    def __init__(self, client: Tidings, *, data: Path | None = None, churn: Churn | None = None) -> None:
        self.client = client
        self.seen: list[RecordedEntry] = []
        """The entries of all channels' logs, in the order in which they came."""
        self.times_live = 0
        """How often its connection became live."""
        self._data = data
        self._churn = churn
        self._last_seqs: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._here: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[DropKind | None] | None = None
        self._dropped_by: DropKind | None = None
        self._is_over = False

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stays connected, with interruptions, until `finish`.

        Raises:
            TidingsError: No server will take this device.
        """
        while not self._is_over:
            dropped_by = await self._attend()
            if dropped_by is not None and self._data is not None:
                await self.client.close()
                await asyncio.sleep(self._churn.away() if self._churn is not None else 0)
                self.client = await Tidings.resume(self._data)

    async def until_live(self) -> None:
        """Waits until its connection is live."""
        connection = await asyncio.shield(self._here)
        await connection.until_live()

    async def until_seen(self, channel_id: str, seq: int) -> None:
        """Waits until it has received the event `seq` of a channel, or a later one."""
        while self._last_seqs.get(channel_id, 0) < seq:
            self._moved.clear()
            await self._moved.wait()

    def stay(self) -> None:
        """Stops dropping out."""
        self._churn = None

    def finish(self) -> None:
        """Disconnects for good; `run` returns."""
        self._is_over = True
        if self._reading is not None:
            self._reading.cancel()

    # --- saying lines -------------------------------------------------------------------------------------------------

    async def say(self, channel_id: str, text: str, name: str) -> tuple[chat_pb2.Accepted, float]:
        """Says a line, and says it again as often as the connection is lost over it.

        Args:
            channel_id: The channel.
            text: The line.
            name: Its client_message_id, the same for every attempt.

        Returns:
            The result, and the seconds from when the device was connected to say it.

        Raises:
            TidingsError: The line is refused.
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
                # A device that drops out while it says a line has no result, and says it again.
                if error.reason != ClientReason.CONNECTION_CLOSED or self._is_at(connection):
                    raise
            breaks = None
            connection = await asyncio.shield(self._here)

    async def _say_and_drop(
        self, connection: Connection, channel_id: str, text: str, name: str, kind: DropKind, seconds: float
    ) -> chat_pb2.Accepted:
        saying = asyncio.create_task(connection.send(channel_id, text, client_message_id=name))
        try:
            await asyncio.wait({saying}, timeout=seconds)
            if self._is_at(connection):
                self._drop(connection, kind)
            return await saying
        finally:
            if not saying.done():
                saying.cancel()
                await asyncio.wait({saying})

    # --- behind the scenes --------------------------------------------------------------------------------------------

    async def _attend(self) -> DropKind | None:
        """Holds one connection until it drops out.

        Returns:
            How it dropped out; None when it was told to finish.
        """
        self._dropped_by = None
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
                    self._dropped_by = self._reading.result()
                if self._dropped_by is DropKind.CRASH:
                    raise _Crash
        return self._dropped_by

    async def _read(self, connection: Connection) -> DropKind | None:
        """Records what comes, until the device drops out.

        Returns:
            How it drops out.
        """
        async for event in connection:
            entry = entry_of(event)
            if entry is None:
                continue
            kind = self._churn.sees() if self._churn is not None else None
            if kind is DropKind.CRASH:
                # The event is not recorded, so it has to come again.
                return kind
            self.seen.append(entry)
            self._last_seqs[entry.channel_id] = max(self._last_seqs.get(entry.channel_id, 0), entry.seq)
            self._moved.set()
            if kind is DropKind.RECONNECT:
                connection.reconnect()
            elif kind is not None:
                return kind
        return None

    def _is_at(self, connection: Connection) -> bool:
        return self._here.done() and self._here.result() is connection

    def _drop(self, connection: Connection, kind: DropKind) -> None:
        if kind is DropKind.RECONNECT:
            connection.reconnect()
        elif self._reading is not None:
            self._dropped_by = kind
            self._reading.cancel()

    def _note_status(self, status: Status) -> None:
        self.times_live += status is Status.LIVE
