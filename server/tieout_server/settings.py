"""The server's settings, from environment variables that begin with TIEOUT_."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SCOPES = (
    "openid profile email offline_access accounting.contacts.read accounting.settings.read "
    "accounting.invoices accounting.payments accounting.banktransactions accounting.reports.aged.read"
)
"""The granular scopes that reading and exporting payments need (Xero, Scopes, since March 2026)."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names by which a machine reaches itself."""

LEAST_KEPT = timedelta(days=7)
"""As long as resume tokens are good: less would take away what a watcher may still ask for."""


class Settings(BaseSettings):
    """What an operator can set; server/operations/settings.md holds the same table."""

    model_config = SettingsConfigDict(env_prefix="TIEOUT_", env_file=None, extra="ignore")

    database_url: str = Field(default="sqlite:///tieout.db", repr=False)
    """Where the mirror lives: sqlite:///path or postgresql://user:password@host/name."""
    database_listen_url: str = Field(default="", repr=False)
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
    """Bearer token of a caller that may do everything, for bootstrap and small set-ups."""
    allow_anonymous: bool = False
    """Let everybody do everything, beyond loopback too, while no way to tell callers apart is configured."""
    jwt_issuer: str = ""
    """Issuer of the JWTs that callers may send, as their `iss` has it; empty accepts none."""
    jwt_audience: str = ""
    """What their `aud` must contain; needed with an issuer."""
    jwks_url: str = ""
    """Where the issuer's keys are; empty: found by its /.well-known/openid-configuration."""
    jwt_roles_claim: str = "tieout_roles"
    """The claim that holds the roles: reader, operator, exporter, all."""
    jwt_merchants_claim: str = "tieout_merchants"
    """The claim that holds the merchants; without it a caller sees none, or all with the role `all`."""
    caller_rate: float = Field(default=1000.0, gt=0)
    """Calls a second that one caller may make on one replica; twice as many at once."""
    caller_streams: int = Field(default=5000, ge=1)
    """Streams that one caller may have open on one replica."""

    drain_notice: timedelta = Field(default=timedelta(0), ge=timedelta(0), le=timedelta(seconds=2))
    """How long a server that is stopped still serves while it says that it is not ready, for load balancers to notice;
    part of the ten seconds within which it ends."""

    web_listen: str = "127.0.0.1:7441"
    """Address of the web server: authorisation callback and health."""
    web_url: str = "http://localhost:7441"
    """How browsers reach the web server; the redirect URI registered at Xero is this with /xero/callback."""
    web_trusted_proxies: str = ""
    """Reverse proxies whose X-Forwarded-For is believed: addresses or networks, comma-separated; empty: none."""
    return_url_allow: str = ""
    """Where the callback page may send people on to: comma-separated URL prefixes; loopback is always allowed."""

    metrics_listen: str = ""
    """Address of metrics and probes for operators, such as 127.0.0.1:7442; empty: none. It asks nobody who they are."""
    traces: str = Field(default="", pattern="^(|otlp)$")
    """Where traces go: `otlp`, to where the standard OTEL_… variables say; empty: nowhere."""
    channelz: bool = False
    """Whether gRPC tells of its channels and sockets (channelz): to callers with a token, or on this machine."""

    xero_client_id: str = ""
    """Client id of the app registered at Xero."""
    xero_client_secret: SecretStr = SecretStr("")
    """Its secret."""
    xero_scopes: str = SCOPES
    """What consent is asked for."""
    xero_webhook_key: SecretStr = SecretStr("")
    """Keys that Xero signs webhooks with, comma-separated while one replaces another; empty turns webhooks off."""
    xero_plain_http: bool = False
    """Whether Xero's addresses may be plain http beyond this machine: only for a sandbox in another container."""
    xero_login_url: str = "https://login.xero.com"
    """Host of the consent page."""
    xero_identity_url: str = "https://identity.xero.com"
    """Host of the token endpoint."""
    xero_api_url: str = "https://api.xero.com"
    """Host of the Accounting API and of /connections."""
    xero_timeout: timedelta = Field(default=timedelta(seconds=60), gt=timedelta(0), le=timedelta(minutes=2))
    """How long one call to Xero may take; longer, a lost payment might arrive after it was given up."""

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

    @field_validator("*", mode="before")
    @classmethod
    def _is_whole(cls, value: object) -> object:
        """Without what stands around it: a secret that was made of a file ends with its last line's end."""
        return value.strip() if isinstance(value, str) else value

    @field_validator("tls_cert_file", "tls_key_file", "tls_client_ca_file", mode="before")
    @classmethod
    def _is_file(cls, value: object) -> object:
        """None where it is set to nothing, which would name the folder that this runs in."""
        return value or None

    @field_validator("xero_login_url", "xero_identity_url", "xero_api_url")
    @classmethod
    def _is_private(cls, url: str, others: ValidationInfo) -> str:
        """The client secret and all tokens go there: nobody on the way may read them."""
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname:
            return url
        if parts.scheme == "http" and (parts.hostname in LOOPBACK or others.data.get("xero_plain_http")):
            return url
        raise ValueError(
            f"{url!r} is no https:// address; beyond this machine secrets would be readable on the way. "
            "For a sandbox elsewhere set TIEOUT_XERO_PLAIN_HTTP=true"
        )

    @property
    def redirect_uri(self) -> str:
        """The redirect URI to register at Xero."""
        return self.web_url.rstrip("/") + "/xero/callback"
