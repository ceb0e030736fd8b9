"""The sandbox's first organisation, opened as the service opens books: for tests of what is read and written there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from tieout_sandbox import Sandbox
from tieout_server.clock import SystemClock
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.settings import Settings
from tieout_server.xero.books import XeroBooks, XeroLibrary
from tieout_server.xero.limits import Limits
from tieout_server.xero.transport import open_session


@dataclass
class SandboxTokens:
    """A user's access tokens, straight from the sandbox."""

    sandbox: Sandbox
    scopes: tuple[str, ...]
    email: str = "ada.adviser@example.com"
    given: int = 0
    """How many tokens were asked for."""

    async def access_token(self, *, refused: str | None = None) -> str:  # noqa: ARG002 - each one is new
        self.given += 1
        authority = self.sandbox.authority
        (app,) = authority.apps.values()
        user = authority.user_by_email(self.email)
        assert user is not None
        code = authority.consent(app, user, [self.sandbox.organisations[0]], self.scopes, ("http://localhost/", None))
        return str(authority.redeem(app, code, "http://localhost/", None)["access_token"])


@dataclass
class Opened:
    """The first organisation's books, and what goes with them."""

    sandbox: Sandbox
    library: XeroLibrary
    books: XeroBooks
    calls: CallsInMemory
    tokens: SandboxTokens


@asynccontextmanager
async def opened(
    sandbox: Sandbox, *, speed: float, patience: timedelta = timedelta(seconds=60)
) -> AsyncIterator[Opened]:
    """The books, by a clock of this speed and with this time limit of a call."""
    settings = Settings(xero_api_url=sandbox.url, xero_timeout=patience)
    async with open_session(settings) as session:
        calls, tokens = CallsInMemory(), SandboxTokens(sandbox, tuple(settings.xero_scopes.split()))
        clock = SystemClock(speed)
        library = XeroLibrary(session, settings, clock, calls, Limits(clock))
        yield Opened(sandbox, library, library.open(sandbox.organisations[0].id, tokens), calls, tokens)
