"""A channel as the server keeps it: what every device's copy has to equal."""

from __future__ import annotations

from tidings_client import Tidings
from tidings_replay.record import RecordedEntry, entry_of, message_entry

_PAGE = 200


async def log(client: Tidings, channel_id: str) -> list[RecordedEntry]:
    """The whole log, as ListEvents gives it.

    Args:
        client: Of somebody who is in the channel from its beginning.
        channel_id: The channel.

    Raises:
        TidingsError: The server said no, or could not be reached.
    """
    found: list[RecordedEntry] = []
    before = 0
    # From the latest page backwards: to ask for what comes after 0 is to ask for the latest page too.
    while page := [
        entry
        for event in await client.list_events(channel_id, before_seq=before, page_size=_PAGE)
        if (entry := entry_of(event)) is not None
    ]:
        found = page + found
        before = page[0].seq
        if before <= 1:
            break
    return found


async def screen(client: Tidings, channel_id: str) -> list[RecordedEntry]:
    """All messages, as ListMessages gives them; arguments as in `log`.

    Raises:
        TidingsError: The server said no, or could not be reached.
    """
    found: list[RecordedEntry] = []
    before = 0
    while page := await client.list_messages(channel_id, before_seq=before, page_size=_PAGE):
        found = [message_entry(message) for message in page] + found
        before = page[0].seq
        if before <= 1:
            break
    return found
