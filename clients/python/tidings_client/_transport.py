"""gRPC channels to servers: TLS, keepalive, and which calls gRPC repeats by itself."""

from __future__ import annotations

import ipaddress
import json

import grpc
from grpc import aio

Metadata = tuple[tuple[str, str | bytes], ...]

Tls = bytes | bool | None
"""PEM root certificates to trust; True for those of the system; False for plaintext; None for plaintext to loopback
addresses and TLS with the system's roots to all others."""

_KEEPALIVE_MS = 20_000
_KEEPALIVE_TIMEOUT_MS = 10_000

# Calls that do nothing twice when they are made twice: gRPC repeats them when a server is not there. Making an account,
# a device or a group is not among them.
_REPEATABLE = {
    "AccountService": ["RefreshTokens", "GetUser", "SearchUsers", "UpdateProfile", "ListDevices"],
    "ContactService": ["AddContact", "RemoveContact", "ListContacts", "BlockUser", "UnblockUser"],
    "ChannelService": ["OpenDirectChannel", "GetChannel", "ListChannels", "AddMembers", "SetMute"],
    "HistoryService": ["ListMessages", "ListEvents"],
    "PushService": ["RegisterPushToken", "UnregisterPushToken"],
    "PresenceService": ["GetPresence"],
}
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": f"tidings.v1.{service}", "method": method}
                    for service, methods in _REPEATABLE.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
_OPTIONS = (
    # A page of history may hold 200 texts of 400 kB; the server bounds what it sends.
    ("grpc.max_receive_message_length", -1),
    # Notices a peer that is gone without a word. Pings only go out while a call is open.
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    # The one before does not bound how long a ping may take, which is a minute unless told.
    ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    # This library decides when to try again, with jitter; gRPC's own delay of up to two minutes would come on top.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Despite its name, this is how long one attempt to connect may take, TLS included.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    # A connection of its own for every channel, not one for all devices in a process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", _SERVICE_CONFIG),
)


def is_loopback(target: str) -> bool:
    """Whether a target (HOST:PORT, unix:PATH) is on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_channel(target: str, tls: Tls) -> aio.Channel:
    """Makes a channel to a server; it connects when it is first used.

    Args:
        target: HOST:PORT.
        tls: How the connection is secured.
    """
    if tls is False or (tls is None and is_loopback(target)):
        return aio.insecure_channel(target, options=_OPTIONS)
    roots = tls if isinstance(tls, bytes) else None
    return aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options=_OPTIONS)


def bearer(access_token: str) -> Metadata:
    """Makes the metadata that signs a call in."""
    return (("authorization", f"Bearer {access_token}"),)
