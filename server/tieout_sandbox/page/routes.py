"""The page over HTTP: on loopback only, forms with a token, and nothing loaded from elsewhere."""

from __future__ import annotations

import hmac
import inspect
import secrets
from collections import OrderedDict
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.local import is_local
from tieout_sandbox.page.administration import ADMINISTRATION
from tieout_sandbox.page.asks import Ask
from tieout_sandbox.page.behaviour import behaviour
from tieout_sandbox.page.bookkeeping import BOOKKEEPING
from tieout_sandbox.page.contacts import contact, contacts
from tieout_sandbox.page.credits import credit, credits_
from tieout_sandbox.page.html import Html
from tieout_sandbox.page.invoices import invoice, invoices
from tieout_sandbox.page.overview import overview
from tieout_sandbox.page.people import people
from tieout_sandbox.page.settlements import payments
from tieout_sandbox.page.shell import Notice, clock, whole
from tieout_sandbox.page.traffic import gauges, requests_table, traffic
from tieout_sandbox.page.view import PREFIX, View
from tieout_sandbox.page.webhooks import deliveries_table, webhooks

if TYPE_CHECKING:  # the server makes both; only the types go round in a circle
    from tieout_sandbox.organisations import Organisation
    from tieout_sandbox.server import Sandbox

_Draw = Callable[[View], Html]
_LISTS: dict[str, tuple[str, _Draw]] = {
    "": ("Overview", overview),
    "customers": ("Contacts", contacts),
    "invoices": ("Invoices", invoices),
    "payments": ("Payments", payments),
    "credits": ("Credits", credits_),
    "people": ("People and connections", people),
    "traffic": ("Traffic and limits", traffic),
    "webhooks": ("Webhooks", webhooks),
    "behaviour": ("Clock, faults, switches", behaviour),
}
_LIVE: dict[str, _Draw] = {
    "clock": clock,
    "limits": gauges,
    "requests": requests_table,
    "last": lambda view: requests_table(view, 8),
    "deliveries": deliveries_table,
    "last-deliveries": lambda view: deliveries_table(view, 5),
}
ACTIONS = {action.__name__.replace("_", "-"): action for action in (*BOOKKEEPING, *ADMINISTRATION)}
"""By the name in the form's address."""
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_KEPT_NOTICES = 100


class PageRoutes:
    """Draws pages and carries out forms; nobody who is not on this machine is answered."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._token = secrets.token_urlsafe(32)
        self._notices: OrderedDict[str, Notice] = OrderedDict()

    def add_to(self, app: web.Application) -> None:
        """Register every path."""
        app.router.add_get("/", self.show)
        app.router.add_get(f"{PREFIX}/live/{{part}}", self.live)
        app.router.add_post(f"{PREFIX}/do/{{action}}", self.do)
        app.router.add_get(f"{PREFIX}/{{page}}", self.show)

    async def show(self, request: web.Request) -> web.Response:
        """One page, or what it is made of."""
        _check_local(request)
        page = request.match_info.get("page", "")
        if page in _ASSETS:
            text = resources.files(__package__).joinpath(page).read_text("utf-8")
            return web.Response(text=text, content_type=_ASSETS[page], headers=_HEADERS)
        view = self._view(request)
        title, current, body = _drawn(view, page)
        notice = self._notices.pop(request.query.get("said", ""), None)
        return _html(whole(view, title, current, body, notice))

    async def live(self, request: web.Request) -> web.Response:
        """A piece of a page, fresh."""
        _check_local(request)
        draw = _LIVE.get(request.match_info["part"])
        if draw is None:
            raise web.HTTPNotFound(headers=_HEADERS)
        return _html(draw(self._view(request)))

    async def do(self, request: web.Request) -> web.Response:
        """Carry out a form and go back to the page that it came from."""
        _check_local(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            raise web.HTTPForbidden(
                text="This form did not come from this sandbox's page. Open it again.", headers=_HEADERS
            )
        action = ACTIONS.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound(headers=_HEADERS)
        ask = Ask(self._sandbox, self._organisation(form.get("org")), form)
        try:
            said = action(ask)
            notice = Notice(await said if inspect.isawaitable(said) else said)
        except (NotAllowedError, ValueError, OverflowError) as error:
            notice = Notice(str(error), failed=True)
        except KeyError as error:
            notice = Notice(f"There is no {error}.", failed=True)
        return web.Response(status=303, headers=_HEADERS | {"Location": self._back(form.get("back", "/"), notice)})

    def _back(self, address: str, notice: Notice) -> str:
        """The page to return to, which shows the notice once; never another site."""
        if address != "/" and not address.startswith(("/?", f"{PREFIX}/")):
            address = "/"
        key = secrets.token_urlsafe(6)
        self._notices[key] = notice
        if len(self._notices) > _KEPT_NOTICES:
            self._notices.popitem(last=False)
        return f"{address}{'&' if '?' in address else '?'}said={key}"

    def _view(self, request: web.Request) -> View:
        query = {name: value for name, value in request.query.items() if name != "said"}
        path = str(request.rel_url.with_query(query)) if query else request.path
        return View(self._sandbox, self._organisation(query.get("org")), query, path, self._token)

    def _organisation(self, wanted: str | None) -> Organisation:
        try:
            return self._sandbox.organisation(wanted) if wanted else self._sandbox.organisations[0]
        except KeyError as error:
            raise web.HTTPNotFound(text=f"There is no organisation {error}.", headers=_HEADERS) from error


def _drawn(view: View, page: str) -> tuple[str, str, Html]:
    """Title, place in the navigation, and body of a page.

    Raises:
        HTTPNotFound: there is no such page or document.
    """
    if page in _LISTS:
        title, draw = _LISTS[page]
        return title, page, draw(view)
    wanted, books = view.query.get("id", ""), view.books
    try:
        if page == "contact":
            return books.contacts[wanted].name, "customers", contact(view, books.contacts[wanted])
        if page == "invoice":
            return f"Invoice {books.invoices[wanted].number}", "invoices", invoice(view, books.invoices[wanted])
        if page == "credit":
            found = books.credit(wanted)
            return f"Credit {found.number}".strip(), "credits", credit(view, found)
    except (KeyError, NotAllowedError) as error:
        raise web.HTTPNotFound(text="There is no such document in these books.", headers=_HEADERS) from error
    raise web.HTTPNotFound(headers=_HEADERS)


def _check_local(request: web.Request) -> None:
    """Answer only this machine, whatever the sandbox listens on: the page shows all there is, tokens too.

    Raises:
        HTTPForbidden: somebody else asks, or under another name than loopback's.
    """
    if not is_local(request):
        raise web.HTTPForbidden(text="This page is only for the machine that the sandbox runs on.", headers=_HEADERS)


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)
