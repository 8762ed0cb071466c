"""Calls to etcd, at whichever of its members answers.

These are the generated stubs of aetcd, without its client: that knows one address only, waits for ever when a watch
begins at a revision that has been compacted, and does not tell at which revision it shows something.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from aetcd import rpc
from aetcd.rpc.rpc_pb2 import Compare
from grpc import aio

from tidings.core.errors import Refusal, unavailable
from tidings.core.reasons import Reason

CALL_SECONDS = 2.0
_KEEP_ALIVE_SECONDS = 1.0
_RETRY_SECONDS = 0.3
_OPTIONS = [
    # Finds a connection that is dead without having been closed; etcd allows a ping every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # The one before does not bound how long a ping may take, which is a minute unless told.
    ("grpc.http2.ping_timeout_ms", 3_000),
    # A member that is back is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Processes that talk to the same member keep connections of their own.
    ("grpc.use_local_subchannel_pool", 1),
]

KeyChange = tuple[bytes, bytes | None]
"""A key and what it holds, or None for one that has gone."""


class LeaseGone(Exception):  # noqa: N818 - an outcome, not a malfunction
    """The lease has run out, or was never granted; nothing was written."""


class EtcdClient:
    """A cluster of etcd, by the addresses of its members. One that fails is asked last from then on.

    Every method raises `Refusal` with UNAVAILABLE when none of them answers; whether something was written is not
    known then.
    """

    def __init__(
        self, addresses: Sequence[str], prefix: str = "/tidings/", credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """Connects when needed.

        Args:
            addresses: HOST:PORT of its members.
            prefix: Of all keys that are used.
            credentials: For TLS; without it, in plaintext.

        Raises:
            ValueError: No address.
        """
        if not addresses:
            raise ValueError("needs the address of at least one member of etcd")
        self.prefix = prefix.encode()
        self._channels: list[aio.Channel] = [
            aio.insecure_channel(address, _OPTIONS)
            if credentials is None
            else aio.secure_channel(address, credentials, _OPTIONS)
            for address in addresses
        ]

    async def get(self, prefix: bytes) -> tuple[int, Sequence[tuple[bytes, bytes]]]:
        """What all keys with a prefix hold, and the revision at which they did."""
        answer = await self._call(
            lambda channel: rpc.KVStub(channel).Range, rpc.RangeRequest(key=prefix, range_end=_end(prefix))
        )
        return answer.header.revision, [(each.key, each.value) for each in answer.kvs]

    async def put(self, key: bytes, value: bytes, lease: int) -> None:
        """Sets a key, which goes when the lease does.

        Raises:
            LeaseGone: It has gone already.
        """
        await self._call(lambda channel: rpc.KVStub(channel).Put, rpc.PutRequest(key=key, value=value, lease=lease))

    async def put_new(self, key: bytes, value: bytes, lease: int) -> bool:
        """The same for a key that is not there; False, and nothing done, when it is."""
        absent = Compare(key=key, result=Compare.EQUAL, target=Compare.CREATE, create_revision=0)
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
        answer = await self._call(
            lambda channel: rpc.KVStub(channel).Txn, rpc.TxnRequest(compare=[absent], success=[put])
        )
        return bool(answer.succeeded)

    async def delete(self, key: bytes) -> None:
        """Takes a key out, if there."""
        await self._call(lambda channel: rpc.KVStub(channel).DeleteRange, rpc.DeleteRangeRequest(key=key))

    async def watch(self, prefix: bytes, revision: int) -> AsyncIterator[Sequence[KeyChange]]:
        """What changes of the keys with a prefix from a revision on.

        It ends when the changes are not to be had any more, since they have been compacted: read the keys again then.
        """
        channel = self._channels[0]
        # A member that has lost the others would fall silent otherwise.
        call = rpc.WatchStub(channel).Watch(metadata=(("hasleader", "true"),))
        try:
            create = rpc.WatchCreateRequest(key=prefix, range_end=_end(prefix), start_revision=revision)
            await call.write(rpc.WatchRequest(create_request=create))
            while (answer := await call.read()) is not aio.EOF and not answer.canceled:
                if answer.events:
                    yield [(each.kv.key, each.kv.value if each.type == 0 else None) for each in answer.events]
        except (aio.AioRpcError, asyncio.InvalidStateError) as error:
            self._ask_last(channel)
            raise _away(error) from error
        finally:
            call.cancel()

    async def grant(self, seconds: int) -> int:
        """Grants a lease."""
        answer = await self._call(lambda channel: rpc.LeaseStub(channel).LeaseGrant, rpc.LeaseGrantRequest(TTL=seconds))
        return int(answer.ID)

    async def revoke(self, lease: int) -> None:
        """Ends a lease, if there, and all its keys with it."""
        with contextlib.suppress(LeaseGone):
            await self._call(lambda channel: rpc.LeaseStub(channel).LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease))

    async def kept(self, lease: int, seconds: int) -> AsyncGenerator[bool, None]:
        """Keeps a lease alive until it has gone, and says each time whether etcd has answered.

        While etcd is away the lease may be there still: it counts its time, and gives all leases their full time again
        when it has been away altogether. So a lease has gone when etcd says so, and not before.
        """
        while True:
            channel = self._channels[0]
            call = rpc.LeaseStub(channel).LeaseKeepAlive(timeout=_KEEP_ALIVE_SECONDS)
            answered = False
            try:
                await call.write(rpc.LeaseKeepAliveRequest(ID=lease))
                answer = await call.read()
                if answer is not aio.EOF:
                    if answer.TTL <= 0:
                        return
                    answered = True
            except (aio.AioRpcError, asyncio.InvalidStateError):
                self._ask_last(channel)
            finally:
                call.cancel()
            yield answered
            await asyncio.sleep(seconds / 3 if answered else _RETRY_SECONDS)

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def _call(self, method: Callable[[aio.Channel], Any], request: object) -> Any:
        refusal: Refusal | None = None
        for channel in list(self._channels):
            try:
                return await method(channel)(request, timeout=CALL_SECONDS)
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise LeaseGone from error
                self._ask_last(channel)
                refusal = _away(error)
        assert refusal is not None
        raise refusal

    def _ask_last(self, channel: aio.Channel) -> None:
        if channel is self._channels[0]:
            self._channels = [*self._channels[1:], channel]


async def pause() -> None:
    """Waits before the next attempt, for a time that differs from process to process."""
    await asyncio.sleep(random.uniform(_RETRY_SECONDS / 2, _RETRY_SECONDS * 2))


def _away(error: BaseException) -> Refusal:
    why = f"{error.code().name}: {error.details()}" if isinstance(error, aio.AioRpcError) else repr(error)
    return unavailable(f"etcd is away ({why})", Reason.ENGINE_UNAVAILABLE)


def _end(prefix: bytes) -> bytes:
    """Where the keys that begin with a prefix end. No prefix here ends with the highest byte."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
