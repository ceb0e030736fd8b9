"""What a sandbox is started with."""

from dataclasses import dataclass, field
from datetime import date, datetime
from urllib.parse import urlsplit

from tieout_sandbox.faults import FaultRule
from tieout_sandbox.limits import Tier
from tieout_sandbox.local import LOOPBACK
from tieout_sandbox.switches import Switches


@dataclass(frozen=True, slots=True)
class App:
    """An app as registered in Xero's developer portal.

    Args:
        client_id: public.
        client_secret: None for an app that proves itself by PKCE alone.
        name: what the consent page and each response's ProviderName say.
        redirect_uris: exactly these; empty accepts any loopback address, which Xero itself does not.
        broad_scopes: whether accounting.transactions and the like may be asked for (apps made before 2 March 2026).
        certified: by Xero; an organisation connects at most two apps that are not (Xero, OAuth 2.0 limits).
    """

    client_id: str = "tieout-sandbox-app"
    client_secret: str | None = field(default="sandbox-secret", repr=False)
    name: str = "Tieout"
    redirect_uris: tuple[str, ...] = ()
    broad_scopes: bool = True
    certified: bool = False

    def accepts(self, redirect_uri: str) -> bool:
        """Whether a consent may return there."""
        if self.redirect_uris:
            return redirect_uri in self.redirect_uris
        parts = urlsplit(redirect_uri)
        return parts.scheme in {"http", "https"} and parts.hostname in LOOPBACK


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How to start a sandbox.

    Args:
        host: where to listen; anything but loopback opens the control API to the network.
        port: 0 takes a free one.
        seed: where the books come from.
        contacts: of the first organisation; the others are small.
        invoices: sales invoices of the first organisation.
        organisations: how many there are.
        anchor_on: everything in the books happened before this day; the clock's day unless given.
        starts_at: what time it is at first; now unless given.
        tier: decides the day limit.
        speed: of the clock.
        latency_ms: how long each API call takes, in real time; the clock's speed does not shorten it.
        apps: who may ask for consent.
        switches: how the open questions are answered.
        faults: rules in force from the start.
        webhook_url: where the first app wants its webhooks, on loopback; nowhere unless given.
        webhook_key: signs them; made up unless given.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    contacts: int = 200
    invoices: int = 2_000
    organisations: int = 2
    anchor_on: date | None = None
    starts_at: datetime | None = None
    tier: Tier = Tier.CORE
    speed: float = 1.0
    latency_ms: float = 0.0
    apps: tuple[App, ...] = (App(),)
    switches: Switches = field(default_factory=Switches)
    faults: tuple[FaultRule, ...] = ()
    webhook_url: str | None = None
    webhook_key: str | None = field(default=None, repr=False)
