"""One request at a time against a server that answers by script: what is sent, retried, refused, booked, kept."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
import structlog
from aiohttp import web

from tieout_server.clock import SystemClock
from tieout_server.errors import (
    AccessRevokedError,
    AnswerLostError,
    CallLimitError,
    RejectedError,
    ScopeMissingError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Purpose, WaitingFor
from tieout_server.ledger.calls import Calls, CallsInMemory
from tieout_server.settings import Settings
from tieout_server.xero.limits import Limits
from tieout_server.xero.transport import ATTEMPTS, USER_AGENT, Access, Request, SendBy, Transport, open_session

SPEED = 1_000.0
LEFT = {"X-MinLimit-Remaining": "59", "X-DayLimit-Remaining": "4999", "X-AppMinLimit-Remaining": "9999"}
READ = Request(path="Invoices", purpose=Purpose.POLL)
Script = Callable[[web.Request], web.StreamResponse]


def decode(body: bytes) -> object:
    return msgspec.json.decode(body) if body else None


def good(content: object = None, **headers: str) -> Script:
    return lambda _: web.json_response({"ok": True} if content is None else content, headers=LEFT | headers)


def bad(status: int, text: str = "", **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=status, text=text, headers=LEFT | named)


def problem(status: int, detail: str) -> Script:
    return bad(status, json.dumps({"Title": "x", "Status": status, "Detail": detail}))


def cut(request: web.Request) -> web.StreamResponse:
    """The connection is closed without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass
class Tokens:
    """Hands out good tokens one after the other; each one that was refused is noted."""

    refused: list[str | None] = field(default_factory=list)

    async def access_token(self, *, refused: str | None = None) -> str:
        self.refused.append(refused)
        return f"secret-token-{len(self.refused)}"


@dataclass
class Xero:
    """A server that answers its script line by line, and our transport to it."""

    script: list[Script] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    tokens: Tokens = field(default_factory=Tokens)
    calls: CallsInMemory = field(default_factory=CallsInMemory)
    clock: SystemClock = field(default_factory=lambda: SystemClock(SPEED))
    transport: Transport = field(init=False)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        return self.script.pop(0)(request)

    async def fetch(self, *script: Script, request: Request = READ) -> object:
        self.script.extend(script)
        return (await self.transport.fetch(Access("acme", self.tokens), request, decode)).content

    def booked(self) -> list[Calls]:
        return self.calls.take("acme")


@asynccontextmanager
async def listening(xero: Xero) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", xero.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def xero() -> AsyncIterator[Xero]:
    answering = Xero()
    async with listening(answering) as url:
        settings = Settings(xero_api_url=url, xero_timeout=timedelta(seconds=5))
        async with open_session(settings) as session:
            answering.transport = Transport(
                session, settings, answering.clock, answering.calls, Limits(answering.clock)
            )
            yield answering


async def test_a_request_says_who_asks_for_what_in_xeros_spelling(xero: Xero) -> None:
    since = datetime(2026, 11, 22, 13, 0, 5, 999_000, tzinfo=timezone(timedelta(hours=13)))
    request = Request(path="Invoices", purpose=Purpose.POLL, parameters={"where": 'Type=="ACCREC"'}, since=since)
    assert await xero.fetch(good(), request=request) == {"ok": True}
    sent = xero.requests[0]
    assert sent.path == "/api.xro/2.0/Invoices"
    assert dict(sent.query) == {"where": 'Type=="ACCREC"'}
    assert sent.headers["Authorization"] == "Bearer secret-token-1"
    assert sent.headers["xero-tenant-id"] == "acme"
    assert sent.headers["Accept"] == "application/json"
    assert sent.headers["Accept-Encoding"] == "gzip"
    assert sent.headers["User-Agent"] == USER_AGENT
    assert sent.headers["If-Modified-Since"] == "2026-11-22T00:00:05"


async def test_bytes_are_booked_as_they_travelled_and_as_they_are(xero: Xero) -> None:
    body = json.dumps({"rows": [1] * 5_000}).encode()
    packed = gzip.compress(body)
    await xero.fetch(lambda _: web.Response(body=packed, headers=LEFT | {"Content-Encoding": "gzip"}))
    assert xero.booked() == [
        Calls(purpose=Purpose.POLL, status=200, calls=1, wire_bytes=len(packed), body_bytes=len(body))
    ]
    assert xero.booked() == []


async def test_calls_of_one_kind_are_summed_until_they_are_taken(xero: Xero) -> None:
    for _ in range(3):
        await xero.fetch(good())
    (booked,) = xero.booked()
    assert (booked.calls, booked.wire_bytes, booked.body_bytes) == (3, 36, 36)


