"""One request to the Accounting API: headers, limits, time limits, retries, and errors. Only this module retries."""

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from importlib.metadata import version
from typing import Generic, TypeVar

import aiohttp
import msgspec

from tieout_server import log, measures
from tieout_server.clock import Clock
from tieout_server.errors import (
    AnswerLostError,
    CallLimitError,
    RejectedError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import AccessTokens, HeldUp, Purpose, WaitingFor
from tieout_server.ledger.calls import Allowance, Calls, CallsInMemory, Leave, Pacing, Problem
from tieout_server.settings import Settings
from tieout_server.xero.answers import LONGEST_QUOTE, Answer, LimitRefused, TokenRefused, refusal, without_nul
from tieout_server.xero.observed import observed, told_left
from tieout_server.xero.receiving import received

T = TypeVar("T")

ATTEMPTS = 5
"""How often a call is tried before trouble at Xero is reported."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds; pauses double from the first to the longest, each shortened by chance so that callers do not keep step."""
INLINE_BYTES = 16_384
"""Smaller bodies are decoded where they are: the way to another thread would cost more. Gzip shrinks them sevenfold."""
LARGEST_BODY = 64 * 1024 * 1024
"""Bytes that a body may have, on the wire and decompressed: 1,000 invoices with all their lines are a third of it."""
USER_AGENT = f"tieout/{version('tieout')}"

logger = log.get("xero")


class SendBy(msgspec.Struct, frozen=True):
    """Until when a call may be sent, by both clocks: one stands still while a machine sleeps, the other may be set."""

    at: datetime
    monotonic: float

    @classmethod
    def within(cls, patience: timedelta, clock: Clock) -> "SendBy":
        """So long from now."""
        return cls(clock.now() + patience, clock.monotonic() + patience.total_seconds())

    def is_over(self, clock: Clock) -> bool:
        """Whether it is too late."""
        return clock.now() >= self.at or clock.monotonic() >= self.monotonic


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call to the Accounting API."""

    path: str
    """Below /api.xro/2.0/, for example `Invoices`."""
    purpose: Purpose
    parameters: Mapping[str, str] = {}
    since: datetime | None = None
    """Only what changed at or after this instant, to the second."""
    method: str = "GET"
    content: bytes | None = None
    """JSON to send."""
    idempotency_key: str = ""
    """Makes a write safe to repeat for 6 minutes, 128 characters at most (Xero, Idempotent requests)."""
    send_by: SendBy | None = None
    """It is not sent later than this, however long limits and tokens take."""

    @property
    def is_write(self) -> bool:
        """Whether sending it changes anything: then only who knows what was sent may send it again."""
        return self.method != "GET"


class Access(msgspec.Struct, frozen=True):
    """What opens one organisation's books: its id, and where bearer tokens come from."""

    xero_tenant_id: str
    tokens: AccessTokens


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A decoded answer, and what its body took on the wire."""

    content: T
    wire_bytes: int


class _TokenRefusedError(Exception):
    """The token that was sent is not accepted; another one is asked for, once."""

    def __init__(self, token: str, refused: TokenRefused) -> None:
        super().__init__("Xero refused the access token.")
        self.token = token
        self.refused = refused


def open_session(settings: Settings) -> aiohttp.ClientSession:
    """The HTTP connections to Xero, for the caller to close. Answers stay compressed until a thread opens them."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),  # `Limits` decides how many calls there are
        timeout=aiohttp.ClientTimeout(total=settings.xero_timeout.total_seconds(), sock_connect=10),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
    # aiohttp sends a GET again by itself when a kept connection turns out closed: a call that no limit would know of.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch
    return session


class Transport:
    """Calls to the Accounting API for all organisations of one app."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        clock: Clock,
        calls: CallsInMemory,
        pacing: Pacing,
    ) -> None:
        self._session = session
        self._root = settings.xero_api_url.rstrip("/") + "/api.xro/2.0/"
        self._clock = clock
        self._calls = calls
        self._pacing = pacing
        self._unavailable: dict[str, HeldUp] = {}
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        # One thread: decoding holds the interpreter's lock, so that more would only keep the event loop waiting longer.
        self._decoding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xero-decode")

    async def fetch(self, access: Access, request: Request, decode: Callable[[bytes], T]) -> Fetched[T]:
        """The decoded answer; `decode` gets no bytes when nothing changed. Waits for limits, repeats what is safe.

        A read is repeated whatever went wrong; a write only where it cannot have been done: no connection was had, or
        a limit or the token was refused. Cancellation ends the wait or the call; Xero may have done the work all the
        same.

        Raises:
            AnswerLostError: a write was sent, and no answer says what became of it.
            XeroUnavailableError: no proper answer came, however often it was tried; a write was not done.
            CallLimitError: the day's calls are used up, a limit refused the call again and again, or held it up until
                it was too late to send it.
            RejectedError: Xero refused the request and did nothing.
            AccessRevokedError: Xero refuses these books to us.
            ScopeMissingError: the consent does not cover the call.
            CredentialsExpiredError: from the token source, when no token can be had.
            UnexpectedAnswerError: Xero rejected the request, or answered what nobody documented; in its own words.
            DrainingError: this process shuts down; the call was not sent (again).
        """
        refused_token: str | None = None
        failures = 0
        while True:
            try:
                return await self._attempt(access, request, decode, refused_token)
            except _TokenRefusedError as error:
                if refused_token is not None:
                    raise error.refused.of_fresh_token from None  # the error holds the token
                refused_token = error.token
            except (XeroUnavailableError, CallLimitError) as error:
                failures += 1
                if not self._may_try_again(error, request, failures):
                    raise
                if isinstance(error, XeroUnavailableError):
                    await self._pause(access.xero_tenant_id, failures)

    def held_up(self, xero_tenant_id: str) -> HeldUp | None:
        """What calls to these books are waiting for at this moment, if for anything."""
        return self._unavailable.get(xero_tenant_id) or self._pacing.held_up(xero_tenant_id)

    def allowance(self, xero_tenant_id: str) -> Allowance:
        """What is left of the organisation's limits."""
        return self._pacing.allowance(xero_tenant_id)

    def _may_try_again(self, error: TieoutError, request: Request, failures: int) -> bool:
        if isinstance(error, AnswerLostError) or (request.send_by and request.send_by.is_over(self._clock)):
            return False
        is_day = isinstance(error, CallLimitError) and error.limit == Problem.DAY
        return not is_day and failures < ATTEMPTS

    async def _pause(self, xero_tenant_id: str, failures: int) -> None:
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) * self._chance.uniform(0.5, 1.0)
        until = self._clock.now() + timedelta(seconds=seconds)
        held_up = self._unavailable[xero_tenant_id] = HeldUp(WaitingFor.XERO_UNAVAILABLE, until)
        try:
            await self._sleep(seconds)
        finally:
            if self._unavailable.get(xero_tenant_id) is held_up:
                del self._unavailable[xero_tenant_id]

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless nobody will be let through afterwards."""
        either = [asyncio.ensure_future(one) for one in (self._clock.sleep(seconds), self._pacing.until_closed())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in either:
                one.cancel()

    async def _attempt(
        self, access: Access, request: Request, decode: Callable[[bytes], T], refused_token: str | None
    ) -> Fetched[T]:
        began = time.monotonic()
        async with self._pacing.call(access.xero_tenant_id, request.purpose) as call:
            token = await access.tokens.access_token(refused=refused_token)
            if request.send_by and request.send_by.is_over(self._clock):
                raise CallLimitError("The call was held up for too long; it was not sent.", Problem.MINUTE.value)
            if not call.is_good():
                raise CallLimitError("This server lost its place among the others; nothing was sent.", "minute")
            waited = time.monotonic() - began
            with observed(request.method, request.path, request.purpose, waited=waited) as sent:
                answer = await self._send(access.xero_tenant_id, request, token, call)
                sent.answered(answer)
            call.answered(answer.left)
            told_left(answer.left)
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._book(access.xero_tenant_id, request.purpose, answer, len(answer.body))
                raise _limit_error(call, refusal(answer))
        try:
            content = await self._open(access, request, answer, decode, token)
        except (XeroUnavailableError, UnexpectedAnswerError) as error:
            if not request.is_write or isinstance(error, RejectedError):
                raise
            raise AnswerLostError(error.sentence, None, **error.facts) from error  # it may have been done all the same
        return Fetched(content, len(answer.body))

    async def _send(self, xero_tenant_id: str, request: Request, token: str, call: Leave) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "xero-tenant-id": xero_tenant_id, "Accept-Encoding": "gzip"}
        if request.since is not None:
            headers["If-Modified-Since"] = request.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        if request.idempotency_key:
            headers["Idempotency-Key"] = request.idempotency_key
        call.sent()
        try:
            async with self._session.request(
                request.method,
                self._root + request.path,
                params=request.parameters,
                data=request.content,
                headers=headers,
                allow_redirects=False,
            ) as response:
                return await received(response, LARGEST_BODY)
        except aiohttp.ClientConnectorError as error:
            call.not_sent()
            raise XeroUnavailableError("Xero cannot be reached.") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._book(xero_tenant_id, request.purpose, Answer(0, {}, b""), 0)
            raise _unanswered(request, error) from error

    async def _open(
        self, access: Access, request: Request, answer: Answer, decode: Callable[[bytes], T], token: str
    ) -> T:
        """The answer decompressed and decoded, or the error that it is. Large ones are done in the decoding thread."""
        sizes: list[int] = []

        def work() -> T:
            plain = msgspec.structs.replace(answer, body=without_nul(_decompressed(answer)))
            sizes.append(len(plain.body))
            return _decoded(plain, decode, token, may_be_unchanged=request.since is not None)

        try:
            if len(answer.body) <= INLINE_BYTES:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._decoding, work)
        finally:
            self._book(access.xero_tenant_id, request.purpose, answer, sum(sizes))

    def _book(self, xero_tenant_id: str, purpose: Purpose, answer: Answer, body_bytes: int) -> None:
        booked = Calls(
            purpose=purpose, status=answer.status, calls=1, wire_bytes=len(answer.body), body_bytes=body_bytes
        )
        self._calls.book(xero_tenant_id, booked)
        measures.XERO_BYTES.labels("body").inc(body_bytes)
        logger.debug(
            "called",
            xero_tenant_id=xero_tenant_id,
            purpose=purpose.value,
            status=answer.status,
            wire_bytes=booked.wire_bytes,
            body_bytes=body_bytes,
            correlation_id=answer.headers.get("xero-correlation-id", ""),
        )


def _unanswered(request: Request, error: Exception) -> XeroUnavailableError:
    """What it means that no answer came; a time limit that ended while connecting means that nothing was sent."""
    is_lost = request.is_write and not isinstance(error, aiohttp.ConnectionTimeoutError)
    return (AnswerLostError if is_lost else XeroUnavailableError)(f"Xero did not answer: {type(error).__name__}.")


def _limit_error(call: Leave, refused: object) -> CallLimitError:
    assert isinstance(refused, LimitRefused)
    retry_at = call.refused(refused.problem, refused.retry_after)
    measures.XERO_REFUSED.labels(refused.problem.value).inc()
    logger.warning("refused by a limit", limit=refused.problem.value, retry_at=retry_at.isoformat())
    return CallLimitError(f"Xero's {refused.problem} limit refused the call.", refused.problem.value, retry_at)


def _decompressed(answer: Answer) -> bytes:
    if answer.headers.get("content-encoding", "").lower() != "gzip" or not answer.body:
        return answer.body
    unzip = zlib.decompressobj(wbits=31)  # 31: gzip's header and checksum are expected
    try:
        body = unzip.decompress(answer.body, LARGEST_BODY)
    except zlib.error as error:
        raise XeroUnavailableError("Xero's answer is damaged.") from error
    if not unzip.eof:
        raise XeroUnavailableError("Xero's answer breaks off, or is larger than any page.")
    return body


def _decoded(answer: Answer, decode: Callable[[bytes], T], token: str, *, may_be_unchanged: bool) -> T:
    """What `decode` makes of an answer, or the error that it is; nothing else comes of bytes, whatever they are."""
    if not answer.is_good:
        refused = refusal(answer)
        if isinstance(refused, TokenRefused):
            raise _TokenRefusedError(token, refused)
        assert isinstance(refused, TieoutError)
        raise refused
    if answer.status == HTTPStatus.NOT_MODIFIED:
        if not may_be_unchanged:
            raise UnexpectedAnswerError("Xero says that nothing changed, and was not asked.", status=str(answer.status))
        return decode(b"")
    if not answer.body:
        raise XeroUnavailableError("Xero's answer is empty.")
    try:
        return decode(answer.body)
    except TieoutError:
        raise
    except (UnicodeDecodeError, RecursionError) as error:
        raise XeroUnavailableError("Xero's answer is not JSON that anybody would write.") from error
    except Exception as error:
        if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
            raise XeroUnavailableError("Xero's answer is not JSON, or breaks off.") from error
        sentence = f"Xero's answer has another shape than documented: {error}"
        raise UnexpectedAnswerError(sentence[:LONGEST_QUOTE]) from error
