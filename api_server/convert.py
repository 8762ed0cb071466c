"""Values as messages of the contract, for all services of this server."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from api_server.account_values import Tokens
from tidings.core.errors import invalid
from tidings.core.values import Contact, Device, Platform, Server, User
from tidings.v1 import account_pb2, contact_pb2, discovery_pb2


def timestamp(ms: int) -> Timestamp:
    """Milliseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def platform(number: int) -> Platform:
    """A platform by its number in the contract.

    Raises:
        Refusal: INVALID_ARGUMENT when the contract has no such number.
    """
    try:
        return Platform(number)
    except ValueError:
        raise invalid("platform", "is no platform that this server knows", actual=number) from None


def user(value: User) -> account_pb2.User:
    """A user."""
    return account_pb2.User(
        user_id=value.user_id,
        username=value.username,
        display_name=value.display_name,
        about=value.about,
        created_at=timestamp(value.created_at_ms),
    )


def device(value: Device, current_id: str) -> account_pb2.Device:
    """A device, as the one with `current_id` sees it."""
    return account_pb2.Device(
        device_id=value.device_id,
        device_name=value.device_name,
        platform=account_pb2.Platform.Name(value.platform),
        created_at=timestamp(value.created_at_ms),
        last_active_at=timestamp(value.last_active_at_ms),
        current=value.device_id == current_id,
    )


def tokens(value: Tokens) -> account_pb2.Tokens:
    """A device's tokens."""
    return account_pb2.Tokens(
        access_token=value.access_token,
        refresh_token=value.refresh_token,
        expires_at=timestamp(value.expires_at_ms),
    )


def contact(value: Contact) -> contact_pb2.Contact:
    """A contact."""
    return contact_pb2.Contact(user=user(value.user), added_at=timestamp(value.added_at_ms))


def server(value: Server) -> discovery_pb2.Server:
    """A server."""
    return discovery_pb2.Server(
        server_id=value.server_id,
        kind=discovery_pb2.ServerKind.Name(value.kind),
        endpoint=value.endpoint,
        region=value.region,
        load=value.load,
    )
