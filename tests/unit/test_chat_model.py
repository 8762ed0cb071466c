"""The model of `tidings chat`: what the screen shows, without a screen and without a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style

from tidings.v1 import account_pb2, channel_pb2, chat_pb2
from tidings_chat.accounts import RememberedAccounts, default_folder
from tidings_chat.channels import ChatChannel, OutgoingMessage
from tidings_chat.chats import Chats, Need
from tidings_chat.commands import SPECS, CommandError, SlashCommand, complete, parse
from tidings_chat.rows import ChatMessageRow, DayRow, EdgeRow, Mark, NewRow, NoticeRow, rows
from tidings_chat.screens.command_runner import CommandRunner
from tidings_chat.text import clean, day, explain
from tidings_chat.timeline import LogEntry, MessageItem, Timeline
from tidings_chat.widgets.layout import Layout, Styles
from tidings_client import TidingsError
from tidings_client._errors import FieldViolation, refusal

# The server's time of seq 0; a second a seq.
EPOCH = 1_750_000_000
NOW = datetime.fromtimestamp(EPOCH).astimezone() + timedelta(minutes=1)


def message(seq: int, sender: str = "ben", text: str = "", *, reply_to: int = 0, name: str = "") -> chat_pb2.Message:
    made = chat_pb2.Message(
        channel_id="c",
        seq=seq,
        position=seq * 10,
        sender_id=sender,
        text=text or f"text {seq}",
        reply_to_seq=reply_to,
        client_message_id=name,
    )
    made.created_at.FromSeconds(EPOCH + seq)
    return made


def edited(seq: int, message_seq: int, text: str) -> chat_pb2.MessageEdited:
    return chat_pb2.MessageEdited(channel_id="c", seq=seq, position=seq * 10, message_seq=message_seq, text=text)


def deleted(seq: int, message_seq: int) -> chat_pb2.MessageDeleted:
    return chat_pb2.MessageDeleted(channel_id="c", seq=seq, position=seq * 10, message_seq=message_seq)


def membership(seq: int, actor: str, *changes: tuple[str, str]) -> chat_pb2.MembershipChanged:
    made = chat_pb2.MembershipChanged(channel_id="c", seq=seq, position=seq * 10, actor_id=actor)
    for user_id, kind in changes:
        made.changes.add(
            user_id=user_id,
            kind=chat_pb2.MemberChange.Kind.Value(f"KIND_{kind}"),
            role=channel_pb2.MEMBER_ROLE_MEMBER,
        )
    made.created_at.FromSeconds(EPOCH + seq)
    return made


def titled(seq: int, title: str, actor: str = "ben") -> chat_pb2.ChannelUpdated:
    made = chat_pb2.ChannelUpdated(channel_id="c", seq=seq, position=seq * 10, actor_id=actor, title=title)
    made.updated_at.FromSeconds(EPOCH + seq)
    return made


def event_of(entry: LogEntry) -> chat_pb2.Event:
    match entry:
        case chat_pb2.Message():
            return chat_pb2.Event(position=entry.position, message=entry)
        case chat_pb2.MessageEdited():
            return chat_pb2.Event(position=entry.position, message_edited=entry)
        case chat_pb2.MessageDeleted():
            return chat_pb2.Event(position=entry.position, message_deleted=entry)
        case chat_pb2.MembershipChanged():
            return chat_pb2.Event(position=entry.position, membership_changed=entry)
        case _:
            return chat_pb2.Event(position=entry.position, channel_updated=entry)


def snapshot(
    head: int = 0,
    *,
    channel_id: str = "c",
    members: Iterable[str] = ("ann", "ben"),
    kind: channel_pb2.ChannelKind = channel_pb2.CHANNEL_KIND_GROUP,
    title: str = "Hike",
    read: int = 0,
    unread: int = 0,
    since: int = 1,
    muted: bool = False,
) -> channel_pb2.Channel:
    return channel_pb2.Channel(
        channel_id=channel_id,
        kind=kind,
        title=title if kind == channel_pb2.CHANNEL_KIND_GROUP else "",
        members=[
            channel_pb2.Member(user_id=each, role=channel_pb2.MEMBER_ROLE_MEMBER, since_seq=since) for each in members
        ],
        head_seq=head,
        head_position=head * 10,
        my_read_seq=read,
        unread_count=unread,
        muted=muted,
    )


def direct(head: int = 0, **more: int) -> channel_pb2.Channel:
    return snapshot(head, kind=channel_pb2.CHANNEL_KIND_DIRECT, **more)  # type: ignore[arg-type]


def user(user_id: str) -> account_pb2.User:
    return account_pb2.User(user_id=user_id, username=user_id, display_name=user_id.capitalize())


def chats(*snapshots: channel_pb2.Channel) -> Chats:
    made = Chats(user("ann"))
    made.meet(user(each) for each in ("ben", "cid", "dan"))
    made.put_all(snapshots)
    return made


def receipt(user_id: str, delivered: int, read: int, channel_id: str = "c") -> chat_pb2.Event:
    members = [chat_pb2.MemberReceipt(user_id=user_id, delivered_seq=delivered, read_seq=read)]
    return chat_pb2.Event(receipt=chat_pb2.Receipt(channel_id=channel_id, members=members))


def opened(made: Chats, entries: Sequence[LogEntry] = (), *, is_last: bool = True) -> ChatChannel:
    channel = made.channels["c"]
    channel.is_open = True
    channel.timeline.add_page(entries, is_last=is_last)
    return channel


# --- the timeline -----------------------------------------------------------------------------------------------------


@st.composite
def logs(draw: st.DrawFn) -> list[LogEntry]:
    """A channel's whole log, as it was written."""
    log: list[LogEntry] = []
    alive: list[int] = []
    for seq in range(1, draw(st.integers(0, 24)) + 1):
        kind = draw(st.sampled_from(["message", "message", "edit", "delete", "members", "title"]))
        if kind == "edit" and alive:
            log.append(edited(seq, draw(st.sampled_from(alive)), f"edit {seq}"))
        elif kind == "delete" and alive:
            gone = draw(st.sampled_from(alive))
            alive.remove(gone)
            log.append(deleted(seq, gone))
        elif kind == "members":
            log.append(membership(seq, "ben", ("cid", draw(st.sampled_from(["ADDED", "LEFT", "REMOVED"])))))
        elif kind == "title":
            log.append(titled(seq, f"title {seq}"))
        else:
            log.append(message(seq))
            alive.append(seq)
    return log


