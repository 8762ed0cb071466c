"""The rules of a channel: what each action makes of the log, who sees it, and every no."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chat_server.channels.first_results import of_action, of_entry
from chat_server.channels.rules import Channel, Draft
from tests.support.clock import FakeClock
from tidings.core.actions import (
    Accepted,
    Action,
    AddMembers,
    ChangeRole,
    CreateChannel,
    Delete,
    Edit,
    Leave,
    MarkRead,
    Refresh,
    RemoveMember,
    Retitle,
    Send,
    ShowTyping,
)
from tidings.core.errors import Code, Refusal
from tidings.core.positions import Positions
from tidings.core.values import (
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    LogEntry,
    Marks,
    Member,
    Role,
)
from tidings.v1 import channel_pb2, chat_pb2

CHANGE = chat_pb2.MemberChange
CREATED_AT_MS = 1_700_000_000_000


class Log:
    """A channel with the log that it makes, a batch at a time."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.entries: list[LogEntry] = []
        self.positions = Positions(FakeClock())

    def draft(self) -> Draft:
        messages: dict[int, Sequence[LogEntry]] = {
            each.seq: [each, *(change for change in self.entries if change.target_seq == each.seq)]
            for each in self.entries
            if each.kind is EntryKind.MESSAGE
        }
        return Draft(self.positions, CREATED_AT_MS, messages, messages.keys())

    def write(self, draft: Draft) -> None:
        self.entries += draft.entries()
        for seq, body in draft.redactions.items():
            old = self.entries[seq - 1]
            self.entries[seq - 1] = LogEntry(
                old.seq, old.position, old.kind, old.author_id, body, old.client_message_id, old.target_seq
            )
        self.channel.written(draft)

    def do(self, actor_id: str, action: Action) -> Accepted:
        return self.do_all((actor_id, action))[0]

    def do_all(self, *asked: tuple[str, Action]) -> list[Accepted]:
        """All in one batch."""
        self.channel.remember({})
        draft = self.draft()
        results = [self.channel.apply(actor_id, action, draft) for actor_id, action in asked]
        self.write(draft)
        return results

    def refused(self, actor_id: str, action: Action) -> Refusal:
        """The refusal of an action, which must change nothing."""
        before = _state(self.channel)
        draft = self.draft()
        with pytest.raises(Refusal) as caught:
            self.channel.apply(actor_id, action, draft)
        assert _state(self.channel) == before
        assert draft == self.draft()
        return caught.value

    def event(self, seq: int) -> chat_pb2.Event:
        return chat_pb2.Event.FromString(self.entries[seq - 1].body)

    def role(self, user_id: str) -> Role:
        return self.channel.members[user_id].role


def _state(channel: Channel) -> object:
    members, marks = dict(channel.members), dict(channel.marks)
    return channel.head_seq, channel.head_position, channel.title, members, marks, channel.blocked


def group(*members: str, owner: str = "owner") -> Log:
    """A group of an owner and members, whose log has two entries."""
    log = Log(Channel.unborn("g1", ChannelKind.GROUP, 1_750_000_000_000))
    log.do(owner, CreateChannel(ChannelKind.GROUP, "title", members))
    return log


