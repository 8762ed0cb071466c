"""The services as the settings say, and how each gets onto the listener for clients."""

from __future__ import annotations

from dataclasses import dataclass

from api_server.account_service import AccountService, ContactService
from api_server.accounts import Accounts
from api_server.channel_limits import ChannelLimits, ChannelRates
from api_server.channel_service import ChannelService, HistoryService, PushService
from api_server.channels import ChannelCalls
from api_server.contacts import Contacts
from api_server.history import HistoryReader
from api_server.passwords import PasswordCost, Passwords
from api_server.push_tokens import PushTokens
from api_server.throttle import AccountLimits
from chat_server.server import ChatServer, ChatSettings
from chat_server.service import ChatService
from discovery.service import DiscoveryService
from presence_server.service import PresenceService
from presence_server.tracker import Tracker
from tidings.core.clock import Clock
from tidings.core.ports import (
    AccountStore,
    ChannelWriter,
    ContactStore,
    DeviceStreams,
    History,
    Memberships,
    PushTokenStore,
    Recommender,
    Registry,
    SharedRates,
)
from tidings.core.rate import Rate
from tidings.core.values import ServerKind
from tidings.rpc.admission import CallLimits
from tidings.rpc.server import GrpcServer
from tidings.rpc.tokens import Revocations, TokenIssuer
from tidings.v1 import (
    account_pb2,
    account_pb2_grpc,
    channel_pb2,
    channel_pb2_grpc,
    chat_pb2,
    contact_pb2,
    contact_pb2_grpc,
    discovery_pb2,
    discovery_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    presence_pb2,
    presence_pb2_grpc,
    push_pb2,
    push_pb2_grpc,
)
from tidings_server.settings import RateSettings, Settings

KINDS = {
    "chat": ServerKind.CHAT,
    "api": ServerKind.API,
    "presence": ServerKind.PRESENCE,
    "discovery": ServerKind.DISCOVERY,
    "notifier": ServerKind.NOTIFIER,
}
"""The kinds of servers, by their names in the settings."""


def _rate(settings: RateSettings) -> Rate:
    return Rate(settings.per_second, settings.burst)


def call_limits(settings: Settings) -> CallLimits:
    """What is set for calls. Twice the streams that count as full load are refused."""
    return CallLimits(
        _rate(settings.rates.calls), _rate(settings.rates.calls_by_address), process_streams=2 * settings.capacity
    )


def chat_settings(settings: Settings) -> ChatSettings:
    """What is set for a chat server."""
    return ChatSettings(
        commands=_rate(settings.rates.commands),
        push_delay=settings.push_delay_seconds,
        inbox_days=settings.inbox_days,
        restored=[each.span_ms for each in settings.restored],
    )


def password_hashing(settings: Settings) -> Passwords:
    """Password hashing at the cost that is set."""
    cost = settings.passwords
    return Passwords(PasswordCost(cost.memory_kib, cost.iterations, cost.parallelism))


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the api services need."""

    accounts: AccountStore
    contacts: ContactStore
    memberships: Memberships
    history: History
    push_tokens: PushTokenStore
    writer: ChannelWriter
    streams: DeviceStreams
    recommender: Recommender
    issuer: TokenIssuer
    revocations: Revocations
    passwords: Passwords
    clock: Clock
    shared_rates: SharedRates | None = None
    """Counts what comes through any api server; None when there is one."""


def add_api(listener: GrpcServer, parts: ApiParts, settings: Settings) -> None:
    """Put accounts, contacts, channels, history and push tokens onto a listener."""
    rates = settings.rates
    accounts = Accounts(
        parts.accounts,
        parts.passwords,
        parts.issuer,
        parts.revocations,
        parts.streams,
        parts.recommender,
        parts.clock,
        AccountLimits(_rate(rates.sign_ups), _rate(rates.failed_log_ins), _rate(rates.failed_log_ins_by_address)),
        parts.shared_rates,
    )
    contacts = Contacts(parts.contacts, parts.accounts, parts.writer, parts.clock)
    limits = ChannelLimits(
        parts.memberships,
        ChannelRates(_rate(rates.direct_channels), _rate(rates.added_members)),
        parts.clock,
        parts.shared_rates,
    )
    channels = ChannelCalls(parts.writer, parts.memberships, parts.accounts, parts.contacts, limits)
    server = listener.server
    account_pb2_grpc.add_AccountServiceServicer_to_server(AccountService(accounts), server)
    contact_pb2_grpc.add_ContactServiceServicer_to_server(ContactService(contacts), server)
    channel_pb2_grpc.add_ChannelServiceServicer_to_server(ChannelService(channels), server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(HistoryService(HistoryReader(parts.history)), server)
    push_pb2_grpc.add_PushServiceServicer_to_server(PushService(PushTokens(parts.push_tokens)), server)
    for file in (account_pb2, contact_pb2, channel_pb2, history_pb2, push_pb2):
        listener.serves(file.DESCRIPTOR)


def add_chat(listener: GrpcServer, chat: ChatServer) -> None:
    """Put the stream onto a listener."""
    ChatService(chat).add_to(listener.server)
    listener.serves(chat_pb2.DESCRIPTOR)


def add_presence(listener: GrpcServer, tracker: Tracker, clock: Clock) -> None:
    """Put presence onto a listener."""
    presence_pb2_grpc.add_PresenceServiceServicer_to_server(PresenceService(tracker, clock), listener.server)
    listener.serves(presence_pb2.DESCRIPTOR)


def add_discovery(listener: GrpcServer, recommender: Recommender, registry: Registry) -> None:
    """Put discovery onto a listener."""
    discovery_pb2_grpc.add_DiscoveryServiceServicer_to_server(DiscoveryService(recommender, registry), listener.server)
    listener.serves(discovery_pb2.DESCRIPTOR)