def as_history(log: Sequence[LogEntry]) -> list[LogEntry]:
    """What history gives of a log: the text of deleted messages is gone from it."""
    gone = {entry.message_seq for entry in log if isinstance(entry, chat_pb2.MessageDeleted)}
    given: list[LogEntry] = []
    for entry in log:
        if isinstance(entry, chat_pb2.Message) and entry.seq in gone:
            copy = chat_pb2.Message.FromString(entry.SerializeToString())
            copy.text, copy.deleted = "", True
            given.append(copy)
        elif isinstance(entry, chat_pb2.MessageEdited) and entry.message_seq in gone:
            given.append(edited(entry.seq, entry.message_seq, ""))
        else:
            given.append(entry)
    return given


def folded(log: Sequence[LogEntry]) -> dict[int, tuple[object, ...]]:
    """The trivial fold of a whole log, in order."""
    shown: dict[int, tuple[object, ...]] = {}
    for entry in log:
        match entry:
            case chat_pb2.Message():
                shown[entry.seq] = "message", entry.text, False, False
            case chat_pb2.MessageEdited():
                shown[entry.message_seq] = "message", entry.text, True, False
            case chat_pb2.MessageDeleted():
                shown[entry.message_seq] = "message", "", False, True
            case chat_pb2.MembershipChanged():
                shown[entry.seq] = "members", entry.changes[0].user_id, entry.changes[0].kind
            case chat_pb2.ChannelUpdated():
                shown[entry.seq] = "title", entry.title
    return shown


