"""A Xero in which nothing happens: for more organisations than the sandbox holds, at next to no cost of its own.

It knows every organisation and every token, answers a read that names an instant with 304 and any other with an empty
page, states what is left of the real limits, and refuses nothing. It notes each call; what came of them is told at
/calls. Run as a process it prints its address.
"""

import argparse
import asyncio
import base64
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import uvloop
from aiohttp import web

A_MINUTE, A_DAY, APP_MINUTE = 60, 5_000, 10_000
"""Xero's limits: calls of an organisation a minute and a day, and of an app a minute (OAuth 2.0, Limits)."""
TOKEN_LIFE = 1_800
MINUTE = 60.0


@dataclass
class Xero:
    """What was asked, and how much of it at once."""

    latency: float
    calls: list[tuple[float, str]] = field(default_factory=list)
    """When each came, by the wall clock, and to which organisation."""
    refreshes: int = 0
    under_way: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    minutes: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def read(self, request: web.Request) -> web.Response:
        """Any listing."""
        tenant, now = request.headers["xero-tenant-id"], time.time()
        self.calls.append((now, tenant))
        minute = self.minutes[int(now / MINUTE)]
        minute[tenant] += 1
        self.under_way[tenant] += 1
        self.most_at_once = max(self.most_at_once, self.under_way[tenant])
        await asyncio.sleep(self.latency)
        self.under_way[tenant] -= 1
        headers = {
            "X-MinLimit-Remaining": str(A_MINUTE - minute[tenant]),
            "X-DayLimit-Remaining": str(A_DAY - sum(each[tenant] for each in self.minutes.values())),
            "X-AppMinLimit-Remaining": str(APP_MINUTE - minute.total()),
        }
        if "If-Modified-Since" in request.headers:
            return web.Response(status=304, headers=headers)
        pages = {"page": 1, "pageSize": 1_000, "pageCount": 0, "itemCount": 0}
        read_at = f"/Date({int(now * 1000)})/"
        empty = {"Status": "OK", "DateTimeUTC": read_at, "pagination": pages, request.path.split("/")[3]: []}
        return web.json_response(empty, headers=headers)

    async def refresh(self, request: web.Request) -> web.Response:
        """The next token set: a refresh token is the user's id."""
        user = str((await request.post())["refresh_token"])
        self.refreshes += 1
        await asyncio.sleep(self.latency)
        return web.json_response(
            {
                "access_token": access_token(user),
                "refresh_token": user,
                "expires_in": TOKEN_LIFE,
                "token_type": "Bearer",
            }
        )

    async def tell(self, _: web.Request) -> web.Response:
        """The calls since this was asked last, and the most there ever were of an organisation at once and a minute."""
        calls, self.calls = self.calls, []
        refreshes, self.refreshes = self.refreshes, 0
        most = max((max(minute.values()) for minute in self.minutes.values()), default=0)
        told = {"calls": calls, "refreshes": refreshes, "most_at_once": self.most_at_once, "most_a_minute": most}
        return web.json_response(told)


def access_token(user: str) -> str:
    """A token that says whose it is, as Xero's do, and is signed by nobody."""
    claims = base64.urlsafe_b64encode(json.dumps({"xero_userid": user}).encode()).decode().rstrip("=")
    return f"none.{claims}.none"


async def serve(latency: float) -> None:
    """Listen until killed."""
    xero = Xero(latency)
    app = web.Application()
    app.router.add_get("/api.xro/2.0/{path:.*}", xero.read)
    app.router.add_post("/connect/token", xero.refresh)
    app.router.add_get("/calls", xero.tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"idle Xero at http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().create_future()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    uvloop.run(serve(parser.parse_args().latency_ms / 1000))


if __name__ == "__main__":
    main()
