"""The connection as an application sees it: it sends over it, and iterates it for events."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from tidings.v1 import chat_pb2, discovery_pb2, errors_pb2
from tidings_client._api_client import ApiClient
from tidings_client._errors import FieldViolation, TidingsError, refusal
from tidings_client._names import new_client_message_id
from tidings_client._reasons import ClientReason, reason_word
from tidings_client._session_protocol import COMMAND_BYTES, SessionProtocol
from tidings_client._storage import Storage
from tidings_client._stream_runner import Status, StreamRunner

# Seconds between two savings of the progress: after a crash, at most the events handled meanwhile come again.
_SAVE_EVERY = 0.1


class Connection:
    """A device's stream, kept alive until it is closed.

    `Tidings.connect` makes it, and it is iterated for events::

        async with client.connect() as connection:
            async for event in connection:
                print(event.WhichOneof("body"), event)

    It sends and receives over any number of reconnects; `status` tells whether there is a stream. The methods that send
    return once the result is on stable storage, and wait while there is no stream. Each may be cancelled: a command
    that is not on its way by then is never sent, one that is on its way may or may not be carried out. The commands of
    a channel are carried out in the order in which they were given, each once the one before has its result; those of
    other channels do not wait for them.

    **What is iterated.** `tidings.v1.Event`: every entry of every channel's log, each once and in the order of its
    channel, including those made over this connection unless ``echo=False``; also receipts, typing, SyncComplete after
    each reconnect, SyncReset, and notices of a server that is about to stop. The iteration ends when the connection is
    closed. It raises `SignedOutError` or `ReplacedError` when the session has ended for good, `TidingsError` when no
    server will take this client.

    **What is remembered.** By asking for the next event, the application says that it is done with the one before. That
    is saved within 0.1 s, and when the connection is closed. If the process dies, what was not saved comes again in the
    next process: at least once. Otherwise each event comes exactly once. When an exception leaves the ``async with``,
    the event that the application was handling counts as not handled, so it comes again too.

    **What is kept.** Up to 4,000 events or 16 MiB wait for the application; then the stream is left unread until half
    are taken. While a command waits for its result the stream is read on, and up to twice as much is kept. What comes
    beyond that is skipped, and comes again once the application has taken enough: a program that only sends needs no
    more memory however long it runs. Then even with ``echo=False``, events made over this connection may come.

    Args:
        api: Calls the servers as the device.
        storage: Keeps the device's progress.
        echo: Whether the events made over this connection are iterated too.
        max_in_flight: The most commands that may be without a result.
        on_status: Is called with each new status.
    """

    def __init__(
        self,
        api: ApiClient,
        storage: Storage,
        *,
        echo: bool,
        max_in_flight: int,
        on_status: Callable[[Status], None] | None,
    ) -> None:
        self._storage = storage
        self._protocol = SessionProtocol(api.device.user.user_id, storage.progress(), echoes=echo)
        self._runner = StreamRunner(self._protocol, api, on_events=self._wake_reader, on_status=self._change_status)
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._on_status = on_status
        self._task: asyncio.Task[None] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._live = asyncio.Event()
        self._save_timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._is_over = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Begins to connect, without waiting for it."""
        if self._task is not None:
            raise RuntimeError("a connection is entered once; use Tidings.connect")
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Acknowledges and saves what was handled, and closes the connection. What waits to be sent is given up."""
        self._is_closed = True
        try:
            if error_type is None:
                self._protocol.receive_buffer.finish()
                await self._runner.leave()
        finally:
            if self._task is not None:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
            self._end(None)
            self._save()

    # --- status -------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """Whether there is a stream, and whether it is up to date."""
        return self._runner.status if not self._is_over else Status.CLOSED

    @property
    def server(self) -> discovery_pb2.Server | None:
        """The server of the stream that is open or being opened."""
        return self._runner.server

    @property
    def last_error(self) -> TidingsError | None:
        """Why the last stream ended; None when none has ended."""
        return self._runner.last_error

    @property
    def reconnects(self) -> int:
        """The number of streams after the first."""
        return max(0, self._runner.sessions - 1)

    @property
    def cursor(self) -> int:
        """The highest position received."""
        return self._protocol.receive_buffer.received_cursor

    async def until_live(self) -> None:
        """Waits until the connection is live.

        Raises:
            TidingsError: The connection ended instead.
        """
        await self._live.wait()
        self._check()

    def reconnect(self) -> None:
        """Opens another stream at once, for example when the system says that the network has changed."""
        self._runner.reconnect()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def send(
        self, channel_id: str, text: str, reply_to_seq: int = 0, client_message_id: str | None = None
    ) -> chat_pb2.Accepted:
        """Writes a message.

        Args:
            channel_id: The channel.
            text: 1 to 100,000 characters.
            reply_to_seq: The seq of the message that it answers, or 0.
            client_message_id: The id that makes a resend recognisable, 1 to 128 printable characters; a new one unless
                given. The same id with the same text and `reply_to_seq` gives the first result again and never a second
                message, even from a later process; with others it is refused, reason CLIENT_MESSAGE_ID_REUSED.

        Returns:
            The message's seq, position and time.

        Raises:
            TidingsError: The message is refused; `violations` names the field at fault.
        """
        message = chat_pb2.SendMessage(
            client_message_id=new_client_message_id() if client_message_id is None else client_message_id,
            channel_id=channel_id,
            text=text,
            reply_to_seq=reply_to_seq,
        )
        return await self._perform(chat_pb2.Command(send_message=message), channel_id)

    async def edit(
        self, channel_id: str, seq: int, text: str, client_message_id: str | None = None
    ) -> chat_pb2.Accepted:
        """Changes the text of one's own message.

        Args:
            channel_id: The channel.
            seq: The message.
            text: The new text; 1 to 100,000 characters.
            client_message_id: The id of the change, as in `send`.

        Returns:
            The seq, position and time of the change.

        Raises:
            TidingsError: The change is refused.
        """
        name = new_client_message_id() if client_message_id is None else client_message_id
        message = chat_pb2.EditMessage(channel_id=channel_id, seq=seq, text=text, client_message_id=name)
        return await self._perform(chat_pb2.Command(edit_message=message), channel_id)

    async def delete(self, channel_id: str, seq: int) -> chat_pb2.Accepted:
        """Deletes a message for everyone.

        Args:
            channel_id: The channel.
            seq: The message: one's own, or anyone's as an admin or owner of the group.

        Returns:
            The seq, position and time of the deletion; of the first one, if it was deleted before.

        Raises:
            TidingsError: The deletion is refused.
        """
        message = chat_pb2.DeleteMessage(channel_id=channel_id, seq=seq)
        return await self._perform(chat_pb2.Command(delete_message=message), channel_id)

    async def mark_read(self, channel_id: str, seq: int) -> chat_pb2.Accepted:
        """Marks everything in a channel up to a seq as read.

        Args:
            channel_id: The channel.
            seq: The seq; a mark before the one in force changes nothing.

        Returns:
            In `seq`, the mark now in force.

        Raises:
            TidingsError: The mark is refused.
        """
        message = chat_pb2.MarkRead(channel_id=channel_id, seq=seq)
        return await self._perform(chat_pb2.Command(mark_read=message), channel_id)

    async def set_typing(self, channel_id: str, typing: bool = True) -> None:
        """Shows the other members that the user is typing, or has stopped.

        It is sent without waiting for an answer, and dropped when there is no live stream.

        Args:
            channel_id: The channel.
            typing: Whether the user is typing. To be repeated every few seconds: it lapses at the others after 6.

        Raises:
            TidingsError: The connection is over.
        """
        self._check()
        self._protocol.set_typing(channel_id, typing)
        self._runner.wake()

    async def _perform(self, command: chat_pb2.Command, channel_id: str) -> chat_pb2.Accepted:
        """Sends a command once there are few enough without a result, and waits for its result."""
        size = command.ByteSize()
        if size > COMMAND_BYTES:
            # The server would end the stream because of it, whenever it is sent.
            description = f"the command has {size:,} bytes, at most {COMMAND_BYTES:,} are allowed"
            raise refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"text: {description}",
                reason=reason_word(errors_pb2.ERROR_REASON_INVALID_FIELD),
                violations=[FieldViolation("text", description)],
            )
        async with self._in_flight:
            self._check()
            future: asyncio.Future[chat_pb2.Accepted] = asyncio.get_running_loop().create_future()

            def resolve(outcome: chat_pb2.Accepted | TidingsError) -> None:
                if future.done():
                    return
                if isinstance(outcome, TidingsError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

            pending = self._protocol.command(command, channel_id, resolve)
            self._runner.wake()
            try:
                return await future
            except asyncio.CancelledError:
                self._protocol.send_buffer.abandon(pending)
                raise

    # --- receiving ----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        """The connection is its own iterator; events are not kept for a second one."""
        return self

    async def __anext__(self) -> chat_pb2.Event:
        """Waits for the next event; the one before counts as handled.

        Raises:
            SignedOutError: The device's sign-in has ended.
            ReplacedError: The device has a newer stream.
            TidingsError: No server will take this client.
        """
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            event = self._next()
            if event is not None:
                return event
            if self._error is not None:
                raise self._error
            if self._waiting is not None:
                raise RuntimeError("another task is waiting for the events of this connection")
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def _next(self) -> chat_pb2.Event | None:
        loop = asyncio.get_running_loop()
        event = self._protocol.next_event(loop.time())
        if self._save_timer is None and self._protocol.receive_buffer.has_unsaved:
            self._save_timer = loop.call_later(_SAVE_EVERY, self._save_in_time)
        self._runner.wake()
        return event

    # --- behind the scenes --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._runner.run()
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        """Ends the connection with an error, or in good order: commands fail, and the reader is woken."""
        if self._is_over:
            return
        self._is_over = True
        self._error = error
        self._protocol.send_buffer.fail(self._why_over())
        self._live.set()
        self._wake_reader()
        if self._on_status is not None:
            self._on_status(Status.CLOSED)

    def _why_over(self) -> TidingsError:
        if isinstance(self._error, TidingsError):
            return type(self._error).of(self._error)
        why = f"the connection failed: {self._error!r}" if self._error is not None else "the connection is closed"
        return refusal(grpc.StatusCode.CANCELLED, why, reason=ClientReason.CONNECTION_CLOSED)

    def _check(self) -> None:
        if self._is_over or self._is_closed:
            raise self._why_over()
        if self._task is None:
            raise RuntimeError("a connection is made and entered by Tidings.connect")

    def _change_status(self, status: Status) -> None:
        if status is Status.LIVE:
            self._live.set()
        elif not self._is_over:
            self._live.clear()
        if self._on_status is not None and not self._is_over:
            self._on_status(status)

    def _wake_reader(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _save(self) -> None:
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        if self._protocol.receive_buffer.has_unsaved:
            self._storage.save_progress(self._protocol.receive_buffer.take_unsaved())

    def _save_in_time(self) -> None:
        try:
            self._save()
        except (sqlite3.Error, OverflowError) as error:
            # Going on would promise what cannot be kept.
            self._end(error)
            if self._task is not None:
                self._task.cancel()
