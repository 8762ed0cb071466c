"""The settings of a server: from a TOML file (`--config`), the environment (`TIDINGS_…`) and the command line."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SERVICES = ("chat", "api", "presence", "discovery", "notifier")
"""What `services` may name; by default all of them."""

Positive = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """The settings cannot be followed; the message is one sentence for the operator."""


class RateSettings(BaseModel):
    """How often something may happen: `burst` at once, then `per_second` on."""

    model_config = ConfigDict(extra="forbid")

    per_second: Positive
    burst: Annotated[float, Field(ge=1)]


class Rates(BaseModel):
    """Limits of rate; a caller over one is refused with RESOURCE_EXHAUSTED."""

    model_config = ConfigDict(extra="forbid")

    calls: RateSettings = RateSettings(per_second=100, burst=5_000)
    """Of the calls of one user, which cost more than one where their work is more."""
    calls_by_address: RateSettings = RateSettings(per_second=500, burst=5_000)
    """Of the calls from one address that ask for no sign-in."""
    commands: RateSettings = RateSettings(per_second=100, burst=1_000)
    """Of commands on the streams of one user."""
    sign_ups: RateSettings = RateSettings(per_second=20, burst=500)
    """Of new accounts from one address."""
    failed_log_ins: RateSettings = RateSettings(per_second=0.1, burst=10)
    """Of wrong passwords for one account."""
    failed_log_ins_by_address: RateSettings = RateSettings(per_second=1, burst=100)
    """Of wrong passwords from one address."""
    direct_channels: RateSettings = RateSettings(per_second=0.006, burst=500)
    """Of direct channels that one user opens and that were not there."""
    added_members: RateSettings = RateSettings(per_second=0.058, burst=5_000)
    """Of people whom one user adds to groups."""


class PasswordSettings(BaseModel):
    """What hashing a password costs (Argon2id)."""

    model_config = ConfigDict(extra="forbid")

    memory_kib: Annotated[int, Field(ge=8)] = 19 * 1024
    iterations: Annotated[int, Field(ge=1)] = 2
    parallelism: Annotated[int, Field(ge=1)] = 1


class InternalTls(BaseModel):
    """Mutual TLS between servers: PEM files."""

    model_config = ConfigDict(extra="forbid")

    certificate: Path
    private_key: Path
    authority: Path
    """The certificate that has signed those of all servers."""


class CassandraSection(BaseModel):
    """Cassandra, which keeps history, accounts and everything else that lasts."""

    model_config = ConfigDict(extra="forbid")

    addresses: tuple[str, ...] = ("127.0.0.1:9042",)
    """HOST:PORT of some nodes."""
    keyspace: str = "tidings"
    replication: dict[str, Annotated[int, Field(ge=1)]] = {"": 1}
    """How many nodes keep each row, by data centre; under an empty name for a cluster without data centres."""
    datacenter: str = ""
    """The data centre of this region, whose nodes are asked."""
    consistency: Literal["QUORUM", "LOCAL_QUORUM"] = "QUORUM"
    serial_consistency: Literal["SERIAL", "LOCAL_SERIAL"] = "SERIAL"
    username: str = ""
    password: str = ""


class MeshSection(BaseModel):
    """The engines, and the listener for other servers, with the backend "mesh"."""

    model_config = ConfigDict(extra="forbid")

    cassandra: CassandraSection = CassandraSection()
    redis: tuple[str, ...] = ("redis://127.0.0.1:6379/0",)
    """URLs of the servers for soft state, the same everywhere."""
    push_redis: str = "redis://127.0.0.1:6380/0"
    """URL of the server for the push queue, which keeps what it has answered (appendfsync always)."""
    etcd: tuple[str, ...] = ("127.0.0.1:2379",)
    """HOST:PORT of the members of etcd."""
    prefix: str = "tidings"
    """The beginning of every key in etcd and Redis."""
    listen: str = "127.0.0.1:0"
    """HOST:PORT for other servers, which no client may reach."""
    advertise: str = ""
    """HOST:PORT that other servers dial; what is listened at when empty."""


class FcmSection(BaseModel):
    """Firebase Cloud Messaging."""

    model_config = ConfigDict(extra="forbid")

    service_account: Path
    """The JSON file of a service account that may send."""
    per_second: Positive | None = None
    """How many messages the project may send; None for as many as FCM takes."""
    url: str = "https://fcm.googleapis.com"


class ApnsSection(BaseModel):
    """The Apple Push Notification service."""

    model_config = ConfigDict(extra="forbid")

    key: Path
    """The .p8 file of an APNs key."""
    key_id: Annotated[str, Field(min_length=10, max_length=10)]
    team_id: Annotated[str, Field(min_length=10, max_length=10)]
    topic: Annotated[str, Field(min_length=1)]
    """The app's bundle id."""
    environment: Literal["production", "sandbox"] = "production"
    per_second: Positive | None = None
    url: str = ""
    """The address of APNs; that of `environment` when empty."""


