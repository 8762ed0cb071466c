"""The attacks: calls, streams and connections whose inputs nobody has checked before they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio
from hpack import Decoder, Encoder
from hyperframe.frame import Frame, HeadersFrame

from tests.fuzz.inputs import Known, MessageMaker, grpc_frame, mutated, pick
from tests.support.raw import Api, Device
from tests.support.requests import OPERATORS, methods
from tidings.v1 import chat_pb2

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATIENCE = 5.0
_PEOPLE = 20
_INPUTS_A_PERSON = 50
_AT_ONCE = 32
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# What a server is never to answer, whatever it is sent.
_FORBIDDEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
# But for these: gRPC's own transport gives INTERNAL, as its specification has it, for what is no gRPC at all and never
# reaches a service. The last is what a client of grpc.aio makes of a stream that ended while it wrote.
_OF_THE_TRANSPORT = (
    "Failed parsing HTTP/2",
    "Error parsing",
    "Illegal header",
    "Metadata keys cannot",
    "Compression bit set but no encoding configured",
    "Internal error from Core",
)


@dataclass
class Answers:
    """What came back."""

    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    """The number of answers by status."""
    forbidden: list[str] = field(default_factory=list)
    """Each input that was answered with UNKNOWN or INTERNAL, and how to make it again."""

    def note(self, code: Any, what: str, details: str = "") -> None:
        """Count an answer."""
        name = code.name if isinstance(code, grpc.StatusCode) else str(code)
        self.codes[name] += 1
        if code in _FORBIDDEN and not details.startswith(_OF_THE_TRANSPORT) and len(self.forbidden) < 50:
            self.forbidden.append(f"{name} {details!r}: {what}")


class Attacker:
    """Attacks one listener.

    Args:
        endpoint: The listener, HOST:PORT.
        files: The contracts that are served there.
        seed: Makes the inputs: the same seed makes the same ones.
    """

    def __init__(self, endpoint: str, files: Sequence[Any], seed: int) -> None:
        self.answers = Answers()
        self._endpoint = endpoint
        self._seed = seed
        self._methods = methods((*files, *OPERATORS))
        self._random = random.Random(seed)
        self._known = Known()
        self._maker = MessageMaker(self._random, self._known)
        self._people: list[Device] = []
        self._signed_up = 0
        # The types of aio have messages in mind; what is sent here are bytes.
        self._channel: Any = aio.insecure_channel(endpoint)

    async def attack(self, inputs: int, api: Api | None = None) -> Answers:
        """Send so many inputs.

        Args:
            inputs: How many.
            api: Where people sign up, so that some inputs are nearly right; nobody does when there is none.
        """
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(attack: Callable[[Attacker], Any]) -> None:
            try:
                await attack(self)
            finally:
                gate.release()

        async with asyncio.TaskGroup() as group:
            while self.answers.inputs < inputs:
                # Some inputs sign their people out, so others have to come.
                if api is not None and self.answers.inputs >= self._signed_up * _INPUTS_A_PERSON:
                    await self._sign_up(api)
                await gate.acquire()
                group.create_task(one(pick(self._random, _KINDS)))
        await self._channel.close()
        return self.answers

    async def _sign_up(self, api: Api) -> None:
        person = await api.sign_up(f"m{self._seed}n{self._signed_up}")
        self._signed_up += 1
        self._people = [*self._people, person][-_PEOPLE:]
        ids = [person.user_id, person.device_id, person.user.username, person.tokens.access_token]
        group = await person.group(*self._people[-4:-1])
        self._known.texts = [*self._known.texts, *ids, group.channel_id][-5 * _PEOPLE :]

    # --- well-formed HTTP/2 -------------------------------------------------------------------------------------------

    async def call(self) -> None:
        """One call of any method, with a message that is nearly right, or bytes that were one."""
        self.answers.inputs += 1
        method = self._random.choice(self._methods)
        payload = self._payload(method)
        path = f"/{method.containing_service.full_name}/{method.name}"
        what = f"{path} {payload[:200].hex()}"
        metadata, timeout = self._metadata(), self._random.choice((0.001, 0.2, 2.0, 2.0))
        if method.client_streaming:
            await self._stream(path, [payload], metadata, what)
            return
        if method.server_streaming:
            call = self._channel.unary_stream(path)(payload, metadata=metadata, timeout=timeout)
            await self._read(call, what, most=3)
            return
        call = self._channel.unary_unary(path)(payload, metadata=metadata, timeout=timeout)
        await self._end(call, what)

    async def converse(self) -> None:
        """A stream of commands: with or without Hello, whole, broken, many, and all at once."""
        frames = [self._commands() for _ in range(self._random.randint(1, 5))]
        if self._random.random() < 0.8:
            cursor = self._random.choice((0, 0, 0, 1, (1 << 63), (1 << 64) - 1))
            hello = chat_pb2.Command(command_id=1, hello=chat_pb2.Hello(cursor=cursor))
            frames.insert(0, chat_pb2.ConverseRequest(commands=[hello]).SerializeToString())
        self.answers.inputs += len(frames)
        what = f"Converse {b'|'.join(frames)[:300].hex()}"
        await self._stream("/tidings.v1.ChatService/Converse", frames, self._metadata(), what)

    def _commands(self) -> bytes:
        choice = self._random.random()
        if choice < 0.1:
            return b"\x0a\x00" * self._random.choice((1, 256, 257, 100_000, 500_000))
        if choice < 0.15:
            return self._random.randbytes(self._random.choice((1, 100, 10_000)))
        request = chat_pb2.ConverseRequest()
        for number in range(self._random.choice((1, 1, 2, 5, 50))):
            command = request.commands.add(command_id=number)
            body: Any = self._random.choice(chat_pb2.Command.DESCRIPTOR.oneofs_by_name["body"].fields)
            inner = getattr(command, body.name)
            inner.SetInParent()
            self._maker.fill(inner, 1)
        data = request.SerializeToString()
        return mutated(self._random, data) if self._random.random() < 0.3 else data

    async def _stream(self, path: str, frames: Sequence[bytes], metadata: Any, what: str) -> None:
        call = self._channel.stream_stream(path)(metadata=metadata, timeout=self._random.choice((0.05, 0.5, 1.0)))
        with contextlib.suppress(aio.AioRpcError, aio.BaseError, asyncio.InvalidStateError):
            for frame in frames:
                await call.write(frame)
            if self._random.random() < 0.5:
                await call.done_writing()
        await self._read(call, what, most=20)

    async def _read(self, call: Any, what: str, most: int) -> None:
        try:
            for _ in range(most):
                if await call.read() is aio.EOF:
                    break
        except (aio.AioRpcError, aio.BaseError, asyncio.InvalidStateError):
            pass
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.answers.note(await call.code(), what, await call.details() or "")

    async def _end(self, call: Any, what: str) -> None:
        try:
            await call
            self.answers.note(grpc.StatusCode.OK, what)
        except aio.AioRpcError as error:
            self.answers.note(error.code(), what, error.details() or "")

    def _payload(self, method: MethodDescriptor) -> bytes:
        kind = message_factory.GetMessageClass(method.input_type)
        choice = self._random.random()
        if choice < 0.05:
            return self._random.randbytes(self._random.choice((0, 1, 10, 1_000, 100_000)))
        data = self._maker.encoded(kind)
        return mutated(self._random, data) if choice < 0.35 else data

    def _metadata(self) -> list[tuple[str, str | bytes]]:
        choice = self._random.random()
        metadata: list[tuple[str, str | bytes]] = []
        if choice < 0.8 and self._people:
            metadata.append(self._random.choice(self._people).metadata[0])
        elif choice < 0.95:
            tokens = ("", "Bearer", "Bearer ", "Bearer x.y.z", "Basic eDp5", "Bearer " + "e" * 4_000)
            metadata.append(("authorization", self._random.choice(tokens)))
        if self._random.random() < 0.1:
            metadata.append(("odd-bin", self._random.randbytes(20)))
        return metadata

    # --- raw bytes ----------------------------------------------------------------------------------------------------

    async def connection(self) -> None:
        """A connection of its own: garbage, or frames of HTTP/2 that are wrong in one way or several."""
        self.answers.inputs += 1
        data = self._garbage() if self._random.random() < 0.2 else self._frames()
        what = f"bytes {data[:400].hex()}"
        host, _, port = self._endpoint.rpartition(":")
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write(data)
                    await writer.drain()
                    if self._random.random() < 0.5 and writer.can_write_eof():
                        writer.write_eof()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._random.choice((0.02, 0.1, 0.3))):
                            await self._answer(reader, what)
                finally:
                    writer.close()
                    with contextlib.suppress(OSError, ssl.SSLError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            self.answers.codes["closed"] += 1

    def _garbage(self) -> bytes:
        random = self._random
        heads = (
            b"",
            _PREFACE,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        )
        return random.choice(heads) + random.randbytes(random.choice((0, 1, 9, 100, 5_000)))

    def _frames(self) -> bytes:
        """A preface, SETTINGS, and one or several requests; then some of the bytes are broken, perhaps."""
        source, encoder = self._random, Encoder()
        made = [self._frame(0x4, 0, 0, b"")]
        for stream in range(1, 1 + 2 * source.choice((1, 1, 2, 10)), 2):
            method = source.choice(self._methods)
            block = encoder.encode(self._headers(f"/{method.containing_service.full_name}/{method.name}"))
            flags = 0x4 | source.choice((0, 0, 0, 1))
            made.append(self._frame(0x1, flags, stream, block))
            body = grpc_frame(source, self._payload(method)[:8_000])
            made.append(self._frame(0x0, source.choice((0, 1, 1, 8)), stream, body))
            while source.random() < 0.3:
                kind = source.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255))
                size = source.choice((0, 1, 4, 5, 6, 8, 9, 50))
                target = source.choice((0, stream, stream + 1, stream + 2, (1 << 31) - 1))
                made.append(self._frame(kind, source.randrange(256), target, source.randbytes(size)))
        data = b"".join(made)
        if source.random() < 0.5:
            data = mutated(source, data)
        return _PREFACE + data

    def _headers(self, path: str) -> list[tuple[bytes, bytes]]:
        source = self._random
        odd = (
            b"/\xff\xfe",
            path.encode() + b"\xc3\x28",
            b"",
            b"*",
            b"/",
            b"/" + b"x" * 9_000,
            b"\0",
            path.encode().lower(),
        )
        headers = [
            (b":method", source.choice((b"POST", b"POST", b"POST", b"GET", b"\xff"))),
            (b":scheme", b"http"),
            (b":path", path.encode() if source.random() < 0.6 else source.choice(odd)),
            (b":authority", source.choice((b"localhost", b"\xff\xff", b"", b"a" * 300))),
            (b"content-type", source.choice((b"application/grpc", b"application/grpc+proto", b"text/html", b"\xff"))),
            (b"te", b"trailers"),
        ]
        if source.random() < 0.5:
            values = (b"Bearer \xff\xff", b"\x80", b"Bearer x.y.z", b"")
            headers.append((b"authorization", source.choice(values)))
        if source.random() < 0.3:
            keys = (b"x-\xff", b"odd-bin", b"grpc-timeout", b"grpc-encoding", b"UPPER", b"", b"grpc-status", b"x y")
            odd_values = (b"gzip", b"\xff\xfe", b"!!!not base64!!!", b"99999999999H", b"-1S", b"", b"\0", b"\r\nx: y")
            headers.append((source.choice(keys), source.choice(odd_values)))
        if source.random() < 0.1:
            source.shuffle(headers)
        return headers

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    async def _answer(self, reader: asyncio.StreamReader, what: str) -> None:
        """Read what the server sends, and count the statuses in it."""
        decoder = Decoder()
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
                frame.parse_body(memoryview(await reader.readexactly(length)))
                if not isinstance(frame, HeadersFrame):
                    continue
                headers = dict(decoder.decode(frame.data, raw=True))
                if b"grpc-status" in headers:
                    code = _CODES.get(int(headers[b"grpc-status"]))
                    self.answers.note(code, what, headers.get(b"grpc-message", b"").decode(errors="replace"))


_KINDS: Sequence[tuple[int, Callable[[Attacker], Any]]] = (
    (60, Attacker.call),
    (12, Attacker.converse),
    (28, Attacker.connection),
)