def shown(timeline: Timeline) -> dict[int, tuple[object, ...]]:
    found: dict[int, tuple[object, ...]] = {}
    for item in timeline.items:
        match item:
            case MessageItem():
                found[item.seq] = "message", item.text, item.edited, item.deleted
            case _ if hasattr(item, "title"):
                found[item.seq] = "title", item.title
            case _:
                found[item.seq] = "members", item.changes[0].user_id, item.changes[0].kind
    return found


@given(st.data(), logs())
def test_any_interleaving_of_history_and_events_shows_the_fold_of_the_log(
    data: st.DataObject, log: list[LogEntry]
) -> None:
    opened_at = data.draw(st.integers(0, len(log)), "when the channel was opened")
    # The device had handled this much by then; the rest of the log comes to it as events.
    handled = data.draw(st.integers(0, opened_at), "events handled before")
    timeline = Timeline()
    written = opened_at
    while not (timeline.is_complete and handled == len(log)):
        steps = []
        if written < len(log):
            steps.append("write")
        if handled < written:
            steps.append("event")
        if not timeline.is_complete:
            steps.append("page")
        step = data.draw(st.sampled_from(steps))
        if step == "write":
            written += 1
        elif step == "event":
            timeline.add(log[handled])
            handled += 1
            if data.draw(st.booleans(), "once more"):
                assert not timeline.add(log[handled - 1])
        else:
            size = data.draw(st.integers(1, 6), "page size")
            history = as_history(log[:written])
            before = timeline.oldest if timeline.is_loaded else 0
            page = [entry for entry in history if not before or entry.seq < before][-size:]
            timeline.add_page(page, is_last=len(page) < size)
            # A page that comes twice changes nothing.
            timeline.add_page(page, is_last=False)
    assert shown(timeline) == folded(log)
    assert [item.seq for item in timeline.items] == sorted(folded(log))


def test_an_edit_waits_for_the_page_with_its_message() -> None:
    timeline = Timeline()
    timeline.add_page([message(5), edited(6, 2, "newer"), deleted(7, 3)], is_last=False)
    assert [item.seq for item in timeline.items] == [5]
    timeline.add_page([message(1), message(2), message(3)], is_last=True)
    assert shown(timeline) == folded(
        [message(1), message(2), message(3), message(5), edited(6, 2, "newer"), deleted(7, 3)]
    )


def test_a_quotation_is_asked_for_once_and_follows_edits() -> None:
    timeline = Timeline()
    timeline.add_page([message(9, reply_to=2)], is_last=False)
    assert timeline.quoted(2) is None
    assert timeline.quoted(2) is None
    assert timeline.wanted == [2]
    timeline.add_quote(message(2, text="before"))
    timeline.add(edited(10, 2, "after"))
    quoted = timeline.quoted(2)
    assert quoted is not None
    assert quoted.text == "after"
    assert [item.seq for item in timeline.items] == [9]


# --- channels ---------------------------------------------------------------------------------------------------------


def test_unread_counts_go_on_from_the_snapshot_without_counting_twice() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    channel = made.channels["c"]
    for seq in (4, 5, 6, 7):
        made.take(event_of(message(seq)), 0.0)
    made.take(event_of(message(8, "ann")), 0.0)
    made.take(event_of(edited(9, 7, "again")), 0.0)
    assert channel.unread == 5
    assert channel.head_seq == 9


def test_reading_on_another_device_lowers_the_count_or_asks_for_it() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    for seq in (6, 7):
        made.take(event_of(message(seq)), 0.0)
    channel = made.channels["c"]
    # Up to 4: how many of the three that were counted were before it only the server knows.
    assert made.take(receipt("ann", 7, 4), 0.0) is Need.CHANNEL
    made.put(snapshot(7, read=4, unread=3))
    assert channel.unread == 3
    assert made.take(receipt("ann", 7, 7), 0.0) is None
    assert channel.unread == 0


def test_an_answer_older_than_the_events_does_not_undo_them() -> None:
    made = chats(snapshot(5, read=5))
    made.take(event_of(message(6)), 0.0)
    made.take(event_of(titled(7, "Later")), 0.0)
    made.take(event_of(membership(8, "ben", ("cid", "ADDED"))), 0.0)
    made.put(snapshot(6, read=5, unread=1, title="Earlier"))
    channel = made.channels["c"]
    assert (channel.title, channel.unread, channel.head_seq) == ("Later", 1, 8)
    assert "cid" in channel.members