@pytest.mark.parametrize(
    "trouble",
    [
        bad(503, "The Organisation is offline"),
        bad(500, "<html>oops</html>"),
        bad(403, "<html><h1>Access Denied</h1></html>"),
        bad(200, '{"Invoices": [{"Inv'),
        bad(200, "<html>proxy</html>"),
        bad(200, ""),
        lambda _: web.Response(body=gzip.compress(b"{}" * 99)[:-9], headers=LEFT | {"Content-Encoding": "gzip"}),
        lambda _: web.Response(body=b"not gzip", headers=LEFT | {"Content-Encoding": "gzip"}),
    ],
    ids=["offline", "html-500", "html-403", "truncated", "not-json", "empty", "truncated-gzip", "damaged-gzip"],
)
async def test_passing_trouble_is_tried_again(xero: Xero, trouble: Script) -> None:
    assert await xero.fetch(trouble, trouble, good()) == {"ok": True}
    assert len(xero.requests) == 3


async def test_a_cut_connection_is_tried_again_and_booked_without_a_status(xero: Xero) -> None:
    assert await xero.fetch(good(), cut, cut, good()) == {"ok": True}
    assert await xero.fetch() == {"ok": True}
    assert {row.status: row.calls for row in xero.booked()} == {200: 2, 0: 2}
    assert len(xero.requests) == 4  # nothing between us and Xero repeats a call by itself


async def test_a_lasting_outage_is_reported_and_seen_while_it_is_waited_out(xero: Xero) -> None:
    fetching = asyncio.ensure_future(xero.fetch(*[bad(503, "The Xero API is temporarily unavailable")] * ATTEMPTS))
    seen = set()
    while not fetching.done():
        await asyncio.sleep(0)
        held_up = xero.transport.held_up("acme")
        seen.add(held_up and held_up.by)
    with pytest.raises(XeroUnavailableError):
        await fetching
    assert WaitingFor.XERO_UNAVAILABLE in seen
    assert xero.transport.held_up("acme") is None
    assert len(xero.requests) == ATTEMPTS


async def test_a_server_that_cannot_be_reached_costs_no_slot() -> None:
    settings = Settings(xero_api_url="http://127.0.0.1:1")
    async with open_session(settings) as session:
        clock = SystemClock(SPEED)
        transport = Transport(session, settings, clock, CallsInMemory(), Limits(clock))
        with pytest.raises(XeroUnavailableError):
            await transport.fetch(Access("acme", Tokens()), READ, msgspec.json.decode)
        assert transport.allowance("acme").used_this_minute == 0


@pytest.mark.parametrize("detail", ["TokenExpired: token expired at 08/12/2022 07:00:40", "AuthenticationUnsuccessful"])
async def test_a_refused_token_is_replaced_once(xero: Xero, detail: str) -> None:
    assert await xero.fetch(problem(401, detail), good()) == {"ok": True}
    assert xero.tokens.refused == [None, "secret-token-1"]
    assert xero.requests[1].headers["Authorization"] == "Bearer secret-token-2"


async def test_a_redirect_is_not_followed_so_that_no_token_goes_elsewhere(xero: Xero) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await xero.fetch(bad(307, Location="/elsewhere"), good())
    assert [request.path for request in xero.requests] == ["/api.xro/2.0/Invoices"]


async def test_a_fresh_token_that_is_refused_too_means_that_access_is_lost(xero: Xero) -> None:
    with pytest.raises(AccessRevokedError):
        await xero.fetch(*[problem(401, "AuthenticationUnsuccessful")] * 2)


async def test_a_fresh_token_that_xero_takes_for_expired_is_xeros_trouble_and_no_loss(xero: Xero) -> None:
    with pytest.raises(XeroUnavailableError):
        await xero.fetch(*[problem(401, "TokenExpired: token expired at 08/12/2022 07:00:40")] * 2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(403, "AuthenticationUnsuccessful"), AccessRevokedError),
        (problem(401, "AuthorizationUnsuccessful"), ScopeMissingError),
        (bad(400, '{"ErrorNumber": 16, "Message": "No property or field Typ"}'), UnexpectedAnswerError),
        (bad(404, "The resource you're looking for cannot be found"), UnexpectedAnswerError),
        (bad(302, Location="https://example.org"), UnexpectedAnswerError),
    ],
    ids=["revoked", "scope", "validation", "not-found", "redirect"],
)
async def test_what_a_repeat_cannot_mend_is_reported_at_once(
    xero: Xero, answer: Script, error: type[TieoutError]
) -> None:
    with pytest.raises(error):
        await xero.fetch(answer)
    assert len(xero.requests) == 1


