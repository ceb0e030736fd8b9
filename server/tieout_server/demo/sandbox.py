"""The demo's sandbox Xero: its command, and what people do in it."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from tieout_server.demo.stage import WEBHOOK_KEY

ORGANISATION = "Harbour & Vine Ltd"
BOOKS = ("--contacts", "2000", "--invoices", "10000")
"""So many that the first sync leaves calls of its minute to what follows."""


@dataclass(frozen=True)
class Xero:
    """A sandbox that listens at this address."""

    url: str

    async def consent(self, authorization_url: str) -> None:
        """Allow what is asked for, as the sandbox's bookkeeper, and go where the browser is sent then."""
        answer = await self._post("consent", authorization_url=authorization_url, decision="allow")
        async with aiohttp.ClientSession() as http, http.get(answer["redirect_to"], raise_for_status=True):
            pass

    async def bring_about(self, cause: str, customer: str) -> dict[str, Any]:
        """Let a customer's balance differ, as the button on the sandbox's page does; answers what was done."""
        return await self._post(f"books/{quote(ORGANISATION)}/causes/{cause}", contact=customer)

    async def _post(self, path: str, **body: str) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}/sandbox/{path}", json=body, raise_for_status=True) as answer,
        ):
            found: dict[str, Any] = await answer.json()
            return found


def command(port: int, web_port: int) -> tuple[str, ...]:
    """The command of a sandbox that sends its webhooks to the server."""
    webhooks = ("--webhook-url", f"http://127.0.0.1:{web_port}/xero/webhooks", "--webhook-key", WEBHOOK_KEY)
    return ("tieout-sandbox", "serve", *BOOKS, "--latency-ms", "250", "--port", str(port), *webhooks)
