"""What a device shows. It is composed when a push is sent, not when the message came, so that it is true then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidings.core.limits import CHANNELS_PAGE
from tidings.core.ports import AccountStore, Memberships
from tidings.core.values import ChannelKind, ChannelView, Marks, PushPreview, PushRequest

HIDDEN_TEXT = "New message"
"""What is shown in place of a text that is not."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One push as a device gets it. A silent one has neither title nor text: the channel has been read."""

    user_id: str
    channel_id: str
    seq: int
    """The message; of a silent notice, up to where the channel has been read."""
    sender_id: str
    """Empty when that is not to be shown."""
    title: str
    body: str
    unread: int
    """Messages unread in the channel."""
    unread_in_all: int | None
    """Messages unread in all channels that are not muted; None where the provider has no use for it."""
    created_at_ms: int

    @property
    def silent(self) -> bool:
        """Whether there is nothing to show."""
        return not self.body


Compose = Callable[[PushRequest, PushPreview, bool], Awaitable[Notice | None]]
"""`Notices.compose`."""


class Notices:
    """Composes what devices show.

    Args:
        memberships: Knows titles, mutes and unread counts.
        accounts: Knows names.
        preview: The most that a notice shows.
        hidden_text: Stands in place of a text that is not shown.
    """

    def __init__(
        self,
        memberships: Memberships,
        accounts: AccountStore,
        preview: PushPreview = PushPreview.FULL,
        hidden_text: str = HIDDEN_TEXT,
    ) -> None:
        self._memberships = memberships
        self._accounts = accounts
        self._preview = preview
        self._hidden_text = hidden_text

    async def compose(self, request: PushRequest, preview: PushPreview, counts_all: bool) -> Notice | None:
        """Compose the notice for a request; None when it has become pointless.

        Args:
            request: Whom to wake for what.
            preview: The most that the device wants to show.
            counts_all: Whether what is unread in all channels is to be counted as well.

        Returns:
            None when it is not wanted any more: the message has been read, or the person has muted or left the channel,
            or one of two has blocked the other.
        """
        user_id, channel_id = request.user_id, request.channel_id
        view = await self._memberships.channel_of(user_id, channel_id)
        if not request.silent and (view is None or not _is_wanted(view, request)):
            return None
        in_all = await self._unread_in_all(user_id) if counts_all else None
        unread = view.unread_count if view is not None else 0
        if view is None or request.silent:
            return Notice(user_id, channel_id, request.seq, "", "", "", unread, in_all, request.created_at_ms)
        shown = min(preview, self._preview)
        sender_id, title, body = "", "", self._hidden_text
        if shown >= PushPreview.SENDER:
            sender_id, title = request.sender_id, await self._title(request.sender_id, view)
        if shown >= PushPreview.FULL and request.preview:
            body = request.preview
        return Notice(user_id, channel_id, request.seq, sender_id, title, body, unread, in_all, request.created_at_ms)

    async def _title(self, sender_id: str, view: ChannelView) -> str:
        sender = (await self._accounts.users([sender_id])).get(sender_id)
        name = sender.display_name or sender.username if sender is not None else ""
        if view.snapshot.record.kind is ChannelKind.DIRECT:
            return name
        return " · ".join(filter(None, (name, view.snapshot.title)))

    async def _unread_in_all(self, user_id: str) -> int:
        # Of somebody in more channels than that, those that have been quiet longest are left out.
        views = await self._memberships.channels_of(user_id, None, CHANNELS_PAGE)
        return sum(view.unread_count for view in views if not view.muted)


def _is_wanted(view: ChannelView, request: PushRequest) -> bool:
    read_seq = view.snapshot.marks.get(request.user_id, Marks()).read_seq
    return read_seq < request.seq and not view.muted and not view.snapshot.blocked
