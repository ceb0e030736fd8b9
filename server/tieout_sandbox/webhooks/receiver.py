"""One POST to the receiver, and whether it was answered as Xero wants it."""

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from tieout_sandbox.local import LOOPBACK

_OK = range(200, 300)
_UNAUTHORISED = 401
_MOST_READ = 1_024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, or what went wrong instead."""

    status: int | None
    problem: str
    """In what it was not as Xero wants it; empty when all is well."""
    took_ms: int
    refused: bool = False
    """Nobody listens there."""


def check_target(url: str) -> None:
    """Let nothing be sent beyond this machine.

    Raises:
        ValueError: it is not an http or https address on loopback.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or parts.hostname not in LOOPBACK:
        raise ValueError(f"Webhooks are only sent to http(s)://localhost, 127.0.0.1 or [::1], not to {url!r}.")


async def post(http: aiohttp.ClientSession, url: str, body: bytes, signature: str, *, good: bool = True) -> Answer:
    """Send a body; a good signature must be answered with 2xx, a bad one with 401, both empty and without cookies.

    Redirects are not followed (Xero, configuring your server). The session's timeout bounds the time.
    """
    headers = {"Content-Type": "application/json; charset=utf-8", "x-xero-signature": signature}
    began = time.monotonic()
    status, problem, refused = None, "", False
    try:
        async with http.post(url, data=body, headers=headers, allow_redirects=False) as response:
            status = response.status
            problem = _problem(response, await response.content.read(_MOST_READ), good=good)
    except TimeoutError:
        problem = "No answer in time"
    except aiohttp.ClientConnectorError:
        problem, refused = "Nobody listens there", True
    except aiohttp.ClientError as error:
        problem = f"The connection broke: {type(error).__name__}"
    return Answer(status, problem, round((time.monotonic() - began) * 1_000), refused)


def _problem(response: aiohttp.ClientResponse, body: bytes, *, good: bool) -> str:
    if good and response.status not in _OK:
        return f"Answered {response.status}, not 2xx"
    if not good and response.status != _UNAUTHORISED:
        return f"Answered {response.status} to a wrong signature, not 401"
    if body:
        return "The answer has a body; it must be empty"
    return "The answer sets a cookie" if response.cookies else ""
