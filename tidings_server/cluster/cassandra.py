"""Cassandra, one node, from its Maven jars."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from tidings_server.cluster.engine import Engine, EngineError, program
from tidings_server.cluster.loopback import HOST, Conversation

JARS = Path(__file__).parents[2] / ".build/cassandra/lib"
"""Where scripts/install-engines puts the jars."""

_OPENED = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac",
    "jdk.management/com.sun.management.internal",
)
_EXPORTED = (
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
)
"""What of the JDK's insides Cassandra 5.0 reaches into on Java 17, as its own options for that Java have it."""

_LOGGING = """\
<configuration>
  <appender name="log" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level [%thread] %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="log"/></root>
</configuration>
"""

_STARTUP, _QUERY, _READY, _RESULT = 0x01, 0x07, 0x02, 0x08
_ONE = 1


class Cassandra(Engine):
    """Cassandra 5.0, one node, on loopback.

    Args:
        folder: Its folder.
        native_port: For clients (CQL); a free one when 0.
        storage_port: For other nodes; a free one when 0.
        jars: The folder of its jars.
        heap: How large its heap may grow, as java takes it.
        options: More options for java.
        detach: Whether it goes on when the process that starts it ends.
    """

    name = "Cassandra"
    start_seconds = 120.0

    def __init__(
        self,
        folder: Path,
        *,
        native_port: int = 0,
        storage_port: int = 0,
        jars: Path = JARS,
        heap: str = "1g",
        options: Sequence[str] = (),
        detach: bool = False,
    ) -> None:
        super().__init__(folder, {"native": native_port, "storage": storage_port}, detach=detach)
        self._jars = jars.absolute()
        self._heap = heap
        self._options = options

    @property
    def port(self) -> int:
        """For clients."""
        return self._ports["native"]

    @property
    def address(self) -> str:
        """HOST:PORT for clients."""
        return self._address("native")

    def _command(self) -> list[str]:
        """See `Engine._command`; java takes the options of Cassandra's own start script."""
        java = _java()
        if not any(self._jars.glob("cassandra-all-*.jar")):
            raise EngineError(
                f"Cassandra's jars are not in {self._jars}: run scripts/install-engines and this in the source tree."
            )
        configuration = self.folder / "conf"
        configuration.mkdir(exist_ok=True)
        settings = configuration / "cassandra.yaml"
        # JSON is YAML, too.
        settings.write_text(json.dumps(self._settings(), indent=2))
        (configuration / "logback.xml").write_text(_LOGGING)
        return [
            java,
            "-ea",
            "-da:net.openhft...",
            f"-Xmx{self._heap}",
            "-Xss256k",
            "-XX:+UseG1GC",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:+PerfDisableSharedMem",
            "-Djava.net.preferIPv4Stack=true",
            "-Djdk.attach.allowAttachSelf=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
            *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED),
            f"-Dcassandra.config={settings.as_uri()}",
            f"-Dcassandra.storagedir={self.folder / 'data'}",
            "-Dcassandra-foreground=yes",
            # There is no other node to wait for.
            "-Dcassandra.ring_delay_ms=0",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            f"-Djava.io.tmpdir={self._temporary()}",
            *self._options,
            "-classpath",
            f"{configuration}:{self._jars}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def _temporary(self) -> Path:
        """A folder of its own for unpacked native libraries, so that a killed process leaves nothing elsewhere."""
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        return folder

    def _settings(self) -> dict[str, object]:
        """The content of cassandra.yaml."""
        return {
            "cluster_name": "tidings",
            "num_tokens": 1,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "endpoint_snitch": "SimpleSnitch",
            "seed_provider": [
                {
                    "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                    "parameters": [{"seeds": self._address("storage")}],
                }
            ],
            "listen_address": HOST,
            "rpc_address": HOST,
            "storage_port": self._ports["storage"],
            "native_transport_port": self._ports["native"],
            "paxos_variant": "v2",
            # What was acknowledged is on the disk. Group would gather more writes for one sync, but lets each of a
            # conditional write's rounds wait for its window: 5 ms of it, 21 ms a write one after another instead of 4.
            "commitlog_sync": "batch",
            # A dropped or truncated table is gone at once.
            "auto_snapshot": False,
            "hinted_handoff_enabled": False,
        }

    async def _answers(self) -> bool:
        async with Conversation(self.port) as client:
            options = {"CQL_VERSION": "3.0.0"}
            body = struct.pack(">H", len(options))
            for key, value in options.items():
                body += _text(">H", key) + _text(">H", value)
            if await _ask(client, _STARTUP, body) != _READY:
                return False
            query = _text(">I", "SELECT release_version FROM system.local") + struct.pack(">HB", _ONE, 0)
            return await _ask(client, _QUERY, query) == _RESULT


def _text(length: str, text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(length, len(encoded)) + encoded


async def _ask(client: Conversation, opcode: int, body: bytes) -> int:
    """Send a request of CQL's native protocol, version 4, and return the opcode of the answer."""
    await client.send(struct.pack(">BBHBI", 4, 0, 0, opcode, len(body)) + body)
    _, _, _, answer, length = struct.unpack(">BBHBI", await client.exactly(9))
    await client.exactly(length)
    return int(answer)


def _java() -> str:
    """The path of Java 17: where Debian puts it, since another Java may come first on PATH."""
    debian = sorted(Path("/usr/lib/jvm").glob("java-17-*/bin/java"))
    return str(debian[0]) if debian else program("java", "openjdk-17-jre-headless")
