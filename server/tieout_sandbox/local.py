"""Who may turn the sandbox's knobs: no foreign site through somebody's browser, and the page only this machine."""

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler as _Answer
from aiohttp.typedefs import Middleware

CONTROL = "/sandbox"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HARMLESS = frozenset({"GET", "HEAD"})
_OWN_SITES = frozenset({"same-origin", "none"})


def is_control(path: str) -> bool:
    """Whether this is a path of the control API or the page, and none of Xero's."""
    return path in {"/", CONTROL} or path.startswith(f"{CONTROL}/")


def is_local(request: web.Request) -> bool:
    """Whether this machine asks, under a loopback name."""
    return host_of(request) in LOOPBACK and request.remote in LOOPBACK


def host_of(request: web.Request) -> str:
    """The name that the caller knows this machine by, without a port; empty where it makes no sense."""
    try:
        return urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return ""


def guarded(listens_on: str) -> Middleware:
    """Refuse control to foreign sites, which reach loopback through the browser of whoever runs a sandbox.

    A site that points a name of its own here (DNS rebinding) is known by that name: a public name has a dot, an address
    cannot be pointed anywhere. A site that sends a form or a simple POST from its own address is known by what browsers
    say of every such request (Fetch, Origin and Sec-Fetch-Site); programs say nothing there.

    Args:
        listens_on: the name or address that the sandbox was told to listen on; good whatever it looks like.
    """

    @web.middleware
    async def guard(request: web.Request, handler: _Answer) -> web.StreamResponse:
        if is_control(request.path):
            refused = _refused(request, listens_on)
            if refused:
                return web.json_response({"error": refused}, status=403)
        return await handler(request)

    return guard


def _refused(request: web.Request, listens_on: str) -> str:
    """Why this request is none of ours; empty if it may pass."""
    host = host_of(request)
    if not (host == listens_on.lower() or _cannot_be_pointed_here(host)):
        return f"Control is not answered under the name {host!r}; use the address, localhost, or a name without a dot."
    if request.method not in _HARMLESS and _is_from_elsewhere(request):
        return "Control is not for pages of other sites."
    return ""


def _cannot_be_pointed_here(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and "." not in host
    return True


def _is_from_elsewhere(request: web.Request) -> bool:
    """Whether a browser says that another site's page sends this."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        return True
    return site is not None and site not in _OWN_SITES