def direct() -> Log:
    log = Log(Channel.unborn("d1", ChannelKind.DIRECT, 1_750_000_000_000))
    log.do("ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)))
    return log


def violation(refusal: Refusal) -> str:
    (only,) = refusal.violations
    return only.field


# --- making one -------------------------------------------------------------------------------------------------------


def test_a_new_group_has_its_members_and_its_title_in_the_log() -> None:
    channel = Channel.unborn("g1", ChannelKind.GROUP, 1_750_000_000_000)
    log = Log(channel)
    draft = log.draft()
    result = channel.apply("ann", CreateChannel(ChannelKind.GROUP, "plans", ("bob", "ann", "bob", "cid")), draft)
    batch = draft.batch("g1", is_awake=True)
    assert batch is not None
    assert batch.created == ChannelRecord("g1", ChannelKind.GROUP, 1_750_000_000_000)
    assert [(each.seq, each.kind, each.author_id) for each in batch.entries] == [
        (1, EntryKind.MEMBERSHIP, "ann"),
        (2, EntryKind.TITLE, "ann"),
    ]
    assert [(each.user_id, each.role, each.since_seq, each.until_seq) for each in batch.members] == [
        ("ann", Role.OWNER, 1, 0),
        ("bob", Role.MEMBER, 1, 0),
        ("cid", Role.MEMBER, 1, 0),
    ]
    assert batch.title == "plans"
    assert (result.channel_id, result.seq, result.position) == ("g1", 2, batch.entries[1].position)
    log.write(draft)
    changed = log.event(1).membership_changed
    assert [(each.user_id, each.kind, each.role) for each in changed.changes] == [
        ("ann", CHANGE.KIND_ADDED, channel_pb2.MEMBER_ROLE_OWNER),
        ("bob", CHANGE.KIND_ADDED, channel_pb2.MEMBER_ROLE_MEMBER),
        ("cid", CHANGE.KIND_ADDED, channel_pb2.MEMBER_ROLE_MEMBER),
    ]
    assert (changed.actor_id, changed.seq, changed.position) == ("ann", 1, log.event(1).position)
    assert log.event(2).channel_updated.title == channel.title == "plans"


def test_a_direct_channel_is_made_without_an_entry_for_both_to_see_all() -> None:
    channel = Channel.unborn("d1", ChannelKind.DIRECT, 7)
    log = Log(channel)
    draft = log.draft()
    assert channel.apply("ann", CreateChannel(ChannelKind.DIRECT, "", ("bob",)), draft) == Accepted("d1", 0, 0)
    batch = draft.batch("d1", is_awake=True)
    assert batch is not None
    assert batch.entries == ()
    assert [(each.user_id, each.role, each.since_seq) for each in batch.members] == [
        ("ann", Role.MEMBER, 1),
        ("bob", Role.MEMBER, 1),
    ]
    assert channel.apply("bob", Send("x", "hi"), draft).seq == 1


@pytest.mark.parametrize("aside", [Refresh(), ShowTyping(True)])
def test_what_is_in_no_log_is_a_mistake_of_the_caller(aside: Refresh | ShowTyping) -> None:
    channel = Channel.unborn("c", ChannelKind.GROUP, 0)
    with pytest.raises(TypeError):
        channel.apply("ann", aside, Draft(Positions(FakeClock()), CREATED_AT_MS, {}))


def test_making_a_channel_that_exists_leaves_it_as_it_is() -> None:
    log = group("bob")
    log.do("bob", Send("x", "hi"))
    assert log.do("bob", CreateChannel(ChannelKind.GROUP, "other", ("cid",))).seq == 3
    assert log.channel.title == "title"
    assert set(log.channel.members) == {"owner", "bob"}
    assert log.refused("eve", CreateChannel(ChannelKind.GROUP, "x", ())).code is Code.NOT_FOUND


def test_a_group_of_101_is_not_made() -> None:
    log = Log(Channel.unborn("g1", ChannelKind.GROUP, 0))
    refusal = log.refused("ann", CreateChannel(ChannelKind.GROUP, "big", tuple(f"u{n}" for n in range(100))))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "GROUP_FULL")
    assert dict(refusal.metadata) == {"field": "member_ids", "limit": "100", "actual": "101"}
    log.do("ann", CreateChannel(ChannelKind.GROUP, "big", tuple(f"u{n}" for n in range(99))))
    assert len(log.channel.members) == 100


# --- messages ---------------------------------------------------------------------------------------------------------


def test_messages_are_numbered_without_a_gap_and_stand_at_rising_positions() -> None:
    log = group("bob")
    results = log.do_all(*[(who, Send(f"{who}{n}", f"text {n}")) for n in range(5) for who in ("owner", "bob")])
    assert [each.seq for each in results] == list(range(3, 13))
    assert [each.position for each in results] == sorted({each.position for each in results})
    message = log.event(4).message
    assert (message.channel_id, message.seq, message.position) == ("g1", 4, results[1].position)
    assert (message.sender_id, message.client_message_id, message.text) == ("bob", "bob0", "text 0")
    assert message.created_at.ToMilliseconds() == CREATED_AT_MS
    assert not message.deleted


def test_the_same_message_again_gives_the_first_result_and_makes_nothing() -> None:
    log = group("bob")
    first = log.do("bob", Send("m1", "hello"))
    log.do("owner", Send("m1", "another's name space"))
    assert log.do("bob", Send("m1", "hello")) == first
    assert log.do_all(("bob", Send("m2", "a")), ("bob", Send("m2", "a")))[1].seq == 5
    assert log.channel.head_seq == len(log.entries) == 5


def test_a_result_that_the_storage_tells_of_answers_a_resend() -> None:
    log = group("bob")
    log.channel.remember({("bob", "old"): of_action(Accepted("g1", 2, 77), Send("old", "x"))})
    assert log.channel.apply("bob", Send("old", "x"), log.draft()) == Accepted("g1", 2, 77)


