"""Callers who show a certificate: by which of its names they are known."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from grpc import aio

from fakes import World, serving
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.connection_service_pb2_grpc import ConnectionServiceStub
from tieout_server.callers.caller import Role
from tieout_server.callers.registering import Registration, Wanted
from tieout_server.rpc.probe import is_serving
from tieout_server.settings import Settings

SPIFFE = "spiffe://tieout.example/console"


def certificate(common_name: str, *alternatives: x509.GeneralName) -> tuple[bytes, bytes]:
    """A certificate of its own authority with these names, and its key, in PEM."""
    key, begins_at = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - timedelta(hours=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = builder.sign(key, hashes.SHA256())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), plain


@pytest.mark.parametrize(
    ("alternatives", "registered", "is_known"),
    [
        ((x509.UniformResourceIdentifier(SPIFFE),), SPIFFE, True),
        ((x509.DNSName("other.example"), x509.UniformResourceIdentifier(SPIFFE)), SPIFFE, True),
        ((), "console", True),
        ((), "another", False),
        ((x509.DNSName("other.example"),), "console", False),
    ],
    ids=["by its URI", "by its second name", "by its common name", "not at all", "not by what it says beside"],
)
async def test_a_caller_is_known_by_an_alternative_name_or_where_there_is_none_by_the_common_name(
    around: World, tmp_path: Path, alternatives: Sequence[x509.GeneralName], registered: str, *, is_known: bool
) -> None:
    server_cert, server_key = certificate("localhost", x509.DNSName("localhost"))
    own_cert, own_key = certificate("console", *alternatives)
    for name, pem in {"cert": server_cert, "key": server_key, "callers": own_cert}.items():
        (tmp_path / name).write_bytes(pem)
    registration = Registration(around.database, around.clock)
    await registration.add(Wanted(name="console", roles=frozenset({Role.READER}), certificate=registered))
    around.forget_callers()
    tls = {"tls_cert_file": "cert", "tls_key_file": "key", "tls_client_ca_file": "callers"}
    shown = grpc.ssl_channel_credentials(server_cert, own_key, own_cert)
    async with (
        serving(around, **{name: tmp_path / file for name, file in tls.items()}) as server,
        aio.secure_channel(f"localhost:{server.port}", shown) as channel,
    ):
        calls: Any = ConnectionServiceStub(channel)
        if is_known:
            await calls.ListConnections(pb.ListConnectionsRequest())
        else:
            with pytest.raises(aio.AioRpcError, match="Nobody is registered for this certificate"):
                await calls.ListConnections(pb.ListConnectionsRequest())


@pytest.mark.parametrize(
    "alternatives",
    [
        (x509.DNSName("tieout.example"),),
        (x509.DNSName("*.tieout.example"),),
        (x509.IPAddress(ip_address("10.0.0.7")),),
        (x509.UniformResourceIdentifier("spiffe://tieout.example/server"), x509.IPAddress(ip_address("fd00::7"))),
        (),
    ],
    ids=["a name", "any name below one", "an address", "an address beside what is none", "a common name"],
)
async def test_the_health_check_knows_the_server_by_whatever_its_certificate_is_for(
    around: World, tmp_path: Path, alternatives: Sequence[x509.GeneralName]
) -> None:
    for file, pem in zip(("cert", "key"), certificate("tieout.example", *alternatives), strict=True):
        (tmp_path / file).write_bytes(pem)
    tls: dict[str, Any] = {"tls_cert_file": tmp_path / "cert", "tls_key_file": tmp_path / "key"}
    async with serving(around, **tls) as server:
        assert await is_serving(Settings(listen=f"127.0.0.1:{server.port}", **tls))
