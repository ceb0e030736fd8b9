"""The server's settings, from environment variables that begin with TIEOUT_."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SCOPES = (
    "openid profile email offline_access accounting.contacts.read accounting.settings.read "
    "accounting.invoices accounting.payments accounting.banktransactions accounting.reports.aged.read"
)
"""The granular scopes that reading and, later, exporting payments need (Xero, Scopes, since March 2026)."""


LEAST_KEPT = timedelta(days=7)
"""As long as resume tokens are good: less would take away what a watcher may still ask for."""


class Settings(BaseSettings):
    """What an operator can set; README.md holds the same table."""

    model_config = SettingsConfigDict(env_prefix="TIEOUT_", env_file=None, extra="ignore")

    database_url: str = "sqlite:///tieout.db"
    """Where the mirror lives: sqlite:///path or postgresql://user:password@host/name."""
    database_listen_url: str = ""
    """Where PostgreSQL itself is reached, if the database's URL leads through a pooler; empty: by the same URL."""
    database_pool: int = Field(default=10, ge=2)
    """Connections to the database at most, beside one that listens and two that keep webhooks."""
    vault_keys: SecretStr = SecretStr("")
    """Keys that encrypt Xero's tokens at rest, `name:base64-of-32-bytes`, comma-separated; the first one encrypts.
    Empty with SQLite: a key file is made beside the database."""

    listen: str = "127.0.0.1:7440"
    """Address of the gRPC server."""
    tls_cert_file: Path | None = None
    """PEM certificate chain; with it and the key the gRPC server speaks TLS."""
    tls_key_file: Path | None = None
    """PEM private key of the certificate."""
    tls_client_ca_file: Path | None = None
    """PEM certificates that callers' certificates must come from (mTLS)."""
    token: SecretStr = SecretStr("")
    """Bearer token that every caller must send; empty asks for none and is refused beyond loopback."""

    web_listen: str = "127.0.0.1:7441"
    """Address of the web server: authorisation callback and health."""
    web_url: str = "http://localhost:7441"
    """How browsers reach the web server; the redirect URI registered at Xero is this with /xero/callback."""
    return_url_allow: str = ""
    """Where the callback page may send people on to: comma-separated URL prefixes; loopback is always allowed."""

    xero_client_id: str = ""
    """Client id of the app registered at Xero."""
    xero_client_secret: SecretStr = SecretStr("")
    """Its secret."""
    xero_scopes: str = SCOPES
    """What consent is asked for."""
    xero_webhook_key: SecretStr = SecretStr("")
    """Keys that Xero signs webhooks with, comma-separated while one replaces another; empty turns webhooks off."""
    xero_login_url: str = "https://login.xero.com"
    """Host of the consent page."""
    xero_identity_url: str = "https://identity.xero.com"
    """Host of the token endpoint."""
    xero_api_url: str = "https://api.xero.com"
    """Host of the Accounting API and of /connections."""
    xero_timeout: timedelta = timedelta(seconds=60)
    """How long one call to Xero may take."""

    look_every: timedelta = Field(default=timedelta(days=1), ge=timedelta(seconds=1), le=timedelta(days=7))
    """How often a connection is looked at, with three calls: who lost a role or their access is found then at the
    latest. A broken one is looked at a seventh as often."""

    keep_syncs: timedelta = Field(default=timedelta(days=90), ge=LEAST_KEPT)
    """How long syncs and reconciliations are kept that are over, but for the last of each connection."""
    keep_comparisons: timedelta = Field(default=timedelta(days=400), ge=LEAST_KEPT)
    """How long it is kept how balances and discrepancies came to be what they are, but for the last step of each."""
    keep_calls: timedelta = Field(default=timedelta(days=62), ge=timedelta(days=32))
    """How long it is kept what each day's calls to Xero were; each month's sum is kept for ever."""
    keep_audit: timedelta = Field(default=timedelta(days=400), ge=LEAST_KEPT)
    """How long the audit log is kept."""

    clock_speed: float = Field(default=1.0, gt=0)
    """Runs time faster, to go with a sandbox that does; leave at 1 for the real Xero."""
    log_format: str = Field(default="console", pattern="^(console|json)$")
    """How logs are written: console for people, json for machines."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """The least severe level that is written."""

    @property
    def redirect_uri(self) -> str:
        """The redirect URI to register at Xero."""
        return self.web_url.rstrip("/") + "/xero/callback"
