"""HTTP/2 by hand: what no gRPC library sends, and what none lets a test see.

`Http2.connect` opens a connection; `send` puts any bytes on it, `frames` any frames, `open` any header block. `call`
opens a gRPC call whose messages, flags, windows and end are in the test's hands:

    async with await Http2.connect(endpoint) as http:
        call = await http.call("/grpc.health.v1.Health/Check")
        await call.message(b"", end=True)
        assert (await call.read())[0] == b"\\x08\\x01"
        assert (await call.status()) == grpc.StatusCode.OK

The client answers SETTINGS and PING, and by default gives back each window that is used up. With `reading=False` it
gives nothing back, and with `window=0` the server may send no message at all; headers and trailers are under no flow
control.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import struct
from collections.abc import Iterable, Sequence
from typing import Self

import grpc
from grpc_health.v1 import health_pb2
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.raw import CODES

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
_HEADER_BYTES = 9
_FRAME_BYTES = 16_384
_WINDOW = 65_535

Text = str | bytes
"""Headers, names and values, may be any bytes; a str stands for its UTF-8."""
Headers = Sequence[tuple[Text, Text]]


def grpc_message(payload: bytes, *, flag: int | None = None, compressed: bool = False) -> bytes:
    """A message as gRPC has it in DATA frames: a flag, the length, the payload.

    Args:
        payload: The encoded message, or anything.
        flag: The first byte, when it is neither 0 nor 1 as it should be.
        compressed: Whether to compress the payload with gzip.
    """
    if compressed:
        payload = gzip.compress(payload)
    return struct.pack(">BI", int(compressed) if flag is None else flag, len(payload)) + payload


async def is_well(endpoint: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a new connection to a listener is served: asks it by an RPC, as the probes of an operator do."""
    async with await Http2.connect(endpoint, tls=tls) as http:
        call = await http.call(CHECK)
        await call.message(b"", end=True)
        return (await call.read(), await call.status()) == ([SERVING], grpc.StatusCode.OK)


