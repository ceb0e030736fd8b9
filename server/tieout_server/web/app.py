"""The web application: where Xero sends people back to, and its webhooks; and what machines ask about our health."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from tieout_server import log
from tieout_server.connections.messages import Return
from tieout_server.connections.service import Connections
from tieout_server.errors import (
    BugError,
    ConsentStateError,
    OperatorMustActError,
    StorageUnavailableError,
    TieoutError,
)
from tieout_server.web import pages
from tieout_server.web.edge import Edge
from tieout_server.web.observed import REQUEST_ID, observed
from tieout_server.web.page import HEADERS, Page, render
from tieout_server.web.webhooks import LARGEST_BODY, WEBHOOKS, WebhookReceiver

logger = log.get("web")

CALLBACK = "/xero/callback"
"""The path that is registered at Xero as redirect URI."""
MAX_PARAMETER = 4000
"""Characters of `state`, `code` or `error` beyond which they are not Xero's."""

WhyNotReady = Callable[[], Awaitable[str]]
"""Says why calls cannot be served now; nothing while they can."""


def build(
    connections: Connections,
    why_not_ready: WhyNotReady,
    webhooks: WebhookReceiver | None = None,
    edge: Edge | None = None,
) -> web.Application:
    """The application."""
    edge = edge or Edge()

    async def callback(request: web.Request) -> web.Response:
        """The page after consent. What the address holds is secret and goes neither into the page nor the log."""
        if wait := edge.wait(request):
            return _html(pages.too_many(), HEADERS | {"Retry-After": str(wait)})
        return _html(await _outcome(connections, request), HEADERS)

    async def alive(_request: web.Request) -> web.Response:
        """This process runs; webhooks that are off are no fault, but worth a word."""
        return web.Response(text="ok\n" if webhooks and webhooks.is_on else "ok\nwebhooks: off\n")

    async def ready(_request: web.Request) -> web.Response:
        """This process can serve."""
        return await readiness(why_not_ready)

    application = web.Application(client_max_size=LARGEST_BODY, middlewares=[observed])
    application.on_response_prepare.append(edge.protect)
    application.router.add_get(CALLBACK, callback, allow_head=False)  # a link checker's HEAD would use up the state
    if webhooks:
        application.router.add_post(WEBHOOKS, webhooks.receive)
    application.router.add_get("/healthz", alive)
    application.router.add_get("/readyz", ready)
    return application


def _html(page: Page, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=page.status, text=render(page), content_type="text/html", charset="utf-8", headers=headers
    )


async def readiness(why_not_ready: WhyNotReady) -> web.Response:
    """Whether calls can be served now, and if not, why."""
    why = await why_not_ready()
    return web.Response(status=503 if why else 200, text=f"not ready: {why}\n" if why else "ready\n")


async def _outcome(connections: Connections, request: web.Request) -> Page:
    try:
        return await _taken_back(connections, request)
    except StorageUnavailableError as error:
        logger.warning("consent waits for the database", why=error.why)
        return pages.refused(error)
    except Exception as error:  # the edge: a person gets a page, whatever broke
        logger.exception("fault")
        return pages.fault(request[REQUEST_ID], error)


async def _taken_back(connections: Connections, request: web.Request) -> Page:
    try:
        return pages.connected(await connections.complete(_returned(request)))
    except (BugError, StorageUnavailableError):
        raise
    except TieoutError as error:
        connection_id = error.facts.get("connection_id", "")
        if isinstance(error, OperatorMustActError):
            logger.error("an operator has to act", what=error.sentence, connection_id=connection_id)  # noqa: TRY400 - no bug
        logger.info("consent refused", reason=error.reason, connection_id=connection_id)
        return pages.refused(error, await connections.get(connection_id) if connection_id else None)


def _returned(request: web.Request) -> Return:
    state, code, error = (request.query.get(name, "") for name in ("state", "code", "error"))
    if not state or max(len(state), len(code), len(error)) > MAX_PARAMETER:
        raise ConsentStateError("There is no state that was given out here.", fault="unknown")
    return Return(state, code, error)
