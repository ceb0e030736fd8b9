"""Authentication: whose call it is, by a bearer token first, or else by the certificate of the connection.

A token is TIEOUT_TOKEN, a key, or a JWT; one that is shown and no good is refused, whatever the certificate says.
"""

import hashlib
import hmac
import time
from datetime import timedelta

import msgspec

from tieout_server.callers import keys
from tieout_server.callers.caller import LOCAL, STATIC, Caller
from tieout_server.callers.issuer_keys import IssuerKeys, IssuerSettingsError
from tieout_server.callers.jwts import ClaimNames, Jwts
from tieout_server.callers.service import Callers
from tieout_server.errors import CallerRateLimitedError, CallerUnauthenticatedError
from tieout_server.rate import Rate, site_of
from tieout_server.settings import Settings

WRONG_EVERY = 1.0
"""Seconds for each of the credentials that one address may show in vain for long …"""
WRONG_AT_ONCE = 30.0
"""… and at once. Beyond that only what was good before is looked at: guesses cost no query and no signature."""


class Credentials(msgspec.Struct, frozen=True):
    """What a caller shows of itself, and from where."""

    authorization: str
    """The metadata of this name, as it came; empty if none did."""
    certificate_names: tuple[str, ...]
    """The names in the certificate that TLS has verified, the most telling one first."""
    address: str

    @property
    def token(self) -> str:
        """The bearer token; empty if it is none. The scheme may be written as one likes (RFC 9110, 11.1)."""
        scheme, _, token = self.authorization.partition(" ")
        return token if scheme.lower() == "bearer" else ""

    def __repr__(self) -> str:
        """Not the token."""
        return f"Credentials(certificate_names={self.certificate_names!r}, address={self.address!r})"


class Authentication:
    """Tells callers apart, as the operator has set it."""

    def __init__(self, callers: Callers, settings: Settings, *, only_here: bool) -> None:
        token = settings.token.get_secret_value()
        self._static = hashlib.sha256(token.encode()).digest() if token else b""
        self._directory = callers.directory
        self._clock = callers.clock
        self._jwts = _jwts(callers, settings)
        self.is_configured = bool(token or settings.jwt_issuer or settings.tls_client_ca_file)
        """Whether the settings alone tell callers apart; otherwise those that are registered do, if any are."""
        self._lets_anybody = not self.is_configured and (only_here or settings.allow_anonymous)
        self._wrong = Rate(WRONG_AT_ONCE, WRONG_EVERY, callers.monotonic)

    async def authenticate(self, shown: Credentials) -> Caller:
        """Whose call this is.

        Raises:
            CallerUnauthenticatedError: nobody's that we know.
            CallerRateLimitedError: its address has shown too much that is wrong.
            IssuerUnavailableError: it cannot be said now.
        """
        if not self._was_good(shown) and (wait := self._wrong.wait_for(site_of(shown.address))):
            raise CallerRateLimitedError(
                "Too many wrong credentials came from this address.", self._clock.now() + timedelta(seconds=wait)
            )
        caller = await self.identify(shown)
        if caller is None:
            self._wrong.take(site_of(shown.address))
            raise CallerUnauthenticatedError(_refusal(shown))
        return caller

    async def identify(self, shown: Credentials) -> Caller | None:
        """Whose call this is; None if it is nobody's."""
        if shown.authorization:
            return await self._bearer(shown.token) if shown.token else None
        if shown.certificate_names:
            return await self._directory.by_certificate(shown.certificate_names)
        return LOCAL if await self.lets_anybody() else None

    async def lets_anybody(self) -> bool:
        """Whether callers need not say who they are: nothing is configured, and nobody was ever registered."""
        return self._lets_anybody and await self._directory.is_empty()

    async def _bearer(self, token: str) -> Caller | None:
        if self._is_static(token):
            return STATIC
        if key := keys.parse(token):
            return await self._directory.by_key(key)
        return await self._jwts.caller_of(token) if self._jwts else None

    def _was_good(self, shown: Credentials) -> bool:
        """Whether this very thing was good when it was judged last; nothing is shown in vain that costs nothing."""
        if not shown.authorization:
            return not shown.certificate_names or self._directory.was_certificate_good(shown.certificate_names)
        token = shown.token
        if self._is_static(token):
            return True
        if key := keys.parse(token):
            return self._directory.was_key_good(key)
        return self._jwts is not None and self._jwts.was_good(token)

    def _is_static(self, token: str) -> bool:
        return bool(self._static) and hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._static)


def _jwts(callers: Callers, settings: Settings) -> Jwts | None:
    if not settings.jwt_issuer:
        return None
    if not settings.jwt_audience:
        raise IssuerSettingsError(
            "TIEOUT_JWT_AUDIENCE is needed with TIEOUT_JWT_ISSUER: tokens for others are no good."
        )
    issued = IssuerKeys(settings.jwt_issuer, settings.jwks_url, callers.fetch, callers.monotonic)
    claims = ClaimNames(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        roles=settings.jwt_roles_claim,
        merchants=settings.jwt_merchants_claim,
    )
    return Jwts(issued, claims, time.time, callers.monotonic)


def _refusal(shown: Credentials) -> str:
    if shown.authorization:
        return "The token is not one that this server accepts: unknown, expired, revoked, or for another service."
    if shown.certificate_names:
        return "Nobody is registered for this certificate; an operator does that by `tieout-server callers add`."
    return "This server wants the metadata `authorization: Bearer <token>`."
