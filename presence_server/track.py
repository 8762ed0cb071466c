"""One open `Track` stream, without its I/O: the changes that wait, and whether it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidings.core.errors import Refusal
from tidings.core.values import Identity, Presence


class Track:
    """The state of one stream.

    Changes that nobody has taken yet become one a user, the latest: what waits for a slow reader is at most one
    change for each of its contacts.

    Args:
        identity: The device.
    """

    __slots__ = ("_newer", "_news", "_wake_ended", "_wake_writer", "ended", "identity", "unsubscribe")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.ended: Refusal | None = None
        """Why the server has ended it."""
        self.unsubscribe: Callable[[], None] | None = None
        """Ends the news; kept by the tracker."""
        self._news: dict[str, Presence] = {}
        # While the states are read anew: whose changes have come meanwhile.
        self._newer: set[str] | None = None
        self._wake_writer: Callable[[], None] | None = None
        self._wake_ended: Callable[[], None] | None = None

    def notify(self, presence: Presence) -> None:
        """Take a change that its user may see."""
        if self.ended is None:
            self._news[presence.user_id] = presence
            if self._newer is not None:
                self._newer.add(presence.user_id)
            if self._wake_writer is not None:
                self._wake_writer()

    def begin(self, states: Mapping[str, Presence]) -> None:
        """Take the state of all contacts as read since the stream was made; changes that came meanwhile are newer."""
        self._news = {**states, **self._news}

    def refresh_begins(self) -> None:
        """Note that the state of all contacts is about to be read, because changes may have been lost."""
        self._newer = set()

    def refresh(self, states: Mapping[str, Presence]) -> None:
        """Take the state of all contacts as read since `refresh_begins`; changes that came meanwhile are newer."""
        newer, self._newer = self._newer or set(), None
        for user_id, presence in states.items():
            if user_id not in newer:
                self.notify(presence)

    def take(self) -> Sequence[Presence]:
        """Take the changes that wait."""
        news, self._news = self._news, {}
        return list(news.values())

    def has_news(self) -> bool:
        """Whether changes wait."""
        return bool(self._news)

    def when_news(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever something begins to wait, and now if it does already."""
        self._wake_writer = wake
        if self._news:
            wake()

    def when_ended(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` when the server ends the stream, and now if it has already; None: nobody any more."""
        self._wake_ended = wake
        if wake is not None and self.ended is not None:
            wake()

    def end(self, reason: Refusal) -> None:
        """End the stream from the server's side, with a status."""
        if self.ended is None:
            self.ended = reason
            self._news = {}
            if self._wake_ended is not None:
                self._wake_ended()
