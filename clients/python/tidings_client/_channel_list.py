"""The list of a user's channels, put together from pages that do not stand still."""

from __future__ import annotations

from collections.abc import Iterable

from tidings.v1 import channel_pb2


class ChannelList:
    """Gathers pages of channels, latest activity first, until no channel can have been missed.

    A channel in which something happens moves to the front. When it had not been read by then, it is on none of the
    pages that follow. So after several pages, they are read again from the front, as far as they bring anything new,
    and again as long as that brings a channel that was not known.
    """

    def __init__(self) -> None:
        self._channels: dict[str, channel_pb2.Channel] = {}
        self._pages = 0
        self._found_unknown = False

    def add(self, page: Iterable[channel_pb2.Channel]) -> bool:
        """Adds the next page.

        Returns:
            Whether the page behind it may bring anything new.
        """
        self._pages += 1
        is_new = False
        for channel in page:
            known = self._channels.get(channel.channel_id)
            if known is None or known.head_position < channel.head_position:
                is_new = True
            self._found_unknown = self._found_unknown or known is None
            if known is None or known.head_position <= channel.head_position:
                self._channels[channel.channel_id] = channel
        return is_new

    def ends_reading(self) -> bool:
        """Notes the end of a reading of the pages from the front.

        Returns:
            Whether the list is complete; otherwise the pages are to be read again from the front.
        """
        is_complete = self._pages <= 1 or not self._found_unknown
        self._pages, self._found_unknown = 0, False
        return is_complete

    @property
    def channels(self) -> list[channel_pb2.Channel]:
        """Each channel once, as it was read last, latest activity first."""
        return sorted(self._channels.values(), key=lambda each: (each.head_position, each.channel_id), reverse=True)
