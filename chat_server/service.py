"""`ChatService`: reads and writes frames. `ChatServer` decides what they mean."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from chat_server.server import ChatServer
from chat_server.sessions.session import Session
from chat_server.sessions.writer import Pacer, Writer
from tidings.core.errors import Code, Refusal, invalid
from tidings.core.framing import has_more_than
from tidings.core.ids import new_session_id
from tidings.core.limits import BYTES_A_COMMAND, FRAME_COMMANDS
from tidings.core.reasons import Reason
from tidings.rpc.calls import malformed
from tidings.rpc.live_calls import caller, when_signed_out
from tidings.rpc.tasks import Turns
from tidings.v1 import chat_pb2

_HELLO_SECONDS = 10.0

Context = aio.ServicerContext[bytes, bytes]


class ChatService:
    """The gRPC service of a chat server.

    Args:
        server: Carries out the commands.
    """

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._pacer = Pacer()
        self._turns = Turns()

    def add_to(self, server: aio.Server) -> None:
        """Register the service. Frames pass as bytes: an event is encoded once, however many sessions it goes to."""
        name = chat_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self.Converse)
        server.add_registered_method_handlers(name, {"Converse": handler})

    async def Converse(self, _: Any, context: Context) -> None:
        """See chat.proto."""
        writer = Writer(self._pacer, context.write)
        session = Session(new_session_id(), caller(), self._server.settings.session, writer.wake)
        # From now on, not from Hello on.
        when_signed_out(session.end)
        try:
            # What ends the session from the server's side ends whatever this waits for.
            async with asyncio.timeout(None) as scope:
                session.when_ended(lambda: scope.reschedule(0.0))
                await self._converse(session, context)
        except TimeoutError:
            if session.ended is None:
                raise
            raise session.ended from None
        finally:
            self._server.leave(session)
            writer.close()

    async def _converse(self, session: Session, context: Context) -> None:
        cursor, commands = await self._hello(session, context)
        await self._server.enter(session)
        await self._server.catch_up.run(session, cursor, context.write)
        while commands is not None:
            turn = self._turns.begin()
            for command in commands:
                if session.is_full():
                    await _room(session)
                await self._pay(session, 1)
                if session.ended is not None:
                    raise session.ended
                await self._server.obey(session, command)
                await turn.pass_on()
            commands = await self._read(session, context)
        # The client has said its last; it still gets the results of what it asked for.
        while not session.is_done():
            done = asyncio.Event()
            session.when_done(done.set)
            await done.wait()

    async def _hello(self, session: Session, context: Context) -> tuple[int, list[chat_pb2.Command] | None]:
        """Read the first frame: the cursor of its Hello, and the commands behind that."""
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                commands = await self._read(session, context)
        except TimeoutError:
            raise Refusal(
                Code.DEADLINE_EXCEEDED, f"no Hello came within {_HELLO_SECONDS:.0f} s", reason=Reason.HELLO_MISSING
            ) from None
        if not commands or not commands[0].HasField("hello"):
            raise Refusal(Code.FAILED_PRECONDITION, "the first command must be Hello", reason=Reason.HELLO_MISSING)
        return commands[0].hello.cursor, commands[1:]

    async def _read(self, session: Session, context: Context) -> list[chat_pb2.Command] | None:
        """Read the commands of the next frame; None at the end of the client's side of the stream."""
        frame: Any = await context.read()
        if frame is aio.EOF:
            return None
        if len(frame) > BYTES_A_COMMAND:
            await self._pay(session, len(frame) // BYTES_A_COMMAND)
        if has_more_than(FRAME_COMMANDS, frame):
            raise invalid(
                "commands", f"are more than {FRAME_COMMANDS}, which is the most in a frame", limit=FRAME_COMMANDS
            )
        try:
            return list(chat_pb2.ConverseRequest.FromString(frame).commands)
        except DecodeError:
            raise malformed("the frame is not a ConverseRequest") from None

    async def _pay(self, session: Session, commands: int) -> None:
        """Wait until the user may send so many commands. Nothing is read meanwhile, as in `_room`."""
        wait = self._server.take(session, commands)
        while wait:
            await asyncio.sleep(wait)
            wait = self._server.take(session, commands)


async def _room(session: Session) -> None:
    """Wait until fewer commands are in flight. Nothing is read meanwhile, so flow control holds the client back."""
    room = asyncio.Event()
    session.when_room(room.set)
    await room.wait()
