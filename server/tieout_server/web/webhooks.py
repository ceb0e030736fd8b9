"""Where Xero posts its webhooks: told genuine, kept, answered; everything else happens afterwards."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from tieout_server import log
from tieout_server.errors import StorageUnavailableError
from tieout_server.ledger.notices import Deliveries, Notice
from tieout_server.syncs.arrivals import Arrivals

logger = log.get("web")

WEBHOOKS = "/xero/webhooks"
"""The path that is registered at Xero as delivery URL."""
SIGNATURE = "x-xero-signature"
LARGEST_BODY = 1024 * 1024
"""Bytes: thousands of events. Xero tells no bound (UNSURE register, U18); a body beyond it is not even read."""
READ_WITHIN = 4.0
"""Seconds that a body may take to arrive: Xero itself waits five for the answer (Xero, configuring your server)."""
KEPT_WITHIN = 3.0
"""Seconds that keeping it may take. One that is kept all the same after a 503 comes twice, which changes nothing."""


class WebhookReceiver:
    """Answers deliveries, always without a body: 200 once one is kept, 401 for a forged one, 5xx to be sent it again.

    Without a key no delivery can be told genuine, so there is nothing at this address: 404.
    """

    def __init__(self, deliveries: Deliveries, arrivals: Arrivals) -> None:
        self._deliveries = deliveries
        self._arrivals = arrivals

    @property
    def is_on(self) -> bool:
        """Whether webhooks are received at all."""
        return self._deliveries.are_on

    async def receive(self, request: web.Request) -> web.Response:
        """One delivery. The intent to receive is one without events, rightly or wrongly signed."""
        if not self.is_on:
            return _answer(HTTPStatus.NOT_FOUND)
        try:
            async with asyncio.timeout(READ_WITHIN):
                body = await request.read()
        except TimeoutError:
            return _answer(HTTPStatus.REQUEST_TIMEOUT)
        except web.HTTPRequestEntityTooLarge:
            return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        notices = self._deliveries.read(body, request.headers.get(SIGNATURE, ""))
        if notices is None:
            return _answer(HTTPStatus.UNAUTHORIZED)
        return _answer(await self._kept(notices))

    async def _kept(self, notices: Sequence[Notice]) -> HTTPStatus:
        """Keep what a delivery says; answers whether that was done, or Xero is to send it again."""
        try:
            async with asyncio.timeout(KEPT_WITHIN):
                await self._arrivals.receive(notices)
        except (StorageUnavailableError, TimeoutError) as away:
            why = away.why if isinstance(away, StorageUnavailableError) else "it took too long"
            logger.warning("a webhook could not be kept, and will come again", events=len(notices), why=why)
            return HTTPStatus.SERVICE_UNAVAILABLE
        except Exception:  # the edge: whatever broke, Xero sends it again
            logger.exception("a webhook could not be kept", events=len(notices))
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.OK


def _answer(status: HTTPStatus) -> web.Response:
    return web.Response(status=status)
