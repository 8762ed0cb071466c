"""What follows the end of a stream."""

from __future__ import annotations

import grpc
import pytest

from tidings.v1 import account_pb2, discovery_pb2
from tidings_client import ReplacedError, SignedOutError, TidingsError
from tidings_client._reconnect_policy import ReconnectPolicy
from tidings_client._servers import Servers
from tidings_client._tokens import TokenKeeper

SERVER = discovery_pb2.Server(server_id="a", endpoint="a:1")
REFUSED = TidingsError(grpc.StatusCode.UNAUTHENTICATED, "old token")


class World:
    """A policy, and what it asks for."""

    def __init__(self) -> None:
        self.renewals: list[str] = []
        self.renewal_error: TidingsError | None = None
        self.servers = Servers("home:1", [SERVER, discovery_pb2.Server(server_id="b", endpoint="b:1")])
        keeper = TokenKeeper(account_pb2.Tokens(access_token="old"), self._refresh, lambda tokens: None)
        self.policy = ReconnectPolicy(keeper, self.servers)

    async def _refresh(self, refresh_token: str) -> account_pb2.Tokens:
        self.renewals.append(refresh_token)
        if self.renewal_error is not None:
            raise self.renewal_error
        return account_pb2.Tokens(access_token="new")

    async def after(self, error: TidingsError, token: str = "old") -> float:
        return await self.policy.after(SERVER, token, error)


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "INVALID_ARGUMENT", "OUT_OF_RANGE", "PERMISSION_DENIED"])
async def test_what_no_other_attempt_changes_is_the_end(code: str) -> None:
    error = TidingsError(grpc.StatusCode[code], "no")
    with pytest.raises(TidingsError) as raised:
        await World().after(error)
    assert raised.value is error


async def test_a_newer_stream_of_the_device_is_the_end() -> None:
    with pytest.raises(ReplacedError):
        await World().after(TidingsError(grpc.StatusCode.ABORTED, "replaced"))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "DEADLINE_EXCEEDED"])
async def test_any_other_failure_tries_another_server_after_a_while(code: str) -> None:
    world = World()
    error = TidingsError(grpc.StatusCode[code], "gone")
    error.retry_after = 5.0
    assert await world.after(error) >= 5.0
    assert world.servers.next().endpoint == "b:1"
    world.policy.worked()
    assert world.servers.next().endpoint == "a:1"


async def test_a_refused_token_is_renewed_and_a_newer_one_that_is_refused_was_the_last() -> None:
    world = World()
    assert await world.after(REFUSED) == 0.0
    assert len(world.renewals) == 1
    with pytest.raises(SignedOutError):
        await world.after(REFUSED, "new")


async def test_a_token_that_was_taken_in_between_may_run_out_again() -> None:
    world = World()
    assert await world.after(REFUSED) == 0.0
    world.policy.welcomed()
    assert await world.after(REFUSED, "new") == 0.0
    assert len(world.renewals) == 2


async def test_a_renewal_that_fails_is_tried_again_and_is_nobodys_fault() -> None:
    world = World()
    world.renewal_error = TidingsError(grpc.StatusCode.UNAVAILABLE, "no api")
    world.renewal_error.retry_after = 2.0
    assert await world.after(REFUSED) >= 2.0
    world.renewal_error = None
    assert await world.after(REFUSED) == 0.0
    assert world.servers.next().endpoint == "a:1"


async def test_a_renewal_that_is_refused_is_the_end() -> None:
    world = World()
    world.renewal_error = SignedOutError(grpc.StatusCode.UNAUTHENTICATED, "signed out")
    with pytest.raises(SignedOutError):
        await world.after(REFUSED)
