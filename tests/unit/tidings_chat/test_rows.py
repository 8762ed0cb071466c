"""The rows of the message pane."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.chat_model import (
    EPOCH,
    NOW,
    chats,
    deleted,
    event_of,
    membership,
    message,
    opened,
    receipt,
    snapshot,
    titled,
    user,
)
from tidings.v1 import account_pb2, channel_pb2
from tidings_chat.channels import OutgoingMessage
from tidings_chat.chats import Chats
from tidings_chat.rows import ChatMessageRow, DayRow, EdgeRow, Mark, NewRow, NoticeRow, rows
from tidings_chat.shown import ShownLine


def texts(made: Chats, new_after: int = 0, now: datetime = NOW) -> list[str]:
    """The rows as words, without the row at the top."""
    return [
        getattr(row, "text", "new")
        for row in rows(made, made.channels["c"], new_after, now)
        if not isinstance(row, EdgeRow)
    ]


def messages(made: Chats) -> list[ChatMessageRow]:
    return [row for row in rows(made, made.channels["c"], 0, NOW) if isinstance(row, ChatMessageRow)]


def test_rows_begin_with_the_day_and_tell_where_the_new_begins() -> None:
    made = chats(snapshot(3))
    late = message(3)
    late.created_at.FromSeconds(EPOCH + 86_400)
    opened(made, [message(1), message(2), late])
    found = rows(made, made.channels["c"], 1, NOW + timedelta(days=1))
    assert [type(row) for row in found] == [
        EdgeRow,
        DayRow,
        ChatMessageRow,
        NewRow,
        ChatMessageRow,
        DayRow,
        ChatMessageRow,
    ]
    assert texts(made, 1, NOW + timedelta(days=1)) == ["Yesterday", "text 1", "new", "text 2", "Today", "text 3"]


def test_messages_in_one_breath_share_a_name() -> None:
    made = chats(snapshot(5))
    later = message(5)
    later.created_at.FromSeconds(EPOCH + 1000)
    opened(made, [message(1), message(2), message(3, "cid"), message(4), later])
    assert [row.is_continued for row in messages(made)] == [False, True, False, False, False]


def test_own_messages_show_how_far_they_came() -> None:
    made = chats(snapshot(5, members=("ann", "ben", "cid")))
    channel = opened(made, [message(seq, "ann") for seq in (1, 2, 3)] + [message(4, "ben")])
    made.take(receipt("ben", 3, 2), 0.0)
    made.take(receipt("cid", 2, 1), 0.0)
    channel.outgoing += [
        OutgoingMessage("x", "soon", 0),
        OutgoingMessage("y", "never", 0, failure=ShownLine("too long")),
    ]
    found = [(row.mark, row.remark) for row in messages(made)]
    assert found == [
        (Mark.READ, "by all"),
        (Mark.DELIVERED, "read by 1"),
        (Mark.SENT, ""),
        (Mark.NONE, ""),
        (Mark.SENDING, ""),
        (Mark.FAILED, "too long"),
    ]


def test_what_was_being_sent_is_replaced_by_the_message_itself() -> None:
    made = chats(snapshot(0))
    channel = opened(made)
    channel.outgoing += [OutgoingMessage("x", "one", 0), OutgoingMessage("y", "two", 0)]
    made.take(event_of(message(1, "ann", "one", name="x")), 0.0)
    assert [(row.text, row.mark) for row in messages(made)] == [("one", Mark.SENT), ("two", Mark.SENDING)]


def test_answers_quote_what_they_answer() -> None:
    made = chats(snapshot(4))
    opened(made, [message(5, "ann", reply_to=2), message(6, reply_to=5), deleted(7, 5), message(8, reply_to=6)])
    quotes = [row.quote for row in messages(made)]
    assert quotes == ["", "You: deleted message", "Ben: text 6"]
    made.channels["c"].timeline.add(message(9, reply_to=2))
    assert messages(made)[-1].quote == "an earlier message"


def test_changes_of_members_and_title_are_told() -> None:
    made = chats(snapshot(7))
    left = membership(5, "ben", ("ben", "LEFT"), ("ann", "ROLE_CHANGED"))
    left.changes[1].role = channel_pb2.MEMBER_ROLE_OWNER
    opened(
        made,
        [
            membership(1, "ben", ("ben", "ADDED"), ("ann", "ADDED"), ("cid", "ADDED")),
            titled(2, "Hike"),
            membership(3, "ann", ("dan", "ADDED")),
            membership(4, "ben", ("ann", "REMOVED")),
            left,
            titled(6, "Walk", "ann"),
        ],
    )
    found = [row.text for row in rows(made, made.channels["c"], 0, NOW) if isinstance(row, NoticeRow)]
    assert found == [
        "Ben made “Hike” with you and Cid",
        "You added Dan",
        "Ben removed you",
        "Ben left; You are the owner now",
        "You changed the title to “Walk”",
    ]


def test_people_without_a_name_are_asked_for_once() -> None:
    made = chats(snapshot(2))
    opened(made, [message(1, "eve"), message(2, "eve")])
    assert [row.sender for row in messages(made)] == ["…", "…"]
    assert made.strangers == ["eve"]
    made.meet([user("eve")])
    assert messages(made)[0].sender == "Eve"


def test_other_peoples_texts_cannot_command_the_terminal() -> None:
    made = chats(snapshot(1, title="a\x1b]0;b"))
    made.meet([account_pb2.User(user_id="ben", username="ben", display_name="B\u202een\n")])
    opened(made, [message(1, text="\x1b[2Jgone\r\nnext\ttab\x07")])
    (row,) = messages(made)
    assert row.text == "�[2Jgone\nnext    tab�"
    assert row.sender == "B�en"
    assert made.name_of(made.channels["c"]) == "a�]0;b"
