"""The timeline: any order of history and events gives the same fold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chat_model import (
    deleted,
    edited,
    membership,
    message,
    titled,
)
from tidings.v1 import chat_pb2
from tidings_chat.timeline import LogEntry, MessageItem, Timeline


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


def test_an_edit_that_has_lost_its_text_to_a_newer_one_is_not_shown() -> None:
    timeline = Timeline()
    timeline.add(message(2, text="first"))
    timeline.add(edited(3, 2, ""))
    assert shown(timeline) == folded([message(2, text="first")])
    timeline.add(edited(4, 2, "latest"))
    timeline.add(edited(5, 2, ""))
    assert [(item.text, item.edited) for item in timeline.items if isinstance(item, MessageItem)] == [("latest", True)]


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


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 10**12, -(10**12), 253_402_300_800])
def test_a_time_that_no_calendar_has_is_shown_as_the_first(seconds: int) -> None:
    timeline = Timeline()
    never = message(1)
    never.created_at.seconds = seconds
    timeline.add(never)
    found = timeline.message(1)
    assert found is not None
    assert found.sent_at.timestamp() == 0
