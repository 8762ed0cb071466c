"""The ports: the interfaces through which a service uses an engine, or another service.

An engine implements a port once. One conformance suite for each port (tests/conformance) runs on every implementation.
Every method may raise `Refusal` with UNAVAILABLE when its engine is away. A write may have been done then.
"""

from __future__ import annotations

from tidings.core.ports.accounts import AccountStore, Credentials, RefreshTokenReused, TooManyDevices, UsernameTaken
from tidings.core.ports.channels import ChannelLog, ChannelWriter, History, Memberships, PageRequest
from tidings.core.ports.contacts import ContactStore
from tidings.core.ports.inbox import Inbox, InboxCopy, Replay, ReplayChunk
from tidings.core.ports.presence import PresencePubSub, PresenceStore
from tidings.core.ports.push import (
    DeadLetter,
    DevicePush,
    PendingPush,
    PushQueue,
    PushQueueDepth,
    PushSink,
    PushTokenStore,
    QueuedPush,
)
from tidings.core.ports.rates import SharedRates
from tidings.core.ports.servers import Recommender, Registry, WorkerIds
from tidings.core.ports.sessions import DeviceStreams, Routes, SignOutPubSub

__all__ = [
    "AccountStore",
    "ChannelLog",
    "ChannelWriter",
    "ContactStore",
    "Credentials",
    "DeadLetter",
    "DevicePush",
    "DeviceStreams",
    "History",
    "Inbox",
    "InboxCopy",
    "Memberships",
    "PageRequest",
    "PendingPush",
    "PresencePubSub",
    "PresenceStore",
    "PushQueue",
    "PushQueueDepth",
    "PushSink",
    "PushTokenStore",
    "QueuedPush",
    "Recommender",
    "RefreshTokenReused",
    "Registry",
    "Replay",
    "ReplayChunk",
    "Routes",
    "SharedRates",
    "SignOutPubSub",
    "TooManyDevices",
    "UsernameTaken",
    "WorkerIds",
]