def test_within_one_batch_no_result_is_forgotten() -> None:
    log = group("bob")
    sends: list[tuple[str, Action]] = [("bob", Send(f"m{n}", "x")) for n in range(600)]
    results = log.do_all(*sends, *sends)
    assert results[:600] == results[600:]
    assert len(log.entries) == 602


def test_all_first_results_of_one_batch_are_known_to_it() -> None:
    log = group("bob")
    first = {f"m{n}": of_action(Accepted("g1", n + 1, n + 1), Send(f"m{n}", "x")) for n in range(512)}
    log.channel.remember({("bob", name): each for name, each in first.items()})
    draft = log.draft()
    for n in range(512):
        assert log.channel.apply("bob", Send(f"m{n}", "x"), draft).seq == n + 1
    assert draft.entries() == ()


def test_results_of_long_ago_do_not_fill_the_memory() -> None:
    log = group("bob")
    for n in range(600):
        log.do("bob", Send(f"m{n}", "x"))
    log.channel.remember({})
    # Forgotten here: the storage tells that it is there.
    assert log.channel.apply("bob", Send("m0", "x"), log.draft()).seq == 603


FIRST: list[tuple[Action, Action]] = [
    (Send("n", "x"), Send("n", "y")),
    (Send("n", "x"), Send("n", "x", reply_to_seq=3)),
    (Send("n", "x", reply_to_seq=3), Send("n", "x")),
    (Send("n", "x"), Edit(3, "x", "n")),
    (Edit(3, "x", "n"), Edit(3, "y", "n")),
    (Edit(3, "x", "n"), Edit(4, "x", "n")),
    (Edit(3, "x", "n"), Send("n", "x", reply_to_seq=3)),
]
"""What is said first under a name, and something else under the same one."""


@pytest.mark.parametrize(("first", "other"), FIRST)
@pytest.mark.parametrize("known", ["from this batch", "from the batch before", "from the log"])
def test_something_else_under_the_same_name_is_refused(first: Action, other: Action, known: str) -> None:
    log = group("bob")
    log.do_all(("bob", Send("a", "one")), ("bob", Send("b", "two")))
    draft = log.draft()
    result = log.channel.apply("bob", first, draft)
    if known != "from this batch":
        log.write(draft)
        if known == "from the log":
            log.channel.remember({("bob", "n"): of_entry("g1", log.entries[-1])})
        draft = log.draft()
    with pytest.raises(Refusal) as caught:
        log.channel.apply("bob", other, draft)
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, "CLIENT_MESSAGE_ID_REUSED")
    assert caught.value.metadata == {"first_seq": str(result.seq)}
    field = "edit_message" if isinstance(other, Edit) else "send_message"
    assert violation(caught.value) == f"{field}.client_message_id"
    assert log.channel.apply("bob", first, draft) == result


@pytest.mark.parametrize("from_log", [False, True])
def test_what_was_said_first_stays_so_when_it_is_edited(from_log: bool) -> None:
    log = group("bob")
    first = log.do("bob", Send("n", "x"))
    log.do("bob", Edit(first.seq, "y"))
    if from_log:
        log.channel.remember({("bob", "n"): of_entry("g1", log.entries[first.seq - 1])})
    assert log.do("bob", Send("n", "x")) == first
    assert log.refused("bob", Send("n", "y")).code is Code.ALREADY_EXISTS


@pytest.mark.parametrize("from_log", [False, True])
def test_of_a_deleted_message_any_text_is_the_same(from_log: bool) -> None:
    log = group("bob")
    log.do("bob", Send("a", "one"))
    first = log.do("bob", Send("n", "x", reply_to_seq=3))
    edit = log.do("bob", Edit(first.seq, "y", "e"))
    log.do("bob", Delete(first.seq))
    if from_log:
        log.channel.remember({("bob", "n"): of_entry("g1", log.entries[first.seq - 1])})
        log.channel.remember({("bob", "e"): of_entry("g1", log.entries[edit.seq - 1])})
    for text in ("x", "another"):
        assert log.do("bob", Send("n", text, reply_to_seq=3)) == first
        assert log.do("bob", Edit(first.seq, text, "e")) == edit
    # The rest of it is still there.
    assert log.refused("bob", Send("n", "x")).code is Code.ALREADY_EXISTS
    assert log.refused("bob", Edit(3, "y", "e")).code is Code.ALREADY_EXISTS


def test_a_reply_names_a_message() -> None:
    log = group("bob")
    first = log.do("bob", Send("m", "x"))
    result = log.do("owner", Send("r", "y", reply_to_seq=first.seq))
    assert log.event(result.seq).message.reply_to_seq == first.seq
    log.do("bob", Edit(first.seq, "z"))
    log.do("bob", Delete(first.seq))
    # Whoever was writing while it was deleted loses nothing; what is no message cannot be answered.
    assert log.do("owner", Send("s", "y", reply_to_seq=first.seq)).seq == len(log.entries) == 7
    for seq in (1, 2, 5, 6):
        refusal = log.refused("owner", Send("t", "y", reply_to_seq=seq))
        assert (refusal.code, violation(refusal)) == (Code.INVALID_ARGUMENT, "send_message.reply_to_seq")


