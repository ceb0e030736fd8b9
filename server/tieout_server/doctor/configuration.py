"""What the settings say by themselves: each of them, and how they go together. Nothing is asked over the network."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from tieout_server.connections import scopes
from tieout_server.connections.return_urls import ReturnUrlAllowError, ReturnUrls
from tieout_server.doctor.findings import Finding, fault, fine, warning
from tieout_server.rpc.address import is_address, is_loopback
from tieout_server.settings import Settings
from tieout_server.storage.database import DatabaseUrlError, parse_url
from tieout_server.storage.vault import Vault, VaultError, key_file_of
from tieout_server.web.edge import Edge, TrustedProxiesError

PREFIX = "TIEOUT_"
OF_THE_CLIENT = frozenset({"TARGET", "TIMEOUT", "TLS", "CA_FILE", "CERT_FILE", "KEY_FILE"})
"""Variables with our prefix that the client reads (client/README.md)."""
OF_TESTS = "TIEOUT_TEST_"
REAL_XERO = ".xero.com"
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
NEEDED_SCOPES = (
    "openid",
    "offline_access",
    "accounting.contacts.read",
    "accounting.settings.read",
    "accounting.invoices.read",
    "accounting.payments.read",
)
"""Without these nothing can be read; others cover them (connections.scopes)."""
_HOSTS = ("xero_login_url", "xero_identity_url", "xero_api_url")


def read(environment: Mapping[str, str]) -> tuple[Settings, Sequence[Finding]]:
    """The settings of this process, those that are wrong left out, and what is wrong with them."""
    try:
        return Settings(), list(unknown(environment))
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one["msg"] for one in error.errors(include_input=False)}
    found = [
        fault("settings", f"{PREFIX}{name.upper()} cannot be used: {said}.", f"Correct {PREFIX}{name.upper()}.")
        for name, said in wrong.items()
    ]
    defaults = {name: Settings.model_fields[name].get_default() for name in wrong}
    return Settings(**defaults), [*found, *unknown(environment)]


def unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables with our prefix that are no settings, and what they may be meant for."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {PREFIX + name for name in OF_THE_CLIENT}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and not name.startswith(OF_TESTS):
            meant = difflib.get_close_matches(name, known, 1, cutoff=0.85)
            instead = f", or write {meant[0]} if that is meant" if meant else ""
            yield warning(
                "settings", f"{name} is no setting of this version; it does nothing.", f"Unset {name}{instead}."
            )


async def examine(settings: Settings) -> Sequence[Finding]:
    """Everything that the settings show."""
    parts = (_listening, _web, _xero, _webhooks, _clock, _vault, _return_urls)
    return [finding for part in parts for finding in part(settings)]


def _listening(settings: Settings) -> Iterator[Finding]:
    given = {"TIEOUT_LISTEN": settings.listen, "TIEOUT_WEB_LISTEN": settings.web_listen}
    if settings.metrics_listen:
        given["TIEOUT_METRICS_LISTEN"] = settings.metrics_listen
    wrong = {name: address for name, address in given.items() if not is_address(address)}
    for name, address in wrong.items():
        yield fault("addresses", f"{name} is {address!r}.", f"Set {name} to host:port, such as 127.0.0.1:7440.")
    if not wrong:
        metrics = f", metrics on {settings.metrics_listen}" if settings.metrics_listen else ""
        yield fine("addresses", f"gRPC on {settings.listen}, web on {settings.web_listen}{metrics}.")


def _web(settings: Settings) -> Iterator[Finding]:
    name, parts = "web address", _split(settings.web_url)
    try:
        Edge.of(settings)
    except TrustedProxiesError as wrong:
        yield fault(name, str(wrong), "Set TIEOUT_WEB_TRUSTED_PROXIES to addresses or networks such as 10.0.0.0/8.")
    if parts is None:
        yield fault(
            name,
            f"TIEOUT_WEB_URL is {settings.web_url!r}, which is no web address.",
            "Set TIEOUT_WEB_URL to https://YOUR-HOST.",
        )
    elif parts[0] == "http" and parts[1] not in LOOPBACK_HOSTS:
        yield fault(
            name,
            f"TIEOUT_WEB_URL is {settings.web_url}: codes of consents would travel in the clear, "
            "and Xero takes http for localhost only.",
            "Put a proxy with TLS in front of TIEOUT_WEB_LISTEN, and set TIEOUT_WEB_URL to its https address.",
        )
    elif parts[1] in LOOPBACK_HOSTS and _is_real(settings.xero_login_url) and not is_loopback(settings.listen):
        yield warning(
            name,
            f"Merchants come back from Xero to {settings.redirect_uri}, which only this machine reaches.",
            "Set TIEOUT_WEB_URL to the address under which browsers reach TIEOUT_WEB_LISTEN.",
        )
    else:
        yield fine(name, f"The redirect URI to register at Xero is {settings.redirect_uri}.")


def _xero(settings: Settings) -> Iterator[Finding]:
    given = {
        "TIEOUT_XERO_CLIENT_ID": settings.xero_client_id,
        "TIEOUT_XERO_CLIENT_SECRET": settings.xero_client_secret.get_secret_value(),
    }
    if missing := " and ".join(name for name, value in given.items() if not value):
        yield fault(
            "Xero app",
            f"{missing} {'are' if ' and ' in missing else 'is'} empty.",
            f"Register an app at https://developer.xero.com and set {missing} to what it shows.",
        )
    if lacking := scopes.missing(NEEDED_SCOPES, settings.xero_scopes.split()):
        yield fault(
            "scopes",
            f"TIEOUT_XERO_SCOPES lacks {', '.join(lacking)}.",
            "Add them, or unset TIEOUT_XERO_SCOPES for all that is needed.",
        )
    for setting in _HOSTS:
        parts = _split(getattr(settings, setting))
        if parts and parts[0] == "http" and parts[1] not in LOOPBACK_HOSTS:
            yield warning(
                "Xero hosts",
                f"{PREFIX}{setting.upper()} is {getattr(settings, setting)!r}: tokens travel in the clear.",
                f"Unset {PREFIX}{setting.upper()} and TIEOUT_XERO_PLAIN_HTTP for Xero itself.",
            )
    real = {_is_real(getattr(settings, setting)) for setting in _HOSTS}
    if len(real) > 1:
        yield fault(
            "Xero hosts",
            "Some of TIEOUT_XERO_LOGIN_URL, TIEOUT_XERO_IDENTITY_URL and TIEOUT_XERO_API_URL lead to Xero, others to "
            "something else.",
            "Set all three to the sandbox's address, or none of them.",
        )


def _webhooks(settings: Settings) -> Iterator[Finding]:
    if not settings.xero_webhook_key.get_secret_value().strip(" ,"):
        yield warning(
            "webhook key",
            "TIEOUT_XERO_WEBHOOK_KEY is empty: webhooks are off, and changes come by polling alone.",
            "Create a webhook at Xero's portal and set TIEOUT_XERO_WEBHOOK_KEY to the key it shows.",
        )


def _clock(settings: Settings) -> Iterator[Finding]:
    if settings.clock_speed != 1 and _is_real(settings.xero_api_url):
        yield fault(
            "clock speed",
            f"TIEOUT_CLOCK_SPEED is {settings.clock_speed:g} against the real Xero: its limits would be broken.",
            "Unset TIEOUT_CLOCK_SPEED; it is for the sandbox.",
        )


def _vault(settings: Settings) -> Iterator[Finding]:
    """That the keys can be read; no key file is made here."""
    keys = settings.vault_keys.get_secret_value()
    try:
        file = None if keys.strip() else key_file_of(parse_url(settings.database_url))
        if file and not file.exists():
            yield warning(
                "vault keys",
                f"There is no key yet; the first start makes the file {file.absolute()}.",
                "Keep it apart from the database, or set TIEOUT_VAULT_KEYS; whoever has both can read Xero's tokens.",
            )
            return
        vault = Vault.from_settings(keys, settings.database_url)
    except (VaultError, DatabaseUrlError) as wrong:
        yield fault("vault keys", str(wrong), "Set TIEOUT_VAULT_KEYS to name:base64-of-32-bytes.")
        return
    yield fine("vault keys", f"{vault.names[0]} seals, and what was sealed with {', '.join(vault.names)} opens.")
    if file and file.stat().st_mode & 0o077:
        yield warning("vault keys", f"Others on this machine may read {file}.", f"Run: chmod 600 {file}")


def _return_urls(settings: Settings) -> Iterator[Finding]:
    try:
        ReturnUrls(settings.return_url_allow)
    except ReturnUrlAllowError as wrong:
        yield fault("return addresses", str(wrong), "Correct TIEOUT_RETURN_URL_ALLOW: the server does not start.")
        return
    for prefix in filter(None, map(str.strip, settings.return_url_allow.split(","))):
        parts = _split(prefix)
        if parts and parts[0] == "http" and parts[1] not in LOOPBACK_HOSTS:
            yield warning(
                "return addresses",
                f"TIEOUT_RETURN_URL_ALLOW permits {prefix!r}, which is no https address.",
                "Name https prefixes only, comma-separated, such as https://app.example/.",
            )


def files_of(settings: Settings) -> Iterable[tuple[str, Path]]:
    """The settings that name a file, and the file."""
    for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
        if path := getattr(settings, name):
            yield f"{PREFIX}{name.upper()}", path


def _split(url: str) -> tuple[str, str] | None:
    """Scheme and host; None where it is no web address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname) if parts.scheme in ("http", "https") and parts.hostname else None


def _is_real(url: str) -> bool:
    parts = _split(url)
    return bool(parts and f".{parts[1]}".endswith(REAL_XERO))
