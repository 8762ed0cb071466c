"""The send buffer: commands that have no result yet, in the order in which the application gave them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidings.v1 import chat_pb2
from tidings_client._backoff import Backoff
from tidings_client._errors import TidingsError

# With what goes beside them, fewer than the 256 commands that a frame may have.
_FRAME_COMMANDS = 128

Resolve = Callable[[chat_pb2.Accepted | TidingsError], None]
"""Is called with the result of a command."""


@dataclass(slots=True, eq=False)
class PendingCommand:
    """A command that has no result yet."""

    command: chat_pb2.Command
    channel_id: str
    size: int
    """Its bytes on the wire."""
    resolve: Resolve
    backoff: Backoff
    due: float = 0.0
    """When it may be sent, by the clock that the buffer is told."""
    sent: bool = False
    """Whether it has been sent over the present stream; otherwise it waits to be sent."""
    abandoned: bool = False
    """Whether nobody waits for its result any more."""


class SendBuffer:
    """Keeps every command until its result has come, and has it sent again, unchanged, over each new stream.

    The commands of a channel stay in order, so one at a time of them is on its way. A server may refuse one and take
    the next, as a rate limit does that has just let go: of two on their way, the second could overtake the first.

    Args:
        backoff: Makes the backoff of each command.
    """

    def __init__(self, backoff: Callable[[], Backoff] = Backoff) -> None:
        self._backoff = backoff
        # By command_id, which grows in the order in which commands are added.
        self._pending: dict[int, PendingCommand] = {}
        # The same commands by channel; only the first of a channel may be on its way.
        self._channels: dict[str, deque[PendingCommand]] = {}
        # By (channel_id, client_message_id): the same message may be sent twice at once.
        self._named: dict[tuple[str, str], list[PendingCommand]] = {}

    def __len__(self) -> int:
        """How many commands have no result yet."""
        return len(self._pending)

    def add(self, command: chat_pb2.Command, channel_id: str, resolve: Resolve) -> PendingCommand:
        """Adds a command to send.

        Args:
            command: The command, whose command_id is larger than that of any command before.
            channel_id: The channel in whose order it is sent.
            resolve: Is called with its result, once.
        """
        pending = PendingCommand(command, channel_id, command.ByteSize(), resolve, self._backoff())
        self._pending[command.command_id] = pending
        self._channels.setdefault(channel_id, deque()).append(pending)
        if command.HasField("send_message"):
            self._named.setdefault((channel_id, command.send_message.client_message_id), []).append(pending)
        return pending

    def take(self, now: float, most_bytes: int) -> list[chat_pb2.Command]:
        """Takes the commands to send now, in order: as many as fit, and at least one when any may be sent.

        Args:
            now: The time.
            most_bytes: The most bytes to send together.
        """
        taken: list[chat_pb2.Command] = []
        for pending in sorted(self._next(), key=lambda each: each.command.command_id):
            if pending.due > now:
                continue
            if taken and (pending.size > most_bytes or len(taken) >= _FRAME_COMMANDS):
                break
            most_bytes -= pending.size
            pending.sent = True
            taken.append(pending.command)
        return taken

    def due(self) -> float | None:
        """When `take` will have something to give: 0 for at once; None when that depends on what happens next."""
        return min((pending.due for pending in self._next()), default=None)

    def lost(self) -> None:
        """Notes that the stream is gone: what was on its way is sent again, except what nobody waits for."""
        for queue in list(self._channels.values()):
            first = queue[0]
            first.sent = False
            if first.abandoned:
                self._remove(first)

    def abandon(self, pending: PendingCommand) -> None:
        """Notes that nobody waits for a command any more: it is not sent, or not sent again."""
        pending.abandoned = True
        if not pending.sent and pending.command.command_id in self._pending:
            self._remove(pending)

    def accepted(self, command_id: int, accepted: chat_pb2.Accepted) -> PendingCommand | None:
        """Resolves a command that was accepted.

        Returns:
            The command; None when it was resolved before.
        """
        pending = self._pending.get(command_id)
        if pending is not None:
            self._remove(pending)
            pending.resolve(accepted)
        return pending

    def refused(self, command_id: int, error: TidingsError, now: float) -> None:
        """Takes a refusal: a command that may succeed later is tried again, any other is resolved with the error."""
        pending = self._pending.get(command_id)
        if pending is None:
            return
        if error.is_transient and not pending.abandoned:
            pending.due = now + pending.backoff.next(error.retry_after)
            pending.sent = False
        else:
            self._remove(pending)
            pending.resolve(error)

    def appeared(self, message: chat_pb2.Message) -> bool:
        """Resolves the commands that sent a message of this user, which came as an event.

        A message that was sent from here comes as an event when its result was lost with an older stream.

        Returns:
            Whether there was such a command.
        """
        named = self._named.get((message.channel_id, message.client_message_id))
        if named is None:
            return False
        accepted = chat_pb2.Accepted(
            channel_id=message.channel_id, seq=message.seq, position=message.position, created_at=message.created_at
        )
        for pending in list(named):
            self._remove(pending)
            pending.resolve(accepted)
        return True

    def fail(self, error: TidingsError) -> None:
        """Resolves every command with `error`, since nothing will be sent any more."""
        for pending in list(self._pending.values()):
            self._remove(pending)
            # Each gets its own, since an exception carries the traceback of where it is raised.
            pending.resolve(type(error).of(error))

    def _next(self) -> Iterator[PendingCommand]:
        """Gives the command to send next of each channel of which none is on its way."""
        return (queue[0] for queue in self._channels.values() if not queue[0].sent)

    def _remove(self, pending: PendingCommand) -> None:
        del self._pending[pending.command.command_id]
        queue = self._channels[pending.channel_id]
        queue.remove(pending)
        if not queue:
            del self._channels[pending.channel_id]
        if pending.command.HasField("send_message"):
            key = pending.channel_id, pending.command.send_message.client_message_id
            named = self._named[key]
            named.remove(pending)
            if not named:
                del self._named[key]
