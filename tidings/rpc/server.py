"""A gRPC server on one address, with what every one of them has: health, reflection, TLS, and channelz where it may."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc import aio
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tidings.core.limits import FRAME_BYTES
from tidings.rpc.acceptor import acceptor_server
from tidings.rpc.header_limit import refuse_long_headers
from tidings.rpc.health_service import HealthService
from tidings.rpc.log_rate import guard_library_logs
from tidings.rpc.reflection import add_reflection

CONNECTION_STREAMS = 1_000
"""Calls and streams of one connection. A client waits with more, or is refused by gRPC's core."""

_OPTIONS = (
    # Two servers on one port would share its connections between them, unnoticed.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", FRAME_BYTES),
    ("grpc.max_send_message_length", -1),
    # Until a client has acknowledged our settings, none of them bind it: its headers may have 16 MiB a call.
    ("grpc.http2.settings_timeout", 5_000),
    # A peer that is gone without a word is found within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The one before does not bound how long a ping may take, which is a minute unless told.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping as often as we do, and a little oftener.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.enable_channelz", 1),
    ("grpc.max_concurrent_streams", CONNECTION_STREAMS),
)


class ListenError(Exception):
    """The address cannot be listened at; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS listener shows: PEM, the certificate with its chain.

    Args:
        private_key: Its key.
        chain: The certificate and those that signed it.
        client_authority: Who must have signed the certificates of those who call; None lets in those without one.
    """

    private_key: bytes
    chain: bytes
    client_authority: bytes | None = None


class GrpcServer:
    """One address, and the services on it.

    Args:
        interceptors: Stand before every call.
    """

    def __init__(self, interceptors: Sequence[aio.ServerInterceptor]) -> None:
        guard_library_logs()
        self.server = acceptor_server(interceptors, _OPTIONS, refuse_long_headers)
        self._health = HealthService()
        self._names: list[str] = []

    def serves(self, file: FileDescriptor) -> None:
        """Tell health checks and reflection of the services of a .proto file, which are on `server`."""
        self._names += [service.full_name for service in file.services_by_name.values()]

    async def start(self, address: str, certificate: Certificate | None = None, plaintext: bool = False) -> str:
        """Begins to listen. Channelz is there on loopback and where clients have to show a certificate.

        Args:
            address: HOST:PORT; port 0 takes a free one.
            certificate: For TLS; without one the listener speaks plaintext.
            plaintext: Whether plaintext is wanted beyond loopback too.

        Returns:
            HOST:PORT with the port that it is.

        Raises:
            ListenError: The address is taken or not ours, or would be plaintext for everyone.
        """
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdecimal():
            raise ListenError(f"{address} is no HOST:PORT")
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        names = [*self._names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        if _is_loopback(host) or (certificate is not None and certificate.client_authority is not None):
            # It shows the address of every client of this process, whichever listener they are at.
            channelz.add_channelz_servicer(self.server)
            names.append(channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
        add_reflection(self.server, names)
        try:
            if certificate is not None:
                credentials = grpc.ssl_server_credentials(
                    [(certificate.private_key, certificate.chain)],
                    certificate.client_authority,
                    require_client_auth=certificate.client_authority is not None,
                )
                bound = self.server.add_secure_port(address, credentials)
            elif plaintext or _is_loopback(host):
                bound = self.server.add_insecure_port(address)
            else:
                raise ListenError(
                    f"{address} is reachable from elsewhere, and plaintext would show passwords to everyone on the "
                    "way: give tls_certificate and tls_private_key, or set plaintext = true if something before it "
                    "speaks TLS"
                )
        except RuntimeError as error:
            raise ListenError(f"cannot listen at {address}: the address is in use or not this machine's") from error
        await self.server.start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{bound}"

    def drain(self) -> None:
        """Answer health checks with NOT_SERVING; calls are still taken."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Take no new calls, and cut off those that are still there after `grace` seconds."""
        await self.server.stop(grace)

    def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        self._health.set(("", *self._names), status)


def _is_loopback(host: str) -> bool:
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
