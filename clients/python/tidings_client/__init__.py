"""The Python SDK of tidings, for asyncio: `Tidings` signs a device in, `Tidings.connect` holds its stream.

All that an application uses is imported from here; the modules are private.
"""

from tidings_client._backoff import Backoff
from tidings_client._client import Tidings
from tidings_client._connection import Connection
from tidings_client._errors import FieldViolation, ReplacedError, SignedOutError, TidingsError
from tidings_client._names import new_client_message_id
from tidings_client._presence import Presence
from tidings_client._reasons import ClientReason, reason_word
from tidings_client._stream_runner import Status
from tidings_client._transport import Tls

__all__ = [
    "Backoff",
    "ClientReason",
    "Connection",
    "FieldViolation",
    "Presence",
    "ReplacedError",
    "SignedOutError",
    "Status",
    "Tidings",
    "TidingsError",
    "Tls",
    "new_client_message_id",
    "reason_word",
]

# A traceback names an error as an application imports it.
for _error in (ReplacedError, SignedOutError, TidingsError):
    _error.__module__ = __name__