def test_a_reply_may_name_a_message_of_the_same_batch() -> None:
    log = group("bob")
    results = log.do_all(
        ("bob", Send("m", "x")), ("owner", Send("r", "y", reply_to_seq=3)), ("owner", Send("s", "z", reply_to_seq=4))
    )
    assert [log.event(each.seq).message.reply_to_seq for each in results] == [0, 3, 4]
    draft = log.draft()
    log.channel.apply("owner", Retitle("another"), draft)
    with pytest.raises(Refusal):
        log.channel.apply("bob", Send("t", "x", reply_to_seq=6), draft)


def test_a_reply_to_what_does_not_exist_or_was_before_ones_time_is_refused() -> None:
    log = group("bob")
    log.do("owner", AddMembers(("cid",)))
    for actor, seq in (("bob", 4), ("bob", 1 << 63), ("cid", 2)):
        refusal = log.refused(actor, Send("r", "y", reply_to_seq=seq))
        assert refusal.code is Code.INVALID_ARGUMENT
        assert violation(refusal) == "send_message.reply_to_seq"
        assert dict(refusal.metadata) == {"limit": "3", "actual": str(seq)}


def test_an_edit_is_an_entry_of_its_own() -> None:
    log = group("bob")
    log.do("bob", Send("m", "teh"))
    result = log.do("bob", Edit(3, "the"))
    assert result.seq == 4
    edited = log.event(4).message_edited
    assert (edited.message_seq, edited.editor_id, edited.text, edited.seq) == (3, "bob", "the", 4)
    assert log.event(3).message.text == "teh"
    assert (log.entries[3].kind, log.entries[3].target_seq) == (EntryKind.EDIT, 3)


def test_an_edit_with_a_name_is_made_once() -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    first = log.do("bob", Edit(3, "b", "e1"))
    assert log.do("bob", Edit(3, "b", "e1")) == first
    # Without a name each is one.
    assert [log.do("bob", Edit(3, "c")).seq, log.do("bob", Edit(3, "c")).seq] == [5, 6]


def test_only_the_author_edits() -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    refusal = log.refused("owner", Edit(3, "b"))
    assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "NOT_THE_AUTHOR")


def test_a_deleted_message_is_not_edited() -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    log.do("bob", Delete(3))
    refusal = log.refused("bob", Edit(3, "b"))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "MESSAGE_DELETED")


def test_a_message_deleted_in_the_same_batch_is_not_edited() -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    draft = log.draft()
    log.channel.apply("bob", Delete(3), draft)
    with pytest.raises(Refusal) as caught:
        log.channel.apply("bob", Edit(3, "b"), draft)
    assert caught.value.reason == "MESSAGE_DELETED"
    assert [each.seq for each in draft.entries()] == [4]


@pytest.mark.parametrize(
    ("make", "field"), [(lambda seq: Edit(seq, "b"), "edit_message.seq"), (Delete, "delete_message.seq")]
)
def test_what_is_no_message_or_before_ones_time_cannot_be_changed(make: Callable[[int], Action], field: str) -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    log.do("owner", RemoveMember("bob"))
    log.do("owner", AddMembers(("bob",)))
    # A membership, a title, one's own message of an earlier stay, the future.
    for seq in (1, 2, 3, 99):
        refusal = log.refused("bob", make(seq))
        assert refusal.code is Code.NOT_FOUND
        assert violation(refusal) == field


def test_a_deletion_takes_the_text_out_of_the_log_and_of_every_edit() -> None:
    log = group("bob")
    log.do("bob", Send("m", "secret"))
    log.do("bob", Edit(3, "secret 2"))
    results = log.do_all(("bob", Edit(3, "secret 3")), ("bob", Delete(3)))
    assert results[1].seq == 6
    deleted = log.event(6).message_deleted
    assert (deleted.message_seq, deleted.actor_id) == (3, "bob")
    assert log.event(3).message.deleted
    assert log.event(3).message.client_message_id == "m"
    assert not any(b"secret" in each.body for each in log.entries)
    assert [each.seq for each in log.entries] == [1, 2, 3, 4, 5, 6]


