"""The control API of webhooks, under `/sandbox/webhooks`: JSON in, JSON out; README.md has the table."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import msgspec
from aiohttp import web

from tieout_sandbox.webhooks.events import ALL_CATEGORIES, Category
from tieout_sandbox.webhooks.subscription import Disturbance, Subscription
from tieout_sandbox.webhooks.webhooks import Webhooks

_Answer = Callable[[web.Request], Awaitable[web.Response]]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What a subscription shall be; the seconds are of the sandbox's clock."""

    url: str
    client_id: str | None = None
    key: str | None = None
    categories: frozenset[Category] = ALL_CATEGORIES
    intent: bool = True


class Unkindness(msgspec.Struct, forbid_unknown_fields=True):
    """How deliveries shall be disturbed; the seconds are of the sandbox's clock."""

    client_id: str | None = None
    lag_seconds: float = 0
    jitter_seconds: float = 0
    duplicates: float = 0
    seed: int = 1


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """Whose webhook is meant: the first app's unless said."""

    client_id: str | None = None


class WebhookRoutes:
    """Subscribe, ask for the intent to receive, disturb, disable, and read what was sent."""

    def __init__(self, webhooks: Webhooks, first_client_id: str) -> None:
        self._webhooks = webhooks
        self._first = first_client_id

    def add_to(self, app: web.Application) -> None:
        """Register every path; what a caller got wrong is answered with 400 or 404 and a sentence."""
        routes: list[tuple[str, str, _Answer]] = [
            ("GET", "/sandbox/webhooks", self.subscriptions),
            ("POST", "/sandbox/webhooks", self.subscribe),
            ("DELETE", "/sandbox/webhooks", self.unsubscribe),
            ("POST", "/sandbox/webhooks/intent", self.intend),
            ("POST", "/sandbox/webhooks/disable", self.disable),
            ("POST", "/sandbox/webhooks/disturb", self.disturb),
            ("GET", "/sandbox/webhooks/deliveries", self.deliveries),
        ]
        for method, path, answer in routes:
            app.router.add_route(method, path, _explaining(answer))

    async def subscriptions(self, _request: web.Request) -> web.Response:
        """Every app's webhook."""
        return _json([_state(found) for found in self._webhooks.subscriptions.values()])

    async def subscribe(self, request: web.Request) -> web.Response:
        """Register or change a webhook, and unless told otherwise ask the receiver for its intent to receive."""
        wanted = msgspec.json.decode(await request.read(), type=Wanted)
        client_id = wanted.client_id or self._first
        made = self._webhooks.subscribe(client_id, wanted.url, wanted.key, wanted.categories)
        if wanted.intent:
            await self._webhooks.intend(client_id)
        return _json(_state(made))

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Forget a webhook."""
        self._webhooks.unsubscribe(request.query.get("client_id", self._first))
        return _json({})

    async def intend(self, request: web.Request) -> web.Response:
        """Ask for the intent to receive, as when re-enabling; what was kept is then sent."""
        return _json(_state(await self._webhooks.intend(await self._named(request))))

    async def disable(self, request: web.Request) -> web.Response:
        """Disable a webhook as after 24 hours of failing."""
        client_id = await self._named(request)
        self._webhooks.subscriptions[client_id].disable()
        return _json(_state(self._webhooks.subscriptions[client_id]))

    async def disturb(self, request: web.Request) -> web.Response:
        """Let events lag, overtake each other and come twice."""
        given = msgspec.json.decode(await request.read() or b"{}", type=Unkindness)
        found = self._webhooks.subscriptions[given.client_id or self._first]
        lag, jitter = timedelta(seconds=given.lag_seconds), timedelta(seconds=given.jitter_seconds)
        found.disturb(Disturbance(lag, jitter, given.duplicates, given.seed))
        return _json(_state(found))

    async def deliveries(self, request: web.Request) -> web.Response:
        """What was sent, oldest first: all, or what matches `client_id`, `kind`, `after` (a number)."""
        query = request.query
        found = self._webhooks.subscriptions[query.get("client_id", self._first)]
        kind = query.get("kind")
        sent = [sent for sent in found.logged(int(query.get("after", "0"))) if kind in {None, sent.kind}]
        return _json([asdict(delivery) for delivery in sent])

    async def _named(self, request: web.Request) -> str:
        return msgspec.json.decode(await request.read() or b"{}", type=Named).client_id or self._first


def _state(found: Subscription) -> dict[str, Any]:
    disturbance = found.disturbance
    return {
        "client_id": found.client_id,
        "url": found.url,
        "key": found.key,
        "categories": sorted(found.categories),
        "standing": found.standing,
        "failing_since": found.failing_since,
        "retry_at": found.retry_at,
        "waiting": len(found.pending),
        "lag_seconds": disturbance.lag.total_seconds(),
        "jitter_seconds": disturbance.jitter.total_seconds(),
        "duplicates": disturbance.duplicates,
        "seed": disturbance.seed,
    }


def _explaining(answer: _Answer) -> _Answer:
    """Turn what a caller got wrong into a status and a sentence."""

    async def explained(request: web.Request) -> web.Response:
        try:
            return await answer(request)
        except KeyError as error:
            return _json({"error": f"No webhook of {error}."}, 404)
        except ValueError as error:
            return _json({"error": str(error)}, 400)

    return explained


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
