"""Reading what an issuer of JWTs publishes: its configuration and its keys.

This is the one way out that callers' tokens have, so it is narrow: HTTPS, no redirects, a few seconds, a small body.
"""

import aiohttp

from tieout_server.errors import IssuerUnavailableError

TIMEOUT = aiohttp.ClientTimeout(total=5)
MOST_BYTES = 256 * 1024
_OK = 200


async def read(url: str) -> bytes:
    """The body that is at this address.

    Raises:
        IssuerUnavailableError: there is no proper answer.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer,
        ):
            body = await answer.content.read(MOST_BYTES + 1)
            while not answer.content.at_eof() and len(body) <= MOST_BYTES:
                body += await answer.content.read(MOST_BYTES + 1 - len(body))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise IssuerUnavailableError(f"The issuer of tokens does not answer: {type(error).__name__}.") from error
    if answer.status != _OK or len(body) > MOST_BYTES:
        raise IssuerUnavailableError("The issuer of tokens does not answer properly.", status=str(answer.status))
    return body
