"""Who may call now: rules without I/O, asked before a request is read.

Each call costs tokens from the bucket of its caller, and counts against what the caller and the process may have open.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tidings.core.clock import Clock
from tidings.core.errors import Code, Refusal, too_fast
from tidings.core.rate import Rate, RateLimiter
from tidings.core.reasons import Reason

# Tokens that a call costs, where it is more than one: about what its work is worth beside a GetUser.
COSTS = {
    "/tidings.v1.AccountService/SignUp": 5,
    "/tidings.v1.AccountService/LogIn": 5,
    "/tidings.v1.AccountService/RefreshTokens": 2,
    "/tidings.v1.AccountService/ChangePassword": 10,
    "/tidings.v1.AccountService/SearchUsers": 5,
    "/tidings.v1.ContactService/ListContacts": 5,
    "/tidings.v1.ChannelService/CreateGroup": 10,
    "/tidings.v1.ChannelService/OpenDirectChannel": 5,
    "/tidings.v1.ChannelService/ListChannels": 5,
    "/tidings.v1.HistoryService/ListMessages": 2,
    "/tidings.v1.HistoryService/ListEvents": 2,
    "/tidings.v1.ChatService/Converse": 5,
    "/tidings.v1.PresenceService/Track": 5,
    "/tidings.v1.DiscoveryService/WatchServers": 5,
}

LARGE_ANSWERS = {
    "/tidings.v1.HistoryService/ListMessages": 4 << 20,
    "/tidings.v1.HistoryService/ListEvents": 4 << 20,
    "/tidings.v1.ChannelService/ListChannels": 1 << 20,
    "/tidings.v1.ContactService/ListContacts": 1 << 20,
}
"""Bytes that an answer may have, which are set aside before it is made. Other answers are small."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one caller and all callers of a listener may do.

    A caller is a user, or for what asks for no sign-in an address, behind which there may be many people.

    Args:
        user_calls: Tokens of a user.
        address_calls: Tokens of an address.
        user_open: Calls that a user may have open at the same time, without streams.
        user_streams: Streams that a user may have open: ten devices have two each, and some are not closed yet.
        address_open: Calls or streams that an address may have open.
        process_open: Calls that all callers may have open, without streams.
        process_streams: Streams that all callers may have open.
    """

    user_calls: Rate
    address_calls: Rate
    user_open: int = 256
    user_streams: int = 64
    address_open: int = 1_024
    process_open: int = 8_192
    process_streams: int = 40_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a call counts for.

    Args:
        key: The user's id, or the address.
        is_user: Whether it is a user.
    """

    key: str
    is_user: bool


class Admission:
    """Decides whether a call is served.

    Args:
        limits: The limits.
        clock: Tells the time.
    """

    def __init__(self, limits: CallLimits, clock: Clock) -> None:
        self._limits = limits
        self._users = RateLimiter(limits.user_calls, clock)
        self._addresses = RateLimiter(limits.address_calls, clock)
        self._calls: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._open = {False: 0, True: 0}

    def enter(self, method: str, caller: Caller, is_stream: bool) -> None:
        """Admit a call; `leave` has to follow.

        Raises:
            Refusal: RESOURCE_EXHAUSTED; RATE_LIMITED when the caller has no tokens, TOO_MANY_CALLS when it or the
                process has as much open as allowed.
        """
        limits, key = self._limits, caller.key
        wait = (self._users if caller.is_user else self._addresses).take(key, COSTS.get(method, 1))
        if wait:
            raise too_fast("calls", wait)
        here, counts = (limits.process_streams, self._streams) if is_stream else (limits.process_open, self._calls)
        of_user = limits.user_streams if is_stream else limits.user_open
        most = of_user if caller.is_user else limits.address_open
        if counts[key] >= most:
            raise _too_many("this caller has", "streams" if is_stream else "calls", most)
        if self._open[is_stream] >= here:
            raise _too_many("the server has", "streams" if is_stream else "calls", here)
        counts[key] += 1
        self._open[is_stream] += 1

    def leave(self, caller: Caller, is_stream: bool) -> None:
        """Note that a call which was admitted is over."""
        counts = self._streams if is_stream else self._calls
        self._open[is_stream] -= 1
        if counts[caller.key] > 1:
            counts[caller.key] -= 1
        else:
            del counts[caller.key]


def _too_many(who: str, what: str, most: int) -> Refusal:
    return Refusal(
        Code.RESOURCE_EXHAUSTED,
        f"{who} {most:,} {what} open, which is as many as allowed",
        reason=Reason.TOO_MANY_CALLS,
        metadata={"limit": str(most)},
        retry_after=1.0,
    )
