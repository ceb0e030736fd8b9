"""Webhooks for tests: the sandbox's, wired to our server, and ones that a test signs itself."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from servers import CLIENT_ID, Service, Truth, differences, mirror_of, truth_of
from tieout_sandbox import Sandbox
from tieout_sandbox.webhooks.subscription import Standing, Subscription

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY-the-signing-key-of-the-tests"
TENANT = "11111111-1111-4111-8111-111111111111"
DOCUMENT = "22222222-2222-4222-8222-222222222222"


async def subscribed(sandbox: Sandbox, running: Service, key: str = KEY) -> Subscription:
    """The sandbox's webhooks, sent to our server from now on."""
    sandbox.webhooks.subscribe(CLIENT_ID, f"http://127.0.0.1:{running.web_port}/xero/webhooks", key)
    found = await sandbox.webhooks.intend(CLIENT_ID)
    assert found.standing is Standing.OK, [(d.status, d.problem) for d in found.deliveries]
    return found


def everything(of: Truth) -> Truth:
    """All that there is, with its versions."""
    return of


def what_counts(of: Truth) -> Truth:
    """What is left when nobody asks for versions, and for payments that came and went."""
    bare = {
        name: {key: row[:-1] for key, row in rows.items() if name != "payments" or row[0] != "DELETED"}
        for name, rows in of.items()
        if name not in {"accounts", "allocations"}
    }
    return bare | {"allocations": of["allocations"]}


async def until_equal(
    sandbox: Sandbox,
    database_url: str,
    connection_id: str,
    *,
    within: float = 20.0,
    of: Callable[[Truth], Truth] = everything,
) -> None:
    """Wait until our mirror holds exactly what the sandbox's books do."""
    found = ["nothing was compared"]
    try:
        async with asyncio.timeout(within):
            while found:
                found = differences(of(truth_of(sandbox.books)), of(await mirror_of(database_url, connection_id)))
                await asyncio.sleep(0.02 if found else 0)  # how often it is looked at decides nothing
    except TimeoutError:
        raise AssertionError(found) from None


def event(**fields: str) -> dict[str, str]:
    """One event as Xero writes it (Xero, Webhooks overview)."""
    stated = {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{DOCUMENT}",
        "resourceId": DOCUMENT,
        "tenantId": TENANT,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": "2026-11-22T11:59:58.902",
    }
    return stated | fields


def body_of(*events: object) -> bytes:
    """The body of a delivery."""
    said: dict[str, Any] = {"events": list(events), "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "S0M3"}
    return json.dumps(said).encode()


def signature(body: bytes, key: str = KEY) -> str:
    """What Xero sends with it as x-xero-signature."""
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


async def post(running: Service, body: bytes, signed: str) -> tuple[int, bytes]:
    """Send this to our server; the status of the answer, and its body."""
    url = f"http://127.0.0.1:{running.web_port}/xero/webhooks"
    async with running.browser.http.post(url, data=body, headers={"x-xero-signature": signed}) as answer:
        return answer.status, await answer.read()
