"""JSON Web Tokens as identity.xero.com signs them: RS256, with the claims that clients read."""

import base64
import functools
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

ISSUER = "https://identity.xero.com"
AUDIENCE = "https://identity.xero.com/resources"
ACCESS_TOKEN_LIFE = timedelta(minutes=30)
"""Xero, token types."""
ID_TOKEN_LIFE = timedelta(minutes=5)
"""Xero, token types."""
_KEY_BITS = 2048


@functools.cache
def coming_key() -> Future[RSAKey]:
    """The key of this process, being made meanwhile: it takes up to half a second, and no turn of this thread."""
    maker = ThreadPoolExecutor(1)
    made = maker.submit(_new_key)
    maker.shutdown(wait=False)
    return made


def signing_key() -> RSAKey:
    """The key of this process."""
    return coming_key().result()


def _new_key() -> RSAKey:
    key = RSAKey.generate_key(_KEY_BITS, {"use": "sig", "alg": "RS256"}, private=True)
    key.ensure_kid()
    return key


def key_set() -> dict[str, Any]:
    """The public half, as `/.well-known/openid-configuration/jwks` shows it."""
    return {"keys": [signing_key().as_dict(private=False)]}


def sign(claims: dict[str, Any]) -> str:
    """A signed token with these claims."""
    key = signing_key()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha1(str(key.kid).encode(), usedforsecurity=False).digest())
    header = {"alg": "RS256", "kid": key.kid, "typ": "JWT", "x5t": thumbprint.decode().rstrip("=")}
    return jwt.encode(header, claims, key)


def claims_of(token: str) -> dict[str, Any] | None:
    """The claims of a token that we signed, or None; whether it has expired is for the caller to see."""
    try:
        return dict(jwt.decode(token, signing_key(), algorithms=["RS256"]).claims)
    except (JoseError, ValueError):
        return None


def epoch(at: datetime) -> int:
    """Seconds since 1970, as claims count them."""
    return int(at.timestamp())


def at_hash(access_token: str) -> str:
    """The left half of the access token's hash, which binds an id_token to it (OpenID Connect Core, 3.1.3.6)."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
