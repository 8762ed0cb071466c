"""The model of all channels."""

from __future__ import annotations

from tests.support.chat_model import (
    chats,
    event_of,
    message,
    opened,
    receipt,
    snapshot,
)
from tidings.v1 import account_pb2, chat_pb2
from tidings_chat.channels import OutgoingMessage
from tidings_chat.chats import Chats, Need


def test_receipts_before_their_channel_are_kept_for_it() -> None:
    made = chats()
    assert made.take(receipt("ben", 4, 4), 0.0) is None
    made.put(snapshot(4))
    assert made.channels["c"].reach(4).read == 1


def test_latest_activity_comes_first_and_what_was_just_opened_before_it() -> None:
    made = chats(*(snapshot(head, channel_id=name) for name, head in (("a", 3), ("b", 9), ("c", 0), ("d", 0))))
    made.channels["d"].is_fresh = True
    assert [channel.channel_id for channel in made.ordered()] == ["d", "b", "a", "c"]
    late = message(4)
    late.channel_id, late.position = "a", 200
    made.take(event_of(late), 0.0)
    assert [channel.channel_id for channel in made.ordered()] == ["d", "a", "b", "c"]


def test_an_event_of_an_unknown_channel_asks_for_it() -> None:
    made = chats()
    assert made.take(event_of(message(1)), 0.0) is Need.CHANNEL
    assert made.take(chat_pb2.Event(sync_complete=chat_pb2.SyncComplete()), 0.0) is Need.CHANNELS
    assert made.take(chat_pb2.Event(sync_reset=chat_pb2.SyncReset()), 0.0) is Need.EVERYTHING
    assert made.take(chat_pb2.Event(server_notice=chat_pb2.ServerNotice()), 0.0) is None


def test_starting_over_keeps_what_is_listed_and_loads_its_history_anew() -> None:
    made = chats(snapshot(3, read=3), snapshot(3, channel_id="left"))
    channel = opened(made, [message(1), message(2), message(3)])
    channel.outgoing.append(OutgoingMessage("x", "on its way", 0))
    made.start_over([snapshot(90, read=3, unread=80)])
    assert list(made.channels) == ["c"]
    assert made.channels["c"] is channel
    assert not channel.timeline.is_loaded
    assert channel.unread == 80
    assert [sending.text for sending in channel.outgoing] == ["on its way"]


def test_all_unread_is_counted_but_for_muted_channels_and_the_one_on_the_screen() -> None:
    made = chats(
        snapshot(5, unread=3), snapshot(5, channel_id="m", unread=7, muted=True), snapshot(5, channel_id="d", unread=2)
    )
    assert made.unread() == 5
    assert made.unread(beside="c") == 2


def named(user_id: str, display_name: str, username: str = "") -> account_pb2.User:
    return account_pb2.User(user_id=user_id, username=username or user_id, display_name=display_name)


def test_people_whose_names_look_alike_are_told_apart_by_their_usernames() -> None:
    made = Chats(named("me", "Me"))
    made.meet([named("bob", "Bob"), named("cid", "Cid")])
    assert made.person("bob").name == "Bob"
    made.meet([named("eve", "Воb")])
    assert [made.person(each).name for each in ("bob", "eve", "cid")] == ["Bob @bob", "Воb @eve", "Cid"]
    assert made.person("eve").full_name == "Воb @eve"
    # Somebody who shows another one's username is taken for them, too.
    made.meet([named("mallory", "cid")])
    assert [made.person(each).name for each in ("cid", "mallory")] == ["Cid @cid", "cid @mallory"]
    # And nobody is once the other has another name.
    made.meet([named("eve", "Eve")])
    assert [made.person(each).name for each in ("bob", "eve")] == ["Bob", "Eve"]


def test_nobody_is_taken_for_the_user_or_for_what_the_screen_says() -> None:
    made = Chats(named("me", "Ann"))
    made.meet(
        [named("a", "You"), named("b", "Bob @bob"), named("c", "Ann"), named("d", "  \u3164 "), named("e", "\u200b")]
    )
    assert [made.person(each).name for each in ("a", "b", "c", "d", "e", "me")] == [
        "You @a",
        "Bob @bob @b",
        "Ann @c",
        "d",
        "e",
        "Ann",
    ]
