"""Limits on the channels of one user: how many to be in, to own, and to make others part of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from api_server.throttle import Allowance, SharedCounts
from tidings.core.clock import Clock
from tidings.core.errors import precondition
from tidings.core.limits import CHANNELS, CHANNELS_BY_OTHERS, GROUPS_OWNED
from tidings.core.ports import Memberships, SharedRates
from tidings.core.rate import Rate
from tidings.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class ChannelRates:
    """How often one user may reach others.

    Args:
        direct_channels: Direct channels that the user opens and that were not there.
        added_members: People whom the user adds to groups, counted once for each group.
    """

    direct_channels: Rate
    added_members: Rate


class ChannelLimits:
    """Refuses what would be too many channels for somebody, before a channel is changed.

    What is under way at the same time is not counted. Others fill only a part of the places that somebody has
    (`CHANNELS_BY_OTHERS`), so that strangers keep nobody from opening a channel or making a group.

    Args:
        memberships: Counts the channels of a user.
        rates: How often one user may reach others.
        clock: Tells the time.
        shared_rates: Counts over all api servers; None where there is one.
    """

    def __init__(
        self, memberships: Memberships, rates: ChannelRates, clock: Clock, shared_rates: SharedRates | None = None
    ) -> None:
        shared = SharedCounts(shared_rates)
        self._memberships = memberships
        self._opened = Allowance("new direct channels", rates.direct_channels, clock, shared)
        self._added = Allowance("people added to groups", rates.added_members, clock, shared)

    async def check_direct(self, caller_id: str, user_id: str) -> None:
        """Count a direct channel that is about to be made.

        Raises:
            Refusal: RESOURCE_EXHAUSTED (RATE_LIMITED) for too many in a while, FAILED_PRECONDITION (TOO_MANY_CHANNELS)
                naming who is in too many.
        """
        await self._opened.spend(caller_id, "user_id")
        await self._check_places(caller_id, [user_id], "user_id")

    async def check_group(self, caller_id: str, member_ids: Collection[str]) -> None:
        """Count a group that is about to be made, and those who come into it.

        Raises:
            Refusal: As `check_direct` and `check_owner`.
        """
        await self._spend_added(caller_id, member_ids)
        await self.check_owner(caller_id, "member_ids")
        await self._check_places(caller_id, member_ids, "member_ids")

    async def check_added(self, caller_id: str, member_ids: Collection[str]) -> None:
        """Count people who are about to be added to a group.

        Raises:
            Refusal: As `check_direct`.
        """
        await self._spend_added(caller_id, member_ids)
        _check_room(await self._memberships.channel_counts(member_ids), CHANNELS_BY_OTHERS, "member_ids")

    async def check_owner(self, user_id: str, field: str) -> None:
        """See that somebody may own one group more.

        Raises:
            Refusal: FAILED_PRECONDITION (TOO_MANY_GROUPS).
        """
        owned = await self._memberships.owned_count(user_id)
        if owned >= GROUPS_OWNED:
            raise precondition(
                f"{user_id} owns {owned:,} groups, as many as allowed: they have to leave one or hand it over first",
                Reason.TOO_MANY_GROUPS,
                field=field,
                limit=GROUPS_OWNED,
                actual=owned,
                user_id=user_id,
            )

    async def _spend_added(self, caller_id: str, member_ids: Collection[str]) -> None:
        if member_ids:
            await self._added.spend(caller_id, "member_ids", len(member_ids))

    async def _check_places(self, caller_id: str, others: Collection[str], field: str) -> None:
        counts = dict(await self._memberships.channel_counts([caller_id, *others]))
        _check_room({caller_id: counts.pop(caller_id)}, CHANNELS, field)
        _check_room(counts, CHANNELS_BY_OTHERS, field)


def _check_room(counts: Mapping[str, int], most: int, field: str) -> None:
    for user_id, count in counts.items():
        if count >= most:
            raise precondition(
                f"{user_id} is in {count:,} channels, as many as allowed here: they have to leave one first",
                Reason.TOO_MANY_CHANNELS,
                field=field,
                limit=most,
                actual=count,
                user_id=user_id,
            )
