"""The rules of channel calls: checks that come before a channel is changed, and reading."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from api_server.channel_limits import ChannelLimits
from tidings.core import actions
from tidings.core.errors import Code, Refusal, denied, invalid, not_found
from tidings.core.ids import direct_channel_id, new_group_id
from tidings.core.limits import (
    CHANNELS_PAGE,
    CHANNELS_PAGE_DEFAULT,
    TITLE_CHARACTERS,
    check_group_size,
    page_size,
)
from tidings.core.page_tokens import not_of_this_list, page_place, page_token
from tidings.core.ports import AccountStore, ChannelWriter, ContactStore, Memberships
from tidings.core.reasons import Reason
from tidings.core.shown_text import shown_line
from tidings.core.values import ChannelKind, ChannelView, Role

# A position fills 63 bits at most.
_LARGEST_POSITION = (1 << 63) - 1
# A value of the caller's own goes into an answer as far as a header has room for it.
_QUOTED_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class ChannelPage:
    """A page of somebody's channels, and the token of the next page; empty after the last."""

    channels: Sequence[ChannelView]
    next_page_token: str


class ChannelCalls:
    """The channels of everyone, each call on behalf of one user.

    Args:
        writer: Changes channels.
        memberships: Reads them.
        accounts: Knows which users exist.
        contacts: Knows who blocks whom.
        limits: Refuse what would be too many channels for somebody.
    """

    def __init__(
        self,
        writer: ChannelWriter,
        memberships: Memberships,
        accounts: AccountStore,
        contacts: ContactStore,
        limits: ChannelLimits,
    ) -> None:
        self._writer = writer
        self._memberships = memberships
        self._accounts = accounts
        self._contacts = contacts
        self._limits = limits

    async def open_direct(self, caller_id: str, user_id: str) -> ChannelView:
        """The direct channel of two people, made unless it is there.

        Args:
            caller_id: One of them.
            user_id: The other.

        Raises:
            Refusal: INVALID_ARGUMENT for oneself, NOT_FOUND for an unknown user, PERMISSION_DENIED (BLOCKED) when it
                would have to be made and either has blocked the other; then also RESOURCE_EXHAUSTED for too many in a
                while, and FAILED_PRECONDITION (TOO_MANY_CHANNELS) when either is in too many.
        """
        if user_id == caller_id:
            raise invalid("user_id", "a direct channel is with somebody else")
        channel_id = direct_channel_id(caller_id, user_id)
        found = await self._memberships.channel_of(caller_id, channel_id)
        if found is not None:
            return found
        if not await self._accounts.users([user_id]):
            raise not_found("user", "user_id")
        if await self._contacts.blocked_either_way(caller_id, [user_id]):
            raise denied("one of you has blocked the other", Reason.BLOCKED)
        await self._limits.check_direct(caller_id, user_id)
        await self._writer.submit(channel_id, caller_id, actions.CreateChannel(ChannelKind.DIRECT, "", (user_id,)))
        return await self.get(caller_id, channel_id)

    async def create_group(self, caller_id: str, title: str, member_ids: Sequence[str]) -> ChannelView:
        """Makes a group that belongs to the caller.

        Raises:
            Refusal: INVALID_ARGUMENT for the title or for a member who does not exist, FAILED_PRECONDITION
                (GROUP_FULL, TOO_MANY_CHANNELS, TOO_MANY_GROUPS) for too many, RESOURCE_EXHAUSTED for too many added in
                a while, PERMISSION_DENIED (BLOCKED) for one whom a block separates from the caller.
        """
        title = shown_line("title", title, TITLE_CHARACTERS)
        others = tuple(each for each in dict.fromkeys(member_ids) if each != caller_id)
        check_group_size(1 + len(others))
        await self._check_addable(caller_id, others)
        await self._limits.check_group(caller_id, others)
        channel_id = new_group_id()
        await self._writer.submit(channel_id, caller_id, actions.CreateChannel(ChannelKind.GROUP, title, others))
        return await self.get(caller_id, channel_id)

    async def get(self, caller_id: str, channel_id: str) -> ChannelView:
        """A channel as the caller sees it.

        Raises:
            Refusal: NOT_FOUND when the caller is not in it.
        """
        found = await self._memberships.channel_of(caller_id, channel_id)
        if found is None:
            raise not_found("channel", "channel_id")
        return found

    async def list(self, caller_id: str, size: int, token: str) -> ChannelPage:
        """A page of the caller's channels, latest activity first.

        Args:
            caller_id: Whose channels.
            size: At most this many; 0 for the default.
            token: Where the page begins; empty for the first.

        Raises:
            Refusal: INVALID_ARGUMENT for a token that no page ended with.
        """
        after = _decode_place(page_place(_list_of(caller_id), token)) if token else None
        size = page_size(size, CHANNELS_PAGE_DEFAULT, CHANNELS_PAGE)
        # One more than is shown tells whether there are more.
        found = await self._memberships.channels_of(caller_id, after, size + 1)
        if len(found) <= size:
            return ChannelPage(found, "")
        shown = found[:size]
        last = shown[-1].snapshot
        place = f"{last.head_position} {last.record.channel_id}"
        return ChannelPage(shown, page_token(_list_of(caller_id), place))

    async def add_members(self, caller_id: str, channel_id: str, member_ids: Sequence[str]) -> ChannelView:
        """Adds people to a group: all of them, or none. Those who are in it already stay as they are.

        Raises:
            Refusal: As in `create_group`, NOT_FOUND when the caller is not in the channel, INVALID_ARGUMENT when
                nobody is named, and what the channel's own rules say.
        """
        if not member_ids:
            raise invalid("member_ids", "must name at least one person", limit=1, actual=0)
        view = await self.get(caller_id, channel_id)
        members = {each.user_id for each in view.snapshot.members}
        new = tuple(each for each in dict.fromkeys(member_ids) if each not in members)
        if view.snapshot.record.kind is ChannelKind.GROUP:
            check_group_size(len(members) + len(new))
            await self._check_addable(caller_id, new)
            await self._limits.check_added(caller_id, new)
        await self._writer.submit(channel_id, caller_id, actions.AddMembers(new))
        return await self.get(caller_id, channel_id)

    async def remove_member(self, caller_id: str, channel_id: str, user_id: str) -> ChannelView:
        """Puts somebody out of a group.

        Raises:
            Refusal: What the channel's rules say.
        """
        await self._writer.submit(channel_id, caller_id, actions.RemoveMember(user_id))
        return await self.get(caller_id, channel_id)

    async def leave(self, caller_id: str, channel_id: str) -> None:
        """Takes the caller out of a group.

        Raises:
            Refusal: What the channel's rules say.
        """
        await self._writer.submit(channel_id, caller_id, actions.Leave())

    async def update_group(
        self, caller_id: str, channel_id: str, title: str | None, role_change: tuple[str, int] | None
    ) -> ChannelView:
        """Changes a group's title, a member's role, or both.

        Args:
            caller_id: Who asks.
            channel_id: The group.
            title: The new title, if it is to change.
            role_change: A member and the number of their new role, if one is to change.

        Raises:
            Refusal: INVALID_ARGUMENT for the title, the role, or when neither is there, FAILED_PRECONDITION
                (TOO_MANY_GROUPS) for a new owner who owns too many, and what the channel's rules say. Nothing has
                changed then.
        """
        if title is None and role_change is None:
            raise invalid("title", "title or role_change must be set")
        if title is not None:
            title = shown_line("title", title, TITLE_CHARACTERS)
        # Roles first: who may give one may also retitle, before and after. So a refusal comes before any change.
        if role_change is not None:
            user_id, role = role_change
            if _role(role) is Role.OWNER:
                await self.get(caller_id, channel_id)
                await self._limits.check_owner(user_id, "role_change.user_id")
            await self._writer.submit(channel_id, caller_id, actions.ChangeRole(user_id, _role(role)))
        if title is not None:
            await self._writer.submit(channel_id, caller_id, actions.Retitle(title))
        return await self.get(caller_id, channel_id)

    async def set_mute(self, caller_id: str, channel_id: str, muted: bool) -> None:
        """Mutes or unmutes a channel for the caller.

        Raises:
            Refusal: NOT_FOUND when the caller is not in it.
        """
        await self.get(caller_id, channel_id)
        await self._memberships.set_mute(caller_id, channel_id, muted)

    async def _check_addable(self, caller_id: str, user_ids: Collection[str]) -> None:
        if not user_ids:
            return
        known = await self._accounts.users(user_ids)
        for user_id in user_ids:
            if user_id not in known:
                quoted = user_id[:_QUOTED_CHARACTERS]
                raise invalid("member_ids", f"there is no user {quoted!r}", actual=quoted)
        blocked = await self._contacts.blocked_either_way(caller_id, user_ids)
        for user_id in user_ids:
            if user_id in blocked:
                raise Refusal(
                    Code.PERMISSION_DENIED,
                    f"you and {user_id} cannot be brought together: one of you has blocked the other",
                    reason=Reason.BLOCKED,
                    metadata={"field": "member_ids", "actual": user_id},
                )


def _role(number: int) -> Role:
    try:
        return Role(number)
    except ValueError:
        raise invalid("role_change.role", "must be MEMBER, ADMIN or OWNER", actual=number) from None


def _list_of(caller_id: str) -> str:
    return f"channels of {caller_id}"


def _decode_place(place: str) -> tuple[int, str]:
    position, _, channel_id = place.partition(" ")
    if not position.isdecimal() or int(position) > _LARGEST_POSITION:
        raise not_of_this_list()
    return int(position), channel_id
