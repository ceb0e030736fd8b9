"""What the doctor says of callers and of the files of TLS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from issuer import AUDIENCE, issuing
from tieout_server.doctor import callers
from tieout_server.doctor.findings import Level
from tieout_server.settings import Settings


def certificate(folder: Path, name: str, days: float = 365) -> dict[str, Any]:
    """The settings for a new certificate that is good for so many days from now, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return {"tls_cert_file": cert_file, "tls_key_file": key_file}


async def told(**settings: Any) -> dict[Level, str]:  # noqa: ANN401 - any setting
    """What was seen and what mends it, by level."""
    found: dict[Level, str] = {}
    for one in await callers.examine(Settings(**settings)):
        found[one.level] = f"{found.get(one.level, '')} {one.seen} {one.remedy}"
    return found


async def test_on_this_machine_alone_nobody_has_to_say_who_they_are() -> None:
    assert (await told()).keys() == {Level.FINE}


async def test_open_to_all_is_a_fault() -> None:
    assert "TIEOUT_TOKEN" in (await told(listen="0.0.0.0:7440"))[Level.FAULT]


async def test_open_to_all_on_purpose_is_a_warning_until_somebody_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "tieout.db"
    asked = {"listen": "0.0.0.0:7440", "allow_anonymous": True, "database_url": f"sqlite:///{file}"}
    found = await told(**asked)
    assert found.keys() == {Level.WARNING}
    assert "TIEOUT_ALLOW_ANONYMOUS" in found[Level.WARNING]
    assert not file.exists(), "the doctor writes nothing"
    assert "TIEOUT_ALLOW_ANONYMOUS" not in (await told(**asked, token="secret"))[Level.WARNING]


async def test_settings_of_tokens_that_no_issuer_is_named_for_do_nothing() -> None:
    assert "TIEOUT_JWT_ISSUER" in (await told(jwt_audience="tieout"))[Level.WARNING]


async def test_a_token_in_the_clear_is_a_warning() -> None:
    found = await told(listen="0.0.0.0:7440", token="secret")
    assert "TIEOUT_TLS_CERT_FILE" in found[Level.WARNING]
    assert Level.FAULT not in found


async def test_an_issuer_of_tokens_is_asked_for_its_keys() -> None:
    async with issuing() as issuer:
        issuer.add_key("one", "EC")
        asked = {"jwt_issuer": issuer.url, "jwt_audience": AUDIENCE}
        assert "publishes its keys" in (await told(**asked))[Level.FINE]
        assert "TIEOUT_JWT_AUDIENCE" in (await told(jwt_issuer=issuer.url))[Level.FAULT]
        issuer.is_away = True
        assert "TIEOUT_JWT_ISSUER" in (await told(**asked))[Level.FAULT]
    assert "https://" in (await told(**(asked | {"jwt_issuer": "http://issuer.example"})))[Level.FAULT]


async def test_a_good_certificate_with_its_key_is_fine(tmp_path: Path) -> None:
    found = await told(listen="0.0.0.0:7440", token="secret", **certificate(tmp_path, "server"))
    assert found.keys() == {Level.FINE}


async def test_a_certificate_that_expires_soon_is_a_warning_and_one_that_has_a_fault(tmp_path: Path) -> None:
    soon = await told(**certificate(tmp_path, "soon", days=7))
    assert "expires on" in soon[Level.WARNING]
    over = await told(**certificate(tmp_path, "over", days=-1))
    assert "Renew it" in over[Level.FAULT]


async def test_the_key_of_another_certificate_is_a_fault(tmp_path: Path) -> None:
    files = certificate(tmp_path, "server") | {"tls_key_file": certificate(tmp_path, "other")["tls_key_file"]}
    assert "is not the key of" in (await told(**files))[Level.FAULT]


async def test_files_that_cannot_be_read_or_are_something_else_are_faults(tmp_path: Path) -> None:
    files = certificate(tmp_path, "server")
    assert "cannot be read" in (await told(**(files | {"tls_cert_file": tmp_path / "none.pem"})))[Level.FAULT]
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    assert "no PEM certificate" in (await told(**(files | {"tls_cert_file": wrong})))[Level.FAULT]
    assert "no private key" in (await told(**(files | {"tls_key_file": wrong})))[Level.FAULT]
    assert "by half" in (await told(tls_cert_file=files["tls_cert_file"]))[Level.FAULT]
