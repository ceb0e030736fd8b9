"""Asks the server on this machine whether it serves: what a container's health check runs."""

import contextlib
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tieout_server.settings import Settings

EVERYWHERE = ("0.0.0.0", "[::]", "*")  # noqa: S104 - what is listened on, to be asked for on loopback
TIMEOUT_SECONDS = 4.0


async def is_serving(settings: Settings) -> bool:
    """Whether the server with these settings answers its health check with SERVING, over TLS if it speaks that.

    Where callers need certificates (mTLS) the server's own is shown, which their authority has to have issued, too.
    """
    async with _channel(settings) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)  # its types name no calls
        try:
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(settings: Settings) -> aio.Channel:
    host, colon, port = settings.listen.rpartition(":")
    target = f"127.0.0.1:{port}" if host in EVERYWHERE else f"{host}{colon}{port}"
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if not certificate or not key:
        return aio.insecure_channel(target)
    chain = certificate.read_bytes()
    asks_callers = settings.tls_client_ca_file is not None
    ours = (key.read_bytes(), chain) if asks_callers else (None, None)
    credentials = grpc.ssl_channel_credentials(chain, *ours)
    return aio.secure_channel(target, credentials, [("grpc.ssl_target_name_override", _name_in(certificate))])


def _name_in(certificate: Path) -> str:
    """A name or address that the certificate is good for; the address that is asked need not be one."""
    first, *_ = x509.load_pem_x509_certificates(certificate.read_bytes())
    names = [str(common.value) for common in first.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    with contextlib.suppress(x509.ExtensionNotFound):
        named = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(address) for address in named.get_values_for_type(x509.IPAddress)]
        names = [*named.get_values_for_type(x509.DNSName), *addresses]
    return (*names, "localhost")[0].replace("*", "any")
