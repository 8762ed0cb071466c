"""When tokens are renewed, and by whom."""

from __future__ import annotations

import asyncio
import base64
import json

import grpc
import pytest

from tests.support.clock import FakeClock
from tidings.v1 import account_pb2
from tidings_client._errors import SignedOutError, TidingsError, refusal
from tidings_client._tokens import TokenKeeper, lifetime

NOW = FakeClock().now_ms() / 1000
LIFE = 900.0


class Time:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.clock = FakeClock()

    def time(self) -> float:
        return self.clock.now_ms() / 1000

    def monotonic(self) -> float:
        return self.clock.monotonic()


def tokens(name: str, expires_at: float = NOW + LIFE) -> account_pb2.Tokens:
    """Tokens whose claims cannot be read."""
    made = account_pb2.Tokens(access_token=name, refresh_token=f"refresh {name}")
    made.expires_at.FromMilliseconds(round(expires_at * 1000))
    return made


class Server:
    """Trades refresh tokens when it is let, and notes in which order things happen."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.called = asyncio.Event()
        self.disk_error: Exception | None = None
        self._time = Time()

    def keeper(self, time: Time) -> TokenKeeper:
        self._time = time
        return TokenKeeper(tokens("old"), self.refresh, self.save)

    async def refresh(self, refresh_token: str) -> account_pb2.Tokens:
        self.journal.append(refresh_token)
        self.called.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return tokens(f"new {len(self.journal)}", self._time.time() + LIFE)

    def save(self, saved: account_pb2.Tokens) -> None:
        if self.disk_error is not None:
            raise self.disk_error
        self.journal.append(f"saved {saved.access_token}")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("tidings_client._tokens.time", time)
    return time


@pytest.fixture
async def server() -> Server:
    return Server()


def jwt(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.signature"


def test_the_life_of_a_token_is_told_by_the_servers_clock_alone() -> None:
    made = tokens(jwt({"iat": 1_000, "exp": 1_600}))
    assert lifetime(made, now=5_000_000_000.0) == 600.0


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.%%%.c", jwt({"exp": 1}), jwt([1]), jwt({"iat": "x"})])
def test_where_the_claims_cannot_be_read_the_expiry_is_what_there_is(token: str) -> None:
    assert lifetime(tokens(token), NOW + 100) == LIFE - 100


def test_it_is_renewed_well_before_its_end_and_not_by_everyone_at_once(server: Server, time: Time) -> None:
    dues = {server.keeper(time).due for _ in range(200)}
    assert len(dues) > 100
    assert min(dues) >= 0.7 * LIFE
    assert max(dues) <= 0.85 * LIFE


def test_found_on_the_disk_it_has_only_what_is_left_of_it(server: Server, time: Time) -> None:
    time.clock.advance(LIFE - 100)
    half_gone = TokenKeeper(tokens("old"), server.refresh, server.save, is_new=False)
    assert 70 <= half_gone.due - time.monotonic() <= 85
    time.clock.advance(200)
    gone = TokenKeeper(tokens("old"), server.refresh, server.save, is_new=False)
    assert gone.due == time.monotonic()


async def test_nothing_is_asked_before_it_is_due(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    time.clock.advance(0.69 * LIFE)
    assert await keeper.current() == "old"
    assert server.journal == []


async def test_new_tokens_are_on_the_disk_before_anybody_uses_them(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    keeper.listen(lambda: server.journal.append(f"told of {keeper.access_token}"))
    time.clock.advance(LIFE)
    assert await keeper.current() == "new 1"
    assert server.journal == ["refresh old", "saved new 1", "told of new 1"]
    assert keeper.due - time.monotonic() >= 0.7 * LIFE


async def test_tokens_that_cannot_be_kept_are_not_used(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    server.disk_error = OSError("the disk is full")
    with pytest.raises(OSError, match="full"):
        await keeper.renew("old")
    assert keeper.access_token == "old"


async def test_all_who_need_one_at_the_same_time_share_one_renewal(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    time.clock.advance(LIFE)
    got = await asyncio.gather(*(keeper.current() for _ in range(5)), *(keeper.renew("old") for _ in range(5)))
    assert set(got) == {"new 1"}
    assert server.journal == ["refresh old", "saved new 1"]


async def test_a_token_that_was_replaced_since_is_not_renewed_again(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    assert await keeper.renew("the one before") == "old"
    assert server.journal == []
    assert await keeper.renew("old") == "new 1"


async def test_as_long_as_the_server_is_away_the_old_one_has_to_do(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    server.error = refusal(grpc.StatusCode.UNAVAILABLE, "away")
    time.clock.advance(0.9 * LIFE)
    assert await keeper.current() == "old"
    assert await keeper.current() == "old"
    assert server.journal == ["refresh old"], "it is not asked with every call"
    with pytest.raises(TidingsError, match="away"):
        await keeper.renew("old")
    server.error = None
    time.clock.advance(5)
    assert await keeper.current() == "new 3"


async def test_a_refresh_token_that_is_refused_ends_it(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    server.error = SignedOutError(grpc.StatusCode.UNAUTHENTICATED, "spent")
    time.clock.advance(LIFE)
    with pytest.raises(SignedOutError):
        await keeper.current()
    with pytest.raises(SignedOutError):
        await keeper.renew("old")


async def test_a_caller_that_gives_up_takes_the_answer_from_nobody(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    server.open.clear()
    impatient = asyncio.create_task(keeper.renew("old"))
    patient = asyncio.create_task(keeper.renew("old"))
    await server.called.wait()
    impatient.cancel()
    await asyncio.wait({impatient})
    server.open.set()
    assert await patient == "new 1"
    assert server.journal == ["refresh old", "saved new 1"]


async def test_closing_waits_for_an_answer_that_is_under_way(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    server.open.clear()
    asking = asyncio.create_task(keeper.renew("old"))
    await server.called.wait()
    asking.cancel()
    closing = asyncio.create_task(keeper.close())
    await asyncio.wait({asking})
    server.open.set()
    await closing
    assert server.journal == ["refresh old", "saved new 1"]


async def test_listeners_hear_of_tokens_until_they_stop_listening(server: Server, time: Time) -> None:
    keeper = server.keeper(time)
    heard: list[str] = []
    stop = keeper.listen(lambda: heard.append(keeper.access_token))
    keeper.replace(tokens("given"))
    stop()
    keeper.replace(tokens("given again"))
    assert heard == ["given"]
    assert server.journal == ["saved given", "saved given again"]


@pytest.mark.parametrize(
    "claims",
    [
        b"[" * 100_000,
        b'{"exp": 1' + b"0" * 400 + b', "iat": 0}',
        b'{"exp": NaN, "iat": NaN}',
        b'{"exp": Infinity, "iat": 0}',
        b'{"exp": 0, "iat": 900}',
        b"[]",
        b"null",
        b"\xff",
    ],
    ids=range(8),
)
async def test_no_claims_stop_a_client_or_make_it_ask_without_a_pause(
    claims: bytes, server: Server, time: Time
) -> None:
    made = tokens("new")
    made.access_token = f"e30.{base64.urlsafe_b64encode(claims).decode()}.s"
    keeper = server.keeper(time)
    keeper.replace(made)
    assert await keeper.current() == made.access_token
    assert keeper.due > time.monotonic()


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_is_a_day_off_does_not_change_when_a_new_token_is_renewed(
    days: int, server: Server, time: Time
) -> None:
    made = tokens("new")
    payload = base64.urlsafe_b64encode(json.dumps({"iat": NOW, "exp": NOW + LIFE}).encode()).decode()
    made.access_token = f"e30.{payload}.s"
    time.clock.set_by(days * 86_400)
    keeper = server.keeper(time)
    keeper.replace(made)
    assert 0.7 * LIFE <= keeper.due - time.monotonic() <= 0.85 * LIFE
