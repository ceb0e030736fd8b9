"""The world outside: Xero's hosts and clock, our credentials there, and the way back to us."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from tieout_server.clock import SystemClock
from tieout_server.doctor.findings import Finding, fault, fine, not_examined, warning
from tieout_server.errors import AppRejectedError, CredentialsExpiredError, TieoutError, XeroUnavailableError
from tieout_server.settings import Settings
from tieout_server.web import reach as own
from tieout_server.web.webhooks import WEBHOOKS
from tieout_server.xero.oauth import XeroIdentity
from tieout_server.xero.reach import Reached, reach
from tieout_server.xero.transport import open_session
from tieout_server.xero.webhooks import signature_of

CLOCKS_APART = timedelta(seconds=2)
_TO_THE_SECOND = timedelta(seconds=1)
"""An HTTP date tells no more."""
_SERVER_FAILS = 500
_PATHS = (
    ("TIEOUT_XERO_LOGIN_URL", "xero_login_url", "/"),
    ("TIEOUT_XERO_IDENTITY_URL", "xero_identity_url", "/.well-known/openid-configuration/jwks"),
    ("TIEOUT_XERO_API_URL", "xero_api_url", "/connections"),
)


async def hosts(settings: Settings) -> Sequence[Finding]:
    """Whether each host of Xero answers, and whether our clock agrees with theirs."""
    found: list[Finding] = []
    async with open_session(settings) as session:
        for setting, name, path in _PATHS:
            address = getattr(settings, name).rstrip("/")
            try:
                answer = await reach(session, address + path)
            except XeroUnavailableError as away:
                remedy = (
                    f"Let this machine reach {address} (DNS, firewall, proxy, CA certificates), or correct {setting}."
                )
                found.append(fault("Xero", f"{address}: {away.sentence}", remedy))
            else:
                found += _reached(setting, address, answer)
                found += _clock(settings, answer) if name == "xero_api_url" else ()
    return found


def _reached(setting: str, address: str, answer: Reached) -> Iterator[Finding]:
    if answer.status >= _SERVER_FAILS:
        said = f"{address} answers {answer.status}."
        yield warning("Xero", said, f"Look at https://status.xero.com, or correct {setting}; try again later.")
    else:
        yield fine("Xero", f"{address} answers, in {answer.seconds * 1000:.0f} ms.")


def _clock(settings: Settings, answer: Reached) -> Iterator[Finding]:
    if answer.at is None or settings.clock_speed != 1:
        return
    apart = abs(datetime.now(UTC) - answer.at - _TO_THE_SECOND / 2) - _TO_THE_SECOND / 2
    if apart - timedelta(seconds=answer.seconds) > CLOCKS_APART:
        said = f"The clocks of this machine and of Xero are {apart.total_seconds():.0f} seconds apart."
        yield fault("clock", said, "Keep this machine's time by NTP (chronyc tracking, timedatectl).")
    else:
        yield fine("clock", "It agrees with Xero's.")


async def credentials(settings: Settings) -> Sequence[Finding]:
    """Whether Xero knows our client id and secret: a token that never was is refused otherwise than an unknown app."""
    name = "Xero app"
    if not settings.xero_client_id:
        return [not_examined(name, "There is no client id to try.")]
    async with open_session(settings) as session:
        identity = XeroIdentity(session, settings, SystemClock())
        try:
            await identity.refresh(f"tieout-doctor-{secrets.token_hex(8)}")
        except CredentialsExpiredError:
            return [fine(name, "Xero knows the client id and secret.")]
        except AppRejectedError as rejected:
            said = f"Xero does not accept the client id and secret ({rejected.facts.get('error', '')})."
            remedy = "Correct TIEOUT_XERO_CLIENT_ID and TIEOUT_XERO_CLIENT_SECRET, as https://developer.xero.com shows."
            return [fault(name, said, remedy)]
        except XeroUnavailableError:
            return [not_examined(name, "Xero's identity service did not answer properly: see Xero.")]
        except TieoutError as odd:
            return [warning(name, f"Xero answered what is not understood: {odd.sentence}", "Try again later.")]
    return [warning(name, "Xero gave tokens for a token that never was.", "Correct TIEOUT_XERO_IDENTITY_URL.")]


async def way_back(settings: Settings) -> Sequence[Finding]:
    """Whether browsers and Xero reach us under our web address, and webhooks are taken with our key."""
    name, address = "way back", settings.web_url.rstrip("/")
    here = await own.is_ours(f"http://{settings.web_listen}")
    there = await own.is_ours(address)
    if there:
        return [fine(name, f"{address} leads here."), *await _webhooks(settings, address)]
    if here is None and there is None:
        return [
            not_examined(
                name,
                "No server is running: the callback and webhooks were not tried.",
                "Start it, and run this again beside it.",
            )
        ]
    said = "nobody answers" if there is None else "something else answers"
    remedy = "Correct TIEOUT_WEB_URL, its DNS name, or the proxy that should lead from there to TIEOUT_WEB_LISTEN."
    return [fault(name, f"A server runs on {settings.web_listen}, but at {address} {said}.", remedy)]


async def _webhooks(settings: Settings, address: str) -> Sequence[Finding]:
    """Xero's intent to receive, played by ourselves: a delivery without events, rightly and wrongly signed."""
    name, body = "webhooks", b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"DOCTOR"}'
    keys = [key.strip().encode() for key in settings.xero_webhook_key.get_secret_value().split(",") if key.strip()]
    found: list[Finding] = []
    for number, key in enumerate(keys, start=1):
        status = await own.delivered(address + WEBHOOKS, body, signature_of(body, key).decode())
        if status != 200:  # noqa: PLR2004 - HTTP's
            said = (
                f"A delivery signed with key {number} of TIEOUT_XERO_WEBHOOK_KEY was answered {status or 'not at all'}."
            )
            remedy = f"Restart the server with this key, and let the proxy pass {WEBHOOKS} on unchanged."
            found.append(fault(name, said, remedy))
    if keys:
        forged = await own.delivered(address + WEBHOOKS, body, signature_of(body, secrets.token_bytes(32)).decode())
        if forged != 401:  # noqa: PLR2004 - HTTP's
            said = f"A wrongly signed delivery was answered {forged or 'not at all'} instead of 401."
            remedy = (
                f"Let the proxy pass {WEBHOOKS} on to this server, body and headers unchanged; Xero tries this, too."
            )
            found.append(fault(name, said, remedy))
    return found or [fine(name, f"Xero is to send them to {address}{WEBHOOKS}.")] if keys else ()
