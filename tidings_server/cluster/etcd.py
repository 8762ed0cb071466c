"""etcd, one node."""

from __future__ import annotations

from pathlib import Path

from tidings_server.cluster.engine import Engine, program
from tidings_server.cluster.loopback import HOST, Conversation

BUILT = Path(__file__).parents[2] / ".build/bin/etcd"
"""Where scripts/install-engines puts the etcd that it builds."""


class Etcd(Engine):
    """etcd, one node, on loopback.

    Args:
        folder: Its folder.
        client_port: For clients; a free one when 0.
        peer_port: For other nodes; a free one when 0.
        binary: The program; where it is missing, the one on PATH is run.
        detach: Whether it goes on when the process that starts it ends.
    """

    name = "etcd"

    def __init__(
        self, folder: Path, *, client_port: int = 0, peer_port: int = 0, binary: Path = BUILT, detach: bool = False
    ) -> None:
        super().__init__(folder, {"client": client_port, "peer": peer_port}, detach=detach)
        self._binary = binary

    @property
    def port(self) -> int:
        """For clients."""
        return self._ports["client"]

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        return self._address("client")

    def _command(self) -> list[str]:
        """See `Engine._command`."""
        client, peer = f"http://{self._address('client')}", f"http://{self._address('peer')}"
        return [
            str(self._binary) if self._binary.exists() else program("etcd", "etcd-server"),
            "--name=tidings",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=tidings={peer}",
            # Alone and on loopback it need not wait long for the votes of others.
            "--heartbeat-interval=20",
            "--election-timeout=200",
            # The servers write their load every few seconds; who watches needs only the last minutes of that.
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=10m",
            "--logger=zap",
            "--log-outputs=stderr",
        ]

    async def _answers(self) -> bool:
        async with Conversation(self.port) as client:
            await client.send(f"GET /health HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
            return b'"health":"true"' in await client.rest()
