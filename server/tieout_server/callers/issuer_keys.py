"""The public keys of the issuer whose JWTs are accepted: fetched, kept, and fetched again when they rotate.

An issuer that is away costs nobody their access whose key is known here. Forged key ids do not make us hammer it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from tieout_server.errors import IssuerUnavailableError, OperatorMustActError

PublicKey = RSAKey | ECKey | OKPKey
Fetch = Callable[[str], Awaitable[bytes]]
"""The body at an address. Raises IssuerUnavailableError."""

KEPT = 600.0
"""Seconds after which keys are read anew, so that one that was withdrawn is found out."""
ANEW_AFTER = 10.0
"""Seconds between two fetches at least, whatever key ids come."""
PATIENCE = 0.5
"""Seconds, once reading anew has begun, for which somebody waits whose key is known."""

_WELL_KNOWN = "/.well-known/openid-configuration"


class IssuerSettingsError(OperatorMustActError):
    """The settings of the issuer of JWTs cannot be used; an operator corrects them."""


class _Published(msgspec.Struct):
    """What is read of an issuer's configuration (OpenID Connect Discovery 1.0, 4.2)."""

    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    """What is read of its keys (RFC 7517, 5)."""

    keys: list[dict[str, object]]


class IssuerKeys:
    """The issuer's keys by their ids."""

    def __init__(self, issuer: str, jwks_url: str, fetch: Fetch, now: Callable[[], float]) -> None:
        check_address("TIEOUT_JWT_ISSUER", issuer)
        if jwks_url:
            check_address("TIEOUT_JWKS_URL", jwks_url)
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch = fetch
        self._now = now
        self._keys: dict[str, PublicKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._trouble = ""
        """Why the keys could not be read when that was tried last."""
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PublicKey | None:
        """The key with this id; None if the issuer has none. Without an id: its only key.

        Raises:
            IssuerUnavailableError: it is not known yet, and the issuer does not answer.
        """
        if self._is_due(key_id):
            self._tried_at = self._now()
            # For all who need it: whoever asked first may give up sooner than the issuer answers.
            self._reading = asyncio.create_task(self._read(), name="keys of the issuer")
        if self._reading and not self._reading.done():
            left = max(0.0, self._tried_at + PATIENCE - self._now()) if self._known(key_id) else None
            await asyncio.wait((self._reading,), timeout=left)
        if (key := self._known(key_id)) is None and self._trouble:
            raise IssuerUnavailableError(self._trouble)
        return key

    def _known(self, key_id: str) -> PublicKey | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_due(self, key_id: str) -> bool:
        now = self._now()
        wanted = now - self._read_at >= KEPT or self._known(key_id) is None
        is_reading = self._reading is not None and not self._reading.done()
        return wanted and not is_reading and now - self._tried_at >= ANEW_AFTER

    async def _read(self) -> None:
        """Read the keys anew; those that are known stay if that fails."""
        try:
            self._keys = _public_keys(await self._fetch(await self._address()))
        except IssuerUnavailableError as away:
            self._trouble = away.sentence
        else:
            self._read_at = self._tried_at
            self._trouble = "" if self._keys else "The issuer of tokens publishes no key that can be used."

    async def _address(self) -> str:
        if self._jwks_url:
            return self._jwks_url
        body = await self._fetch(self._issuer.rstrip("/") + _WELL_KNOWN)
        try:
            published = msgspec.json.decode(body, type=_Published)
            check_address("jwks_uri", published.jwks_uri)
        except (msgspec.MsgspecError, UnicodeDecodeError, IssuerSettingsError) as error:
            raise IssuerUnavailableError("The issuer of tokens publishes no usable configuration.") from error
        if published.issuer != self._issuer:
            raise IssuerUnavailableError("The issuer of tokens publishes another issuer's configuration.")
        return published.jwks_uri


def check_address(setting: str, url: str) -> None:
    """Check that keys may be read from this address.

    Raises:
        IssuerSettingsError: it is not HTTPS, and not on this machine.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_this_machine(parts.hostname or ""):
        return
    raise IssuerSettingsError(f"{setting}: {url!r} must be an https:// address (http:// only on this machine).")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _public_keys(body: bytes) -> dict[str, PublicKey]:
    """The keys that can verify a signature; others are passed over, symmetric ones above all."""
    try:
        published = msgspec.json.decode(body, type=_KeySet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IssuerUnavailableError("The issuer of tokens publishes no usable keys.") from error
    found: dict[str, PublicKey] = {}
    for one in published:
        if one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key(one)  # type: ignore[arg-type] # whatever it is, it says so if it is no key
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey):
            found[str(one.get("kid", ""))] = key
    return found
