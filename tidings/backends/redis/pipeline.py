"""One Redis server: commands that wait go out together, and whatever goes wrong is a refusal."""

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

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from tidings.core.errors import Refusal, unavailable

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0
REPLY_SECONDS = 3.0
"""How long an answer may take until the server counts as away."""
_BATCH = 500
_MOST_WAITING = 20_000

Argument = str | bytes | int | float
AWAY = (RedisError, OSError, TimeoutError)
"""What is raised when a server cannot be reached, or does not speak as it should."""


@dataclass(frozen=True)
class Script:
    """A Lua script; a server runs it as one step."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())


# The id of the run tells a restart or a failover even where the key has survived it, on a disk or in a replica.
_EPOCH = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' .. redis.call('GET', KEYS[1])
""")


@dataclass
class _Call:
    command: tuple[Argument, ...]
    script: Script | None
    answer: asyncio.Future[Any]


class Pipeline:
    """A Redis server, over one connection.

    All commands that gather while others are under way go out in one write when those have been answered, in the
    order in which they were given (a script that the server has to be told first comes after the rest of its batch).
    So a busy process pays for a write and a wake-up once a batch, not once a command, and needs no pool.

    A connection that is gone is made anew for the next command. A command that was sent is not sent again when no
    answer comes: whether it was carried out is not known then.
    """

    def __init__(self, url: str) -> None:
        """Connects when needed.

        Args:
            url: As of redis-py: `redis://[[user]:password@]host:port/database`, or `rediss://` for TLS.
        """
        parts = urlsplit(url)
        self.name = f"{parts.hostname or ''}:{parts.port or 6379}{parts.path}"
        """Which server it is, without secrets."""
        self._connections = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: Connection | None = None
        self._waiting: list[_Call] = []
        self._pump: asyncio.Task[None] | None = None

    def connection(self) -> Connection:
        """Another connection to the server, not open yet; it is the caller's to close."""
        made: Connection = self._connections.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no type here
        return made

    async def call(self, *command: Argument) -> Any:
        """Has a command carried out.

        Returns:
            The answer as RESP 2 has it, with bytes.

        Raises:
            Refusal: UNAVAILABLE when the server is away or refuses; whether it was carried out is not known.
        """
        return await self._submit(_Call(command, None, asyncio.get_running_loop().create_future()))

    async def run(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument] = ()) -> Any:
        """Has a script run; see `call`."""
        command = (len(keys), *keys, *arguments)
        return await self._submit(_Call(command, script, asyncio.get_running_loop().create_future()))

    async def epoch(self, key: str) -> str:
        """A word that changes when the server has lost what it knew: wiped, restarted, or replaced by another.

        Args:
            key: Where it may keep a random word.

        Raises:
            Refusal: UNAVAILABLE when the server is away.
        """
        answer: bytes = await self.run(_EPOCH, [key], [secrets.token_hex(8)])
        return answer.decode()

    def away(self, error: BaseException) -> Refusal:
        """The refusal for what kept a command from being carried out."""
        return unavailable(f"Redis at {self.name} is away ({type(error).__name__})", "ENGINE_UNAVAILABLE")

    async def close(self) -> None:
        """Closes the connection; what waits is refused."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._refuse_waiting(RedisConnectionError("closed"))
        await self._disconnect()

    async def _submit(self, call: _Call) -> Any:
        if len(self._waiting) >= _MOST_WAITING:
            raise unavailable(f"{_MOST_WAITING:,} commands wait for Redis at {self.name}", "ENGINE_OVERLOADED")
        self._waiting.append(call)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        return await call.answer

    async def _run(self) -> None:
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                try:
                    async with asyncio.timeout(REPLY_SECONDS):
                        await self._exchange(await self._open(), batch)
                except AWAY as error:
                    # What came meanwhile would only wait for the same.
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
            # The server has closed it, or said what nobody asked for.
            await self._disconnect()
        connection = self._connection = self.connection()
        await connect(connection)
        return connection

    async def _exchange(self, connection: Connection, batch: list[_Call]) -> None:
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
                # EVAL keeps the script on the server, for those behind it.
                name, text = ("EVALSHA", call.script.sha) if call.script.sha in told else ("EVAL", call.script.source)
                told.add(call.script.sha)
                again.append(((name, text, *call.command), call))
            for call in await self._send(connection, again):
                _refuse(call, self.away(NoScriptError()))

    async def _send(self, connection: Connection, calls: list[tuple[tuple[Argument, ...], _Call]]) -> list[_Call]:
        """Sends commands and hands out the answers; returns the calls whose script the server does not know."""
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
                _refuse(call, unavailable(f"Redis at {self.name} refuses ({_code(error)})", "ENGINE_REFUSED"))
            else:
                if not call.answer.done():
                    call.answer.set_result(answer)
        if refused is not None:
            _log.error("Redis at %s refuses a command (%s)", self.name, _code(refused))
            if isinstance(refused, ReadOnlyError):
                # It is a replica now. Whoever has taken over may be found by connecting again.
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
    """Opens a connection that waits for ever from then on: its users bound what they do, each time as a whole.

    A bound of the connection's own would cost a timer for every answer. It also swallows a cancellation now and then
    (`asyncio.wait_for` before Python 3.12), and a connection that is used after that opens itself anew, unnoticed.

    Raises:
        redis.exceptions.ConnectionError: It cannot be opened: for want of a server or of its consent.
    """
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no type here
    except RedisError as error:
        # Among them what is no `RedisConnectionError`: wrong credentials, say.
        raise RedisConnectionError(str(error)) from error
    connection.socket_timeout = None


async def read(connection: Connection) -> Any:
    """The next answer, whenever it comes."""
    return await connection.read_response(timeout=math.inf, disconnect_on_error=False)


def _code(error: ResponseError) -> str:
    """What Redis refuses for, by its own word (OOM, MISCONF, …): what it says beyond that may quote the command."""
    word = str(error).partition(" ")[0]
    return word if word.isupper() else type(error).__name__


def _refuse(call: _Call, refusal: Refusal) -> None:
    if not call.answer.done():
        call.answer.set_exception(refusal)
