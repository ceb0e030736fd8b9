"""JWTs as credentials of callers: whether one is good, and what it says of its bearer.

Only asymmetric algorithms are accepted, each with keys of its own kind: a token that says `none`, or is signed with a
public key as if that were a secret (RFC 8725, 2.1), is worth nothing.
"""

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwt import JWTClaimsRegistry

from tieout_server.callers.caller import ALL_MERCHANTS, Caller, Role
from tieout_server.callers.issuer_keys import IssuerKeys, PublicKey

ALGORITHMS = {"RS256": "RSA", "ES256": "EC", "Ed25519": "OKP", "EdDSA": "OKP"}
"""What tokens may be signed with, and the kind of key that it takes. The last one is what RFC 9864 calls Ed25519."""
LEEWAY = 60
"""Seconds by which the issuer's clock and ours may differ."""
BELIEVED = 60.0
"""Seconds for which a token that was verified is not verified again."""
MOST_KNOWN = 10_000
_MOST_NAME = 200


class ClaimNames(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say, and in which claims it says what its bearer may do."""

    issuer: str
    audience: str
    roles: str
    merchants: str


class Jwts:
    """The tokens of one issuer."""

    def __init__(
        self, keys: IssuerKeys, claims: ClaimNames, now: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._claims = claims
        self._now = now
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[float, float, Caller]] = OrderedDict()

    async def caller_of(self, token: str) -> Caller | None:
        """Whose token this is; None if it is not good.

        Raises:
            IssuerUnavailableError: the issuer's keys are needed to say, and it does not answer.
        """
        if (known := self._at_hand(token)) is not None:
            return known
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError):
            return None
        algorithm, key_id = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS or not isinstance(key_id, str):
            return None
        key = await self._keys.find(key_id)
        if key is None or key.key_type != ALGORITHMS[algorithm]:
            return None
        claims = self._verified(token, key, algorithm)
        if claims is None or (caller := self._bearer(claims)) is None:
            return None
        self._remember(token, claims, caller)
        return caller

    def _at_hand(self, token: str) -> Caller | None:
        """Whose token this is, if it was verified a moment ago and is good still."""
        read_at, expires, caller = self._known.get(_digest(token), (float("-inf"), 0.0, None))
        is_fresh = self._monotonic() - read_at < BELIEVED and self._now() < expires + LEEWAY
        return caller if is_fresh else None

    def was_good(self, token: str) -> bool:
        """Whether it was verified before, and has not expired since."""
        _, expires, _ = self._known.get(_digest(token), (0.0, float("-inf"), None))
        return self._now() < expires + LEEWAY

    def _verified(self, token: str, key: PublicKey, algorithm: str) -> Mapping[str, object] | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # issuers still write EdDSA
                claims: Mapping[str, object] = jwt.decode(token, key, algorithms=[algorithm]).claims
            JWTClaimsRegistry(
                now=lambda: int(self._now()),
                leeway=LEEWAY,
                iss={"essential": True, "value": self._claims.issuer},
                aud={"essential": True, "value": self._claims.audience},
                exp={"essential": True},
                sub={"essential": True},
            ).validate(dict(claims))
        except (JoseError, ValueError, TypeError):
            return None
        return claims

    def _bearer(self, claims: Mapping[str, object]) -> Caller | None:
        subject = str(claims["sub"])
        if not subject.isprintable() or not 0 < len(subject) <= _MOST_NAME:
            return None
        words = _words(claims.get(self._claims.roles))
        named = claims.get(self._claims.merchants)
        merchants = None if named is None and ALL_MERCHANTS in words else frozenset(_words(named, split=False))
        return Caller(f"jwt:{subject}", "jwt", frozenset(role for role in Role if role in words), merchants)

    def _remember(self, token: str, claims: Mapping[str, object], caller: Caller) -> None:
        expires = claims["exp"]
        assert isinstance(expires, int | float), "it was verified"
        self._known[_digest(token)] = self._monotonic(), expires, caller
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _words(claim: object, *, split: bool = True) -> frozenset[str]:
    """The words of a claim: a list of texts, or one text, which may hold several roles but names one merchant."""
    if isinstance(claim, str):
        return frozenset(claim.split() if split else (claim,))
    return frozenset(it for it in claim if isinstance(it, str)) if isinstance(claim, list) else frozenset()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
