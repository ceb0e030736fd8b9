"""The edge of the web: what every answer carries, who asks, and how often the callback may be asked for."""

import math
import time
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from aiohttp import web

from tieout_server import log
from tieout_server.errors import OperatorMustActError
from tieout_server.rate import Rate, site_of
from tieout_server.settings import Settings

logger = log.get("web")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the callback's address holds Xero's code
    "Cache-Control": "no-store",
}
"""Nothing runs, nothing comes from elsewhere, in nobody's frame, kept and passed on by no one."""
ONLY_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}
"""For a year, of this host alone: what runs beside it is not ours to decide about."""

EACH = 60, 1.0
"""Visits at once from one address, and seconds for each further one: an office shares an address. No state can be
guessed at any rate; what is bounded is the work that one visitor makes."""
ALL = 200, 0.0625
"""Visits at once from everywhere, and seconds for each further one: more than the database is to be asked for."""


class TrustedProxiesError(OperatorMustActError):
    """A trusted proxy is named by something that is no address: an operator corrects it."""


class Edge:
    """What holds for every request and answer of the web server."""

    def __init__(
        self, *, is_https: bool = False, trusted_proxies: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        """`is_https`: browsers reach us by HTTPS; `trusted_proxies`: whose X-Forwarded-For is believed.

        Raises:
            TrustedProxiesError: one of them is no address or network.
        """
        self._headers = HEADERS | (ONLY_HTTPS if is_https else {})
        self._proxies = [_network(part.strip()) for part in trusted_proxies.split(",") if part.strip()]
        self._each, self._all = Rate(*EACH, now), Rate(*ALL, now)
        self._has_warned = False

    @classmethod
    def of(cls, settings: Settings) -> "Edge":
        """The edge as the settings describe it."""
        is_https = settings.web_url.startswith("https://")
        return cls(is_https=is_https, trusted_proxies=settings.web_trusted_proxies)

    async def protect(self, _request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Give an answer the headers that it does not have; who made it is nobody's business."""
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        response.headers.pop("Server", None)

    def wait(self, request: web.BaseRequest) -> int:
        """0 if this visit may be served, otherwise whole seconds after which to come again."""
        # Who is over their own limit takes nothing from the others.
        wait = self._each.take(site_of(self.address(request))) or self._all.take("")
        return math.ceil(wait)

    def address(self, request: web.BaseRequest) -> str:
        """Who asks: the peer, or, if that is a trusted proxy, the last one it names who is none."""
        address = request.remote or ""
        self._warn(request)
        named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        while named and self._is_trusted(address):
            before = named.pop().strip()
            if not _is_address(before):
                break
            address = before
        return address

    def _warn(self, request: web.BaseRequest) -> None:
        """Say once that what looks like a proxy of the operator's own is not believed: then all visitors are one."""
        peer = request.remote or ""
        if self._has_warned or "X-Forwarded-For" not in request.headers or self._is_trusted(peer):
            return
        if _is_address(peer) and ip_address(peer).is_private:
            self._has_warned = True
            logger.warning("a proxy is not trusted", proxy=peer, setting="TIEOUT_WEB_TRUSTED_PROXIES")

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._proxies)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise TrustedProxiesError(f"TIEOUT_WEB_TRUSTED_PROXIES: {text!r} is no address or network.") from error


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
