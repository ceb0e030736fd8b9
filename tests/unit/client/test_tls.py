"""The client speaks TLS, trusts only whom it is told to, and shows its own certificate."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tieout import Client, Tls, errors


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return cert_file, key_file


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[str]:
    """A server that wants to see the certificate `caller`; it has no calls at all."""
    server_cert, server_key = certificate(tmp_path, "server")
    caller_cert, _ = certificate(tmp_path, "caller")
    pair = [(server_key.read_bytes(), server_cert.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, caller_cert.read_bytes(), require_client_auth=True)
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_caller_with_the_right_certificate_is_let_in(target: str, tmp_path: Path) -> None:
    tls = Tls(tmp_path / "server.pem", tmp_path / "caller.pem", tmp_path / "caller.key")
    async with Client(target, tls=tls) as client:
        with pytest.raises(errors.NotServedYetError):  # it got through: such a call is not there
            await client.connections.disconnect("c1")


async def test_a_caller_without_a_certificate_gets_nowhere(target: str, tmp_path: Path) -> None:
    async with Client(target, tls=Tls(tmp_path / "server.pem")) as client:
        with pytest.raises(errors.UnreachableError):
            await client.connections.disconnect("c1")


async def test_a_server_that_is_not_trusted_is_not_spoken_to(target: str, tmp_path: Path) -> None:
    tls = Tls(tmp_path / "caller.pem", tmp_path / "caller.pem", tmp_path / "caller.key")
    async with Client(target, tls=tls) as client:
        with pytest.raises(errors.UnreachableError):
            await client.connections.disconnect("c1")