class WebPushSection(BaseModel):
    """Web Push."""

    model_config = ConfigDict(extra="forbid")

    key: Path
    """A PEM file with the VAPID key (P-256)."""
    contact: str
    """How push services reach the operator: mailto:… or https://…."""
    hosts: tuple[str, ...] = ()
    """The hosts that may be called, with `*` for any characters; those of the known browsers when empty."""
    per_second: Positive | None = None

    @field_validator("contact")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value.startswith(("mailto:", "https://")):
            raise ValueError("must begin with mailto: or https://")
        return value


class PushSection(BaseModel):
    """Pushes to people who are away. A provider without a section is not used."""

    model_config = ConfigDict(extra="forbid")

    preview: Literal["none", "sender", "full"] = "full"
    """The most that a push may show."""
    hidden_text: Annotated[str, Field(min_length=1, max_length=128)] = "New message"
    """The text shown in place of a hidden one."""
    ttl_seconds: Annotated[int, Field(ge=0, le=28 * 24 * 3600)] = 7 * 24 * 3600
    """How long providers keep a push for a device that is off."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Sends under way with each provider; at most so many go out twice when a notifier is killed."""
    authority: Path | None = None
    """A PEM file with certificates to trust besides the system's, for providers behind a gateway."""
    fcm: FcmSection | None = None
    apns: ApnsSection | None = None
    web_push: WebPushSection | None = None


class Restored(BaseModel):
    """An older copy of the data was restored: what was accepted between two moments is gone."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime
    """When the copy was begun."""
    until: AwareDatetime
    """When it was first served."""

    @property
    def span_ms(self) -> tuple[int, int]:
        """Both moments, in milliseconds since 1970."""
        return round(self.since.timestamp() * 1000), round(self.until.timestamp() * 1000)


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="TIDINGS_", env_prefix_target="all", env_nested_delimiter="__", extra="forbid"
    )

    listen: str = "127.0.0.1:7400"
    """HOST:PORT for clients."""
    advertise: str = ""
    """HOST:PORT that clients are told to dial; what is listened at when empty."""
    backend: Literal["embedded", "mesh"] = "embedded"
    """All in this process on SQLite, or among others on Cassandra, Redis and etcd."""
    data: Path = Path("tidings-data")
    """The data folder of the embedded backend."""
    services: Annotated[tuple[str, ...], NoDecode] = SERVICES
    """What to serve."""
    tls_certificate: Path | None = None
    """A PEM file with the certificate and its chain."""
    tls_private_key: Path | None = None
    """A PEM file with its key."""
    internal_tls: InternalTls | None = None
    """Between servers."""
    plaintext: bool = False
    """Whether to listen without TLS beyond loopback."""
    token_key: Path | None = None
    """A PEM file with the Ed25519 key of access tokens, the same for all servers; in the data folder unless given."""
    region: str = "local"
    latitude: Annotated[float, Field(ge=-90, le=90)] = 0.0
    longitude: Annotated[float, Field(ge=-180, le=180)] = 0.0
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Networks of proxies before the server: what they write into `forwarded_header` is believed."""
    forwarded_header: str = "x-forwarded-for"
    """The metadata in which a proxy says whose address a call comes from."""
    capacity: Annotated[int, Field(ge=1)] = 20_000
    """Streams that count as full load."""
    access_token_seconds: Positive = 900.0
    push_delay_seconds: Positive = 5.0
    push: PushSection = PushSection()
    metrics_listen: str = ""
    """HOST:PORT for Prometheus, over plain HTTP; not served when empty."""
    inbox_days: Annotated[int, Field(ge=1)] = 30
    restored: Annotated[tuple[Restored, ...], Field(validation_alias=AliasChoices("restored", "set_back"))] = ()
    """When older copies of the data were restored: devices that have seen what was lost are told to begin again. Its
    earlier name, set_back, is accepted as well."""
    drain_seconds: Annotated[float, Field(ge=0)] = 5.0
    """How long clients have to move when the server stops."""
    mesh: MeshSection = MeshSection()
    rates: Rates = Rates()
    passwords: PasswordSettings = PasswordSettings()

    @field_validator("services", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value

    @field_validator("services")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each not in SERVICES:
                raise ValueError(f"{each} is no service; there are {', '.join(SERVICES)}")
        if not value:
            raise ValueError(f"at least one of {', '.join(SERVICES)} is needed")
        return value

    @model_validator(mode="after")
    def _both_or_none(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_private_key is None):
            raise ValueError("tls_certificate and tls_private_key go together")
        if self.backend == "mesh" and self.token_key is None:
            raise ValueError("token_key is needed with the backend mesh: all servers have the same")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the command line override the environment, and the environment the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(file: Path | None, **given: Any) -> Settings:
    """Read the settings.

    Args:
        file: A TOML file, or None.
        **given: The settings of the command line.

    Raises:
        SettingsError: They cannot be read or followed.
    """

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        names = {name.lower().removeprefix("tidings_") for name in os.environ if name.lower().startswith("tidings_")}
        if file is not None:
            # The library takes a missing file for an empty one, and the first of two names of a setting for both.
            with file.open("rb") as opened:
                names.update(tomllib.load(opened))
        if names >= {"restored", "set_back"}:
            raise SettingsError("restored and set_back are two names of one setting: give restored alone")
        return FromFile(**given)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {message}" if name else message) from error
