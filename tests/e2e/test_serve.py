"""`tidings serve`: how it starts, how it refuses to, and how it stops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.processes import ServerProcess, run_tidings
from tests.support.raw import Api, Device, Stream, details_of, end_of
from tests.support.settings import CHEAP_SIGN_UPS
from tidings.v1 import account_pb2, chat_pb2
from tidings_client import Tidings


async def refused(*arguments: str) -> str:
    """The one sentence with which a command refuses."""
    async with asyncio.timeout(30):
        ended = await run_tidings(*arguments)
    assert ended.code == 1, ended.err
    assert ended.err.startswith("tidings: ") and ended.err.count("\n") == 1, ended.err
    return ended.err


# --- starting ---------------------------------------------------------------------------------------------------------


async def test_a_second_process_on_the_data_folder_is_refused(folder: Path) -> None:
    async with ServerProcess(folder) as server:
        error = await refused("serve", "--listen", "127.0.0.1:0", "--data", str(folder))
        assert f"in use by another tidings process (pid {server.pid})" in error


async def test_an_address_in_use_is_refused(folder: Path, endpoint: str) -> None:
    assert "in use" in await refused("serve", "--listen", endpoint, "--data", str(folder))


async def test_plaintext_for_everyone_is_refused(folder: Path) -> None:
    assert "plaintext" in await refused("serve", "--listen", "0.0.0.0:0", "--data", str(folder))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("lisen = 'x'", "lisen: Extra inputs are not permitted"),
        ("listen = ", "is not TOML"),
        ("services = 'chat,mail'", "mail is no service"),
        ("tls_certificate = 'x.pem'", "tls_certificate and tls_private_key go together"),
        ("tls_certificate = 'x.pem'\ntls_private_key = 'y.pem'", "cannot be read"),
        ("push_delay_seconds = -1", "push_delay_seconds: Input should be greater than 0"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(tmp_path: Path, config: str, said: str) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text(config)
    data = tmp_path / "data"
    assert said in await refused("serve", "--listen", "127.0.0.1:0", "--data", str(data), "--config", str(file))


async def test_a_folder_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in await refused("serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "file"))


async def test_only_the_services_that_are_asked_for_are_served(folder: Path) -> None:
    async with ServerProcess(folder, config="services = 'api'") as server:
        api = Api(server.endpoint)
        ann = await api.sign_up()
        error = await end_of(ann.open())
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        await api.close()


async def test_tls(folder: Path, tmp_path: Path) -> None:
    key, certificate = _certificate()
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "certificate.pem").write_bytes(certificate)
    config = f"""
        tls_certificate = "{tmp_path / "certificate.pem"}"
        tls_private_key = "{tmp_path / "key.pem"}"
        advertise = "localhost:1"
    """
    async with ServerProcess(folder, config=config) as server:
        port = server.endpoint.rpartition(":")[2]
        async with await Tidings.sign_up(f"localhost:{port}", "ann", "correct horse", tls=certificate) as client:
            assert (await client.get_user(client.user_id)).username == "ann"
            assert [each.endpoint for each in client.servers] == ["localhost:1"]


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_that_runs_out_ends_the_stream_unless_a_newer_one_comes(folder: Path) -> None:
    async with ServerProcess(folder, config=f"access_token_seconds = 3\n{CHEAP_SIGN_UPS}") as server:
        api = Api(server.endpoint)
        ann, bob = await api.sign_up(), await api.sign_up()
        async with ann.stream() as a, bob.stream() as b:
            renewing = asyncio.create_task(_renew_when_told(ann, a))
            error = await end_of(b.call)
            assert (error.code(), details_of(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
            renewing.cancel()
            assert (await a.ask()).HasField("error")
        error = await end_of(bob.open())
        assert (error.code(), details_of(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
        await api.close()


async def _renew_when_told(device: Device, stream: Stream) -> None:
    while True:
        notice = await stream.next("server_notice")
        assert notice.kind == chat_pb2.ServerNotice.KIND_TOKEN_EXPIRING
        request = account_pb2.RefreshTokensRequest(refresh_token=device.tokens.refresh_token)
        device.tokens = (await device.api.accounts.RefreshTokens(request)).tokens
        newer = chat_pb2.Reauthenticate(access_token=device.tokens.access_token)
        assert (await stream.ask(reauthenticate=newer)).HasField("accepted")


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_sigterm_finishes_what_is_under_way_and_tells_clients(folder: Path) -> None:
    server = await ServerProcess(folder, config=CHEAP_SIGN_UPS).start()
    api = Api(server.endpoint)
    ann = await api.sign_up()
    channel_id = (await ann.group()).channel_id
    health = health_pb2_grpc.HealthStub(api.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
    async with ann.stream() as a:
        stopping = asyncio.create_task(server.terminate())
        assert (await a.next("server_notice")).kind == chat_pb2.ServerNotice.KIND_DRAINING
        error = await end_of(a.call)
        assert (error.code(), details_of(error).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert details_of(error).retry is not None
    assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    code, errors = await stopping
    assert code == 0, errors
    assert "ERROR" not in errors and "Traceback" not in errors, errors
    await api.close()
    async with server:
        api = Api(server.endpoint)
        again = await api.log_in(ann.user.username)
        async with again.stream() as a:
            assert a.replayed[0].membership_changed.channel_id == channel_id
        await api.close()


def _certificate() -> tuple[bytes, bytes]:
    """A private key and a certificate for localhost, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, certificate.public_bytes(serialization.Encoding.PEM)
