"""The live sessions of this server, by user and device, and the way to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chat_server.session import Session
from tidings.core.errors import Code, Refusal


@dataclass(frozen=True, slots=True)
class Item:
    """One event to deliver: framed, and framed as the result that the session it came from gets in its place."""

    frame: bytes
    seq: int
    position: int
    origin: Session | None
    result: bytes


class LiveSessions:
    """Sessions whose replay has begun."""

    def __init__(self) -> None:
        """Nobody is here."""
        self._by_user: dict[str, tuple[Session, ...]] = {}
        self._by_device: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_device)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_device.values()))

    def add(self, session: Session) -> None:
        """Enters a session; an earlier one of the same device ends, since a device that comes back has lost it."""
        identity = session.identity
        before = self._by_device.get(identity.device_id)
        if before is not None and before is not session:
            self.remove(before)
            before.end(Refusal(Code.ABORTED, "the device has opened a newer stream", reason="SESSION_REPLACED"))
        if before is not session:
            self._by_device[identity.device_id] = session
            self._by_user[identity.user_id] = (*self._by_user.get(identity.user_id, ()), session)

    def remove(self, session: Session) -> None:
        """Takes a session out, if it is in."""
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

    def deliver(self, channel_id: str, audience: Iterable[str], items: Sequence[Item]) -> None:
        """Sends a channel's new entries to all sessions of some users, and their results to those who made them.

        The frame is joined once for all sessions but those who made one of the entries: delivering a batch costs a
        session one append, however many events it holds.
        """
        position, seq, count = items[-1].position, items[-1].seq, len(items)
        frame = items[0].frame if count == 1 else b"".join([item.frame for item in items])
        origins = {item.origin for item in items if item.origin is not None}
        for origin in origins:
            own = b"".join([item.result if item.origin is origin else item.frame for item in items])
            for item in items:
                if item.origin is origin:
                    origin.finish_command()
            origin.deliver(own, count, channel_id, position, seq)
        by_user = self._by_user
        for user_id in audience:
            for session in by_user.get(user_id, ()):
                if session not in origins:
                    session.deliver(frame, count, channel_id, position, seq)

    def send(self, users: Collection[str], frame: bytes, besides: Session | None = None) -> None:
        """Sends what is in no log to all sessions of some users."""
        for user_id in users:
            for session in self._by_user.get(user_id, ()):
                if session is not besides:
                    session.send(frame)
