"""What the rules need to know of the log beyond a channel's state: read before a batch is drafted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from chat_server.channels import first_results
from chat_server.channels.first_results import FirstResult
from chat_server.channels.rules import Channel, Draft
from tidings.core import actions
from tidings.core.ports import ChannelLog
from tidings.core.positions import Positions
from tidings.core.requests import ChannelRequest
from tidings.core.values import AlreadySent, EntryKind, LogEntry

# How many entries are read at once where only little of each is kept: a text may have 400 kB, and a batch 512 requests.
_PART = 16


async def begin_draft(
    log: ChannelLog, positions: Positions, channel: Channel, batch: Sequence[ChannelRequest], created_at_ms: int
) -> Draft:
    """Begin a draft with what the log has of the messages that the requests are about.

    Args:
        log: The logs.
        positions: Number the new entries.
        channel: The channel.
        batch: The requests.
        created_at_ms: What the new entries say of when they were accepted.
    """
    changed, answered = set[int](), set[int]()
    for request in batch:
        action = request.action
        if isinstance(action, actions.AboutMessage):
            changed.add(action.seq)
        elif isinstance(action, actions.Send) and action.reply_to_seq:
            answered.add(action.reply_to_seq)
    # What is beyond the head is no message, and may be a number that the storage cannot take.
    changed = {seq for seq in changed if seq <= channel.head_seq}
    answered = {seq for seq in answered if seq <= channel.head_seq}
    messages = await log.message_with_changes(channel.channel_id, changed) if changed else {}
    found = {each.seq async for each in _entries(log, channel.channel_id, answered) if each.kind is EntryKind.MESSAGE}
    return Draft(positions, created_at_ms, messages, found)


async def read_first_results(
    log: ChannelLog, channel_id: str, sent: AlreadySent
) -> Mapping[tuple[str, str], FirstResult]:
    """Read what was said first under the names of a batch that the log has already."""
    seqs = {seq for seq, _ in sent.first_results.values()}
    found = {each.seq: first_results.of_entry(channel_id, each) async for each in _entries(log, channel_id, seqs)}
    return {key: found[seq] for key, (seq, _) in sent.first_results.items()}


async def _entries(log: ChannelLog, channel_id: str, seqs: Collection[int]) -> AsyncIterator[LogEntry]:
    left = sorted(seqs)
    while left:
        part, left = left[:_PART], left[_PART:]
        for entry in (await log.entries_at(channel_id, part)).values():
            yield entry
