"""What follows the end of a stream: another one after a while, or none."""

from __future__ import annotations

import logging

import grpc

from tidings.v1 import discovery_pb2
from tidings_client._backoff import Backoff
from tidings_client._errors import ReplacedError, SignedOutError, TidingsError
from tidings_client._servers import Servers
from tidings_client._tokens import TokenKeeper

_log = logging.getLogger(__name__)

# Errors that neither another server nor a later attempt will change.
_FATAL = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class ReconnectPolicy:
    """Decides what follows the end of a stream, whatever it is a stream of.

    Args:
        keeper: Renews the access token when a server refuses it.
        servers: Is told which server failed.
    """

    def __init__(self, keeper: TokenKeeper, servers: Servers) -> None:
        self._keeper = keeper
        self._servers = servers
        self._backoff = Backoff()
        self._was_refused = False

    async def after(self, server: discovery_pb2.Server, token: str, error: TidingsError) -> float:
        """Tells how many seconds to wait before the next stream.

        Args:
            server: The server of the stream that ended.
            token: The access token that the stream had last.
            error: Why the stream ended.

        Raises:
            SignedOutError: The device's sign-in has ended.
            ReplacedError: The device has a newer stream. Coming back would end that one in turn, and so on for ever.
            TidingsError: No server will take this client.
        """
        _log.info("the stream to %s ended: %s", server.endpoint, error)
        if isinstance(error, SignedOutError) or error.code in _FATAL:
            raise error
        if error.code is grpc.StatusCode.ABORTED:
            raise ReplacedError.of(error)
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return await self._renew(token, error)
        self._servers.failed(server)
        return self._backoff.next(error.retry_after)

    def welcomed(self) -> None:
        """Notes that a server took the access token."""
        self._was_refused = False

    def worked(self) -> None:
        """Notes that the stream does what it is for: the next failure is the first one again."""
        self._was_refused = False
        self._backoff.reset()
        self._servers.worked()

    async def _renew(self, token: str, refusal: TidingsError) -> float:
        """Renews a token that was refused, as it also is when it runs out; a newer one that is refused was the last."""
        if self._was_refused:
            raise SignedOutError.of(refusal)
        try:
            await self._keeper.renew(token)
        except SignedOutError:
            raise
        except TidingsError as error:
            return self._backoff.next(error.retry_after)
        self._was_refused = True
        return 0.0
