"""What a page costs: Xero's JSON to ledger documents, in microseconds a record, beside orjson.loads of the same bytes.

Run it as `python tests/bench/decode.py`. The pages are the sandbox's, rendered as Xero serves them.
"""

import asyncio
import gc
import time
import zlib
from collections.abc import Callable
from functools import partial

import aiohttp
import orjson

import tieout_sandbox
from tieout_sandbox import Sandbox, SandboxSettings
from tieout_server.ledger.documents import Entity
from tieout_server.settings import SCOPES
from tieout_server.xero.listings import LISTINGS

ROUNDS = 30
PAGED = (Entity.INVOICES, Entity.PAYMENTS, Entity.CONTACTS, Entity.CREDIT_NOTES, Entity.OVERPAYMENTS)


async def pages() -> dict[Entity, bytes]:
    """The first page of 1,000 of each entity, compressed as it travels."""
    async with tieout_sandbox.serve(SandboxSettings(contacts=1_000, invoices=1_000)) as sandbox:
        headers = {
            "Authorization": f"Bearer {access_token(sandbox)}",
            "xero-tenant-id": sandbox.organisations[0].id,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        async with aiohttp.ClientSession(sandbox.url, headers=headers, auto_decompress=False) as session:
            return {entity: await page(session, entity) for entity in PAGED}


async def page(session: aiohttp.ClientSession, entity: Entity) -> bytes:
    listing = LISTINGS[entity]
    parameters = dict(listing.parameters) | {"page": "1", "pageSize": "1000"}
    async with session.get(f"/api.xro/2.0/{listing.path}", params=parameters) as response:
        response.raise_for_status()
        return await response.read()


def access_token(sandbox: Sandbox) -> str:
    authority = sandbox.authority
    app, user = next(iter(authority.apps.values())), next(iter(authority.users.values()))
    code = authority.consent(app, user, sandbox.organisations, tuple(SCOPES.split()), ("http://localhost/", None))
    return str(authority.redeem(app, code, "http://localhost/", None)["access_token"])


def best(work: Callable[[], object]) -> float:
    """The fastest of many rounds, in seconds of CPU."""
    taken = []
    for _ in range(ROUNDS):
        gc.collect()
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def main() -> None:
    print(f"{'entity':14}{'records':>8}{'kB wire':>9}{'kB body':>9}{'gunzip':>8}{'ours':>8}{'orjson':>8}   µs a record")
    for entity, packed in asyncio.run(pages()).items():
        body = zlib.decompress(packed, wbits=31)
        read = LISTINGS[entity].read
        found = read(body)
        count = len(found.documents) + sum(found.skipped.values())
        costs = [
            best(work) / count * 1e6
            for work in (partial(zlib.decompress, packed, wbits=31), partial(read, body), partial(orjson.loads, body))
        ]
        sizes = f"{len(packed) / 1e3:9.0f}{len(body) / 1e3:9.0f}"
        print(f"{entity:14}{count:8}{sizes}" + "".join(f"{cost:8.2f}" for cost in costs))


if __name__ == "__main__":
    main()
