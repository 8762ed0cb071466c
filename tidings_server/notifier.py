"""The notifier, put together as the settings say: its providers with their keys."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from prometheus_client import CollectorRegistry

from notifier import apns, web_push
from notifier.apns import ApnsKey, ApnsProvider
from notifier.dispatcher import Dispatcher, DispatchLimits
from notifier.fcm import FcmProvider, ServiceAccount
from notifier.http import Http
from notifier.log_provider import LogProvider
from notifier.metrics import PushMetrics
from notifier.notice import Notices
from notifier.provider import Provider
from notifier.sink import QueueSink
from notifier.web_push import WebPushProvider
from notifier.web_push_encryption import Vapid
from tidings.core.clock import Clock
from tidings.core.ports import AccountStore, Memberships, PushQueue, PushTokenStore
from tidings.core.rate import Rate
from tidings.core.values import PushPreview, PushProvider
from tidings_server.certificates import check_validity, read
from tidings_server.settings import ApnsSection, FcmSection, PushSection, SettingsError, WebPushSection

_PREVIEWS = {"none": PushPreview.NONE, "sender": PushPreview.SENDER, "full": PushPreview.FULL}


@dataclass(frozen=True, slots=True)
class NotifierPorts:
    """What a notifier needs."""

    queue: PushQueue
    tokens: PushTokenStore
    memberships: Memberships
    accounts: AccountStore


class Notifier:
    """A dispatcher with its providers, and the sink that fills its queue.

    Args:
        section: The settings.
        ports: Where pushes and what belongs to them are kept.
        clock: Tells the time.
        registry: Takes the metrics.

    Raises:
        SettingsError: A key cannot be used.
    """

    def __init__(self, section: PushSection, ports: NotifierPorts, clock: Clock, registry: CollectorRegistry) -> None:
        preview = _PREVIEWS[section.preview]
        self.dispatcher = Dispatcher(
            ports.queue,
            ports.tokens,
            providers(section, clock),
            Notices(ports.memberships, ports.accounts, preview, section.hidden_text).compose,
            clock,
            DispatchLimits(concurrency=section.concurrency),
            rates=_rates(section),
            metrics=PushMetrics(registry, clock),
        )
        self.sink = QueueSink(ports.queue, ports.tokens, self.dispatcher, clock, preview)


def providers(section: PushSection, clock: Clock) -> Mapping[PushProvider, Provider]:
    """Make the providers that are set, and the one that writes to the log.

    Raises:
        SettingsError: A key cannot be used.
    """
    trust = _trust(section.authority)
    found: dict[PushProvider, Provider] = {PushProvider.LOG: LogProvider()}
    # Keys are read before connections are made, so that nothing is left open when one cannot be used.
    if section.fcm is not None:
        account = service_account(section.fcm)
        found[PushProvider.FCM] = FcmProvider(account, Http(trust), clock, section.ttl_seconds, section.fcm.url)
    if section.apns is not None:
        key = _apns_key(section.apns)
        url = section.apns.url or (apns.SANDBOX if section.apns.environment == "sandbox" else apns.PRODUCTION)
        found[PushProvider.APNS] = ApnsProvider(
            key, section.apns.topic, Http(trust), clock, section.ttl_seconds, url.rstrip("/")
        )
    if section.web_push is not None:
        vapid = Vapid(_vapid_key(section.web_push), section.web_push.contact, clock)
        hosts = section.web_push.hosts or web_push.HOSTS
        found[PushProvider.WEB_PUSH] = WebPushProvider(vapid, Http(trust), clock, section.ttl_seconds, hosts)
    return found


def service_account(section: FcmSection) -> ServiceAccount:
    """Read the JSON file of a service account.

    Raises:
        SettingsError: The file is none, or cannot be read.
    """
    path, name = section.service_account, "push.fcm.service_account"
    try:
        found = json.loads(_read(path, name))
    except ValueError:
        raise SettingsError(f"{name}: {path} is not JSON") from None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise SettingsError(f"{name}: {path} is not the JSON file of a service account")
    fields = ("project_id", "client_email", "private_key_id", "private_key", "token_uri")
    values = [found.get(each) for each in fields]
    for field, value in zip(fields, values, strict=True):
        if not isinstance(value, str) or not value:
            raise SettingsError(f"{name}: {path} has no {field}")
    project_id, client_email, key_id, pem, token_url = map(str, values)
    if not token_url.startswith("https://"):
        raise SettingsError(f"{name}: the token_uri in {path} is not an https URL")
    key = _private_key(pem.encode(), path, name)
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(f"{name}: the private_key in {path} is not an RSA key")
    return ServiceAccount(project_id, client_email, key_id, key, token_url)


def _apns_key(section: ApnsSection) -> ApnsKey:
    return ApnsKey(section.key_id, section.team_id, p256_key(section.key, "push.apns.key"))


def _vapid_key(section: WebPushSection) -> EllipticCurvePrivateKey:
    return p256_key(section.key, "push.web_push.key")


def p256_key(path: Path, name: str) -> EllipticCurvePrivateKey:
    """Read a private key of P-256.

    Args:
        path: A PEM file.
        name: The setting that names it.

    Raises:
        SettingsError: The file has none, or cannot be read.
    """
    key = _private_key(_read(path, name), path, name)
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise SettingsError(f"{name}: {path} is not a P-256 key")
    return key


def _private_key(pem: bytes, path: Path, name: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise SettingsError(f"{name}: {path} has no private key in PEM without a password") from None


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from error


def _trust(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        check_validity(authority, read(authority))
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise SettingsError(f"push.authority: {authority} has no certificates in PEM") from None
    return context


def _rates(section: PushSection) -> Mapping[PushProvider, Rate]:
    given = {
        PushProvider.FCM: section.fcm and section.fcm.per_second,
        PushProvider.APNS: section.apns and section.apns.per_second,
        PushProvider.WEB_PUSH: section.web_push and section.web_push.per_second,
    }
    # The burst is what gathers in a second, and at least one: with less, nothing could ever go out.
    return {kind: Rate(each, max(1.0, each)) for kind, each in given.items() if each}
