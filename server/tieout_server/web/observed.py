"""What is kept of every request to the web server: a name for its lines in the log, its count, and how long it took."""

import secrets
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from tieout_server import log, measures

REQUEST_ID = web.RequestKey("request_id", str)
"""How a request is named. Browsers and Xero do not get to choose it."""


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve a request, and count it. Addresses hold secrets: only the route is told."""
    resource = request.match_info.route.resource
    route, started, status = resource.canonical if resource else "none", time.perf_counter(), "500"
    request[REQUEST_ID] = secrets.token_hex(8)
    with log.about(request_id=request[REQUEST_ID], route=route):
        try:
            response = await handler(request)
            status = str(response.status)
        except web.HTTPException as refusal:
            status = str(refusal.status)
            raise
        finally:
            measures.WEB_REQUESTS.labels(route, status).inc()
            measures.WEB_SECONDS.labels(route).observe(time.perf_counter() - started)
    return response
