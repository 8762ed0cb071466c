"""Sessions without streams: what waits for them is taken out by hand."""

from __future__ import annotations

from chat_server.sessions.session import Session
from tidings.core.limits import SessionLimits
from tidings.core.values import Identity
from tidings.v1 import chat_pb2


def session(user_id: str, device_id: str = "", limits: SessionLimits | None = None) -> Session:
    """A session of a user's device, live at once."""
    identity = Identity(user_id, device_id or f"{user_id}'s", 1 << 62)
    return Session(f"session of {identity.device_id}", identity, limits or SessionLimits(), lambda _: None)


def events_of(of: Session) -> list[chat_pb2.Event]:
    """Takes what waits for a session."""
    return list(chat_pb2.ConverseResponse.FromString(of.outbox.take()).events)


def told(of: Session) -> list[str]:
    """Takes what waits for a session, in short: `3` is an event with that seq, `#7=3` and `#7!` are results."""
    return [brief(event) for event in events_of(of)]


def brief(event: chat_pb2.Event) -> str:
    """An event in short."""
    kind = event.WhichOneof("body")
    if kind == "command_result":
        result = event.command_result
        if result.HasField("error"):
            return f"#{result.command_id}!"
        return f"#{result.command_id}={result.accepted.seq}"
    body = getattr(event, kind or "")
    return str(body.seq) if hasattr(body, "seq") else str(kind)
