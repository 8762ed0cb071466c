"""The Python SDK of tidings, for asyncio: `Tidings` signs a device in, `Tidings.connect` holds its stream."""

from tidings_client.client import Tidings
from tidings_client.connection import Connection
from tidings_client.errors import FieldViolation, ReplacedError, SignedOutError, TidingsError
from tidings_client.link import Status
from tidings_client.names import new_client_message_id
from tidings_client.presence import Presence

__all__ = [
    "Connection",
    "FieldViolation",
    "Presence",
    "ReplacedError",
    "SignedOutError",
    "Status",
    "Tidings",
    "TidingsError",
    "new_client_message_id",
]