def test_an_edit_takes_the_text_of_the_edit_before_it_out_of_the_log() -> None:
    log = group("bob")
    log.do("bob", Send("m", "one"))
    log.do("bob", Edit(3, "two"))
    log.do_all(("bob", Edit(3, "three")), ("bob", Edit(3, "four")))
    assert log.event(3).message.text == "one"
    assert [log.event(seq).message_edited.text for seq in (4, 5, 6)] == ["", "", "four"]
    assert [log.event(seq).message_edited.message_seq for seq in (4, 5, 6)] == [3, 3, 3]


def test_the_edit_that_somebody_saw_last_who_has_left_keeps_its_text_until_the_deletion() -> None:
    log = group("bob", "cid")
    log.do("bob", Send("m", "one"))
    log.do("bob", Edit(3, "two"))
    log.do("cid", Leave())
    log.do("bob", Edit(3, "three"))
    log.do("bob", Edit(3, "four"))
    assert [log.event(seq).message_edited.text for seq in (4, 6, 7)] == ["two", "", "four"]
    log.do("bob", Delete(3))
    assert [log.event(seq).message_edited.text for seq in (4, 6, 7)] == ["", "", ""]


def test_who_may_have_left_before_a_group_was_loaded_keeps_what_they_saw() -> None:
    log = group("bob")
    log.do("bob", Send("m", "one"))
    log.do("bob", Edit(3, "two"))
    members = tuple(log.channel.members.values())
    log.channel = Channel(ChannelSnapshot(log.channel.record, "t", members, 4, log.entries[-1].position))
    log.do("bob", Edit(3, "three"))
    log.do("bob", Edit(3, "four"))
    assert [log.event(seq).message_edited.text for seq in (4, 5, 6)] == ["two", "", "four"]


def test_a_second_deletion_gives_the_result_of_the_first() -> None:
    log = group("bob")
    log.do("bob", Send("m", "a"))
    log.do("bob", Send("n", "b"))
    first = log.do("bob", Delete(3))
    assert log.do("owner", Delete(3)) == first
    both = log.do_all(("owner", Delete(4)), ("bob", Delete(4)))
    assert both[0] == both[1]
    assert log.channel.head_seq == len(log.entries) == 6


def test_admins_and_the_owner_delete_anyones_message_and_members_only_theirs() -> None:
    log = group("adm", "bob", "cid")
    log.do("owner", ChangeRole("adm", Role.ADMIN))
    for n in range(3):
        log.do("bob", Send(f"m{n}", "a"))
    refusal = log.refused("cid", Delete(4))
    assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "NOT_THE_AUTHOR")
    assert [log.do(who, Delete(seq)).seq for who, seq in (("adm", 4), ("owner", 5), ("bob", 6))] == [7, 8, 9]


def test_in_a_direct_channel_one_deletes_only_ones_own() -> None:
    log = direct()
    log.do("ann", Send("m", "a"))
    assert log.refused("bob", Delete(1)).reason == "NOT_THE_AUTHOR"
    assert log.do("ann", Delete(1)).seq == 2


def test_blocking_stops_messages_and_edits_but_not_resends_deletions_and_marks() -> None:
    log = direct()
    first = log.do("ann", Send("m", "a"))
    log.channel.blocked = True
    for who in ("ann", "bob"):
        refusal = log.refused(who, Send("n", "b"))
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "BLOCKED")
    assert log.refused("ann", Edit(1, "b")).reason == "BLOCKED"
    assert log.do("ann", Send("m", "a")) == first
    assert log.do("bob", MarkRead(1)).seq == 1
    assert log.do("ann", Delete(1)).seq == 2


# --- marks ------------------------------------------------------------------------------------------------------------


def test_a_read_mark_only_moves_forward() -> None:
    log = group("bob")
    for n in range(4):
        log.do("owner", Send(f"m{n}", "a"))
    assert [log.do("bob", MarkRead(seq)).seq for seq in (4, 6, 5, 1)] == [4, 6, 6, 6]
    assert log.channel.marks["bob"] == Marks(delivered_seq=6, read_seq=6)
    assert log.do("bob", MarkRead(1)).position == 0
    assert len(log.entries) == 6


def test_several_read_marks_in_one_batch() -> None:
    log = group("bob")
    log.do("owner", Send("m", "a"))
    assert [each.seq for each in log.do_all(("bob", MarkRead(2)), ("bob", MarkRead(3)), ("bob", MarkRead(1)))] == [
        2,
        3,
        3,
    ]
    assert log.channel.marks["bob"].read_seq == 3


def test_a_read_mark_moves_once_its_draft_is_written_and_no_sooner() -> None:
    log = group("bob")
    draft = log.draft()
    log.channel.apply("owner", Send("m", "a"), draft)
    log.channel.apply("bob", MarkRead(3), draft)
    assert "bob" not in log.channel.marks
    log.write(draft)
    assert log.channel.marks["bob"] == Marks(3, 3)


