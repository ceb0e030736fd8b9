"""Our own web address, asked from outside as browsers and Xero would."""

import aiohttp

from tieout_server.errors import ConsentStateError
from tieout_server.web.app import CALLBACK
from tieout_server.web.refusals import page_of

WITHIN = 10.0
"""Seconds that an answer may take."""


async def is_ours(address: str) -> bool | None:
    """Whether one of us answers there; None where nobody answers at all.

    We are known by the page for a link that leads nowhere: of all that we serve browsers must reach that path.
    """
    page = page_of(ConsentStateError("", fault="unknown"), None)
    answer = await _ask("GET", address.rstrip("/") + CALLBACK)
    return None if answer is None else answer[0] == page.status and page.heading in answer[1]


async def delivered(address: str, body: bytes, signature: str) -> int | None:
    """The status of the answer to this delivery; None where nobody answers at all."""
    answer = await _ask("POST", address, body, {"x-xero-signature": signature, "Content-Type": "application/json"})
    return None if answer is None else answer[0]


async def _ask(
    method: str, address: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str] | None:
    timeout = aiohttp.ClientTimeout(total=WITHIN)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, address, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, (await answer.content.read(500)).decode(errors="replace")
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return None