def test_read_here_stays_read_when_an_older_answer_arrives() -> None:
    made = chats(snapshot(5, read=2, unread=3))
    channel = made.channels["c"]
    channel.mark_read(5)
    assert channel.unread == 0
    made.put(snapshot(5, read=2, unread=3))
    assert channel.unread == 0
    assert channel.read_seq == 5


def test_members_come_go_and_change_roles() -> None:
    made = chats(snapshot(1))
    channel = made.channels["c"]
    change = membership(2, "ben", ("cid", "ADDED"), ("ben", "ROLE_CHANGED"))
    change.changes[1].role = channel_pb2.MEMBER_ROLE_ADMIN
    made.take(event_of(change), 0.0)
    assert list(channel.members) == ["ann", "ben", "cid"]
    assert channel.members["ben"].role == channel_pb2.MEMBER_ROLE_ADMIN
    made.take(event_of(membership(3, "cid", ("cid", "LEFT"))), 0.0)
    assert "cid" not in channel.members
    made.take(event_of(membership(4, "ben", ("ann", "REMOVED"))), 0.0)
    assert not channel.is_member


def test_typing_lapses_after_six_seconds_and_ends_with_a_message() -> None:
    made = chats(snapshot(1))
    channel = made.channels["c"]

    def types(user_id: str, typing: bool, now: float) -> None:
        made.take(chat_pb2.Event(typing=chat_pb2.Typing(channel_id="c", user_id=user_id, typing=typing)), now)

    types("ben", True, 100.0)
    types("cid", True, 103.0)
    assert channel.typing(105.9) == ["ben", "cid"]
    assert channel.typing(106.0) == ["cid"]
    types("ben", True, 107.0)
    made.take(event_of(message(2, "ben")), 108.0)
    types("cid", False, 108.0)
    assert channel.typing(108.0) == []


def test_reach_counts_those_a_message_was_for() -> None:
    made = chats(snapshot(9, members=("ann", "ben", "cid")))
    channel = made.channels["c"]
    made.take(event_of(membership(10, "ben", ("dan", "ADDED"))), 0.0)
    made.take(receipt("ben", 9, 8), 0.0)
    # What is read has been delivered, and marks never go back.
    made.take(receipt("cid", 0, 9), 0.0)
    made.take(receipt("ben", 3, 2), 0.0)
    reach = channel.reach(9)
    assert (reach.recipients, reach.delivered, reach.read) == (2, 2, 1)


def test_receipts_before_their_channel_are_kept_for_it() -> None:
    made = chats()
    assert made.take(receipt("ben", 4, 4), 0.0) is None
    made.put(snapshot(4))
    assert made.channels["c"].reach(4).read == 1


def test_marks_are_known_from_the_start_and_a_late_snapshot_does_not_take_them_back() -> None:
    described = snapshot(4)
    described.members[1].delivered_seq, described.members[1].read_seq = 4, 3
    made = chats(described)
    channel = made.channels["c"]
    assert (channel.reach(4).delivered, channel.reach(4).read) == (1, 0)
    made.take(receipt("ben", 4, 4), 0.0)
    made.put(described)
    assert channel.reach(4).read == 1


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


# --- rows -------------------------------------------------------------------------------------------------------------


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
    channel.outgoing += [OutgoingMessage("x", "soon", 0), OutgoingMessage("y", "never", 0, failure="too long")]
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
    assert row.sender == "B�en "
    assert made.name_of(made.channels["c"]) == "a�]0;b"


# --- layout -----------------------------------------------------------------------------------------------------------

STYLES = Styles(*(Style() for _ in range(8)))
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n 日👩x"), max_size=120)


@given(WORDS, WORDS, st.integers(12, 60), st.booleans(), st.sampled_from(Mark))
def test_no_line_is_wider_than_the_pane(text: str, name: str, width: int, is_continued: bool, mark: Mark) -> None:
    row = ChatMessageRow(
        "k", 1, "ben", clean(name), True, is_continued, "10:00", clean(text), name, True, False, mark, "why"
    )
    layout = Layout(Console(width=200), width, STYLES)
    for line in layout.lines(row, False) + layout.lines(NoticeRow(1, clean(text), "10:00"), False):
        assert line.cell_len <= width