async def test_an_answer_of_another_shape_is_a_bug_and_not_repeated(xero: Xero) -> None:
    xero.script.append(good([1, 2]))
    with pytest.raises(UnexpectedAnswerError, match="shape"):
        await xero.transport.fetch(
            Access("acme", xero.tokens), READ, lambda body: msgspec.json.decode(body, type=dict[str, int])
        )


async def test_nothing_changed_since_is_an_empty_answer(xero: Xero) -> None:
    since = msgspec.structs.replace(READ, since=xero.clock.now())
    assert await xero.fetch(bad(304), request=since) is None


async def test_that_nothing_changed_is_not_believed_where_nobody_asked(xero: Xero) -> None:
    with pytest.raises(UnexpectedAnswerError, match="was not asked"):
        await xero.fetch(bad(304))  # the whole listing would be taken for empty


@pytest.mark.parametrize(
    ("name", "headers", "pause"),
    [("minute", {"Retry_After": "24"}, 24.0), ("concurrent", {}, 1.0), ("appminute", {}, 60.0)],
)
async def test_a_refusal_by_a_passing_limit_is_waited_out(
    xero: Xero, name: str, headers: dict[str, str], pause: float
) -> None:
    before = xero.clock.monotonic()
    assert await xero.fetch(bad(429, X_Rate_Limit_Problem=name, **headers), good()) == {"ok": True}
    assert xero.clock.monotonic() - before >= pause
    assert {row.status for row in xero.booked()} == {200, 429}


async def test_a_day_that_is_used_up_is_reported_at_once_with_its_end(xero: Xero) -> None:
    before = xero.clock.now()
    with pytest.raises(CallLimitError) as refusal:
        await xero.fetch(bad(429, X_Rate_Limit_Problem="day", Retry_After="7200"))
    assert refusal.value.limit == "day"
    assert refusal.value.retry_at is not None
    assert refusal.value.retry_at - before >= timedelta(hours=2)
    with pytest.raises(CallLimitError):
        await xero.fetch()
    assert len(xero.requests) == 1
    held_up = xero.transport.held_up("acme")
    assert held_up is not None
    assert held_up.by is WaitingFor.DAY_LIMIT


async def test_a_limit_that_refuses_again_and_again_is_reported(xero: Xero) -> None:
    with pytest.raises(CallLimitError) as refusal:
        await xero.fetch(*[bad(429, X_Rate_Limit_Problem="concurrent")] * ATTEMPTS)
    assert refusal.value.limit == "concurrent"


WRITE = Request(path="Payments", purpose=Purpose.PAYMENT_EXPORT, method="PUT", content=b'{"Payments":[]}')


@pytest.mark.parametrize(
    "answer",
    [
        cut,
        bad(503, "The Xero API is temporarily unavailable"),
        bad(500, "<html>oops</html>"),
        bad(403, "<html>Access Denied</html>"),
        bad(408),
        bad(409, '{"Message": "still being processed"}'),
        bad(302, Location="https://example.org"),
        bad(201, "{}"),
        bad(200),
        bad(200, '{"Payments": [{"Pay'),
        bad(200, "<html>proxy</html>"),
        lambda _: web.Response(body=b"not gzip", headers=LEFT | {"Content-Encoding": "gzip"}),
        lambda _: web.Response(status=400, body=b"not gzip", headers=LEFT | {"Content-Encoding": "gzip"}),
    ],
    ids=[
        *("cut", "offline", "html-500", "html-403", "timeout", "conflict", "redirect", "created", "empty"),
        *("truncated", "not-json", "damaged", "damaged-refusal"),
    ],
)
async def test_a_write_whose_answer_says_nothing_is_lost_and_never_sent_again_by_the_transport(
    xero: Xero, answer: Script
) -> None:
    with pytest.raises(AnswerLostError):
        await xero.fetch(answer, good(), request=msgspec.structs.replace(WRITE, idempotency_key="acme-1"))
    assert len(xero.requests) == 1


async def test_a_write_that_takes_too_long_is_lost(xero: Xero) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await request.read()
        await asyncio.sleep(1)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", slow)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Settings(
        xero_api_url=f"http://127.0.0.1:{runner.addresses[0][1]}", xero_timeout=timedelta(milliseconds=100)
    )
    async with open_session(settings) as session:
        transport = Transport(session, settings, xero.clock, xero.calls, Limits(xero.clock))
        with pytest.raises(AnswerLostError):
            await transport.fetch(Access("acme", xero.tokens), WRITE, decode)
    await runner.cleanup()


