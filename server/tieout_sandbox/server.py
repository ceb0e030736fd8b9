"""The running sandbox: one port that plays login.xero.com, identity.xero.com and api.xero.com."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiohttp import web
from aiohttp.typedefs import Handler as _Answer
from aiohttp.typedefs import Middleware

from tieout_sandbox.accounting.collections import warm_up
from tieout_sandbox.accounting.routes import ENTRY, AccountingRoutes
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.churn import Churn
from tieout_sandbox.clock import SandboxClock
from tieout_sandbox.control import ControlRoutes
from tieout_sandbox.fault_answers import answered, rule_for
from tieout_sandbox.faults import Faults
from tieout_sandbox.identity.authority import Authority
from tieout_sandbox.identity.routes import IdentityRoutes
from tieout_sandbox.identity.tokens import coming_key
from tieout_sandbox.limits import Limits, Quota
from tieout_sandbox.local import guarded, is_control
from tieout_sandbox.organisations import Organisation, fresh_books, make_organisations
from tieout_sandbox.page.routes import PageRoutes
from tieout_sandbox.request_log import RequestLog
from tieout_sandbox.settings import SandboxSettings
from tieout_sandbox.switches import Switches
from tieout_sandbox.webhooks.routes import WebhookRoutes
from tieout_sandbox.webhooks.webhooks import Webhooks

_LARGEST_REQUEST = 10 * 1024 * 1024
"""Xero, OAuth 2.0 limits: 10 MB a request."""


@dataclass(slots=True)
class Sandbox:
    """A sandbox and all that can be seen and moved in it, from the same process.

    Everything the control API does over HTTP can be done here directly.
    """

    settings: SandboxSettings
    clock: SandboxClock
    switches: Switches
    limits: Limits
    authority: Authority
    requests: RequestLog
    faults: Faults
    churn: Churn
    accounting: AccountingRoutes
    webhooks: Webhooks
    url: str = ""

    @property
    def organisations(self) -> list[Organisation]:
        """All organisations; the first is the one whose size the settings say."""
        return list(self.authority.organisations.values())

    @property
    def books(self) -> Books:
        """The first organisation's books."""
        return self.organisations[0].books

    def organisation(self, wanted: str) -> Organisation:
        """The organisation with this id or name.

        Raises:
            KeyError: there is none.
        """
        for found in self.organisations:
            if wanted in {found.id, found.name}:
                return found
        raise KeyError(wanted)

    def reset(self, organisation: Organisation) -> None:
        """Begin an organisation's books again under another id, as Xero does with demo companies every 28 days."""
        index = self.organisations.index(organisation)
        self.authority.replace_id(organisation, fresh_books(organisation, index, self.settings, self.clock))


def make_sandbox(settings: SandboxSettings) -> Sandbox:
    """A sandbox with fresh books, not listening yet.

    Raises:
        ValueError: the settings contradict each other.
    """
    coming_key()  # made meanwhile, not during the first consent
    settings = replace(settings, switches=replace(settings.switches))  # its own, even if the settings are used again
    clock = SandboxClock(settings.starts_at, settings.speed)
    users, organisations = make_organisations(settings, clock)
    authority = Authority(
        apps={app.client_id: app for app in settings.apps},
        users={user.id: user for user in users},
        organisations={organisation.id: organisation for organisation in organisations},
        clock=clock,
        switches=settings.switches,
    )
    for organisation in organisations:
        warm_up(organisation)
    limits, churn = Limits(Quota.of(settings.tier)), Churn(settings.seed)
    webhooks = Webhooks(authority, settings.switches)
    if settings.webhook_url:
        webhooks.subscribe(settings.apps[0].client_id, settings.webhook_url, settings.webhook_key)
    return Sandbox(
        settings=settings,
        clock=clock,
        switches=settings.switches,
        limits=limits,
        authority=authority,
        requests=RequestLog(),
        faults=_faults(settings),
        churn=churn,
        accounting=AccountingRoutes(authority, limits, churn, settings.latency_ms),
        webhooks=webhooks,
    )


def _faults(settings: SandboxSettings) -> Faults:
    faults = Faults()
    faults.seed(settings.seed)
    for rule in settings.faults:
        faults.add(replace(rule))  # its own: rules count down
    return faults


@asynccontextmanager
async def serve(settings: SandboxSettings | None = None) -> AsyncIterator[Sandbox]:
    """A listening sandbox for as long as the block runs.

    Raises:
        ValueError: the settings contradict each other.
        OSError: the port is taken.
    """
    sandbox = make_sandbox(settings or SandboxSettings())
    runner = web.AppRunner(make_app(sandbox), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, sandbox.settings.host, sandbox.settings.port)
        await site.start()
        port = runner.addresses[0][1]
        host = sandbox.settings.host
        sandbox.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        sandbox.webhooks.api_url = sandbox.url
        async with sandbox.webhooks.sending():
            yield sandbox
    finally:
        await runner.cleanup()


def make_app(sandbox: Sandbox) -> web.Application:
    """The HTTP application of a sandbox."""
    app = web.Application(
        middlewares=[guarded(sandbox.settings.host), _observed(sandbox)], client_max_size=_LARGEST_REQUEST
    )
    IdentityRoutes(sandbox.authority, sandbox.switches).add_to(app)
    sandbox.accounting.add_to(app)
    ControlRoutes(sandbox).add_to(app)
    PageRoutes(sandbox).add_to(app)
    WebhookRoutes(sandbox.webhooks, sandbox.settings.apps[0].client_id).add_to(app)
    return app


def _observed(sandbox: Sandbox) -> Middleware:
    """Write down each request and let the fault rules have their turn; control goes through untouched."""

    @web.middleware
    async def observe(request: web.Request, handler: _Answer) -> web.StreamResponse:
        if is_control(request.path):
            return await handler(request)
        entry = sandbox.requests.open(sandbox.clock.now(), request.method, request.path, dict(request.query))
        request[ENTRY] = entry
        rule = await rule_for(sandbox, request)
        try:
            response = await answered(sandbox, request, handler, rule)
        except web.HTTPException as refused:  # no such path, method or user
            entry.status = refused.status
            raise
        entry.status = response.status
        entry.bytes = (
            len(response.body) if isinstance(response, web.Response) and isinstance(response.body, bytes) else 0
        )
        return response

    return observe
