"""The rules of a channel: who may do what, and what it makes of the log.

A `Channel` is the fold of its log. Its sequencer lets it `apply` requests, one after another, to a `Draft`; the
draft becomes one batch of the log. The state moves ahead of the storage meanwhile, so a channel whose batch was not
written is thrown away and loaded again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from chat_server import events
from chat_server.channels import first_results
from chat_server.channels.first_results import FirstResult
from tidings.core import actions
from tidings.core.actions import Accepted, Action, Aside
from tidings.core.errors import Refusal, denied, device_revoked, invalid, not_found, precondition
from tidings.core.limits import check_group_size
from tidings.core.positions import Positions
from tidings.core.reasons import Reason
from tidings.core.requests import ChannelRequest, Outcome
from tidings.core.values import (
    ChannelKind,
    ChannelRecord,
    ChannelSnapshot,
    EntryKind,
    LogBatch,
    LogEntry,
    Marks,
    Member,
    MembershipChange,
    Role,
)
from tidings.v1 import chat_pb2

# How many results are kept from batch to batch, to answer a resend without asking the storage, which knows them all.
_RECENT_RESULTS = 256

_KINDS = chat_pb2.MemberChange


@dataclass(slots=True)
class Segment:
    """Consecutive new entries that the same people see."""

    audience: Collection[str]
    entries: list[LogEntry] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """The contents of a batch in the making."""

    positions: Positions
    created_at_ms: int
    """What the new entries say of when they were accepted: the clock of the moment, which no position is."""
    messages: Mapping[int, Sequence[LogEntry]]
    """The messages that edits and deletions in this batch refer to, each with its changes so far."""
    answered: Collection[int] = ()
    """The messages that replies in this batch refer to, as far as they were in the log before it."""
    segments: list[Segment] = field(default_factory=list)
    members: list[MembershipChange] = field(default_factory=list)
    title: str | None = None
    redactions: dict[int, bytes] = field(default_factory=dict)
    kept: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By edit or deletion, the earlier changes of the same message that keep their text."""
    created: ChannelRecord | None = None
    changes: dict[int, list[LogEntry]] = field(default_factory=dict)
    """Edits and deletions made within this batch, by message."""
    reads: dict[str, int] = field(default_factory=dict)
    """Read marks to save, by member."""

    def entries(self) -> tuple[LogEntry, ...]:
        """All new entries, in order of seq."""
        return tuple(entry for segment in self.segments for entry in segment.entries)

    def batch(self, channel_id: str, *, is_awake: bool) -> LogBatch | None:
        """Make the batch to write; None when there is nothing.

        Args:
            channel_id: The channel.
            is_awake: Whether the channel waits for a push decision already.
        """
        entries = self.entries()
        if not entries and self.created is None:
            return None
        return LogBatch(
            channel_id,
            entries,
            self.created,
            tuple(self.members),
            self.title,
            tuple(self.redactions.items()),
            bool(entries) and not is_awake,
            self.kept,
        )


