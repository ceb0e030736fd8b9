"""How callers reach the gRPC server, and whether they have to say who they are."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tieout_server.callers.issuer_keys import IssuerKeys, IssuerSettingsError
from tieout_server.doctor.configuration import files_of
from tieout_server.doctor.database import file_of
from tieout_server.doctor.findings import Finding, fault, fine, warning
from tieout_server.errors import IssuerUnavailableError
from tieout_server.rpc.address import is_loopback
from tieout_server.settings import Settings
from tieout_server.storage import callers
from tieout_server.storage.database import Database
from tieout_server.web import issuer

EXPIRES_SOON = timedelta(days=21)
TLS = "TLS"


async def examine(settings: Settings) -> Sequence[Finding]:
    """Whether callers are told apart from strangers, the issuer of their tokens, and the files of TLS."""
    return [await _guarded(settings), *await _issuer(settings), *_tls(settings)]


async def _guarded(settings: Settings) -> Finding:
    if is_loopback(settings.listen):
        return fine("callers", f"Only this machine reaches {settings.listen}.")
    if not await _are_told_apart(settings):
        if settings.allow_anonymous:
            return warning(
                "callers",
                f"Whoever reaches {settings.listen} may do everything, as TIEOUT_ALLOW_ANONYMOUS says.",
                "Register callers by `tieout-server callers add`, unless the network lets nobody else in.",
            )
        return fault(
            "callers",
            f"{settings.listen} can be reached from other machines, and nothing tells callers apart.",
            "Register callers by `tieout-server callers add`, or set TIEOUT_TOKEN, TIEOUT_JWT_ISSUER or "
            "TIEOUT_TLS_CLIENT_CA_FILE, or set TIEOUT_LISTEN to loopback.",
        )
    if not settings.tls_cert_file:
        return warning(
            "callers",
            "Tokens and data of callers travel in the clear.",
            "Set TIEOUT_TLS_CERT_FILE and TIEOUT_TLS_KEY_FILE, unless a proxy on this machine speaks TLS.",
        )
    return fine("callers", "Callers from other machines have to show who they are.")


async def _are_told_apart(settings: Settings) -> bool:
    """Whether the settings do so, or else whoever is registered; nobody, if the database cannot be asked."""
    if settings.token.get_secret_value() or settings.jwt_issuer or settings.tls_client_ca_file:
        return True
    try:
        async with contextlib.aclosing(Database(settings.database_url)) as database:
            if (file := file_of(database)) and not file.exists():  # asking would make it
                return False
            async with database.read() as tx:
                return await callers.is_anybody_registered(tx)
    except Exception:  # noqa: BLE001 - whatever it is, the checks of the database say so
        return False


async def _issuer(settings: Settings) -> Sequence[Finding]:
    """Whether JWTs can be judged: for whom they have to be, and with which keys."""
    name = "issuer"
    if not settings.jwt_issuer:
        unused = [f"TIEOUT_{it.upper()}" for it in ("jwt_audience", "jwks_url") if getattr(settings, it)]
        said = f"{' and '.join(unused)} without TIEOUT_JWT_ISSUER: no token is accepted."
        return [warning(name, said, "Set TIEOUT_JWT_ISSUER to what the tokens have as iss.")] if unused else ()
    if not settings.jwt_audience:
        said = "TIEOUT_JWT_ISSUER is set and TIEOUT_JWT_AUDIENCE is not: the server does not start."
        return [fault(name, said, "Set TIEOUT_JWT_AUDIENCE to what the issuer calls this service in its tokens (aud).")]
    remedy = "Let this machine reach the issuer, or correct TIEOUT_JWT_ISSUER or TIEOUT_JWKS_URL."
    try:
        await IssuerKeys(settings.jwt_issuer, settings.jwks_url, issuer.read, time.monotonic).find("")
    except (IssuerSettingsError, IssuerUnavailableError) as trouble:
        return [fault(name, trouble.sentence, remedy)]
    return [fine(name, f"{settings.jwt_issuer} publishes its keys.")]


def _tls(settings: Settings) -> Iterator[Finding]:
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file) or (
        settings.tls_client_ca_file and not settings.tls_cert_file
    ):
        yield fault(TLS, "TLS is set up by half.", "Set both TIEOUT_TLS_CERT_FILE and TIEOUT_TLS_KEY_FILE.")
    read: dict[str, bytes] = {}
    for name, path in files_of(settings):
        try:
            read[name] = Path(path).read_bytes()
        except OSError as error:
            yield fault(
                TLS, f"{name}: {path} cannot be read: {error.strerror}.", f"Correct {name}, or the file's mode."
            )
    certificates = {name: _certificates(pem) for name, pem in read.items() if name != "TIEOUT_TLS_KEY_FILE"}
    for name, found in certificates.items():
        yield from _dated(name, found)
    chain = certificates.get("TIEOUT_TLS_CERT_FILE")
    if chain and (key := read.get("TIEOUT_TLS_KEY_FILE")):
        yield from _matching(chain[0], key)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _dated(name: str, found: Sequence[x509.Certificate]) -> Iterator[Finding]:
    if not found:
        yield fault(TLS, f"{name} holds no PEM certificate.", f"Set {name} to a PEM file.")
    now = datetime.now(UTC)
    for one in found:
        until, who = one.not_valid_after_utc, one.subject.rfc4514_string() or "a certificate"
        if until < now or one.not_valid_before_utc > now:
            span = f"{one.not_valid_before_utc:%Y-%m-%d} to {until:%Y-%m-%d}"
            yield fault(TLS, f"{name}: {who} is valid from {span} only.", f"Renew it, and restart the server ({name}).")
        elif until - now < EXPIRES_SOON:
            yield warning(
                TLS, f"{name}: {who} expires on {until:%Y-%m-%d}.", f"Renew it, and restart the server ({name})."
            )
        else:
            yield fine(TLS, f"{name}: {who} is valid until {until:%Y-%m-%d}.")


def _matching(certificate: x509.Certificate, pem: bytes) -> Iterator[Finding]:
    remedy = "Set TIEOUT_TLS_KEY_FILE to the private key of the first certificate, in PEM and without a passphrase."
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        yield fault(TLS, "TIEOUT_TLS_KEY_FILE holds no private key that can be read.", remedy)
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        yield fault(TLS, "TIEOUT_TLS_KEY_FILE is not the key of TIEOUT_TLS_CERT_FILE.", remedy)
