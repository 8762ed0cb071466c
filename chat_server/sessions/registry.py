"""The registry of the live sessions of this server, by user and by device."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from chat_server.channels.fanout import Fanout, Item
from chat_server.sessions.reply import SessionReply
from chat_server.sessions.session import Session
from tidings.core.actions import Accepted
from tidings.core.errors import Code, Refusal
from tidings.core.reasons import Reason


class SessionRegistry(Fanout):
    """The sessions whose replay has begun."""

    def __init__(self) -> None:
        self._by_user: dict[str, tuple[Session, ...]] = {}
        self._by_device: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_device)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_device.values()))

    def add(self, session: Session) -> None:
        """Enter a session. An earlier one of the same device ends: a device that comes back has lost it."""
        identity = session.identity
        before = self._by_device.get(identity.device_id)
        if before is not None and before is not session:
            self.replace(before)
        if before is not session:
            self._by_device[identity.device_id] = session
            self._by_user[identity.user_id] = (*self._by_user.get(identity.user_id, ()), session)

    def replace(self, session: Session) -> None:
        """End a session whose device has opened a newer one."""
        self.remove(session)
        session.end(Refusal(Code.ABORTED, "the device has opened a newer stream", reason=Reason.SESSION_REPLACED))

    def remove(self, session: Session) -> None:
        """Remove a session, if it is there."""
        identity = session.identity
        if self._by_device.get(identity.device_id) is not session:
            return
        del self._by_device[identity.device_id]
        left = tuple(each for each in self._by_user[identity.user_id] if each is not session)
        if left:
            self._by_user[identity.user_id] = left
        else:
            del self._by_user[identity.user_id]

    def of_device(self, device_id: str) -> Session | None:
        """The session of a device."""
        return self._by_device.get(device_id)

    def deliver(self, channel_id: str, audience: Collection[str], items: Sequence[Item]) -> None:
        """See `Fanout.deliver`.

        The frame is joined once for all sessions but those who made one of the entries: delivering a batch costs a
        session one append, however many events it holds.
        """
        position, seq, count = items[-1].position, items[-1].seq, len(items)
        frame = items[0].frame if count == 1 else b"".join([item.frame for item in items])
        # isinstance would be one call more for every message.
        replies = [item.origin if type(item.origin) is SessionReply else None for item in items]
        origins = {reply.session for reply in replies if reply is not None}
        for origin in origins:
            origin.deliver(_own_frame(origin, channel_id, items, replies), count, channel_id, position, seq)
        by_user = self._by_user
        for user_id in audience:
            for session in by_user.get(user_id, ()):
                if session not in origins:
                    session.deliver(frame, count, channel_id, position, seq)

    def users(self) -> Iterator[str]:
        """The users who have sessions here."""
        return iter(self._by_user)

    def has(self, user_id: str) -> bool:
        """Whether a user has a session here."""
        return user_id in self._by_user

    def send(self, users: Collection[str], frame: bytes) -> None:
        """See `Fanout.send`."""
        for user_id in users:
            for session in self._by_user.get(user_id, ()):
                session.hint(frame)


def _own_frame(
    origin: Session, channel_id: str, items: Sequence[Item], replies: Sequence[SessionReply | None]
) -> bytes:
    """Join the entries for a session that made some of them: its results stand in their places."""
    frames = []
    for item, reply in zip(items, replies, strict=True):
        if reply is not None and reply.session is origin:
            origin.finish_command()
            frames.append(reply.frame(Accepted(channel_id, item.seq, item.position, item.created_at_ms)))
        else:
            frames.append(item.frame)
    return b"".join(frames)
