"""A whole mesh on this machine: the engines, and servers of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tidings_server.cluster.cassandra import Cassandra
from tidings_server.cluster.engine import Engine, EngineError
from tidings_server.cluster.etcd import Etcd
from tidings_server.cluster.redis import Redis
from tidings_server.cluster.server import TidingsServer
from tidings_server.keys import TokenKeys


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many servers of each kind."""

    chat: int = 3
    presence: int = 2
    api: int = 2


class Cluster:
    """The processes of a mesh in one folder.

    Nothing runs before `start`, unless an earlier command has left it running.

    Args:
        folder: Where everything is kept: data, logs, settings.
        sizes: How many servers; those that run beyond are stopped at the start. None for as many as the folder had
            before, or the defaults.
        settings: What all servers' settings files say besides addresses, named as in `Settings`.
        detach: Whether it goes on when the process that starts it ends.
        cassandra: One to share with others, instead of one in the folder.

    Raises:
        EngineError: The folder holds something else.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Sizes | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        detach: bool = False,
        cassandra: Cassandra | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._settings = dict(settings or {})
        before = self._sizes_before()
        self.sizes = sizes or before
        self.etcd = Etcd(self.folder / "etcd", detach=detach)
        self.redis = Redis(self.folder / "redis", detach=detach)
        self.push_redis = Redis(self.folder / "push-redis", durable=True, detach=detach)
        self.cassandra = cassandra or Cassandra(self.folder / "cassandra", detach=detach)
        self.engines: Sequence[Engine] = (self.etcd, self.redis, self.push_redis, self.cassandra)
        self.servers = {
            name: TidingsServer(self.folder / name, services, detach=detach)
            for name, services in _services(self.sizes).items()
        }
        # Servers of an earlier start that asked for more.
        self._surplus = [
            TidingsServer(self.folder / name, services)
            for name, services in _services(before).items()
            if name not in self.servers
        ]

    @property
    def endpoint(self) -> str:
        """HOST:PORT where clients sign in."""
        return self.servers["api-1"].address

    def of_kind(self, kind: str) -> list[TidingsServer]:
        """The servers of a kind: "chat", say."""
        return [server for name, server in self.servers.items() if name.startswith(f"{kind}-")]

    async def start(self) -> Self:
        """Start what does not run yet, engines first, and wait until all of it answers.

        Raises:
            EngineError: Something cannot be started; what had been started for it is stopped again.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await _all(server.stop() for server in self._surplus)
        (self.folder / "sizes.json").write_text(json.dumps(asdict(self.sizes)))
        key = self.folder / "token-key.pem"
        TokenKeys.load(key, make=True)
        await _start(self.engines)
        for server in self.servers.values():
            server.settings = {
                **self._settings,
                "token_key": str(key),
                "mesh": {
                    "cassandra": {"addresses": [self.cassandra.address]},
                    "redis": [self.redis.url],
                    "push_redis": self.push_redis.url,
                    "etcd": [self.etcd.address],
                },
            }
        await _start(list(self.servers.values()))
        return self

    async def stop(self) -> None:
        """Stop everything gracefully: servers first, so that what they have accepted is kept."""
        await _all(server.stop() for server in self.servers.values())
        await _all(engine.stop() for engine in self.engines)

    async def kill(self) -> None:
        """Send SIGKILL to everything at once, as when the power goes."""
        await _all(each.kill() for each in (*self.servers.values(), *self.engines))

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.stop()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _sizes_before(self) -> Sizes:
        try:
            return Sizes(**json.loads((self.folder / "sizes.json").read_text()))
        except FileNotFoundError:
            return Sizes()
        except (ValueError, TypeError) as error:
            raise EngineError(f"{self.folder / 'sizes.json'} is not what a cluster has left there.") from error


def _services(sizes: Sizes) -> dict[str, str]:
    """The services of each server, by the server's name."""
    # Clients sign in at an api server, which tells them of chat servers: so it answers for discovery too.
    kinds = {
        "chat": ("chat", sizes.chat),
        "presence": ("presence", sizes.presence),
        "api": ("api,discovery", sizes.api),
        "discovery": ("discovery", 1),
        "notifier": ("notifier", 1),
    }
    return {f"{name}-{number}": services for name, (services, count) in kinds.items() for number in range(1, count + 1)}


async def _start(processes: Sequence[Engine]) -> None:
    """Start all that do not run, or none of them."""
    starting = [process for process in processes if not process.running]
    try:
        async with asyncio.TaskGroup() as group:
            for process in starting:
                group.create_task(process.start())
    except ExceptionGroup as errors:
        await _all(process.stop() for process in starting)
        raise errors.exceptions[0] from None


async def _all(works: Any) -> None:
    """Await all, and then raise the first error."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
