"""A server for HTTP/2 over TLS that does on command what servers should not."""

from __future__ import annotations

import asyncio
import enum
import json
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError


@dataclass(frozen=True)
class Request:
    """What a client has asked."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer, `delay` seconds after the request came."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0

    @classmethod
    def json(cls, status: int, found: Any, **headers: str) -> Self:
        return cls(status, json.dumps(found).encode(), {"content-type": "application/json"} | headers)


class Trouble(enum.Enum):
    """What is no answer at all."""

    RESET = "the connection breaks in the middle of the answer"
    GARBAGE = "bytes that are no HTTP/2"
    SILENCE = "nothing comes"
    GO_AWAY = "the server wants no more on this connection"


Answer = Reply | Trouble

# DATA, of a length that is believed, on the stream that has none.
_NO_FRAME = bytes.fromhex("000008 00 00 00000000") + b"garbage!"
_FRAME_BYTES = 16_384


class Http2Server:
    """Asks `answer` what to answer; `script` comes first, then `always` unless that is None."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.always: Answer | None = None
        self.now: Callable[[], float] = time.time
        self.connections = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def answer(self, request: Request) -> Answer:
        """What a request deserves."""
        raise NotImplementedError

    async def start(self, context: ssl.SSLContext, port: int = 0) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def drop_connections(self) -> None:
        """Breaks all connections; others may be made."""
        serving = list(self._serving.values())
        for writer in self._serving:
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)

    async def stop(self) -> None:
        """Goes away, connections and all."""
        assert self._server is not None
        self._server.close()
        await self.drop_connections()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        await self._server.wait_closed()

    def next(self) -> Answer | None:
        """What is to happen to a request whatever it deserves."""
        return self.script.popleft() if self.script else self.always

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[writer] = task
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        open_: dict[int, tuple[dict[str, str], bytearray]] = {}
        try:
            while data := await reader.read(65_536):
                for event in connection.receive_data(data):
                    match event:
                        case RequestReceived(stream_id=int(stream)):
                            open_[stream] = {str(name): str(value) for name, value in event.headers or ()}, bytearray()
                        case DataReceived(stream_id=int(stream)):
                            open_[stream][1].extend(event.data or b"")
                            connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                        case StreamReset(stream_id=int(stream)):
                            open_.pop(stream, None)
                        case StreamEnded(stream_id=int(stream)):
                            headers, body = open_.pop(stream)
                            self._start(connection, writer, stream, Request(headers[":path"], headers, bytes(body)))
                writer.write(connection.data_to_send())
        except (ConnectionError, ProtocolError, ssl.SSLError):
            pass
        finally:
            del self._serving[writer]
            writer.transport.abort()

    def _start(self, connection: H2Connection, writer: asyncio.StreamWriter, stream: int, request: Request) -> None:
        answer = self.answer(request)
        task = asyncio.get_running_loop().create_task(self._answer(connection, writer, stream, answer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(
        self, connection: H2Connection, writer: asyncio.StreamWriter, stream: int, answer: Answer
    ) -> None:
        if isinstance(answer, Reply):
            if answer.delay:
                await asyncio.sleep(answer.delay)
            self._send(connection, writer, stream, answer)
        elif answer is Trouble.GARBAGE:
            writer.write(_NO_FRAME)
        elif answer is Trouble.GO_AWAY:
            connection.close_connection(last_stream_id=0)
            writer.write(connection.data_to_send())
            writer.close()
        elif answer is Trouble.RESET:
            connection.send_headers(stream, [(":status", "200"), ("content-length", "100")])
            writer.write(connection.data_to_send())
            await writer.drain()
            writer.transport.abort()

    def _send(self, connection: H2Connection, writer: asyncio.StreamWriter, stream: int, reply: Reply) -> None:
        try:
            headers = [(":status", str(reply.status)), *reply.headers.items()]
            connection.send_headers(stream, headers, end_stream=not reply.body)
            for at in range(0, len(reply.body), _FRAME_BYTES):
                part = reply.body[at : at + _FRAME_BYTES]
                connection.send_data(stream, part, end_stream=at + len(part) == len(reply.body))
        except ProtocolError:
            # The client has given the request up.
            return
        writer.write(connection.data_to_send())
