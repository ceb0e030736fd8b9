"""What a hostile Xero, or whoever stands between, can do to a call: each of it is bounded."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import msgspec
import pytest
from pydantic import SecretStr

from hostile_xero import LEFT, HostileXero, Reply, hostile_xero
from tieout_server.clock import SystemClock
from tieout_server.errors import (
    AnswerLostError,
    CallLimitError,
    CredentialsExpiredError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.settings import Settings
from tieout_server.xero import transport
from tieout_server.xero.answers import LONGEST_DAY, LONGEST_MINUTE, Answer, LimitRefused, refusal, without_nul
from tieout_server.xero.limits import Limits
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.transport import ATTEMPTS, Access, Request, Transport, open_session

SPEED = 10_000.0
READ = Request(path="Invoices", purpose=Purpose.POLL)
WRITE = Request(path="Payments", purpose=Purpose.PAYMENT_EXPORT, method="PUT", content=b"{}")
GOOD = Reply(b'{"ok": true}')


class Tokens:
    async def access_token(self, *, refused: str | None = None) -> str:  # noqa: ARG002 - there is one
        return "secret-token"


@dataclass
class Around:
    """A hostile Xero, and what calls it."""

    xero: HostileXero
    session: aiohttp.ClientSession
    settings: Settings
    clock: SystemClock = field(default_factory=lambda: SystemClock(SPEED))

    def __post_init__(self) -> None:
        self.transport = Transport(self.session, self.settings, self.clock, CallsInMemory(), Limits(self.clock))
        self.identity = XeroIdentity(self.session, self.settings, self.clock)

    async def fetch(self, *replies: Reply, request: Request = READ) -> object:
        """What a call comes to that is answered so; the last answer is given again and again."""
        left = list(replies)
        self.xero.spoil = lambda _: left.pop(0) if len(left) > 1 else left[0]
        return (await self.transport.fetch(Access("acme", Tokens()), request, msgspec.json.decode)).content


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    async with hostile_xero() as xero:
        settings = Settings(
            xero_api_url=xero.url, xero_identity_url=xero.url, xero_client_id="id",
            xero_client_secret=SecretStr("secret"), xero_timeout=timedelta(seconds=20),
        )  # fmt: skip
        async with open_session(settings) as session:
            yield Around(xero, session, settings)


def packed(body: bytes) -> bytes:
    work = zlib.compressobj(wbits=31)
    return work.compress(body) + work.flush()


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"[" + b"1," * 1_000_000, length=-1),
        Reply(b"[" + b"1," * 1_000_000),
        Reply(packed(b" " * 2_000_000), headers=(*LEFT, ("Content-Encoding", "gzip"))),
    ],
    ids=["endless", "large", "bomb"],
)
async def test_no_answer_is_larger_than_it_may_be(
    around: Around, reply: Reply, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LARGEST_BODY", 1_000_000)
    with pytest.raises(AnswerLostError if request_ is WRITE else XeroUnavailableError):
        await around.fetch(reply, request=request_)
    assert len(around.xero.requests) == (1 if request_ is WRITE else ATTEMPTS)
    assert await around.fetch(GOOD) == {"ok": True}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_nobody_is_followed_elsewhere_with_our_token(around: Around, status: str) -> None:
    async with hostile_xero() as elsewhere:
        away = Reply(b"", status, (*LEFT, ("Location", f"{elsewhere.url}/api.xro/2.0/Invoices")))
        for request in (READ, WRITE):
            with pytest.raises(TieoutError):
                await around.fetch(away, request=request)
        for call in (around.identity.refresh("r"), around.identity.memberships("a"), around.identity.revoke("r")):
            with pytest.raises(TieoutError):
                await call
        assert elsewhere.requests == []


@pytest.mark.parametrize("retry_after", ["-5", "soon", "", "1e9", "9" * 400, "9" * 5_000, "999999999", "\u0663"])
async def test_a_limit_is_believed_for_as_long_as_it_can_last(around: Around, retry_after: str) -> None:
    def refused(problem: str) -> Reply:
        headers = (*LEFT, ("X-Rate-Limit-Problem", problem), ("Retry-After", retry_after.encode().decode("latin-1")))
        return Reply(b"", "429 Too Many Requests", headers)

    for problem in ("minute", "appminute", "concurrent"):
        assert await around.fetch(refused(problem), GOOD) == {"ok": True}
        found = refusal(Answer(429, {"x-rate-limit-problem": problem, "retry-after": retry_after}, b""))
        assert isinstance(found, LimitRefused)
        assert found.retry_after is None or 0 <= found.retry_after <= LONGEST_MINUTE
    with pytest.raises(CallLimitError) as over:
        await around.fetch(refused("day"))
    assert over.value.retry_at is not None
    assert over.value.retry_at - around.clock.now() <= timedelta(seconds=LONGEST_DAY)


@pytest.mark.parametrize("left", ["-1", "many", "9" * 400, "9" * 5_000, "1e3", "\x01"])
async def test_what_no_limit_says_is_not_believed(around: Around, left: str) -> None:
    names = ("X-MinLimit-Remaining", "X-DayLimit-Remaining", "X-AppMinLimit-Remaining")
    odd = Reply(GOOD.body, headers=tuple((name, left) for name in names))
    try:
        assert await around.fetch(odd) == {"ok": True}
    except XeroUnavailableError:
        assert left == "\x01"  # no header may hold it
    assert await around.fetch(GOOD) == {"ok": True}


async def test_headers_without_end_are_trouble_at_xero(around: Around) -> None:
    for headers in ((("X", "x" * 100_000),), tuple((f"X-{number}", "x") for number in range(50_000))):
        with pytest.raises(XeroUnavailableError):
            await around.fetch(Reply(GOOD.body, headers=headers))
    assert await around.fetch(GOOD) == {"ok": True}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'"a\\u0000b"', r"a\u0000b"),  # a backslash and no escape
        (rb'"\\\u0000\u0000"', "\\\ufffd\ufffd"),
        (b'"none"', "none"),
    ],
)
def test_a_nul_is_shown_as_what_cannot_be_shown(sent: bytes, read: str) -> None:
    assert msgspec.json.decode(without_nul(sent)) == read
    assert without_nul(b"a\0b") == "a\ufffdb".encode()


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"Elements":' + b"[" * 900 + b"]" * 900 + b"}", b'{"detail": [1]}'])
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_a_refusal_that_nobody_would_write_is_a_refusal(status: int, body: bytes) -> None:
    assert len(str(refusal(Answer(status, {}, body)))) < 1_200


async def test_looking_for_words_in_a_page_holds_nobody_up(around: Around) -> None:
    """Tags that never end were looked at again from each of their beginnings: minutes for a megabyte."""
    async with asyncio.timeout(20):
        for page in (b"<script " * 200_000, b"<" * 1_000_000):
            with pytest.raises(UnexpectedAnswerError):
                await around.fetch(Reply(page, "400 Bad Request"))


TOKEN = "x.eyJ4ZXJvX3VzZXJpZCI6InUifQ.x"


@pytest.mark.parametrize(
    "answer",
    [
        {"access_token": TOKEN, "refresh_token": None, "expires_in": 1800},
        {"access_token": TOKEN, "refresh_token": "", "expires_in": 1800},
        {"access_token": None, "refresh_token": "r", "expires_in": 1800},
        {"access_token": TOKEN, "refresh_token": "r", "expires_in": [1800]},
        {"access_token": TOKEN, "refresh_token": "r", "expires_in": -1},
        {"access_token": "x.W10.x", "refresh_token": "r", "expires_in": 1800},
        {"error": ["invalid_grant"]},
        [1],
        5,
    ],
    ids=str,
)
async def test_tokens_that_are_none_are_never_taken(around: Around, answer: object) -> None:
    around.xero.spoil = lambda _: Reply(msgspec.json.encode(answer))
    with pytest.raises((UnexpectedAnswerError, XeroUnavailableError)) as refused:
        await around.identity.refresh("old")
    assert not isinstance(refused.value, CredentialsExpiredError)  # the old one is still good
    assert TOKEN not in str(refused.value)


async def test_a_token_is_not_believed_to_live_longer_than_a_day(around: Around) -> None:
    said = {"access_token": TOKEN, "refresh_token": "r", "expires_in": 10**15}
    around.xero.spoil = lambda _: Reply(msgspec.json.encode(said))
    given = await around.identity.refresh("old")
    assert given.access_expires_at - around.clock.now() <= timedelta(days=1)


@pytest.mark.parametrize("keys", [b"[]", b'{"keys": 5}', b'{"keys": [5]}', b'{"keys": [{"kty": []}]}', b"[" * 99_999])
async def test_keys_that_are_none_are_trouble_at_xero(around: Around, keys: bytes) -> None:
    around.xero.spoil = lambda _: Reply(keys)
    with pytest.raises(XeroUnavailableError):
        await around.identity.exchange(code="c", code_verifier="v" * 43)
