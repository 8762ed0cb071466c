"""A tidings server of a cluster, as a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidings_server.cluster.engine import Engine
from tidings_server.cluster.loopback import Conversation


class TidingsServer(Engine):
    """`tidings serve --backend mesh`, on loopback.

    Args:
        folder: Its folder.
        services: What it serves, by commas.
        settings: What its settings file says besides services and addresses.
        detach: Whether it goes on when the process that starts it ends.
    """

    start_seconds = 60.0

    def __init__(
        self, folder: Path, services: str, settings: Mapping[str, Any] | None = None, *, detach: bool = False
    ) -> None:
        self.name = f"the server {folder.name}"  # type: ignore[misc]
        self.services = services
        self.settings = dict(settings or {})
        super().__init__(folder, {"client": 0, "internal": 0}, detach=detach)

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        return self._address("client")

    @property
    def internal_address(self) -> str:
        """HOST:PORT for other servers."""
        return self._address("internal")

    def _command(self) -> list[str]:
        mesh = {**self.settings.get("mesh", {}), "listen": self.internal_address}
        settings = {
            **self.settings,
            "backend": "mesh",
            "services": self.services,
            "listen": self.address,
            "mesh": mesh,
        }
        config = self.folder / "tidings.toml"
        config.write_text(_toml(settings))
        return [sys.executable, "-m", "tidings_server", "serve", "--config", str(config)]

    async def _answers(self) -> bool:
        # It listens for clients last of all.
        async with Conversation(self._ports["client"]):
            return True


def _toml(settings: Mapping[str, Any], path: str = "") -> str:
    """Settings as TOML; its strings, numbers and arrays of them are written as in JSON."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"[{path}]"] if path and plain else []
    lines += [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in plain.items()]
    text = "".join(f"{line}\n" for line in lines)
    for name, value in settings.items():
        if isinstance(value, Mapping):
            text += _toml(value, f"{path}.{json.dumps(name)}" if path else json.dumps(name))
    return text