def test_a_read_mark_that_is_not_saved_is_saved_when_asked_for_again() -> None:
    log = group("bob")
    log.do("bob", MarkRead(2))
    again = log.draft()
    assert log.channel.apply("bob", MarkRead(2), again).seq == 2
    assert again.reads == {"bob": 2}
    log.channel.reads_saved(again)
    once_more = log.draft()
    assert log.channel.apply("bob", MarkRead(2), once_more).seq == 2
    assert once_more.reads == {}


def test_a_read_mark_beyond_the_head_is_refused() -> None:
    log = group("bob")
    refusal = log.refused("bob", MarkRead(3))
    assert refusal.code is Code.INVALID_ARGUMENT
    assert violation(refusal) == "mark_read.seq"
    assert dict(refusal.metadata) == {"limit": "2", "actual": "3"}


def test_a_delivered_mark_only_moves_forward_and_not_beyond_the_head() -> None:
    log = group("bob")
    channel = log.channel
    assert channel.delivered("bob", 1)
    assert not channel.delivered("bob", 1)
    assert channel.delivered("bob", 50)
    assert channel.marks["bob"] == Marks(delivered_seq=2, read_seq=0)
    assert not channel.delivered("eve", 2)
    assert "eve" not in channel.marks


def test_who_leaves_loses_their_marks_once_that_is_written() -> None:
    log = group("bob")
    log.do("bob", MarkRead(2))
    draft = log.draft()
    log.channel.apply("bob", MarkRead(2), draft)
    log.channel.apply("bob", Leave(), draft)
    assert "bob" in log.channel.marks
    log.write(draft)
    assert "bob" not in log.channel.marks
    log.do("owner", AddMembers(("bob",)))
    assert log.do("bob", MarkRead(3)).seq == 3


def test_a_new_copy_takes_the_marks_over_but_never_back() -> None:
    old = group("bob", "cid").channel
    old.delivered("bob", 2)
    old.delivered("cid", 1)
    members = (Member("owner", Role.OWNER, 1, 0), Member("bob", Role.MEMBER, 1, 0))
    new = Channel(
        ChannelSnapshot(old.record, "title", members, 2, 9, {"bob": Marks(1, 1), "owner": Marks(2, 2)}, False)
    )
    new.take_over(old)
    assert new.marks == {"bob": Marks(2, 1), "owner": Marks(2, 2)}


# --- members ----------------------------------------------------------------------------------------------------------


def test_adding_is_one_entry_and_those_who_are_in_already_are_left_as_they_are() -> None:
    log = group("bob")
    result = log.do("owner", AddMembers(("cid", "bob", "dan", "cid")))
    assert result.seq == 3
    assert [each.user_id for each in log.event(3).membership_changed.changes] == ["cid", "dan"]
    assert log.channel.members["cid"].since_seq == log.channel.members["dan"].since_seq == 3
    assert log.channel.members["bob"].since_seq == 1
    again = log.do("owner", AddMembers(("cid", "bob")))
    assert (again.seq, again.position) == (3, result.position)
    assert len(log.entries) == 3


def test_a_group_never_passes_100_and_all_are_added_or_none() -> None:
    log = group(*[f"u{n}" for n in range(97)])
    refusal = log.refused("owner", AddMembers(("a", "b", "c")))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "GROUP_FULL")
    assert dict(refusal.metadata) == {"field": "member_ids", "limit": "100", "actual": "101"}
    log.do("owner", AddMembers(("a", "b", "u1")))
    assert len(log.channel.members) == 100
    assert log.refused("owner", AddMembers(("c",))).reason == "GROUP_FULL"
    log.do("a", Leave())
    log.do("owner", AddMembers(("c",)))
    assert len(log.channel.members) == 100


def test_who_was_removed_may_come_back_and_begins_anew() -> None:
    log = group("bob")
    draft = log.draft()
    log.channel.apply("owner", RemoveMember("bob"), draft)
    log.channel.apply("owner", AddMembers(("bob",)), draft)
    assert [(each.user_id, each.since_seq, each.until_seq) for each in draft.members] == [("bob", 1, 3), ("bob", 4, 0)]
    assert log.channel.members["bob"].since_seq == 4


