"""TLS certificates of the listeners, and for calls to other servers. Each must be valid when the server starts."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from grpc import aio

from tidings.rpc.server import Certificate
from tidings_server.settings import Settings, SettingsError

# A peer that is paused or cut off is found before its lease has run out twice.
_INTERNAL_OPTIONS = (
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # The one before does not bound how long a ping may take, which is a minute unless told.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


def public_certificate(settings: Settings) -> Certificate | None:
    """The certificate of the listener for clients; None for plaintext.

    Raises:
        SettingsError: A file cannot be read, or a certificate is not valid today.
    """
    if settings.tls_certificate is None or settings.tls_private_key is None:
        return None
    return Certificate(read(settings.tls_private_key), _certificates(settings.tls_certificate))


def internal_certificate(settings: Settings) -> Certificate | None:
    """The certificate of the listener for other servers, and who may call it; None for plaintext.

    Raises:
        SettingsError: A file cannot be read, or a certificate is not valid today.
    """
    tls = settings.internal_tls
    if tls is None:
        return None
    return Certificate(
        read(tls.private_key), _certificates(tls.certificate), client_authority=_certificates(tls.authority)
    )


def to_ourselves(settings: Settings, *, internal: bool) -> ssl.SSLContext | None:
    """How this process speaks to its own listener: whose certificate it is need not be checked. None for plaintext."""
    tls = settings.internal_tls
    if (tls is None) if internal else (settings.tls_certificate is None):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if internal and tls is not None:
        context.load_cert_chain(tls.certificate, tls.private_key)
    return context


class Dialler:
    """Makes channels to the internal listeners of other servers, with mutual TLS where that is set.

    Args:
        settings: Say whether, and with which files.

    Raises:
        SettingsError: A file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        tls = settings.internal_tls
        self._credentials = (
            None
            if tls is None
            else grpc.ssl_channel_credentials(read(tls.authority), read(tls.private_key), read(tls.certificate))
        )

    def __call__(self, endpoint: str) -> aio.Channel:
        """Make a channel to HOST:PORT, which connects when it is first used."""
        if self._credentials is None:
            return aio.insecure_channel(endpoint, options=_INTERNAL_OPTIONS)
        return aio.secure_channel(endpoint, self._credentials, options=_INTERNAL_OPTIONS)


def check_validity(path: Path, pem: bytes) -> None:
    """Check that the certificates of a PEM file are valid today.

    Raises:
        SettingsError: One is not, or there is none.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise SettingsError(f"{path} has no certificates in PEM") from None
    now = datetime.now(UTC)
    for each in found:
        if each.not_valid_after_utc <= now:
            raise SettingsError(f"{path}: the certificate expired on {each.not_valid_after_utc:%Y-%m-%d}")
        if each.not_valid_before_utc > now:
            raise SettingsError(f"{path}: the certificate is good only from {each.not_valid_before_utc:%Y-%m-%d}")


def _certificates(path: Path) -> bytes:
    pem = read(path)
    check_validity(path, pem)
    return pem


def read(path: Path) -> bytes:
    """Read a file.

    Raises:
        SettingsError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
