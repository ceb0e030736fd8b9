"""What operators' machines ask of a process, on an address of its own that the public web does not reach."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from tieout_server.web.app import WhyNotReady, readiness

Figures = Callable[[], Awaitable[bytes]]
"""All metrics, as Prometheus reads them."""


def build_for_operators(figures: Figures, why_not_ready: WhyNotReady) -> web.Application:
    """The application. It tells nothing of any merchant, and asks nobody who they are."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await figures(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def alive(_request: web.Request) -> web.Response:
        """The event loop runs, or this would not be answered."""
        return web.Response(text="alive\n")

    async def ready(_request: web.Request) -> web.Response:
        return await readiness(why_not_ready)

    application = web.Application()
    for path, answer in (("/metrics", metrics), ("/livez", alive), ("/readyz", ready)):
        application.router.add_get(path, answer)
    return application