def test_removing() -> None:
    log = group("bob", "cid")
    assert log.do("owner", RemoveMember("bob")).seq == 3
    changed = log.event(3).membership_changed
    assert changed.actor_id == "owner"
    assert [(each.user_id, each.kind, each.role) for each in changed.changes] == [
        ("bob", CHANGE.KIND_REMOVED, channel_pb2.MEMBER_ROLE_UNSPECIFIED)
    ]
    refusal = log.refused("owner", RemoveMember("bob"))
    assert refusal.code is Code.NOT_FOUND
    assert violation(refusal) == "user_id"


@pytest.mark.parametrize(
    ("actor", "target", "reason"),
    [
        ("bob", "cid", "ROLE_TOO_LOW"),
        ("adm", "adm2", "ROLE_TOO_LOW"),
        ("adm", "owner", "ROLE_TOO_LOW"),
        ("adm", "adm", "LEAVE_INSTEAD"),
        ("owner", "owner", "LEAVE_INSTEAD"),
    ],
)
def test_who_may_not_be_removed_by_whom(actor: str, target: str, reason: str) -> None:
    log = group("adm", "adm2", "bob", "cid")
    for each in ("adm", "adm2"):
        log.do("owner", ChangeRole(each, Role.ADMIN))
    refusal = log.refused(actor, RemoveMember(target))
    assert refusal.reason == reason
    assert refusal.code is (Code.FAILED_PRECONDITION if reason == "LEAVE_INSTEAD" else Code.PERMISSION_DENIED)


def test_admins_remove_members_and_the_owner_removes_admins() -> None:
    log = group("adm", "bob")
    log.do("owner", ChangeRole("adm", Role.ADMIN))
    log.do("adm", RemoveMember("bob"))
    log.do("owner", RemoveMember("adm"))
    assert set(log.channel.members) == {"owner"}


def test_leaving() -> None:
    log = group("bob")
    log.do("bob", Leave())
    (change,) = log.event(3).membership_changed.changes
    assert (change.user_id, change.kind) == ("bob", CHANGE.KIND_LEFT)
    assert log.refused("bob", Leave()).code is Code.NOT_FOUND


def test_the_longest_serving_admin_succeeds_the_owner() -> None:
    log = group("bob", "cid")
    log.do("owner", AddMembers(("dan",)))
    log.do("owner", ChangeRole("dan", Role.ADMIN))
    log.do("owner", ChangeRole("cid", Role.ADMIN))
    result = log.do("owner", Leave())
    changes = log.event(result.seq).membership_changed.changes
    assert [(each.user_id, each.kind, each.role) for each in changes] == [
        ("owner", CHANGE.KIND_LEFT, channel_pb2.MEMBER_ROLE_UNSPECIFIED),
        ("cid", CHANGE.KIND_ROLE_CHANGED, channel_pb2.MEMBER_ROLE_OWNER),
    ]
    assert [log.role(each) for each in ("bob", "cid", "dan")] == [Role.MEMBER, Role.OWNER, Role.ADMIN]
    assert log.channel.members["cid"].since_seq == 1


def test_without_an_admin_the_longest_serving_member_succeeds_the_owner() -> None:
    log = group("zoe")
    log.do("owner", AddMembers(("ann",)))
    log.do("owner", Leave())
    assert (log.role("zoe"), log.role("ann")) == (Role.OWNER, Role.MEMBER)


def test_the_last_one_out_leaves_a_channel_that_nobody_can_use() -> None:
    log = group()
    assert log.do("owner", Leave()).seq == 3
    assert log.channel.members == {}
    assert log.refused("owner", Send("m", "x")).code is Code.NOT_FOUND
    assert log.refused("owner", CreateChannel(ChannelKind.GROUP, "again", ())).code is Code.NOT_FOUND


def test_retitling() -> None:
    log = group("adm", "bob")
    log.do("owner", ChangeRole("adm", Role.ADMIN))
    result = log.do("adm", Retitle("new"))
    updated = log.event(result.seq).channel_updated
    assert (updated.title, updated.actor_id, updated.seq) == ("new", "adm", 4)
    assert log.channel.title == "new"
    assert log.refused("bob", Retitle("mine")).reason == "ROLE_TOO_LOW"


def test_giving_roles() -> None:
    log = group("bob")
    log.do("owner", ChangeRole("bob", Role.ADMIN))
    (change,) = log.event(3).membership_changed.changes
    assert (change.user_id, change.kind, change.role) == (
        "bob",
        CHANGE.KIND_ROLE_CHANGED,
        channel_pb2.MEMBER_ROLE_ADMIN,
    )
    assert log.do("owner", ChangeRole("bob", Role.ADMIN)).seq == 3
    log.do("owner", ChangeRole("bob", Role.MEMBER))
    assert log.role("bob") is Role.MEMBER


