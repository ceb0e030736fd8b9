"""Keys: `tk_<id>_<secret>`, shown once; what is kept is an id to find it by, and a digest to know it by.

The secret is 256 random bits, so one SHA-256 is enough: slow hashes make guessable passwords dearer to guess, and
nobody guesses 2^256. A stolen digest opens nothing, and a call costs a microsecond.
"""

import hashlib
import hmac
import re
import secrets

import msgspec

PREFIX = "tk_"
_FORM = re.compile(r"tk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Shown(msgspec.Struct, frozen=True):
    """A key as a caller shows it."""

    id: str
    secret: str

    def __repr__(self) -> str:
        """Not the secret."""
        return f"Shown(id={self.id!r})"

    @property
    def text(self) -> str:
        """The whole key, to be given to the caller and kept nowhere."""
        return f"{PREFIX}{self.id}_{self.secret}"


def make() -> Shown:
    """A new key."""
    return Shown(secrets.token_hex(6), secrets.token_urlsafe(32))


def parse(text: str) -> Shown | None:
    """The parts of a key; None if this is none."""
    found = _FORM.fullmatch(text)
    return Shown(*found.groups()) if found else None


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def is_same(secret: str, digest: bytes) -> bool:
    """Whether this secret has this digest; how long the answer takes tells nothing."""
    return hmac.compare_digest(digest_of(secret), digest)