class Http2:
    """A connection. See `connect`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reading: bool, acknowledging: bool
    ) -> None:
        self.received: list[Frame] = []
        """All frames that came, in their order."""
        self.goaway: GoAwayFrame | None = None
        self.closed = asyncio.Event()
        """Set when the server has closed the connection, or nothing that it sends can be read."""
        self._reader = reader
        self._writer = writer
        self._reading = reading
        self._acknowledging = acknowledging
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._block = b""
        self._calls: dict[int, Call] = {}
        self._next_id = 1
        self._pongs = asyncio.Condition()
        self._task = asyncio.create_task(self._receive())

    @classmethod
    async def connect(
        cls,
        endpoint: str,
        *,
        window: int = _WINDOW,
        settings: dict[int, int] | None = None,
        reading: bool = True,
        acknowledging: bool = True,
        greet: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Open a connection.

        Args:
            endpoint: HOST:PORT.
            window: How many bytes of messages the server may send on each call before it is given more.
            settings: More settings, by their numbers in HTTP/2.
            reading: Whether windows that are used up are given back.
            acknowledging: Whether the server's settings are acknowledged; until then they bind nobody.
            greet: Whether to send HTTP/2's preface and settings; without, nothing is said.
            tls: Speak TLS, with ALPN set to h2.
        """
        host, _, port = endpoint.rpartition(":")
        name = "localhost" if tls is not None else None
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls, server_hostname=name)
        client = cls(reader, writer, reading=reading, acknowledging=acknowledging)
        if greet:
            first = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: window, **(settings or {})})
            await client.send(PREFACE + first.serialize())
        return client

    async def send(self, data: bytes) -> None:
        """Put bytes on the connection. A connection that the server has closed takes them silently."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, ssl.SSLError):
            self.closed.set()

    async def frames(self, *frames: Frame) -> None:
        """Send frames."""
        await self.send(b"".join(frame.serialize() for frame in frames))

    def block(self, headers: Headers) -> bytes:
        """Encode headers as the next header block of this connection. Nothing about them is checked."""
        return self._encoder.encode([(_bytes(name), _bytes(value)) for name, value in headers], huffman=False)

    async def open(self, headers: Headers, *, end: bool = False) -> Call:
        """Open a call with any headers at all.

        Args:
            headers: All of them, the pseudo-headers too.
            end: Whether the client has nothing more to say.
        """
        call = Call(self, self._next_id)
        self._next_id += 2
        self._calls[call.stream_id] = call
        if self.closed.is_set():
            call.ended.set()
        block = self.block(headers)
        first = HeadersFrame(call.stream_id, block[:_FRAME_BYTES], flags=["END_STREAM"] if end else [])
        rest: list[Frame] = [
            ContinuationFrame(call.stream_id, block[at : at + _FRAME_BYTES])
            for at in range(_FRAME_BYTES, len(block), _FRAME_BYTES)
        ]
        (rest or [first])[-1].flags.add("END_HEADERS")
        await self.frames(first, *rest)
        return call

    async def call(
        self, path: Text, metadata: Headers = (), *, token: str = "", encoding: str = "", authority: Text = "localhost"
    ) -> Call:
        """Open a gRPC call.

        Args:
            path: Such as ``/tidings.v1.ChatService/Converse``.
            metadata: More headers.
            token: An access token, for its header.
            encoding: How messages are compressed that say that they are.
            authority: The pseudo-header of that name.
        """
        headers: list[tuple[Text, Text]] = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if encoding:
            headers.append(("grpc-encoding", encoding))
        if token:
            headers.append(("authorization", f"Bearer {token}"))
        return await self.open([*headers, *metadata])

    async def ping(self) -> bool:
        """Wait until the server has answered a ping, so has read what came before; False when it has hung up."""
        before = self._pong_count()
        await self.frames(PingFrame(0, b"whoisawe"))
        async with self._pongs:
            await self._pongs.wait_for(lambda: self._pong_count() > before or self.closed.is_set())
        return not self.closed.is_set()

    async def half_close(self) -> None:
        """End the sending direction of the TCP connection."""
        self._writer.write_eof()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _pong_count(self) -> int:
        return sum(isinstance(frame, PingFrame) and "ACK" in frame.flags for frame in self.received)

    async def _receive(self) -> None:
        """Read frames until the connection ends, and hand each to its call."""
        try:
            while True:
                header = await self._reader.readexactly(_HEADER_BYTES)
                frame, length = Frame.parse_frame_header(memoryview(header))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                await self._take(frame)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            for call in self._calls.values():
                call.ended.set()
                call.changed.set()
            async with self._pongs:
                self._pongs.notify_all()

    async def _take(self, frame: Frame) -> None:
        self.received.append(frame)
        call = self._calls.get(frame.stream_id)
        if isinstance(frame, SettingsFrame):
            if "ACK" not in frame.flags and self._acknowledging:
                await self.frames(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame):
            if "ACK" not in frame.flags:
                await self.frames(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            async with self._pongs:
                self._pongs.notify_all()
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame
        elif isinstance(frame, HeadersFrame | ContinuationFrame):
            self._block += frame.data
            if "END_HEADERS" in frame.flags:
                # The state of the compression is the connection's: each block is decoded, whoever wants it.
                headers, self._block = self._decoder.decode(self._block, raw=True), b""
                if call is not None:
                    call.take_headers([(bytes(name), bytes(value)) for name, value in headers])
        elif isinstance(frame, DataFrame):
            if call is not None:
                call.take_data(frame.data)
            if self._reading and frame.flow_controlled_length:
                await self.give(frame.flow_controlled_length)
                await self.give(frame.flow_controlled_length, frame.stream_id)
        elif isinstance(frame, RstStreamFrame) and call is not None:
            call.reset_by_server = frame.error_code
        if call is not None:
            if "END_STREAM" in frame.flags or isinstance(frame, RstStreamFrame):
                call.ended.set()
            call.changed.set()

    async def give(self, count: int, stream_id: int = 0) -> None:
        """Let the server send so many bytes more: on a stream, or on the connection (stream 0)."""
        await self.frames(WindowUpdateFrame(stream_id, window_increment=count))


class Call:
    """One stream of a connection, as a gRPC call."""

    def __init__(self, http: Http2, stream_id: int) -> None:
        self.stream_id = stream_id
        self.headers: dict[bytes, bytes] = {}
        """All that came, trailers included."""
        self.reset_by_server: int | None = None
        """The error code of the RST_STREAM that came."""
        self.ended = asyncio.Event()
        """Set when the server has said its last on it, or the connection has ended."""
        self.changed = asyncio.Event()
        self._http = http
        self._data = bytearray()

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes in DATA frames as large as the protocol allows. The server's windows are not heeded."""
        pieces: Iterable[int] = range(0, max(len(data), 1), _FRAME_BYTES)
        frames = [DataFrame(self.stream_id, data[at : at + _FRAME_BYTES]) for at in pieces]
        if end:
            frames[-1].flags.add("END_STREAM")
        await self._http.frames(*frames)

    async def message(
        self, payload: bytes, *, flag: int | None = None, compressed: bool = False, end: bool = False
    ) -> None:
        """Send a message; see `grpc_message`.

        Args:
            payload: The encoded message, or anything.
            flag: Its first byte, when it is neither 0 nor 1 as it should be.
            compressed: Whether to compress it with gzip.
            end: Whether the client has nothing more to say.
        """
        await self.data(grpc_message(payload, flag=flag, compressed=compressed), end=end)

    async def end(self) -> None:
        """Say that there is nothing more to say."""
        await self._http.frames(DataFrame(self.stream_id, b"", flags=["END_STREAM"]))

    async def reset(self, code: int = 8) -> None:
        """End the call at once, as CANCELLED unless told otherwise."""
        await self._http.frames(RstStreamFrame(self.stream_id, error_code=code))

    async def give(self, count: int) -> None:
        """Let the server send so many bytes more on this call."""
        await self._http.give(count, self.stream_id)

    async def read(self, count: int = 1) -> list[bytes]:
        """Wait for messages of the server.

        Returns:
            As many payloads; fewer when the call has ended before.
        """
        messages: list[bytes] = []
        while len(messages) < count:
            self.changed.clear()
            if len(self._data) >= 5:
                length = struct.unpack(">I", self._data[1:5])[0]
                if len(self._data) >= 5 + length:
                    messages.append(bytes(self._data[5 : 5 + length]))
                    del self._data[: 5 + length]
                    continue
            if self.ended.is_set():
                break
            await self.changed.wait()
        return messages

    async def status(self) -> grpc.StatusCode | None:
        """Wait for the end of the call; None when it ended without a status (see `reset_by_server`)."""
        await self.ended.wait()
        code = self.headers.get(b"grpc-status")
        return None if code is None else CODES[int(code)]

    def take_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Headers or trailers have come."""
        self.headers.update(headers)

    def take_data(self, data: bytes) -> None:
        """Bytes of messages have come."""
        self._data += data


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text
