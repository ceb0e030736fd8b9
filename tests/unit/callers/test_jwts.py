"""JWTs of a real issuer: which are good, what they permit, and how its keys are kept, rotated and withdrawn."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from issuer import AUDIENCE, Issuer, issuing
from tieout_server.callers.caller import Role
from tieout_server.callers.issuer_keys import ANEW_AFTER, KEPT, PATIENCE, IssuerKeys, IssuerSettingsError, check_address
from tieout_server.callers.jwts import BELIEVED, LEEWAY, ClaimNames, Jwts
from tieout_server.errors import IssuerUnavailableError
from tieout_server.web import issuer as reading


@dataclass
class Judge:
    """Who judges tokens, at a time that a test moves."""

    issuer: Issuer
    jwks_url: str = ""
    passed: float = 0.0
    jwts: Jwts = field(init=False)

    def __post_init__(self) -> None:
        names = ClaimNames(
            issuer=self.issuer.url, audience=AUDIENCE, roles="tieout_roles", merchants="tieout_merchants"
        )
        keys = IssuerKeys(self.issuer.url, self.jwks_url, reading.read, lambda: self.passed)
        self.jwts = Jwts(keys, names, lambda: time.time() + self.passed, lambda: self.passed)

    async def accepts(self, token: str) -> bool:
        return await self.jwts.caller_of(token) is not None


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        made.add_key("k1")
        yield made


@pytest.fixture
def judge(issuer: Issuer) -> Judge:
    return Judge(issuer)


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("RS256", "RSA"), ("ES256", "EC"), ("Ed25519", "OKP"), ("EdDSA", "OKP")]
)
async def test_a_token_of_the_issuer_names_its_caller(issuer: Issuer, judge: Judge, algorithm: str, kind: str) -> None:
    issuer.add_key("k2", kind)
    caller = await judge.jwts.caller_of(issuer.token("k2", algorithm))
    assert caller is not None
    assert (caller.name, caller.authenticated_by) == ("jwt:console", "jwt")
    assert (caller.roles, caller.merchants) == (frozenset({Role.READER}), frozenset({"m-1"}))


@pytest.mark.parametrize(
    ("claims", "roles", "merchants"),
    [
        ({"tieout_roles": "reader exporter"}, {Role.READER, Role.EXPORTER}, {"m-1"}),
        ({"tieout_roles": ["operator", "king", 7]}, {Role.OPERATOR}, {"m-1"}),
        ({"tieout_roles": None}, set(), {"m-1"}),
        ({"tieout_merchants": None}, {Role.READER}, set()),
        ({"tieout_merchants": None, "tieout_roles": ["operator", "all"]}, {Role.OPERATOR}, None),
        ({"tieout_roles": ["operator", "all"]}, {Role.OPERATOR}, {"m-1"}),
        ({"tieout_merchants": "m 2"}, {Role.READER}, {"m 2"}),
        ({"tieout_merchants": {"m": 1}}, {Role.READER}, set()),
        ({"tieout_merchants": []}, {Role.READER}, set()),
    ],
)
async def test_what_a_token_does_not_say_it_does_not_permit(
    issuer: Issuer, judge: Judge, claims: dict[str, Any], roles: set[Role], merchants: set[str] | None
) -> None:
    caller = await judge.jwts.caller_of(issuer.token("k1", **claims))
    assert caller is not None
    assert set(caller.roles) == roles
    assert (None if caller.merchants is None else set(caller.merchants)) == merchants


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://somebody.else"}, {"iss": None}, {"aud": "another service"}, {"aud": None}, {"exp": None},
        {"aud": ["another"]}, {"exp": -LEEWAY - 5}, {"nbf": 600}, {"iat": 600}, {"exp": "tomorrow"},
        {"sub": None}, {"sub": ""}, {"sub": "x" * 201}, {"sub": "a\nb"}, {"sub": 7},
    ],
    ids=str,
)  # fmt: skip
async def test_a_token_for_others_or_for_another_time_is_no_good(
    issuer: Issuer, judge: Judge, claims: dict[str, Any]
) -> None:
    now = int(time.time())  # instants are given from now on, so that the name of a test is the same in every process
    said: dict[str, Any] = {name: now + value if name in ("exp", "nbf", "iat") and isinstance(value, int) else value
            for name, value in claims.items()}  # fmt: skip
    assert not await judge.accepts(issuer.token("k1", **said))
    assert await judge.accepts(issuer.token("k1"))


async def test_a_token_may_be_for_others_as_well(issuer: Issuer, judge: Judge) -> None:
    assert await judge.accepts(issuer.token("k1", aud=["another service", AUDIENCE]))


async def test_a_clock_may_be_wrong_by_a_little(issuer: Issuer, judge: Judge) -> None:
    now = int(time.time())
    assert await judge.accepts(issuer.token("k1", exp=now - LEEWAY // 2))
    assert await judge.accepts(issuer.token("k1", nbf=now + LEEWAY // 2, iat=now + LEEWAY // 2))


async def test_a_token_that_is_not_signed_by_the_issuer_is_no_good(issuer: Issuer, judge: Judge) -> None:
    head, body, signature = issuer.token("k1").split(".")
    none = _part({"alg": "none", "kid": "k1"})
    by_public_key = _signed_with({"alg": "HS256", "kid": "k1"}, body, issuer.keys["k1"].as_pem(private=False))
    by_another = issuer.token("k1", key=Issuer().add_key("k1"))
    altered = _part({"sub": "root"})
    for token in (
        f"{none}.{body}.", f"{none}.{body}.{signature}", by_public_key, by_another, f"{head}.{altered}.{signature}",
        f"{head}.{body}", "", "a.b.c", "ü.ü.ü", f"{head}.{body}.{signature}.x",
    ):  # fmt: skip
        assert not await judge.accepts(token), token


def _part(of: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(of).encode()).decode().rstrip("=")


def _signed_with(header: dict[str, str], body: str, secret: bytes) -> str:
    """A token whose signature takes a public key for a shared secret."""
    signed = f"{_part(header)}.{body}"
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_a_key_of_another_kind_than_the_algorithm_is_not_used(issuer: Issuer, judge: Judge) -> None:
    ec = issuer.add_key("k2", "EC")
    assert not await judge.accepts(issuer.token("k1", "ES256", key=ec))


async def test_a_new_key_is_found_and_one_that_was_withdrawn_forgotten(issuer: Issuer, judge: Judge) -> None:
    old = issuer.token("k1")
    assert await judge.accepts(old)
    issuer.add_key("k2")
    judge.passed += ANEW_AFTER
    assert await judge.accepts(issuer.token("k2"))
    token = issuer.token("k1", sub="another")
    del issuer.keys["k1"]
    assert await judge.accepts(token)  # it is not asked every time
    judge.passed += KEPT
    later: dict[str, Any] = {"exp": int(time.time() + judge.passed + 300)}
    assert await judge.accepts(issuer.token("k2", **later))
    assert not await judge.accepts(token)
    assert not await judge.accepts(old)


async def test_forged_key_ids_do_not_hammer_the_issuer(issuer: Issuer, judge: Judge) -> None:
    key = issuer.keys["k1"]
    for number in range(50):
        assert not await judge.accepts(issuer.token(f"forged-{number}", key=key))
    assert len(issuer.asked) == 2  # once its configuration, once its keys
    judge.passed += ANEW_AFTER
    for number in range(50):
        assert not await judge.accepts(issuer.token(f"forged-{number}", key=key))
    assert len(issuer.asked) == 4


async def test_an_issuer_that_is_away_locks_nobody_out_whose_key_is_known(issuer: Issuer, judge: Judge) -> None:
    assert await judge.accepts(issuer.token("k1"))
    issuer.is_away = True
    judge.passed += KEPT + BELIEVED
    assert await judge.accepts(issuer.token("k1", exp=int(time.time() + judge.passed + 300)))


async def test_an_issuer_that_does_not_answer_holds_up_nobody_whose_key_is_known(issuer: Issuer, judge: Judge) -> None:
    assert await judge.accepts(issuer.token("k1"))
    issuer.answers.clear()
    judge.passed += KEPT + BELIEVED
    async with asyncio.timeout(4 * PATIENCE):
        assert await judge.accepts(issuer.token("k1", exp=int(time.time() + judge.passed + 300)))


async def test_a_key_that_is_new_while_the_issuer_is_away_cannot_be_judged(issuer: Issuer, judge: Judge) -> None:
    assert await judge.accepts(issuer.token("k1"))
    issuer.add_key("k2")
    issuer.is_away = True
    judge.passed += ANEW_AFTER
    for _ in range(2):
        with pytest.raises(IssuerUnavailableError):
            await judge.accepts(issuer.token("k2"))
    assert len(issuer.asked) == 3, "and is not hammered"


async def test_an_issuer_without_keys_is_no_reason_to_refuse_anybody_for_good(issuer: Issuer, judge: Judge) -> None:
    assert await judge.accepts(issuer.token("k1"))
    token = issuer.token("k1", sub="another")
    issuer.keys.clear()
    judge.passed += KEPT
    with pytest.raises(IssuerUnavailableError):
        await judge.accepts(token)


async def test_keys_that_a_caller_did_not_wait_for_are_read_for_the_next_one(issuer: Issuer, judge: Judge) -> None:
    issuer.answers.clear()
    impatient = asyncio.create_task(judge.accepts(issuer.token("k1")))
    while not issuer.asked:  # noqa: ASYNC110 - the issuer is asked over a socket
        await asyncio.sleep(0.01)
    impatient.cancel()
    await asyncio.wait([impatient])
    issuer.answers.set()
    assert await judge.accepts(issuer.token("k1"))


async def test_an_issuer_that_was_never_reached_is_away_and_not_a_wrong_token(issuer: Issuer, judge: Judge) -> None:
    issuer.is_away = True
    with pytest.raises(IssuerUnavailableError):
        await judge.accepts(issuer.token("k1"))
    issuer.is_away = False
    judge.passed += ANEW_AFTER
    assert await judge.accepts(issuer.token("k1"))


async def test_another_issuers_configuration_is_not_believed(issuer: Issuer, judge: Judge) -> None:
    issuer.says = "https://somebody.else"
    with pytest.raises(IssuerUnavailableError):
        await judge.accepts(issuer.token("k1"))


async def test_keys_come_from_where_the_operator_says(issuer: Issuer) -> None:
    assert await Judge(issuer, jwks_url=f"{issuer.url}/keys").accepts(issuer.token("k1"))
    assert issuer.asked == ["/keys"]


async def test_a_token_that_was_verified_is_good_until_it_expires_and_no_longer(issuer: Issuer, judge: Judge) -> None:
    token = issuer.token("k1", exp=int(time.time()) + 30)
    assert await judge.accepts(token)
    judge.passed += 30 + LEEWAY - 5  # in real time a moment passes as well
    assert await judge.accepts(token)
    judge.passed += 10
    assert not await judge.accepts(token)


@pytest.mark.parametrize(
    "url", ["https://issuer.example", "http://127.0.0.1:8080/x", "http://localhost", "http://[::1]"]
)
def test_keys_are_read_over_https_or_on_this_machine(url: str) -> None:
    check_address("TIEOUT_JWT_ISSUER", url)


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example", "ftp://issuer.example", "issuer.example", "https://", "http://localhost.evil.example"],
)
def test_keys_are_read_in_no_other_way(url: str) -> None:
    with pytest.raises(IssuerSettingsError, match="https"):
        check_address("TIEOUT_JWT_ISSUER", url)
