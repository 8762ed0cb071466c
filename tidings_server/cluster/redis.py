"""Redis, one node."""

from __future__ import annotations

from pathlib import Path

from tidings_server.cluster.engine import Engine, program
from tidings_server.cluster.loopback import HOST, Conversation


class Redis(Engine):
    """Redis, one node, on loopback.

    Args:
        folder: Its folder.
        port: For clients; a free one when 0.
        durable: Whether a write is on the disk before it is answered, as the queue of pushes needs it. Otherwise
            nothing is ever written to the disk: soft state is gone with the process.
        databases: How many databases it has.
        detach: Whether it goes on when the process that starts it ends.
    """

    name = "Redis"

    def __init__(
        self, folder: Path, *, port: int = 0, durable: bool = False, databases: int = 16, detach: bool = False
    ) -> None:
        super().__init__(folder, {"client": port}, detach=detach)
        self._durable = durable
        self._databases = databases

    @property
    def port(self) -> int:
        """For clients."""
        return self._ports["client"]

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        return self._address("client")

    @property
    def url(self) -> str:
        """What redis-py's `from_url` takes."""
        return f"redis://{self.address}"

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": f'"{data}"',
            "databases": str(self._databases),
            "daemonize": "no",
            # No snapshots: the append-only file has everything, or there is nothing to keep.
            "save": '""',
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always",
            # Wait with no answer rather than drop what was promised to be kept.
            "maxmemory-policy": "noeviction",
        }
        config = self.folder / "redis.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        return [program("redis-server", "redis-server"), str(config)]

    async def _answers(self) -> bool:
        async with Conversation(self.port) as client:
            await client.send(b"PING\r\n")
            # Not so while it still loads its append-only file.
            return await client.line() == b"+PONG\r\n"
