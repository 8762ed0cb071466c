"""Commands to one Redis server, pipelined over one connection. Every failure becomes a `Refusal`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis import DriverInfo
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from tidings.core.errors import Refusal, unavailable
from tidings.core.reasons import Reason

_log = logging.getLogger(__name__)

_DRIVER = DriverInfo()

CONNECT_SECONDS = 1.0
REPLY_SECONDS = 3.0
"""How long an answer may take until the server counts as away."""
_BATCH = 500
_MOST_WAITING = 20_000

Argument = str | bytes | int | float
AWAY = (RedisError, OSError, TimeoutError)
"""The exceptions of a server that cannot be reached, or does not speak as it should."""


@dataclass(frozen=True)
class Script:
    """A Lua script, which a server runs as one step.

    Args:
        source: The text of the script.
    """

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())


# The run id shows a restart or a failover even where the key has survived it, on a disk or in a replica.
_EPOCH = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' .. redis.call('GET', KEYS[1])
""")


@dataclass
class _Call:
    """A command or script that waits for its answer."""

    command: tuple[Argument, ...]
    script: Script | None
    answer: asyncio.Future[Any]


class AutoPipeline:
    """A client of one Redis server that pipelines commands over one connection by itself.

    All commands that gather while others are under way go out in one write when those have been answered, in the
    order in which they were given. (A script that the server does not know yet comes after the rest of its batch.)
    So a busy process pays for a write and a wake-up once a batch, not once a command, and needs no pool.

    The connection is made when the first command needs it. A lost connection is made anew for the next command. A
    command that was sent is not sent again when no answer comes, because the server may have carried it out.

    Args:
        url: As of redis-py: `redis://[[user]:password@]host:port/database`, or `rediss://` for TLS.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.hostname or ''}:{parts.port or 6379}{parts.path}"
        """Host, port and database of the server, without secrets."""
        self._connections = ConnectionPool.from_url(
            url,
            # What each connection would find out by itself, by reading a file on the event loop.
            driver_info=_DRIVER,
            protocol=2,
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: Connection | None = None
        self._waiting: list[_Call] = []
        self._pump: asyncio.Task[None] | None = None

    def connection(self) -> Connection:
        """Make another connection to the server. The caller opens and closes it."""
        made: Connection = self._connections.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no type here
        return made

    async def call(self, *command: Argument) -> Any:
        """Send a command and return its answer.

        Returns:
            The answer as RESP 2 has it, with bytes.

        Raises:
            Refusal: UNAVAILABLE when the server is away or refuses. The command may have been carried out.
        """
        return await self._submit(_Call(command, None, asyncio.get_running_loop().create_future()))

    async def run(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument] = ()) -> Any:
        """Run a script and return its answer, as `call` does for a command."""
        command = (len(keys), *keys, *arguments)
        return await self._submit(_Call(command, script, asyncio.get_running_loop().create_future()))

    async def epoch(self, key: str) -> str:
        """Return a word that changes when the server has lost its data: wiped, restarted, or replaced by another.

        Args:
            key: A key under which the server keeps a random word.

        Raises:
            Refusal: UNAVAILABLE when the server is away.
        """
        answer: bytes = await self.run(_EPOCH, [key], [secrets.token_hex(8)])
        return answer.decode()

    def away(self, error: BaseException) -> Refusal:
        """Make the refusal for an error that kept a command from being carried out."""
        return unavailable(f"Redis at {self.name} is away ({type(error).__name__})", Reason.ENGINE_UNAVAILABLE)

    async def close(self) -> None:
        """Close the connection and refuse the commands that wait."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._refuse_waiting(RedisConnectionError("closed"))
        await self._disconnect()

    async def _submit(self, call: _Call) -> Any:
        if len(self._waiting) >= _MOST_WAITING:
            raise unavailable(f"{_MOST_WAITING:,} commands wait for Redis at {self.name}", Reason.ENGINE_OVERLOADED)
        self._waiting.append(call)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return await call.answer

    async def _run(self) -> None:
        """Send what waits, batch by batch, until nothing waits."""
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                try:
                    async with asyncio.timeout(REPLY_SECONDS):
                        await self._exchange(await self._open(), batch)
                except AWAY as error:
                    # Commands that came in the meantime would only wait for the same failure.
                    self._waiting = batch + self._waiting
                    self._refuse_waiting(error)
                    await self._disconnect()
                batch = []
        finally:
            self._pump = None
            if batch:
                self._waiting = batch + self._waiting
                self._refuse_waiting(RedisConnectionError("interrupted"))
                await self._disconnect()

    async def _open(self) -> Connection:
        connection = self._connection
        if connection is not None:
            try:
                if not await connection.can_read():
                    return connection
            except AWAY:
                pass
            # The server has closed the connection, or sent something that no command asked for.
            await self._disconnect()
        connection = self._connection = self.connection()
        await connect(connection)
        return connection

    async def _exchange(self, connection: Connection, batch: list[_Call]) -> None:
        """Send a batch and hand out the answers. A script that the server does not know goes again, with its source."""
        unknown = await self._send(
            connection,
            [
                (("EVALSHA", call.script.sha, *call.command) if call.script is not None else call.command, call)
                for call in batch
            ],
        )
        if unknown:
            again: list[tuple[tuple[Argument, ...], _Call]] = []
            told: set[str] = set()
            for call in unknown:
                assert call.script is not None
                # EVAL keeps the script on the server, for the calls behind this one.
                name, text = ("EVALSHA", call.script.sha) if call.script.sha in told else ("EVAL", call.script.source)
                told.add(call.script.sha)
                again.append(((name, text, *call.command), call))
            for call in await self._send(connection, again):
                _refuse(call, self.away(NoScriptError()))

    async def _send(self, connection: Connection, calls: list[tuple[tuple[Argument, ...], _Call]]) -> list[_Call]:
        """Send commands, hand out the answers, and return the calls whose script the server does not know."""
        await connection.send_packed_command(connection.pack_commands([command for command, _ in calls]))
        unknown = []
        refused: ResponseError | None = None
        for _, call in calls:
            try:
                answer = await read(connection)
            except NoScriptError:
                unknown.append(call)
            except ResponseError as error:
                refused = error
                _refuse(call, unavailable(f"Redis at {self.name} refuses ({_code(error)})", Reason.ENGINE_REFUSED))
            else:
                if not call.answer.done():
                    call.answer.set_result(answer)
        if refused is not None:
            _log.error("Redis at %s refuses a command (%s)", self.name, _code(refused))
            if isinstance(refused, ReadOnlyError):
                # The server is a replica now. A new connection may lead to the one that has taken over.
                await self._disconnect()
        return unknown

    def _refuse_waiting(self, error: BaseException) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            _refuse(call, self.away(error))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


async def connect(connection: Connection) -> None:
    """Open a connection without a time limit of its own: its users limit each exchange as a whole.

    A time limit in the connection would cost a timer for every answer. It also swallows a cancellation now and then
    (`asyncio.wait_for` before Python 3.12), and a connection that is used after that opens itself anew, unnoticed.

    Raises:
        redis.exceptions.ConnectionError: The server cannot be reached, or refuses the connection.
    """
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no type here
    except RedisError as error:
        # Some of these errors, such as wrong credentials, are no `RedisConnectionError`.
        raise RedisConnectionError(str(error)) from error
    connection.socket_timeout = None


async def read(connection: Connection) -> Any:
    """Read the next answer, however long that takes."""
    return await connection.read_response(timeout=math.inf, disconnect_on_error=False)


def _code(error: ResponseError) -> str:
    """Return the error code of Redis (OOM, MISCONF, …) without the rest of the message, which may quote the command."""
    word = str(error).partition(" ")[0]
    return word if word.isupper() else type(error).__name__


def _refuse(call: _Call, refusal: Refusal) -> None:
    if not call.answer.done():
        call.answer.set_exception(refusal)