def test_there_is_one_owner_who_hands_over() -> None:
    log = group("bob")
    result = log.do("owner", ChangeRole("bob", Role.OWNER))
    assert [(each.user_id, each.role) for each in log.event(result.seq).membership_changed.changes] == [
        ("bob", channel_pb2.MEMBER_ROLE_OWNER),
        ("owner", channel_pb2.MEMBER_ROLE_ADMIN),
    ]
    assert (log.role("bob"), log.role("owner")) == (Role.OWNER, Role.ADMIN)


def test_who_may_not_give_roles() -> None:
    log = group("adm", "bob")
    log.do("owner", ChangeRole("adm", Role.ADMIN))
    for who in ("adm", "bob"):
        refusal = log.refused(who, ChangeRole("bob", Role.ADMIN))
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "ROLE_TOO_LOW")
    refusal = log.refused("owner", ChangeRole("owner", Role.MEMBER))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "OWNER_KEEPS_ROLE")
    refusal = log.refused("owner", ChangeRole("eve", Role.ADMIN))
    assert (refusal.code, violation(refusal)) == (Code.NOT_FOUND, "role_change.user_id")


EVERYTHING: list[Action] = [
    Send("m", "x"),
    Edit(1, "x"),
    Delete(1),
    MarkRead(1),
    AddMembers(("ann",)),
    RemoveMember("ann"),
    Leave(),
    Retitle("x"),
    ChangeRole("ann", Role.ADMIN),
]


@pytest.mark.parametrize("action", EVERYTHING, ids=lambda each: type(each).__name__)
def test_who_is_not_in_a_channel_hears_that_there_is_none(action: Action) -> None:
    for log in (group("bob"), direct()):
        refusal = log.refused("eve", action)
        assert (refusal.code, refusal.message, violation(refusal)) == (Code.NOT_FOUND, "no such channel", "channel_id")


@pytest.mark.parametrize("action", EVERYTHING[4:], ids=lambda each: type(each).__name__)
def test_a_direct_channel_keeps_its_two_people(action: Action) -> None:
    refusal = direct().refused("ann", action)
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "NOT_A_GROUP")


@pytest.mark.parametrize("action", [EVERYTHING[4], EVERYTHING[5], EVERYTHING[7]], ids=lambda each: type(each).__name__)
def test_what_only_admins_do(action: Action) -> None:
    refusal = group("ann", "bob").refused("bob", action)
    assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "ROLE_TOO_LOW")


# --- who sees what ----------------------------------------------------------------------------------------------------


def audiences(log: Log, *asked: tuple[str, Action]) -> dict[int, set[str]]:
    """By seq: who sees the entries that one batch makes."""
    draft = log.draft()
    for actor_id, action in asked:
        log.channel.apply(actor_id, action, draft)
    return {entry.seq: set(segment.audience) for segment in draft.segments for entry in segment.entries}


def test_who_is_added_sees_that_and_what_comes_after() -> None:
    seen = audiences(group("bob"), ("bob", Send("1", "x")), ("owner", AddMembers(("cid",))), ("bob", Send("2", "x")))
    assert seen == {3: {"owner", "bob"}, 4: {"owner", "bob", "cid"}, 5: {"owner", "bob", "cid"}}


def test_who_is_removed_sees_that_and_nothing_after() -> None:
    seen = audiences(group("bob"), ("bob", Send("1", "x")), ("owner", RemoveMember("bob")), ("owner", Send("2", "x")))
    assert seen == {3: {"owner", "bob"}, 4: {"owner", "bob"}, 5: {"owner"}}


def test_who_leaves_sees_that_and_nothing_after() -> None:
    seen = audiences(group("bob", "cid"), ("owner", Leave()), ("bob", Retitle("mine")), ("cid", Send("1", "x")))
    assert seen == {3: {"owner", "bob", "cid"}, 4: {"bob", "cid"}, 5: {"bob", "cid"}}


def test_who_goes_and_comes_in_one_batch_misses_what_was_between() -> None:
    seen = audiences(
        group("bob"),
        ("owner", RemoveMember("bob")),
        ("owner", Send("1", "x")),
        ("owner", AddMembers(("bob",))),
        ("bob", Send("2", "x")),
    )
    assert seen == {3: {"owner", "bob"}, 4: {"owner"}, 5: {"owner", "bob"}, 6: {"owner", "bob"}}


def test_the_last_to_leave_sees_it() -> None:
    assert audiences(group(), ("owner", Leave())) == {3: {"owner"}}


def test_a_draft_without_entries_is_no_batch() -> None:
    log = group("bob")
    draft = log.draft()
    log.channel.apply("bob", MarkRead(2), draft)
    assert draft.batch("g1", is_awake=True) is None
