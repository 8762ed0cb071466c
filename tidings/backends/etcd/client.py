"""A client of etcd that calls whichever member answers.

It uses the generated stubs of aetcd but not its client, which knows one address only, waits for ever when a watch
begins at a revision that has been compacted, and does not tell at which revision it has read.
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
    # Finds a connection that is dead but was not closed; etcd allows a ping every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # The option before does not limit how long a ping may take, which is a minute by default.
    ("grpc.http2.ping_timeout_ms", 3_000),
    # To find soon that a member is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Clients in one process that talk to the same member keep connections of their own.
    ("grpc.use_local_subchannel_pool", 1),
]

KeyChange = tuple[bytes, bytes | None]
"""A key and its value, or None for a key that was deleted."""


class LeaseGone(Exception):  # noqa: N818 - an outcome, not a malfunction
    """The lease has run out, or was never granted; nothing was written."""


class EtcdClient:
    """A client of a cluster of etcd. It connects when needed. A member that fails is asked last from then on.

    Every method raises `Refusal` with UNAVAILABLE when no member answers. A write may have been done all the same.

    Args:
        addresses: HOST:PORT of the members.
        prefix: How all keys begin.
        credentials: For TLS; None for plaintext.

    Raises:
        ValueError: There is no address.
    """

    def __init__(
        self, addresses: Sequence[str], prefix: str = "/tidings/", credentials: grpc.ChannelCredentials | None = None
    ) -> None:
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
        """Read all keys with a prefix; return the revision at which they were read, and the keys with their values."""
        answer = await self._call(
            lambda channel: rpc.KVStub(channel).Range, rpc.RangeRequest(key=prefix, range_end=_end(prefix))
        )
        return answer.header.revision, [(each.key, each.value) for each in answer.kvs]

    async def put(self, key: bytes, value: bytes, lease: int) -> None:
        """Set a key, which is deleted when its lease ends.

        Raises:
            LeaseGone: The lease has ended already.
        """
        await self._call(lambda channel: rpc.KVStub(channel).Put, rpc.PutRequest(key=key, value=value, lease=lease))

    async def put_new(self, key: bytes, value: bytes, lease: int) -> bool:
        """Set a key that does not exist, as `put` does; return False, without a change, when it exists."""
        absent = Compare(key=key, result=Compare.EQUAL, target=Compare.CREATE, create_revision=0)
        put = rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))
        answer = await self._call(
            lambda channel: rpc.KVStub(channel).Txn, rpc.TxnRequest(compare=[absent], success=[put])
        )
        return bool(answer.succeeded)

    async def delete(self, key: bytes) -> None:
        """Delete a key, if it exists."""
        await self._call(lambda channel: rpc.KVStub(channel).DeleteRange, rpc.DeleteRangeRequest(key=key))

    async def watch(self, prefix: bytes, revision: int) -> AsyncIterator[Sequence[KeyChange]]:
        """Yield the changes of all keys with a prefix from a revision on.

        The changes end when etcd has compacted some of them. Read the keys again then.
        """
        channel = self._channels[0]
        # Without this a member that has lost the others would fall silent.
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
        """Grant a lease; return its id."""
        answer = await self._call(lambda channel: rpc.LeaseStub(channel).LeaseGrant, rpc.LeaseGrantRequest(TTL=seconds))
        return int(answer.ID)

    async def revoke(self, lease: int) -> None:
        """End a lease, if it exists, which deletes its keys."""
        with contextlib.suppress(LeaseGone):
            await self._call(lambda channel: rpc.LeaseStub(channel).LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease))

    async def kept(self, lease: int, seconds: int) -> AsyncGenerator[bool, None]:
        """Keep a lease alive until it has ended, and yield after each attempt whether etcd has answered.

        While etcd is away the lease may still be alive: etcd counts its time, and after an outage of the whole cluster
        all leases have their full time again. So a lease has ended only when etcd says so.
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
        """Close all connections."""
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
    """Wait before the next attempt, for a random time, so that processes do not come at once."""
    await asyncio.sleep(random.uniform(_RETRY_SECONDS / 2, _RETRY_SECONDS * 2))


def _away(error: BaseException) -> Refusal:
    why = f"{error.code().name}: {error.details()}" if isinstance(error, aio.AioRpcError) else repr(error)
    return unavailable(f"etcd is away ({why})", Reason.ENGINE_UNAVAILABLE)


def _end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys with a prefix. No prefix here ends with the highest byte."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