class Channel:
    """The state of a channel, and the rules for changing it.

    Args:
        snapshot: The state in the storage.
    """

    def __init__(self, snapshot: ChannelSnapshot) -> None:
        self.record = snapshot.record
        self.channel_id = snapshot.record.channel_id
        self.title = snapshot.title
        self.members: dict[str, Member] = {member.user_id: member for member in snapshot.members}
        self.head_seq = snapshot.head_seq
        self.head_position = snapshot.head_position
        self.marks: dict[str, Marks] = dict(snapshot.marks)
        self.blocked = snapshot.blocked
        self._recent: OrderedDict[tuple[str, str], FirstResult] = OrderedDict()
        self._unsaved_reads: set[str] = set()
        # The last time that somebody left. Of the time before it was loaded a group knows only that it is over.
        self._left_seq = snapshot.head_seq if snapshot.record.kind is ChannelKind.GROUP else 0

    @staticmethod
    def unborn(channel_id: str, kind: ChannelKind, created_at_ms: int) -> Channel:
        """Make a channel that is not in the storage yet."""
        return Channel(ChannelSnapshot(ChannelRecord(channel_id, kind, created_at_ms), "", (), 0, 0))

    def remember(self, found: Mapping[tuple[str, str], FirstResult]) -> None:
        """Note the results that resends must get, by (author, client message id).

        Called before every batch. Older results are forgotten here only: within a batch every one counts, or the batch
        could hold the same message twice.
        """
        while len(self._recent) > _RECENT_RESULTS:
            self._recent.popitem(last=False)
        self._recent.update(found)

    def apply(self, actor_id: str, action: Action | Aside, draft: Draft) -> Accepted:
        """Carry an action out on the draft.

        Returns:
            The result to give once the draft is written.

        Raises:
            Refusal: The action is not allowed; nothing has changed.
            TypeError: The action is in no log.
        """
        match action:
            case actions.Send():
                return self._send(actor_id, action, draft)
            case actions.MarkRead():
                return self._mark_read(actor_id, action, draft)
            case actions.Edit():
                return self._edit(actor_id, action, draft)
            case actions.Delete():
                return self._delete(actor_id, action, draft)
            case actions.CreateChannel():
                return self._create(actor_id, action, draft)
            case actions.AddMembers():
                return self._add(actor_id, action, draft)
            case actions.RemoveMember():
                return self._remove(actor_id, action, draft)
            case actions.Leave():
                return self._leave(actor_id, draft)
            case actions.Retitle():
                return self._retitle(actor_id, action, draft)
            case actions.ChangeRole():
                return self._change_role(actor_id, action, draft)
            case actions.Refresh() | actions.ShowTyping():
                raise TypeError(f"{action} changes nothing in the log")

    def delivered(self, user_id: str, seq: int) -> bool:
        """Move a member's delivered mark forward; False when that changes nothing."""
        marks = self.marks.get(user_id, Marks())
        seq = min(seq, self.head_seq)
        if seq <= marks.delivered_seq or user_id not in self.members:
            return False
        self.marks[user_id] = Marks(seq, marks.read_seq)
        return True

    def written(self, draft: Draft) -> None:
        """Note that a draft is on stable storage: read marks move, and people who have left lose theirs.

        Until `reads_saved`, marking the same as read again saves it again.
        """
        for user_id, seq in draft.reads.items():
            self._raise_marks(user_id, Marks(seq, seq))
            self._unsaved_reads.add(user_id)
        for change in draft.members:
            if change.user_id not in self.members:
                self.marks.pop(change.user_id, None)
                self._unsaved_reads.discard(change.user_id)

    def reads_saved(self, draft: Draft) -> None:
        """Note that the read marks of a draft are on stable storage."""
        self._unsaved_reads.difference_update(draft.reads)

    def take_over(self, previous: Channel) -> None:
        """Take the marks of a copy of this channel that is thrown away: they may not be saved yet."""
        for user_id, marks in previous.marks.items():
            if user_id in self.members:
                self._raise_marks(user_id, marks)
        self._unsaved_reads |= previous._unsaved_reads

    # --- messages -----------------------------------------------------------------------------------------------------

    def _send(self, actor_id: str, action: actions.Send, draft: Draft) -> Accepted:
        """Write a message, or give the result of the same message sent before."""
        member = self._member(actor_id)
        key = actor_id, action.client_message_id
        first = self._recent.get(key)
        if first is not None:
            first.check_same(action)
            return first.accepted
        self._check_not_blocked()
        reply_to = action.reply_to_seq
        if reply_to and not (member.since_seq <= reply_to <= self.head_seq and _is_message(reply_to, draft)):
            raise invalid(
                "send_message.reply_to_seq",
                f"there is no message {reply_to} to reply to",
                limit=self.head_seq,
                actual=reply_to,
            )
        result = self._next(draft)
        body = events.message(
            self.channel_id,
            result.seq,
            result.position,
            draft.created_at_ms,
            actor_id,
            action.client_message_id,
            action.text,
            reply_to,
        )
        self._enter(draft, EntryKind.MESSAGE, actor_id, body, action.client_message_id)
        self._recent[key] = first_results.of_action(result, action)
        return result

    def _edit(self, actor_id: str, action: actions.Edit, draft: Draft) -> Accepted:
        member = self._member(actor_id)
        key = actor_id, action.client_message_id
        first = self._recent.get(key)
        if first is not None:
            first.check_same(action)
            return first.accepted
        message, changes = self._message(member, action.seq, "edit_message.seq", draft)
        if message.author_id != actor_id:
            raise denied("only its author can edit a message", Reason.NOT_THE_AUTHOR)
        if any(change.kind is EntryKind.DELETION for change in changes):
            raise precondition("the message has been deleted", Reason.MESSAGE_DELETED)
        self._check_not_blocked()
        result = self._next(draft)
        body = events.message_edited(
            self.channel_id, result.seq, result.position, draft.created_at_ms, action.seq, actor_id, action.text
        )
        entry = self._enter(draft, EntryKind.EDIT, actor_id, body, action.client_message_id, action.seq)
        # The text of the edit before it leaves the log, unless it may be the last one that somebody saw who has left.
        if changes and changes[-1].seq > self._left_seq:
            draft.redactions[changes[-1].seq] = events.redacted(changes[-1].body)
        draft.kept[entry.seq] = tuple(each.seq for each in changes if each.seq not in draft.redactions)
        draft.changes.setdefault(action.seq, []).append(entry)
        if action.client_message_id:
            self._recent[key] = first_results.of_action(result, action)
        return result

    def _delete(self, actor_id: str, action: actions.Delete, draft: Draft) -> Accepted:
        member = self._member(actor_id)
        message, changes = self._message(member, action.seq, "delete_message.seq", draft)
        if message.author_id != actor_id and member.role < Role.ADMIN:
            raise denied("only its author or an admin can delete a message", Reason.NOT_THE_AUTHOR)
        for change in changes:
            if change.kind is EntryKind.DELETION:
                return Accepted(self.channel_id, change.seq, change.position, events.deleted_at_ms(change.body))
        result = self._next(draft)
        body = events.message_deleted(
            self.channel_id, result.seq, result.position, draft.created_at_ms, action.seq, actor_id
        )
        entry = self._enter(draft, EntryKind.DELETION, actor_id, body, target_seq=action.seq)
        draft.changes.setdefault(action.seq, []).append(entry)
        draft.kept[entry.seq] = ()
        # A deleted text is gone from the log as well, from every edit of it too.
        for each in (message, *changes):
            draft.redactions[each.seq] = events.redacted(each.body)
            first = self._recent.get((each.author_id, each.client_message_id))
            if first is not None:
                self._recent[each.author_id, each.client_message_id] = first.without_text()
        return result

    def _mark_read(self, actor_id: str, action: actions.MarkRead, draft: Draft) -> Accepted:
        self._member(actor_id)
        if action.seq > self.head_seq:
            raise invalid(
                "mark_read.seq", f"the channel's head is {self.head_seq}", limit=self.head_seq, actual=action.seq
            )
        read_seq = draft.reads.get(actor_id, self.marks.get(actor_id, Marks()).read_seq)
        if action.seq > read_seq or actor_id in self._unsaved_reads:
            draft.reads[actor_id] = read_seq = max(action.seq, read_seq)
        return Accepted(self.channel_id, read_seq, 0)

    # --- members ------------------------------------------------------------------------------------------------------

    def _create(self, actor_id: str, action: actions.CreateChannel, draft: Draft) -> Accepted:
        """Make the channel; one that exists is left as it is."""
        if self.members or self.head_seq:
            self._member(actor_id)
            return Accepted(self.channel_id, self.head_seq, self.head_position)
        ids = list(dict.fromkeys((actor_id, *action.member_ids)))
        check_group_size(len(ids))
        draft.created = self.record
        if action.kind is ChannelKind.DIRECT:
            # Who is in a direct channel needs no entry: it never changes, and the log begins with the first message.
            for user_id in ids:
                self._admit(user_id, Role.MEMBER, 1, self.record.created_at_ms, draft)
            return Accepted(self.channel_id, 0, 0)
        result = self._next(draft)
        changes = []
        for user_id in ids:
            role = Role.OWNER if user_id == actor_id else Role.MEMBER
            self._admit(user_id, role, result.seq, draft.created_at_ms, draft)
            changes.append(events.member_change(user_id, _KINDS.KIND_ADDED, role))
        self._enter_membership(draft, result, actor_id, changes)
        return self._set_title(actor_id, action.title, draft)

    def _add(self, actor_id: str, action: actions.AddMembers, draft: Draft) -> Accepted:
        self._group_admin(actor_id)
        new = [user_id for user_id in dict.fromkeys(action.member_ids) if user_id not in self.members]
        if not new:
            return Accepted(self.channel_id, self.head_seq, self.head_position)
        check_group_size(len(self.members) + len(new))
        result = self._next(draft)
        for user_id in new:
            self._admit(user_id, Role.MEMBER, result.seq, draft.created_at_ms, draft)
        changes = [events.member_change(user_id, _KINDS.KIND_ADDED, Role.MEMBER) for user_id in new]
        self._enter_membership(draft, result, actor_id, changes)
        return result

    def _remove(self, actor_id: str, action: actions.RemoveMember, draft: Draft) -> Accepted:
        actor = self._group_admin(actor_id)
        target = self.members.get(action.user_id)
        if target is None:
            raise not_found("member of the group", "user_id")
        if target.user_id == actor_id:
            raise precondition("to remove oneself from a group, leave it", Reason.LEAVE_INSTEAD)
        if target.role >= actor.role:
            raise denied("only the owner can remove an admin", Reason.ROLE_TOO_LOW)
        result = self._next(draft)
        change = events.member_change(target.user_id, _KINDS.KIND_REMOVED, None)
        self._dismiss(target, result.seq, draft)
        self._enter_membership(draft, result, actor_id, [change], gone=target.user_id)
        return result

    def _leave(self, actor_id: str, draft: Draft) -> Accepted:
        member = self._group_member(actor_id)
        result = self._next(draft)
        changes = [events.member_change(actor_id, _KINDS.KIND_LEFT, None)]
        self._dismiss(member, result.seq, draft)
        if member.role is Role.OWNER and self.members:
            heir = min(self.members.values(), key=lambda each: (-each.role, each.since_seq, each.user_id))
            changes.append(self._give_role(heir, Role.OWNER, draft))
        self._enter_membership(draft, result, actor_id, changes, gone=actor_id)
        return result

    def _retitle(self, actor_id: str, action: actions.Retitle, draft: Draft) -> Accepted:
        self._group_admin(actor_id)
        return self._set_title(actor_id, action.title, draft)

    def _change_role(self, actor_id: str, action: actions.ChangeRole, draft: Draft) -> Accepted:
        actor = self._group_member(actor_id)
        if actor.role is not Role.OWNER:
            raise denied("only the owner can give roles", Reason.ROLE_TOO_LOW)
        target = self.members.get(action.user_id)
        if target is None:
            raise not_found("member of the group", "role_change.user_id")
        if target.user_id == actor_id:
            raise precondition("the owner hands the group over by making somebody else owner", Reason.OWNER_KEEPS_ROLE)
        if target.role is action.role:
            return Accepted(self.channel_id, self.head_seq, self.head_position)
        result = self._next(draft)
        changes = [self._give_role(target, action.role, draft)]
        if action.role is Role.OWNER:
            changes.append(self._give_role(actor, Role.ADMIN, draft))
        self._enter_membership(draft, result, actor_id, changes)
        return result

    # --- checks -------------------------------------------------------------------------------------------------------

    def _member(self, user_id: str) -> Member:
        member = self.members.get(user_id)
        if member is None:
            # The same words as for a channel that does not exist.
            raise not_found("channel", "channel_id")
        return member

    def _group_member(self, user_id: str) -> Member:
        member = self._member(user_id)
        if self.record.kind is not ChannelKind.GROUP:
            raise precondition("a direct channel always has its two people", Reason.NOT_A_GROUP)
        return member

    def _group_admin(self, user_id: str) -> Member:
        member = self._group_member(user_id)
        if member.role < Role.ADMIN:
            raise denied("only the group's owner and admins can do that", Reason.ROLE_TOO_LOW)
        return member

    def _check_not_blocked(self) -> None:
        if self.blocked:
            raise denied("one of you has blocked the other", Reason.BLOCKED)

    def _message(self, member: Member, seq: int, field_name: str, draft: Draft) -> tuple[LogEntry, Sequence[LogEntry]]:
        found = draft.messages.get(seq)
        if found is None or seq < member.since_seq:
            raise not_found("message", field_name)
        return found[0], [*found[1:], *draft.changes.get(seq, ())]

    # --- the log ------------------------------------------------------------------------------------------------------

    def _next(self, draft: Draft) -> Accepted:
        self.head_seq += 1
        self.head_position = draft.positions.next(self.head_position)
        return Accepted(self.channel_id, self.head_seq, self.head_position, draft.created_at_ms)

    def _enter(
        self,
        draft: Draft,
        kind: EntryKind,
        author_id: str,
        body: bytes,
        client_message_id: str = "",
        target_seq: int = 0,
    ) -> LogEntry:
        entry = LogEntry(self.head_seq, self.head_position, kind, author_id, body, client_message_id, target_seq)
        if not draft.segments:
            draft.segments.append(Segment(tuple(self.members)))
        draft.segments[-1].entries.append(entry)
        return entry

    def _enter_membership(
        self,
        draft: Draft,
        result: Accepted,
        actor_id: str,
        changes: Sequence[chat_pb2.MemberChange],
        gone: str | None = None,
    ) -> None:
        body = events.membership_changed(
            self.channel_id, result.seq, result.position, draft.created_at_ms, actor_id, changes
        )
        audience = tuple(self.members)
        # Who goes sees that, as the last thing.
        draft.segments.append(Segment(audience if gone is None else (*audience, gone)))
        self._enter(draft, EntryKind.MEMBERSHIP, actor_id, body)
        draft.segments.append(Segment(audience))

    def _set_title(self, actor_id: str, title: str, draft: Draft) -> Accepted:
        result = self._next(draft)
        self.title = draft.title = title
        body = events.channel_updated(
            self.channel_id, result.seq, result.position, draft.created_at_ms, actor_id, title
        )
        self._enter(draft, EntryKind.TITLE, actor_id, body)
        return result

    def _admit(self, user_id: str, role: Role, since_seq: int, joined_at_ms: int, draft: Draft) -> None:
        self.members[user_id] = Member(user_id, role, since_seq, joined_at_ms)
        draft.members.append(MembershipChange(user_id, role, since_seq, joined_at_ms))

    def _dismiss(self, member: Member, until_seq: int, draft: Draft) -> None:
        del self.members[member.user_id]
        self._left_seq = until_seq
        draft.members.append(
            MembershipChange(member.user_id, member.role, member.since_seq, member.joined_at_ms, until_seq)
        )

    def _give_role(self, member: Member, role: Role, draft: Draft) -> chat_pb2.MemberChange:
        self._admit(member.user_id, role, member.since_seq, member.joined_at_ms, draft)
        return events.member_change(member.user_id, _KINDS.KIND_ROLE_CHANGED, role)

    def _raise_marks(self, user_id: str, marks: Marks) -> None:
        before = self.marks.get(user_id, Marks())
        self.marks[user_id] = Marks(
            max(before.delivered_seq, marks.delivered_seq), max(before.read_seq, marks.read_seq)
        )


def _is_message(seq: int, draft: Draft) -> bool:
    """Tell whether an event is a message, of the log or of this batch. A deleted one is: its place is still there."""
    return seq in draft.answered or any(
        entry.seq == seq and entry.kind is EntryKind.MESSAGE for segment in draft.segments for entry in segment.entries
    )


def carry_out(channel: Channel, request: ChannelRequest, draft: Draft, revoked: Mapping[str, int]) -> Outcome:
    """Carry out a request in a draft, unless its device has been signed out: at that moment, not when it came.

    Args:
        channel: The channel.
        request: The request.
        draft: The batch in the making.
        revoked: The devices that are signed out, each with the epoch up to which it is.
    """
    identity = request.identity
    # Without `get`: this is on every message's way.
    if identity is not None and identity.device_id in revoked and identity.epoch <= revoked[identity.device_id]:
        return device_revoked()
    try:
        return channel.apply(request.actor_id, request.action, draft)
    except Refusal as refusal:
        return refusal
