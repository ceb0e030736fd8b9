"""The organisations that are at home here: this process alone makes, or permits, the calls to them.

Xero's limits are kept in memory (`Windows`), so all calls to one organisation are let through by one process. Its
tasks are done there too. Nobody settles more than their share; whoever has more, as others have come, gives some up,
with what is known of their limits.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from tieout_server import log
from tieout_server.ledger.calls import Allowance
from tieout_server.storage import replicas
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.notices import notify
from tieout_server.storage.work import CHANNEL
from tieout_server.work.replica import Replica

logger = log.get("homes")

MOVES = 500
"""Organisations at most that are given up at one sign of life, which must not come late for it."""


class Windows(Protocol):
    """What is known of the limits of the organisations that are at home here."""

    def keep(self, organisation: str) -> bytes:
        """What is known of an organisation's limits, while calls go on."""
        ...

    def used(self) -> set[str]:
        """The organisations that were called since this was asked last."""
        ...

    def hand_over(self, organisation: str) -> bytes | None:
        """What is known of an organisation's limits, and forget it; None while calls wait or are under way."""
        ...

    def take_over(self, organisation: str, kept: bytes) -> None:
        """Go on with what another process knew of an organisation's limits."""
        ...

    def told_by(self, kept: bytes) -> Allowance:
        """What is left for an organisation of which another process kept this."""
        ...

    def forget_all(self) -> None:
        """Other processes make these calls from now on."""
        ...

    def share_with(self, others: int) -> None:
        """Leave room in the app's minute for calls that so many other processes make before we hear of them."""
        ...


class Homes:
    """Which organisations are at home here."""

    def __init__(self, database: Database, replica: Replica, windows: Windows) -> None:
        self._database = database
        self._replica = replica
        self._windows = windows
        self._here: set[str] = set()
        self._leaving: set[str] = set()
        self._moving: set[str] = set()
        self._is_draining = False
        self.is_busy: Callable[[str], bool] = lambda _: False
        """Whether something is being done here for an organisation."""
        self.on_settled: Callable[[], None] = lambda: None
        """Called when an organisation has settled here: guests may have asked for it before."""
        replica.on_lost(self._drop)
        replica.on_beat(self.balance)

    @property
    def count(self) -> int:
        """How many organisations are at home here."""
        return len(self._here)

    def is_here(self, xero_tenant_id: str) -> bool:
        """Whether an organisation is at home in this process."""
        return xero_tenant_id in self._here

    def is_leaving(self, xero_tenant_id: str) -> bool:
        """Whether it moves to another process as soon as nothing is done for it here."""
        return xero_tenant_id in self._leaving or xero_tenant_id in self._moving

    def allowance(self, kept: bytes) -> Allowance:
        """What is left for an organisation of which its home kept this."""
        return self._windows.told_by(kept)

    async def room(self, tx: Transaction, new: int) -> int:
        """How many of so many organisations without a home may settle here: what is our share, rounded up."""
        peers = await replicas.peers(tx)
        all_ = max(peers.organisations, peers.at_home + new, len(self._here) + new)
        return _share(all_, peers.replicas) - len(self._here)

    async def settle(self, tx: Transaction, xero_tenant_id: str) -> bool:
        """Make this process the organisation's home once this has committed; False if it has another one."""
        if xero_tenant_id in self._here:
            return True
        if xero_tenant_id in self._moving or not self._replica.id:
            return False
        known = await replicas.settle(tx, xero_tenant_id, self._replica.id)
        if known is None:
            return False
        self._database.after_commit(tx, lambda: self._settled(xero_tenant_id, known))
        return True

    async def balance(self) -> None:
        """Keep what is known of limits for who would come next, and give up what is more than our share."""
        if self._is_draining:
            return
        peers = self._replica.peers
        self._windows.share_with(peers.replicas - 1)
        excess = len(self._here) - _share(max(peers.organisations, len(self._here)), peers.replicas)
        idle_first = sorted(self._here, key=self.is_busy)
        self._leaving = set(idle_first[: max(0, min(MOVES, excess))])  # nothing is begun of who leaves: not too many
        await self._move_out(idle_first)
        if peers.replicas > 1:
            await self._keep_windows()

    async def move_out(self, xero_tenant_id: str) -> None:
        """Let an organisation go that is leaving, unless something is being done for it at this moment."""
        await self._move_out([xero_tenant_id])

    async def drain(self) -> None:
        """Let all of them go, as this process ends: idle ones now, others with `move_out`, the rest with `leave`."""
        self._is_draining = True
        self._leaving = set(self._here)
        async with self._database.write() as tx:
            await replicas.retire(tx, self._replica.id)
        await self._move_out(list(self._here))

    async def leave(self) -> None:
        """Let all of them go, as this process ends."""
        known = {}
        for organisation in self._here:
            windows = self._windows.hand_over(organisation)
            known[organisation] = self._windows.keep(organisation) if windows is None else windows
        async with self._database.write() as tx:
            await replicas.move_out(tx, self._replica.id, known)
        self._here.clear()

    async def _move_out(self, wanted: Collection[str]) -> None:
        """Let those of these go that are leaving and idle; what is known of their limits stays behind."""
        known: dict[str, bytes] = {}
        for organisation in self._leaving.intersection(wanted):
            if not self.is_busy(organisation) and (windows := self._windows.hand_over(organisation)) is not None:
                known[organisation] = windows
        if not known:
            return
        self._here.difference_update(known)
        self._moving.update(known)
        try:
            async with self._database.write() as tx:
                await replicas.move_out(tx, self._replica.id, known)
                await notify(tx, CHANNEL)  # what is due of them may be done elsewhere
        except (
            BaseException
        ):  # whether they are here still is found out by who settles them next; what is known is kept
            for organisation, windows in known.items():
                self._windows.take_over(organisation, windows)
            raise
        finally:
            self._moving.difference_update(known)
            self._leaving.difference_update(known)

    async def _keep_windows(self) -> None:
        if used := self._windows.used() & self._here:
            async with self._database.write(durable=False) as tx:
                for organisation in sorted(used):
                    known = self._windows.keep(organisation)
                    await replicas.keep_windows(tx, organisation, self._replica.id, known)

    def _settled(self, xero_tenant_id: str, known: bytes) -> None:
        self._here.add(xero_tenant_id)
        self._windows.take_over(xero_tenant_id, known)
        self.on_settled()

    async def _drop(self) -> None:
        """Others have them now."""
        self._here.clear()
        self._leaving.clear()
        self._windows.forget_all()


def _share(organisations: int, among: int) -> int:
    """What one of so many processes has at most."""
    return -(-organisations // max(1, among))
