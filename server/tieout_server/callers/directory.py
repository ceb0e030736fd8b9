"""The callers that an operator registered, known again by a key or a certificate.

What was read is believed for FRESH seconds, so that a call costs no query, and a change is known on every replica
within that time. What does not exist is remembered as well.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast
from weakref import WeakValueDictionary

from tieout_server.callers import keys
from tieout_server.callers.caller import Caller, Role
from tieout_server.callers.keys import Shown
from tieout_server.clock import Clock
from tieout_server.storage import callers
from tieout_server.storage.callers import Key, Registered
from tieout_server.storage.database import Database, Transaction

FRESH = 5.0
"""Seconds after which a revoked key or caller is let in nowhere."""
MOST_KNOWN = 10_000

Found = TypeVar("Found")


class Directory:
    """Who is registered, as of a few seconds ago at most."""

    def __init__(self, database: Database, clock: Clock, now: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._now = now
        self._known: OrderedDict[tuple[str, object], tuple[float, object]] = OrderedDict()
        self._reading: WeakValueDictionary[tuple[str, object], asyncio.Lock] = WeakValueDictionary()

    async def by_key(self, shown: Shown) -> Caller | None:
        """The caller whose key this is; None if it is nobody's, expired or revoked."""
        found = await self._read("key", shown.id, lambda tx: callers.key_of(tx, shown.id))
        if found is None or not keys.is_same(shown.secret, found[0].digest) or not self._is_good(found[0]):
            return None
        return _caller(found[1], "key")

    def was_key_good(self, shown: Shown) -> bool:
        """Whether this was somebody's key when it was read last, however long ago: it is read again where it counts."""
        found = cast("tuple[Key, Registered] | None", self._last("key", shown.id))
        return found is not None and keys.is_same(shown.secret, found[0].digest)

    def was_certificate_good(self, names: tuple[str, ...]) -> bool:
        """Whether a certificate with these names was somebody's when it was read last."""
        return self._last("certificate", names) is not None

    async def by_certificate(self, names: tuple[str, ...]) -> Caller | None:
        """The caller registered for a certificate with one of these names; None if there is none, or no more."""
        found = await self._read("certificate", names, lambda tx: callers.of_certificate(tx, names))
        return None if found is None else _caller(found, "certificate")

    async def is_empty(self) -> bool:
        """Whether nobody was ever registered."""
        return not await self._read("anybody", "", callers.is_anybody_registered)

    def _last(self, kind: str, name: object) -> object:
        """What was read last of this, if it is remembered."""
        known = self._known.get((kind, name))
        return None if known is None else known[1]

    def _is_good(self, key: Key) -> bool:
        return key.revoked_at is None and (key.expires_at is None or self._clock.now() < key.expires_at)

    async def _read(self, kind: str, name: object, read: Callable[[Transaction], Awaitable[Found]]) -> Found:
        """What was read a moment ago, or what is read now."""
        place = kind, name
        known = self._known.get(place)
        if known is None or self._now() - known[0] >= FRESH:
            async with self._reading.setdefault(place, asyncio.Lock()):  # one reads for all who wait for the same
                known = self._known.get(place)
                if known is None or self._now() - known[0] >= FRESH:
                    known = await self._read_now(place, read)
        return cast("Found", known[1])

    async def _read_now(
        self, place: tuple[str, object], read: Callable[[Transaction], Awaitable[Found]]
    ) -> tuple[float, object]:
        started = self._now()
        async with self._database.read() as tx:
            known = started, await read(tx)
        self._known[place] = known
        self._known.move_to_end(place)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return known


def _caller(registered: Registered, by: str) -> Caller | None:
    """The caller as it may act now; None if it was revoked."""
    if registered.revoked_at is not None:
        return None
    merchants = None if registered.merchants is None else frozenset(registered.merchants)
    return Caller(registered.name, by, frozenset(map(Role, registered.roles)), merchants)