def test_a_long_message_is_folded_until_it_is_asked_for() -> None:
    row = ChatMessageRow("k", 1, "ben", "Ben", False, False, "10:00", "word " * 20_000, "", False, False, Mark.NONE)
    layout = Layout(Console(width=200), 40, STYLES)
    folded_lines, all_lines = layout.lines(row, False), layout.lines(row, True)
    assert len(folded_lines) < 30
    assert "100,000 characters" in folded_lines[-1].plain
    assert sum(line.plain.count("word") for line in all_lines) == 20_000


# --- what is typed, and what is said ----------------------------------------------------------------------------------


def test_commands_are_told_from_texts() -> None:
    assert parse("hello / there") == "hello / there"
    assert parse("//tmp is full") == "/tmp is full"
    assert parse("/Title  A new one ") == SlashCommand("title", "A new one")
    assert parse("/add @Ben, cid") == SlashCommand("add", "@Ben, cid")
    assert SlashCommand("add", "@Ben, cid").names == ["ben", "cid"]


def test_a_mistyped_command_is_not_sent_as_a_text() -> None:
    with pytest.raises(CommandError, match="did you mean /leave"):
        parse("/laeve")
    with pytest.raises(CommandError, match="/help lists"):
        parse("/usr/bin is full")


def test_a_half_typed_command_is_completed_when_it_is_clear() -> None:
    assert complete("/ti") == "/title "
    assert complete("/re") == "/re"
    assert complete("ti") == "ti"


def test_every_command_is_done_by_somebody() -> None:
    assert [spec.word for spec in SPECS if not hasattr(CommandRunner, f"_do_{spec.word}")] == []


def test_days_are_said_as_people_say_them() -> None:
    today = datetime(2026, 3, 1, tzinfo=UTC).date()
    said = [day(today - timedelta(days=ago), today) for ago in (0, 1, 2, 60)]
    assert said == ["Today", "Yesterday", "Friday, 27 February", "Wednesday, 31 December 2025"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TidingsError(grpc.StatusCode.UNAVAILABLE, "ipv4:127.0.0.1:1: Connection refused"), "cannot be reached"),
        (TidingsError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), "does not answer"),
        (refusal(grpc.StatusCode.PERMISSION_DENIED, "no", reason="BLOCKED"), "blocked the other"),
        (
            refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "device_name: has 99 characters",
                violations=[FieldViolation("device_name", "has 99 characters, at most 64 are allowed")],
            ),
            "device name has 99 characters",
        ),
        (TidingsError(grpc.StatusCode.ALREADY_EXISTS, "the username ana is taken."), "the username ana is taken"),
        (TidingsError(grpc.StatusCode.INTERNAL, ""), "internal"),
    ],
)
def test_errors_are_put_in_words(error: TidingsError, words: str) -> None:
    assert words in explain(error)


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_accounts_are_found_again_by_name_and_server(tmp_path: Path) -> None:
    accounts = RememberedAccounts(tmp_path)
    made = [
        accounts.account(name, server)
        for name, server in (("Ana", "127.0.0.1:7400"), ("ben", "127.0.0.1:7400"), ("ana", "[::1]:7400"))
    ]
    assert accounts.remembered() == []
    for account in made:
        account.path.touch()
    assert {(each.username, each.server) for each in accounts.remembered()} == {
        ("ana", "127.0.0.1:7400"),
        ("ben", "127.0.0.1:7400"),
        ("ana", "[::1]:7400"),
    }
    assert [each.server for each in accounts.remembered("ANA", "[::1]:7400")] == ["[::1]:7400"]
    assert len({account.path for account in made}) == 3
    assert all(account.path.parent == tmp_path for account in made)


def test_sign_ins_are_kept_where_the_user_wants_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tidings" / "chat"
    # Relative paths are to be ignored, says the specification.
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "share" / "tidings" / "chat"
