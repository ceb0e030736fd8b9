"""An answer taken off the wire: no more of it than any answer of Xero's has."""

import aiohttp

from tieout_server.xero.answers import Answer


async def received(response: aiohttp.ClientResponse, largest: int) -> Answer:
    """The answer with its body, as it travelled; `largest` is in bytes.

    Raises:
        aiohttp.ClientPayloadError: the body is larger, or breaks off. What is left of it is not read.
    """
    body = bytearray()
    async for some in response.content.iter_any():
        body += some
        if len(body) > largest:
            raise aiohttp.ClientPayloadError(f"more than {largest} bytes")
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, bytes(body))
