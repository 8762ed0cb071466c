"""One device's side of the stream, over all its reconnects, without any I/O.

Frames that arrived go in; frames to write and events for the application come out. The time is passed in. Whoever does
the I/O opens a stream and calls `open`, passes what it reads to `receive` and supplies what `receive_buffer.need` then
asks for, writes what `write` gives whenever something has changed or `due` has come, and calls `lose` when the stream
is gone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from tidings.v1 import chat_pb2, discovery_pb2
from tidings_client._errors import TidingsError, from_status
from tidings_client._local_echo import local_echo
from tidings_client._progress import Progress
from tidings_client._receive_buffer import ReceiveBuffer, StreamEntry, entry_of
from tidings_client._send_buffer import PendingCommand, Resolve, SendBuffer
from tidings_client._throttle import Throttle

COMMAND_BYTES = (1 << 20) - (4 << 10)
"""The largest command that may be sent. A frame over 1 MiB would end the stream; this leaves room for the rest of the
frame."""
_FRAME_BYTES = 512 << 10
# With what goes beside them, fewer than the 256 commands that a frame may have.
_FRAME_TYPING = 64
# Seconds. The server counts five of them from a message to a push, and moves receipts by acknowledgements.
_ACKNOWLEDGE_EVERY = 0.1
_ACKNOWLEDGE_SOON = 0.02


class Phase(enum.Enum):
    """How far the stream has come."""

    AWAY = enum.auto()
    """There is no stream."""
    OPENING = enum.auto()
    """`Hello` is on its way."""
    SYNCING = enum.auto()
    """The replay is coming."""
    LIVE = enum.auto()
    """The replay is over."""


class SessionProtocol:
    """Decides what a device writes to its stream, and what it makes of the frames that it reads.

    Args:
        user_id: The user whose device it is.
        progress: The device's progress from earlier streams.
        echoes: Whether the application also gets the events of what it sent itself.
        send_buffer: What to send; empty unless given.
    """

    def __init__(
        self, user_id: str, progress: Progress, *, echoes: bool = True, send_buffer: SendBuffer | None = None
    ) -> None:
        self.receive_buffer = ReceiveBuffer(user_id, progress)
        self.send_buffer = send_buffer or SendBuffer()
        self.phase = Phase.AWAY
        self.server_id = ""
        """The id of the server that welcomed the device last."""
        self.refuge: Sequence[discovery_pb2.Server] = ()
        """The servers to move to, when this one is about to stop; else none."""
        self.wants_token = False
        """Whether the server asked for a newer access token."""
        self.token_refused: TidingsError | None = None
        """Why the server refused a newer access token; None unless it did."""
        self._user_id = user_id
        self._echoes = echoes
        self._last_command_id = 0
        self._acknowledge = Throttle(_ACKNOWLEDGE_EVERY, _ACKNOWLEDGE_SOON)
        self._acknowledged = 0
        self._typing: dict[str, bool] = {}
        self._token = ""
        self._token_command: int | None = None

    # --- the stream ---------------------------------------------------------------------------------------------------

    def open(self) -> chat_pb2.ConverseRequest:
        """Begins with a stream that was just opened, and gives the frame to write first."""
        self.phase = Phase.OPENING
        hello = chat_pb2.Hello(cursor=self.receive_buffer.begin())
        return chat_pb2.ConverseRequest(commands=[chat_pb2.Command(command_id=self._next_id(), hello=hello)])

    def lose(self) -> None:
        """Ends with a stream that is gone. What was not sent or not answered waits for the next one."""
        self.phase = Phase.AWAY
        self.refuge = ()
        self.wants_token = False
        self.token_refused = None
        self.receive_buffer.lose()
        self.send_buffer.lost()
        self._acknowledge.forget()
        self._acknowledged = 0
        self._typing.clear()
        self._token = ""

    def receive(self, frame: chat_pb2.ConverseResponse, now: float) -> None:
        """Takes a frame that was read; `receive_buffer.need` may be set afterwards.

        Args:
            frame: The frame.
            now: The time, in seconds.
        """
        for event in frame.events:
            kind = event.WhichOneof("body")
            if kind == "command_result":
                self._take_result(event.command_result, now)
            elif kind == "welcome":
                self.server_id = event.welcome.server_id
                self.phase = Phase.SYNCING
            elif kind == "server_notice" and event.server_notice.kind == chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING:
                # Not for the application: the server and this library settle it between them.
                self.wants_token = True
            else:
                if kind == "sync_complete":
                    self.phase = Phase.LIVE
                elif kind == "server_notice" and event.server_notice.kind == chat_pb2.ServerNotice.KIND_DRAINING:
                    self.refuge = list(event.server_notice.servers)
                self.receive_buffer.take(self._entry(event))

    def supply_events(self, events: Iterable[chat_pb2.Event]) -> None:
        """Answers a `Gap`, as `ReceiveBuffer.supply_events` does."""
        self.receive_buffer.supply_events([self._entry(event) for event in events])

    # --- what to write ------------------------------------------------------------------------------------------------

    def write(self, now: float) -> chat_pb2.ConverseRequest | None:
        """Gives the next frame to write; None when there is nothing to write now.

        Args:
            now: The time, in seconds.
        """
        if not self._may_speak():
            return None
        commands: list[chat_pb2.Command] = []
        if self._token:
            self._token_command = self._next_id()
            token = chat_pb2.Reauthenticate(access_token=self._token)
            commands.append(chat_pb2.Command(command_id=self._token_command, reauthenticate=token))
            self._token = ""
        if self.phase is Phase.LIVE:
            # Not before the replay is over: a command's result is at the end of the log, and its position would move
            # the cursor past what the replay has not brought yet. The replay may also make a resend unnecessary.
            commands += self.send_buffer.take(now, _FRAME_BYTES)
            for channel_id in list(self._typing)[:_FRAME_TYPING]:
                typing = chat_pb2.SetTyping(channel_id=channel_id, typing=self._typing.pop(channel_id))
                commands.append(chat_pb2.Command(set_typing=typing))
        if self._acknowledge.is_due(now):
            self._acknowledge.done(now)
            commands.append(self._acknowledgement())
        return chat_pb2.ConverseRequest(commands=commands) if commands else None

    def due(self) -> float | None:
        """When `write` will have a frame: 0 for at once; None when that depends on what happens next."""
        if not self._may_speak():
            return None
        if self._token:
            return 0.0
        due = self._acknowledge.due
        if self.phase is Phase.LIVE:
            sending = 0.0 if self._typing else self.send_buffer.due()
            if sending is not None and (due is None or sending < due):
                return sending
        return due

    def farewell(self) -> chat_pb2.ConverseRequest | None:
        """Gives the last frame before closing, with the outstanding acknowledgement; None when there is none."""
        if not self._may_speak() or self.receive_buffer.handed_position <= self._acknowledged:
            return None
        return chat_pb2.ConverseRequest(commands=[self._acknowledgement()])

    # --- what the application does ------------------------------------------------------------------------------------

    def command(self, command: chat_pb2.Command, channel_id: str, resolve: Resolve) -> PendingCommand:
        """Adds a command to send.

        Args:
            command: The command; its command_id is set here.
            channel_id: The channel that it is about.
            resolve: Is called with its result, once.
        """
        command.command_id = self._next_id()
        return self.send_buffer.add(command, channel_id, resolve)

    def set_typing(self, channel_id: str, typing: bool) -> None:
        """Shows or hides "is typing". Without a live stream it is dropped, since it would be out of date later."""
        if self.phase is Phase.LIVE:
            self._typing[channel_id] = typing

    def reauthenticate(self, access_token: str) -> None:
        """Takes a newer access token, to give it to the server."""
        if self.phase is not Phase.AWAY:
            self.wants_token = False
            self._token = access_token

    def next_event(self, now: float) -> chat_pb2.Event | None:
        """Gives the application its next event, or None when there is none yet; the one before counts as handled.

        Args:
            now: The time, in seconds.
        """
        event = self.receive_buffer.next()
        if self.receive_buffer.handed_position > self._acknowledged:
            self._acknowledge.ask(now)
        return event

    # --- the rules ----------------------------------------------------------------------------------------------------

    def _may_speak(self) -> bool:
        return self.phase is Phase.LIVE or self.phase is Phase.SYNCING

    def _next_id(self) -> int:
        self._last_command_id += 1
        return self._last_command_id

    def _acknowledgement(self) -> chat_pb2.Command:
        # Without a command_id, so that the server answers only to refuse it: nothing waits for the answer.
        self._acknowledged = self.receive_buffer.handed_position
        return chat_pb2.Command(acknowledge=chat_pb2.Acknowledge(position=self._acknowledged))

    def _entry(self, event: chat_pb2.Event) -> StreamEntry:
        entry = entry_of(event)
        if event.HasField("message") and event.message.sender_id == self._user_id:
            # When this resolves a command, the event stands where the command's result would have stood.
            entry.wanted = not self.send_buffer.appeared(event.message) or self._echoes
        return entry

    def _take_result(self, result: chat_pb2.CommandResult, now: float) -> None:
        """Resolves or defers a command; an accepted one counts as an entry of the log, with its event when wanted."""
        if result.HasField("error"):
            error = from_status(result.error)
            if result.command_id == self._token_command:
                self.token_refused = error
            else:
                self.send_buffer.refused(result.command_id, error, now)
            return
        accepted = result.accepted
        pending = self.send_buffer.accepted(result.command_id, accepted)
        # Only what is in a log has a position. A result whose command was resolved before (the message itself came
        # first, on this stream) is still an entry of the log.
        if accepted.position:
            event = None
            if pending is not None and self._echoes:
                event = local_echo(pending.command, accepted, self._user_id)
            entry = StreamEntry(event, accepted.channel_id, accepted.seq, accepted.position, self._echoes)
            self.receive_buffer.take(entry)
