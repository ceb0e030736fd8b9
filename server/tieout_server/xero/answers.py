"""What an answer means: Xero's dialects of error, told apart and turned into ours.

Five dialects (Xero, Response codes and Troubleshooting): validation errors as JSON (400), problems as JSON with keys in
either case (401, 403), plain text (404, 503), empty bodies (429 and some 403), and HTML from the edge.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from tieout_server.errors import (
    AccessRevokedError,
    RejectedError,
    ScopeMissingError,
    TieoutError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.calls import Left, Problem

LONGEST_QUOTE = 500
"""Characters of Xero's words that an error keeps."""
QUOTED_FROM = 8_192
"""Bytes of a page that are searched for words: looking for tags takes the square of them."""
LONGEST_NUMBER = 9
"""Digits of a number in a header; Xero's own have four."""
LONGEST_DAY, LONGEST_MINUTE = 24 * 3600, 5 * 60
"""Seconds that a refusal by the day's or by any other limit is believed to last: asked again, Xero says it again."""
MOST_MESSAGES = 50
"""Messages of one refusal that an error keeps."""
NO_MESSAGE = "A validation exception occurred"
"""Heads every refusal with messages, and says nothing (Xero, Response codes)."""


class Answer(msgspec.Struct, frozen=True):
    """An answer as it arrived; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_good(self) -> bool:
        """Whether it holds what was asked for; 304 says that nothing changed since."""
        return self.status in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}

    @property
    def left(self) -> Left:
        """What the headers say is left of the limits."""
        return Left(
            minute=self._number("x-minlimit-remaining"),
            day=self._number("x-daylimit-remaining"),
            app_minute=self._number("x-appminlimit-remaining"),
        )

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, where Xero says so: on refusals by the minute's and the day's limit."""
        return self._number("retry-after")

    def _number(self, name: str) -> int | None:
        text = self.headers.get(name, "")
        return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None


class TokenRefused(msgspec.Struct, frozen=True):
    """The access token is expired or no longer accepted: another one may be."""

    words: str

    @property
    def of_fresh_token(self) -> TieoutError:
        """What it means of a token that was just issued: nobody mends a clock at Xero that is ahead of ours."""
        if "TokenExpired" in self.words:
            return XeroUnavailableError(
                "Xero takes a fresh access token for an expired one.", status="401", words=self.words
            )
        return AccessRevokedError("Xero refuses a fresh access token.", status="401", words=self.words)


class LimitRefused(msgspec.Struct, frozen=True):
    """A call limit refused the call."""

    problem: Problem
    retry_after: float | None


def refusal(answer: Answer) -> TokenRefused | LimitRefused | TieoutError:
    """Why a call that got this answer failed. Errors come back to be raised; they quote Xero, never our request."""
    words = _words(answer)
    match answer.status:
        case HTTPStatus.UNAUTHORIZED if _lacks_scope(answer, words):
            return ScopeMissingError("The consent does not cover this call.", words=words)
        case HTTPStatus.UNAUTHORIZED:
            return TokenRefused(words)
        case HTTPStatus.FORBIDDEN if "AuthenticationUnsuccessful" in words:
            return AccessRevokedError("Xero refuses us these books.", words=words)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _limit(_problem(answer), answer.retry_after)
        case status if _is_trouble(status, answer.body):
            return XeroUnavailableError("Xero did not answer properly.", status=str(status), words=words)
        case status:
            return _rejection(answer, words)


def _limit(problem: Problem, retry_after: float | None) -> LimitRefused:
    longest = LONGEST_DAY if problem is Problem.DAY else LONGEST_MINUTE
    return LimitRefused(problem, None if retry_after is None else min(retry_after, longest))


def _rejection(answer: Answer, words: str) -> UnexpectedAnswerError:
    """What Xero does not do; where that is certain, its messages one by one."""
    sentence, status = f"Xero answered {answer.status}: {words}", str(answer.status)
    if not _is_refusal(answer.status):
        return UnexpectedAnswerError(sentence, status=status, words=words)
    messages = _messages(answer.body) or (words or f"Xero answered {status} without a word.",)
    return RejectedError(sentence, messages, status=status, words=words)


