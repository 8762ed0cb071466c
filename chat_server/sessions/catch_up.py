"""Brings a device that comes back up to date, from its user's inbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chat_server import events
from chat_server.sessions.session import Session
from tidings.core import positions
from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal
from tidings.core.framing import frame
from tidings.core.ports import ChannelLog, Inbox
from tidings.core.reasons import Reason
from tidings.v1 import chat_pb2

# Channels whose receipts are written at a time: each has those of a hundred members at most.
_TOGETHER = 100
_DAY_MS = 24 * 3600 * 1000

# A receipt takes its position before it is saved and told: a device may have had later events before it. And the clocks
# of sequencers may be as far apart as a replay puts up with.
_RECEIPTS_OVERLAP = positions.span(60_000)

Write = Callable[[bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Opens sessions: Welcome, what was missed, receipts, SyncComplete; then the session is live.

    Args:
        server_id: The server's name, for Welcome.
        log: Tells how far everything is committed.
        inbox: Has what was missed.
        clock: Tells how old it is.
        keeps_days: How long an inbox keeps what was not received; what lies further back makes a SyncReset.
        restored: Milliseconds since 1970, from and to, between which everything was lost because an older copy of the
            data was restored. A cursor from then says that its device has seen what is there no more.
    """

    server_id: str
    log: ChannelLog
    inbox: Inbox
    clock: Clock
    keeps_days: int
    restored: Sequence[tuple[int, int]] = ()

    async def run(self, session: Session, cursor: int, write: Write) -> None:
        """Replays to a session that is held back (`Session.begin_replay`) and reachable for what happens meanwhile.

        Args:
            session: Which session.
            cursor: The highest position that its device has received.
            write: Writes a frame to its stream, waiting while the reader is slow.

        Raises:
            Refusal: OUT_OF_RANGE, the cursor is from the future or from what was lost; or what has ended the session
                meanwhile.
        """
        upto = await self.log.committed_position()
        is_lost = any(positions.at(since) <= cursor < positions.at(until) for since, until in self.restored)
        if is_lost or cursor > upto + positions.span(self.log.ahead_ms):
            why = "from a time whose data was lost" if is_lost else f"beyond {upto}, the highest position there is"
            raise Refusal(
                Code.OUT_OF_RANGE,
                f"the cursor {cursor} is {why}; begin again from cursor 0",
                reason=Reason.CURSOR_FROM_THE_FUTURE,
                metadata={"field": "hello.cursor", "limit": str(upto), "actual": str(cursor)},
            )
        welcome = chat_pb2.Welcome(session_id=session.session_id, server_id=self.server_id, position=upto)
        await write(events.framed(chat_pb2.Event(welcome=welcome)))
        replayed: dict[str, int] = {}
        after = cursor
        while True:
            await self._bring(session, after, upto, replayed, write)
            complete = chat_pb2.Event(sync_complete=chat_pb2.SyncComplete(position=upto))
            if session.finish_replay(replayed, events.framed(complete)):
                return
            # More has happened meanwhile than could be held back: it is replayed as well.
            session.begin_replay()
            after, upto = upto, await self.log.committed_position()

    async def _bring(self, session: Session, after: int, upto: int, replayed: dict[str, int], write: Write) -> None:
        user_id = session.identity.user_id
        replay = await self.inbox.replay(user_id, after, upto)
        if (
            replay.first_position
            and positions.time_ms(replay.first_position) < self.clock.now_ms() - self.keeps_days * _DAY_MS
        ):
            await write(events.framed(chat_pb2.Event(sync_reset=chat_pb2.SyncReset())))
            return
        async for chunk in replay.chunks():
            if session.ended is not None:
                raise session.ended
            await write(b"".join([frame(event) for event in chunk.events]))
            for channel_id, (position, seq) in chunk.heads.items():
                replayed[channel_id] = seq
                session.unacknowledged.sent(channel_id, position, seq)
        receipts = [*(await self.inbox.receipts_since(user_id, max(0, after - _RECEIPTS_OVERLAP))).items()]
        for at in range(0, len(receipts), _TOGETHER):
            await write(b"".join([events.receipt(*each) for each in receipts[at : at + _TOGETHER]]))