async def test_a_write_that_cannot_reach_xero_is_tried_again_and_was_surely_not_done() -> None:
    settings = Settings(xero_api_url="http://127.0.0.1:1")
    async with open_session(settings) as session:
        clock, tokens = SystemClock(SPEED), Tokens()
        transport = Transport(session, settings, clock, CallsInMemory(), Limits(clock))
        with pytest.raises(XeroUnavailableError) as caught:
            await transport.fetch(Access("acme", tokens), WRITE, decode)
    assert not isinstance(caught.value, AnswerLostError)
    assert len(tokens.refused) == ATTEMPTS


async def test_a_write_that_a_limit_or_the_token_refused_was_not_done_and_is_sent_again_as_it_was(xero: Xero) -> None:
    limited = bad(429, X_Rate_Limit_Problem="minute", Retry_After="2")
    expired = problem(401, "TokenExpired: token expired at 08/12/2022 07:00:40")
    request = msgspec.structs.replace(WRITE, idempotency_key="acme-1")
    assert await xero.fetch(limited, expired, good(), request=request) == {"ok": True}
    assert [sent.headers["Idempotency-Key"] for sent in xero.requests] == ["acme-1"] * 3
    assert {sent.headers["Content-Type"] for sent in xero.requests} == {"application/json"}


async def test_a_write_that_was_held_up_for_too_long_is_not_sent(xero: Xero) -> None:
    limited = bad(429, X_Rate_Limit_Problem="minute", Retry_After="90")
    in_time = msgspec.structs.replace(WRITE, send_by=SendBy.within(timedelta(minutes=1), xero.clock))
    with pytest.raises(CallLimitError, match="not sent"):
        await xero.fetch(limited, request=in_time)
    assert len(xero.requests) == 1
    late = SendBy(at=xero.clock.now() - timedelta(seconds=1), monotonic=xero.clock.monotonic() + 100)
    with pytest.raises(CallLimitError):  # the machine slept: one clock says so, the other does not
        await xero.fetch(request=msgspec.structs.replace(WRITE, send_by=late))
    assert len(xero.requests) == 1


async def test_a_refused_request_names_every_message_of_xero(xero: Xero) -> None:
    said = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [
            {
                "ValidationErrors": [{"Message": "Payment amount exceeds the amount outstanding on this document"}],
                "Invoice": {"ValidationErrors": [{"Message": "Invoice could not be found"}]},
            },
            {"validationErrors": [{"message": "Payment date must be specified"}, {"message": ""}]},
        ],
    }
    with pytest.raises(RejectedError) as refusal:
        await xero.fetch(bad(400, json.dumps(said)), request=WRITE)
    assert refusal.value.messages == (
        "Payment amount exceeds the amount outstanding on this document",
        "Invoice could not be found",
        "Payment date must be specified",
    )
    for status, text, words in (
        (404, "The resource you're looking for cannot be found", "The resource you're looking for cannot be found"),
        (400, '{"Message": "Idempotency Key: k is used with a different request."}', "Idempotency Key: k is used"),
        (413, "", "Xero answered 413 without a word."),
    ):
        with pytest.raises(RejectedError) as refusal:
            await xero.fetch(bad(status, text), request=WRITE)
        (only,) = refusal.value.messages
        assert only.startswith(words)


async def test_large_answers_are_decoded_in_the_decoding_thread_and_small_ones_where_they_are(xero: Xero) -> None:
    xero.script += [good({"rows": "x" * 100_000}), good()]
    threads = [
        (
            await xero.transport.fetch(Access("acme", xero.tokens), READ, lambda _: threading.current_thread().name)
        ).content
        for _ in range(2)
    ]
    assert threads == ["xero-decode_0", threading.current_thread().name]


async def test_a_call_cancelled_in_flight_holds_its_place_while_xero_may_still_work_on_it(xero: Xero) -> None:
    await xero.fetch(good())
    arrived = asyncio.Event()

    def never(request: web.Request) -> web.StreamResponse:
        arrived.set()
        request.protocol.force_close()
        raise web.HTTPServiceUnavailable

    fetching = asyncio.ensure_future(xero.fetch(never))
    await arrived.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert xero.transport.allowance("acme").used_this_minute == 2


async def test_neither_logs_nor_errors_hold_a_token(xero: Xero) -> None:
    shown = []
    limited = bad(429, X_Rate_Limit_Problem="concurrent")
    scripts = ([bad(400, "no")], [bad(503)] * ATTEMPTS, [problem(401, "AuthenticationUnsuccessful")] * 2)
    with structlog.testing.capture_logs() as logs:
        for script in (*scripts, [limited] * ATTEMPTS):
            with pytest.raises(TieoutError) as caught:
                await xero.fetch(*script)
            error: BaseException | None = caught.value
            while error is not None:
                shown.append(f"{error!r} {error} {vars(error)}")
                error = error.__cause__
    assert any(entry["event"] == "refused by a limit" for entry in logs)
    assert "secret-token" not in f"{logs} {shown}"
