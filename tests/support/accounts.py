"""Accounts and contacts on a database of their own, with what they tell the rest of the server written down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api_server.account_values import DeviceToSignIn, SignedIn
from api_server.accounts import Accounts
from api_server.contacts import Contacts
from api_server.passwords import PasswordCost, Passwords
from api_server.throttle import AccountLimits
from tests.support.clock import FakeClock
from tidings.backends.sqlite.accounts import SqliteAccountStore
from tidings.backends.sqlite.contacts import SqliteContactStore
from tidings.backends.sqlite.database import Database
from tidings.core.actions import Accepted, Action
from tidings.core.ports import ChannelWriter, DeviceStreams, Recommender, SharedRates
from tidings.core.rate import Rate
from tidings.core.values import Identity, Platform, Server, ServerKind
from tidings.rpc.tokens import Revocations, TokenIssuer, TokenVerifier

TOKEN_MS = 15 * 60 * 1000
CHEAP = PasswordCost(memory_kib=8, iterations=1)
LIMITS = AccountLimits(sign_ups=Rate(20, 500), failures_per_account=Rate(0.1, 10), failures_per_address=Rate(1, 100))
PASSWORD = "correct horse battery"
SERVERS = (Server("chat-1", ServerKind.CHAT, "127.0.0.1:7500", "here", 0.5),)


class RecordingStreams(DeviceStreams):
    def __init__(self) -> None:
        self.ended: list[str] = []

    async def end_devices(self, revoked: Mapping[str, int]) -> None:
        self.ended += revoked


class RecordingWriter(ChannelWriter):
    def __init__(self) -> None:
        self.refreshed: list[str] = []

    async def submit(self, channel_id: str, actor_id: str, action: Action) -> Accepted:
        raise AssertionError("accounts and contacts write to no log")

    async def refresh(self, channel_id: str) -> None:
        self.refreshed.append(channel_id)


class OneServer(Recommender):
    def recommend(
        self,
        kind: ServerKind,
        region: str = "",
        coordinates: tuple[float, float] | None = None,
        exclude: Collection[str] = (),
    ) -> Sequence[Server]:
        return [each for each in SERVERS if each.kind is kind]


@dataclass
class World:
    clock: FakeClock
    store: SqliteAccountStore
    contact_store: SqliteContactStore
    passwords: Passwords
    issuer: TokenIssuer
    revocations: Revocations
    verifier: TokenVerifier
    sessions: RecordingStreams
    writer: RecordingWriter

    def accounts(
        self,
        limits: AccountLimits | None = None,
        *,
        store: SqliteAccountStore | None = None,
        passwords: Passwords | None = None,
        shared_rates: SharedRates | None = None,
    ) -> Accounts:
        return Accounts(
            store or self.store,
            passwords or self.passwords,
            self.issuer,
            self.revocations,
            self.sessions,
            OneServer(),
            self.clock,
            limits or LIMITS,
            shared_rates,
        )

    def contacts(self) -> Contacts:
        return Contacts(self.contact_store, self.store, self.writer, self.clock)

    def identity(self, signed_in: SignedIn) -> Identity:
        return self.verifier.verify(signed_in.tokens.access_token)


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    key = Ed25519PrivateKey.generate()
    revocations = Revocations(clock, TOKEN_MS)
    database = Database(folder)
    passwords = Passwords(CHEAP)
    yield World(
        clock,
        SqliteAccountStore(database),
        SqliteContactStore(database),
        passwords,
        TokenIssuer(key, "k1", clock, TOKEN_MS),
        revocations,
        TokenVerifier({"k1": key.public_key()}, clock, revocations),
        RecordingStreams(),
        RecordingWriter(),
    )
    await passwords.close()
    await database.close()


async def sign_up(accounts: Accounts, name: str = "ada", display_name: str = "", address: str = "ipv4:1") -> SignedIn:
    return await accounts.sign_up(name, PASSWORD, display_name, DeviceToSignIn("laptop", Platform.DESKTOP), address)


async def log_in(
    accounts: Accounts, name: str = "ada", password: str = PASSWORD, device_id: str = "", address: str = "ipv4:1"
) -> SignedIn:
    return await accounts.log_in(name, password, DeviceToSignIn("phone", Platform.IOS, device_id), address)
