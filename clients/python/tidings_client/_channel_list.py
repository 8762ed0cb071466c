"""The list of a user's channels, put together from pages that do not stand still."""

from __future__ import annotations

from collections.abc import Iterable

from tidings.v1 import channel_pb2

# In each of so many readings, more channels would have to move than a page holds.
_MOST_READINGS = 20


class ChannelList:
    """Gathers pages of channels, latest activity first, until no channel can have been missed.

    A channel in which something happens moves to the front. When it had not been read by then, it is on none of the
    pages that follow. But then it stands before every channel that has been read and has not moved. So the pages are
    read again from the front, up to such a channel. When that is on the first page already, nothing can have moved past
    the reading, and the list is complete.
    """

    def __init__(self) -> None:
        self._channels: dict[str, channel_pb2.Channel] = {}
        self._readings = 0
        self._pages = 0

    def add(self, page: Iterable[channel_pb2.Channel]) -> bool:
        """Adds the next page.

        Returns:
            Whether the page behind it has to be read too, if there is one.
        """
        self._pages += 1
        has_new, has_old = False, False
        for channel in page:
            known = self._channels.get(channel.channel_id)
            if known is not None and known.head_position == channel.head_position:
                has_old = True
            else:
                has_new = True
            if known is None or known.head_position <= channel.head_position:
                self._channels[channel.channel_id] = channel
        return has_new and not has_old

    def ends_reading(self) -> bool:
        """Notes the end of a reading of the pages from the front.

        Returns:
            Whether the list is complete; otherwise the pages are to be read again from the front.
        """
        self._readings += 1
        is_complete = self._pages <= 1 or self._readings >= _MOST_READINGS
        self._pages = 0
        return is_complete

    @property
    def channels(self) -> list[channel_pb2.Channel]:
        """Each channel once, as it was read last, latest activity first."""
        return sorted(self._channels.values(), key=lambda each: (each.head_position, each.channel_id), reverse=True)
