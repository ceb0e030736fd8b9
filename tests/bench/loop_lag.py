"""How long a first sync of the reference organisation blocks the event loop: at most 50 ms, it is promised."""

import argparse
import asyncio
import gc
import tempfile
import time
from urllib.parse import urlsplit

import aiohttp
import uvloop
from stage import APP, consent, sandbox  # type: ignore[import-not-found] # beside this one

import tieout
from tieout.syncs import ENDED
from tieout_server import log
from tieout_server.app import serve
from tieout_server.settings import Settings

LIMIT_MS = 50.0


async def lags(stop: asyncio.Event) -> list[float]:
    """Milliseconds by which each turn of the loop came late, asked for every millisecond."""
    late = []
    while not stop.is_set():
        asked = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - asked - 0.001) * 1000)
    return late


async def measure(base: str, database: str) -> list[float]:
    """One first sync in this process, with the loop watched."""
    settings = Settings.model_validate(
        {
            "database_url": database,
            "listen": "127.0.0.1:0",
            "web_listen": "127.0.0.1:0",
            "xero_client_id": APP["TIEOUT_XERO_CLIENT_ID"],
            "xero_client_secret": APP["TIEOUT_XERO_CLIENT_SECRET"],
            **dict.fromkeys(("xero_login_url", "xero_identity_url", "xero_api_url"), base),
        }
    )
    async with (
        serve(settings) as app,
        tieout.Client(f"127.0.0.1:{app.port}") as client,
        aiohttp.ClientSession() as http,
    ):
        started = await client.connections.connect("bench")
        back = urlsplit(await consent(base, started.authorization_url))
        gc.collect()
        stop = asyncio.Event()
        watched = asyncio.create_task(lags(stop))
        async with http.get(f"http://127.0.0.1:{app.web_port}{back.path}?{back.query}", raise_for_status=True):
            pass
        async for update in client.syncs.watch_connection(started.connection.id):
            if update.progress.sync.state in ENDED:
                break
        stop.set()
        return await watched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", default="2000")
    parser.add_argument("--invoices", default="20000")
    asked = parser.parse_args()
    log.configure(log_format="console", level="error")
    with (
        sandbox("--contacts", asked.contacts, "--invoices", asked.invoices) as base,
        tempfile.TemporaryDirectory() as folder,
    ):
        late = sorted(uvloop.run(measure(base, f"sqlite:///{folder}/lag.db")))
    worst, p99 = late[-1], late[int(len(late) * 0.99)]
    print(f"event loop during a first sync: longest block {worst:.1f} ms (limit {LIMIT_MS:.0f}), p99 {p99:.1f} ms, "
          f"{len(late)} turns")  # fmt: skip


if __name__ == "__main__":
    main()