def without_nul(body: bytes) -> bytes:
    """The same body with U+FFFD for each NUL, which is a letter to JSON but can be kept in no text of PostgreSQL."""
    if b"\0" not in body and b"\\u0000" not in body:
        return body
    return _NUL.sub(rb"\1\\ufffd", body).replace(b"\0", "\ufffd".encode())


_NUL = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")
"""An escaped NUL: one whose own backslash is not escaped."""


def validation_messages(element: object) -> tuple[str, ...]:
    """Every message of the ValidationErrors of an element and of what is inside it, in order, each once."""
    return tuple(dict.fromkeys(_all_messages(element)))[:MOST_MESSAGES]


def _all_messages(value: object) -> Iterator[str]:
    left = [value]  # no recursion: an answer may be nested more deeply than calls may be
    while left:
        item = left.pop()
        if isinstance(item, list):
            left += reversed(item)
        if isinstance(item, dict):
            yield from filter(None, _validation(item))
            left += reversed(item.values())


def _messages(body: bytes) -> tuple[str, ...]:
    """What a refusal minds: the messages of its elements, or else the one at its head."""
    said = _problem_in(body)
    found = validation_messages(said.get("elements"))
    return found or tuple(words for words in _head(said) if words != NO_MESSAGE)


def _is_refusal(status: int) -> bool:
    """Whether a request was surely not carried out; a conflict (409) may be with its own first copy (UNSURE, U17)."""
    is_of_client = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_of_client and status != HTTPStatus.CONFLICT


_OF_THE_EDGE = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
"""What Xero says in words and an edge with a page: that we may not, or that there is no such document."""


def _is_trouble(status: int, body: bytes) -> bool:
    """Whether Xero or the way to it failed; an edge that blocks us says 403 with a page (Xero, Troubleshooting)."""
    if status in _OF_THE_EDGE:
        return body.lstrip().startswith(b"<")
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT


def _lacks_scope(answer: Answer, words: str) -> bool:
    challenge = answer.headers.get("www-authenticate", "")
    return "insufficient_scope" in challenge or "AuthorizationUnsuccessful" in words


def _problem(answer: Answer) -> Problem:
    """The limit that refused: only `minute` is certain, other spellings vary (UNSURE register, U9)."""
    name = re.sub("[^a-z]", "", answer.headers.get("x-rate-limit-problem", "").lower())
    if name.startswith("app"):
        return Problem.APP_MINUTE
    if name.startswith(("day", "daily")):
        return Problem.DAY
    if name.startswith("minute") or (not name and answer.retry_after is not None):
        return Problem.MINUTE
    return Problem.CONCURRENT


def _words(answer: Answer) -> str:
    """What Xero says for people, from whichever dialect, shortened."""
    said = _problem_in(answer.body)
    messages = _head(said)
    messages += [message for element in _list(said.get("elements")) for message in _validation(element)]
    return "; ".join(dict.fromkeys(messages))[:LONGEST_QUOTE] or _plain(answer)


def _problem_in(body: bytes) -> dict[str, Any]:
    """The JSON object that a refusal is, its keys in lower case; empty where it is none."""
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return _lower(problem) if isinstance(problem, dict) else {}


def _head(said: Mapping[str, Any]) -> list[str]:
    """What a refusal says at its head; what is no text there is nothing that Xero says."""
    found = (said.get(key) for key in ("detail", "message"))
    return [words[:LONGEST_QUOTE] for words in found if isinstance(words, str) and words]


def _plain(answer: Answer) -> str:
    text = answer.body[:QUOTED_FROM].decode("utf-8", "replace")
    without_tags = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^<>]*>", " ", text)
    return " ".join(without_tags.split())[:LONGEST_QUOTE]


def _validation(element: object) -> list[str]:
    """The messages of one refused element."""
    if not isinstance(element, dict):
        return []
    errors = _list(_lower(element).get("validationerrors"))
    return [str(_lower(error).get("message", ""))[:LONGEST_QUOTE] for error in errors if isinstance(error, dict)]


def _lower(problem: dict[str, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in problem.items()}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
