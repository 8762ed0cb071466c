"""What a screen shows of a channel's past, and the log itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.channels import World, open_world
from tidings.core import actions
from tidings.core.actions import Action
from tidings.core.errors import Code, Refusal
from tidings.core.values import ChannelKind
from tidings.v1 import chat_pb2, history_pb2

LARGEST = 2**64 - 1
GRPC_CLIENT_BYTES = 4 << 20
"""What a gRPC client accepts in one message unless told otherwise."""


@dataclass(frozen=True)
class Group:
    """A group of ann and ben."""

    world: World

    async def do(self, user_id: str, action: Action) -> int:
        """Has somebody do something in the group, a second later; the seq that it got."""
        self.world.clock.advance(1)
        return (await self.world.sequencer.submit("ga", user_id, action)).seq

    async def send(self, user_id: str, text: str) -> int:
        return await self.do(user_id, actions.Send(text[:20], text))

    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    async def messages(
        self, user_id: str, before_seq: int = 0, after_seq: int | None = None, size: int = 0
    ) -> list[chat_pb2.Message]:
        return await self.world.history.messages(user_id, "ga", before_seq, after_seq, size)

    async def events(
        self, user_id: str, before_seq: int = 0, after_seq: int | None = None, size: int = 0
    ) -> list[chat_pb2.Event]:
        return await self.world.history.events(user_id, "ga", before_seq, after_seq, size)


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    async with open_world(tmp_path) as world:
        group = Group(world)
        await group.do("ann", actions.CreateChannel(ChannelKind.GROUP, "tea", ("ben",)))
        yield group


def _texts(messages: list[chat_pb2.Message]) -> list[str]:
    return [each.text for each in messages]


def _seq(event: chat_pb2.Event) -> int:
    return int(getattr(event, event.WhichOneof("body") or "").seq)


async def test_a_message_is_shown_as_it_was_sent(group: Group) -> None:
    first = await group.send("ann", "one")
    seq = await group.do("ben", actions.Send("name", "two", reply_to_seq=first))
    _, message = await group.messages("ann")
    assert message.created_at.ToMilliseconds() == group.now_ms()
    message.ClearField("created_at")
    assert message.position > 0
    assert message == chat_pb2.Message(
        channel_id="ga",
        seq=seq,
        position=message.position,
        sender_id="ben",
        client_message_id="name",
        text="two",
        reply_to_seq=first,
    )


async def test_an_edited_message_shows_its_latest_text_and_when_it_changed(group: Group) -> None:
    seq = await group.send("ann", "one")
    created_at_ms = group.now_ms()
    await group.do("ann", actions.Edit(seq, "two"))
    await group.do("ann", actions.Edit(seq, "three"))
    await group.send("ben", "other")
    message, other = await group.messages("ben")
    assert (message.seq, message.text, message.deleted) == (seq, "three", False)
    assert message.created_at.ToMilliseconds() == created_at_ms
    assert message.edited_at.ToMilliseconds() == created_at_ms + 2_000
    assert (other.text, other.HasField("edited_at")) == ("other", False)


@pytest.mark.parametrize("edits", [0, 2])
async def test_a_deleted_message_is_emptied_and_flagged(group: Group, edits: int) -> None:
    seq = await group.send("ann", "secret")
    for number in range(edits):
        await group.do("ann", actions.Edit(seq, f"secret {number}"))
    await group.do("ann", actions.Delete(seq))
    (message,) = await group.messages("ben")
    assert (message.seq, message.sender_id, message.text, message.deleted) == (seq, "ann", "", True)
    assert message.edited_at.ToMilliseconds() == group.now_ms()


async def test_the_log_keeps_the_entries_of_a_deleted_message_without_its_texts(group: Group) -> None:
    seq = await group.send("ann", "secret")
    await group.do("ann", actions.Edit(seq, "secret too"))
    await group.do("ann", actions.Delete(seq))
    events = await group.events("ben")
    assert [each.WhichOneof("body") for each in events] == [
        "membership_changed",
        "channel_updated",
        "message",
        "message_edited",
        "message_deleted",
    ]
    assert (events[2].message.text, events[2].message.deleted) == ("", True)
    assert events[3].message_edited.text == ""
    assert all(b"secret" not in each.message_edited.SerializeToString() for each in events)


async def test_the_log_comes_as_it_was_told(group: Group) -> None:
    await group.send("ann", "one")
    events = await group.events("ben")
    assert [_seq(each) for each in events] == [1, 2, 3]
    assert events[0].membership_changed.changes[1].user_id == "ben"
    assert events[1].channel_updated.title == "tea"
    assert events[2].message.text == "one"
    assert [each.position for each in events] == sorted(each.position for each in events)


async def test_who_was_removed_keeps_what_they_saw(group: Group) -> None:
    seen = await group.send("ann", "seen")
    edited = await group.send("ann", "as it was")
    deleted = await group.send("ann", "no more")
    removed = await group.do("ann", actions.RemoveMember("ben"))
    await group.do("ann", actions.Edit(edited, "as it is"))
    await group.do("ann", actions.Delete(deleted))
    await group.send("ann", "unseen")
    messages = await group.messages("ben")
    assert [(each.seq, each.text, each.deleted) for each in messages] == [
        (seen, "seen", False),
        # The edit came after they were gone.
        (edited, "as it was", False),
        # So did the deletion, but what is deleted is gone for everyone.
        (deleted, "", True),
    ]
    events = await group.events("ben")
    assert _seq(events[-1]) == removed
    assert events[-1].membership_changed.changes[0].user_id == "ben"


async def test_who_comes_back_has_a_hole_where_they_were_away(group: Group) -> None:
    await group.send("ann", "seen")
    removed = await group.do("ann", actions.RemoveMember("ben"))
    await group.send("ann", "unseen")
    back = await group.do("ann", actions.AddMembers(("ben",)))
    await group.send("ann", "seen again")
    assert _texts(await group.messages("ben")) == ["seen", "seen again"]
    assert [_seq(each) for each in await group.events("ben", after_seq=removed - 1, size=3)] == [
        removed,
        back,
        back + 1,
    ]
    assert [_seq(each) for each in await group.events("ben", before_seq=back + 1, size=2)] == [removed, back]


async def test_a_new_member_sees_nothing_before_they_came(group: Group) -> None:
    await group.send("ann", "before")
    added = await group.do("ann", actions.AddMembers(("cas",)))
    await group.send("ann", "after")
    assert _texts(await group.messages("cas")) == ["after"]
    assert [_seq(each) for each in await group.events("cas")] == [added, added + 1]
    assert await group.messages("cas", before_seq=added) == []


async def test_pages_in_both_directions(group: Group) -> None:
    seqs = [await group.send("ann", f"m{number}") for number in range(10)]
    assert _texts(await group.messages("ben", size=3)) == ["m7", "m8", "m9"]
    assert _texts(await group.messages("ben", before_seq=seqs[7], size=3)) == ["m4", "m5", "m6"]
    assert _texts(await group.messages("ben", after_seq=seqs[2], size=3)) == ["m3", "m4", "m5"]
    assert _texts(await group.messages("ben", after_seq=seqs[9])) == []
    assert _texts(await group.messages("ben", before_seq=seqs[0])) == []
    assert [_seq(each) for each in await group.events("ben", after_seq=1, size=2)] == [2, 3]
    # From the beginning, which is where the reader came in.
    assert [_seq(each) for each in await group.events("ben", after_seq=0, size=2)] == [1, 2]
    assert _texts(await group.messages("ben", after_seq=0, size=2)) == ["m0", "m1"]
    assert [_seq(each) for each in await group.events("ben", before_seq=3, size=9)] == [1, 2]


async def test_any_number_may_be_asked_for(group: Group) -> None:
    await group.send("ann", "one")
    assert len(await group.events("ben", before_seq=LARGEST)) == 3
    assert await group.events("ben", after_seq=LARGEST) == []
    assert await group.messages("ben", after_seq=2**63 - 1) == []


async def test_page_sizes_have_a_default_and_are_clamped(group: Group) -> None:
    for number in range(210):
        await group.send("ann", f"m{number}")
    for read in (group.messages, group.events):
        assert len(await read("ben")) == 50
        assert len(await read("ben", size=200)) == 200
        assert len(await read("ben", size=2**32 - 1)) == 200
        assert len(await read("ben", size=1)) == 1


async def test_a_page_fits_in_what_a_grpc_client_accepts(group: Group) -> None:
    text = "💬" * 100_000
    for number in range(12):
        seq = await group.do("ann", actions.Send(str(number), text))
        if number % 3 == 0:
            await group.do("ann", actions.Edit(seq, text))
    found: list[int] = []
    while page := await group.messages("ben", before_seq=found[0] if found else 0, size=200):
        assert history_pb2.ListMessagesResponse(messages=page).ByteSize() < GRPC_CLIENT_BYTES
        assert len(page) < 12
        found = [each.seq for each in page] + found
    assert len(found) == 12
    events: list[int] = []
    while entries := await group.events("ben", after_seq=events[-1] if events else 0, size=200):
        assert history_pb2.ListEventsResponse(events=entries).ByteSize() < GRPC_CLIENT_BYTES
        events += map(_seq, entries)
    assert events == list(range(1, 2 + 1 + 12 + 4))


@pytest.mark.parametrize("kind", ["messages", "events"])
async def test_what_is_refused(group: Group, kind: str) -> None:
    read = getattr(group.world.history, kind)
    with pytest.raises(Refusal) as caught:
        await read("ann", "ga", 5, 3, 0)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [each.field for each in caught.value.violations] == ["after_seq"]
    # Somebody who never was in it, and a channel that is not there.
    for user_id, channel_id in (("eve", "ga"), ("ann", "gx"), ("ann", "")):
        with pytest.raises(Refusal) as caught:
            await read(user_id, channel_id, 0, None, 0)
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NOT_FOUND")
        assert [each.field for each in caught.value.violations] == ["channel_id"]
        assert caught.value.message == "no such channel"
