"""A channel as the server keeps it, which every device's copy has to equal."""

from __future__ import annotations

from tidings_client import Tidings
from tidings_replay.record import RecordedEntry, entry_of, message_entry

_PAGE = 200


async def log(client: Tidings, channel_id: str) -> list[RecordedEntry]:
    """Reads the whole log, as ListEvents gives it.

    Args:
        client: A device of a user who is in the channel from its beginning.
        channel_id: The channel.

    Raises:
        TidingsError: The server refused a call, or could not be reached.
    """
    found: list[RecordedEntry] = []
    while page := [
        entry
        for event in await client.list_events(channel_id, after_seq=found[-1].seq if found else 0, page_size=_PAGE)
        if (entry := entry_of(event)) is not None
    ]:
        found += page
    return found


async def screen(client: Tidings, channel_id: str) -> list[RecordedEntry]:
    """Reads all messages, as ListMessages gives them; the arguments are those of `log`.

    Raises:
        TidingsError: The server refused a call, or could not be reached.
    """
    found: list[RecordedEntry] = []
    while page := await client.list_messages(channel_id, after_seq=found[-1].seq if found else 0, page_size=_PAGE):
        found += map(message_entry, page)
    return found
