"""Idempotency-Key: the same request with the same key is done once and answered twice (Xero, idempotent requests)."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiohttp import web

from tieout_sandbox.accounting.write_answers import refusal

LONGEST_KEY = 128
LIFE = timedelta(minutes=6)
"""From the first call on; afterwards the key counts as new."""
_VERBS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(slots=True)
class _Known:
    """A key in use: whose request it belongs to, since when, and the answer once there is one."""

    fingerprint: bytes
    since_at: datetime
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def answer_to(self, key: str, fingerprint: bytes) -> web.Response:
        """The same answer again, or a refusal of another request and of one that comes too early."""
        if self.fingerprint != fingerprint:
            return refusal(f"Idempotency Key: {key} is used with a different request.")
        if not self.answered.is_set():
            return refusal(f"Idempotency Key: {key} is used by a request that is still being processed.", 409)
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class IdempotencyKeys:
    """The keys of the last six minutes, by app: an organisation is no part of it, so a key must be random."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    async def answer(
        self, request: web.Request, client_id: str, work: Callable[[], Awaitable[web.Response]], *, waits: bool
    ) -> web.Response:
        """The answer to a request: done now, or the one that was given to the same request before, errors included.

        Args:
            request: its body is read already.
            client_id: of the calling app.
            work: does what is asked.
            waits: whether a second call while the first is being done waits for it; else it is refused (undocumented).
        """
        key = request.headers.get("Idempotency-Key")
        if not key or request.method not in _VERBS:
            return await work()
        if len(key) > LONGEST_KEY:
            return refusal(f"Idempotency Key: must not be longer than {LONGEST_KEY} characters.")
        fingerprint = await _fingerprint(request)
        self._forget_old()
        known = self._known.get((client_id, key))
        while waits and known is not None and known.fingerprint == fingerprint and not known.answered.is_set():
            await known.answered.wait()
            known = self._known.get((client_id, key))  # gone, if the first one broke off before it did anything
        if known is None:
            return await self._first(client_id, key, fingerprint, work)
        return known.answer_to(key, fingerprint)

    async def _first(
        self, client_id: str, key: str, fingerprint: bytes, work: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        known = self._known[client_id, key] = _Known(fingerprint, self._now())
        try:
            response = await work()
            known.status, known.headers = response.status, dict(response.headers)
            known.body = response.body if isinstance(response.body, bytes) else None
        finally:
            known.answered.set()
            if not known.status and self._known.get((client_id, key)) is known:
                del self._known[client_id, key]
        return response

    def _forget_old(self) -> None:
        """Drop what is older than six minutes; the oldest stand first."""
        oldest_at = self._now() - LIFE
        while self._known:
            slot, known = next(iter(self._known.items()))
            if known.since_at > oldest_at:
                return
            del self._known[slot]


async def _fingerprint(request: web.Request) -> bytes:
    """Verb, address with its parameters, and body."""
    parts = (request.method.encode(), request.path_qs.encode(), await request.read())
    return hashlib.sha256(b"\0".join(parts)).digest()
