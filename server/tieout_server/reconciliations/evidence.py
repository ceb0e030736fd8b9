"""Gathers what an evidence pack proves from what is kept here: nothing is asked of Xero, and nothing changes."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.ledger.links import CALLER, TIEOUT, Link
from tieout_server.ledger.money import readable
from tieout_server.reconciliations.accounts import accounts_of
from tieout_server.reconciliations.pack import Pack, pack
from tieout_server.reconciliations.proof import Account, Compared, Moment, Point, Proof
from tieout_server.reconciliations.summary import kind, standing
from tieout_server.storage import cases, connections, customers, discrepancies, syncs
from tieout_server.storage.cases import Case
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.discrepancies import Happened
from tieout_server.storage.syncs import SyncRecord
from tieout_server.syncs.state import SyncMode, SyncState

SYNCS = 50
"""Of the connection's latest, in the timeline."""
BEFORE = timedelta(days=1)
"""How long before a difference was first seen syncs still matter to it."""
_ENDS = {
    SyncState.SUCCEEDED: "was finished",
    SyncState.FAILED: "failed",
    SyncState.CANCELLED: "was cancelled",
}
_WHO = {TIEOUT: "", CALLER: " (through the platform)"}
"""Whoever else it was is named."""


class Evidence:
    """Makes packs of discrepancies and of cases."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of_discrepancy(self, discrepancy_id: str) -> Pack:
        """The pack of one discrepancy, also of one that is over.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            found = await discrepancies.get(tx, discrepancy_id)
            if found is None:
                raise NotFoundError("discrepancy", discrepancy_id)
            link = await _link(tx, found.connection_id)
            merged = await customers.merges(tx, link.id, [found.xero_contact_id])
            customer = merged.get(found.xero_contact_id, found.xero_contact_id)
            accounts = await accounts_of(tx, link, customer, [found], only=found.currency)
            proof = await self._proof(tx, link, accounts, title=found.customer_name)
        return await asyncio.to_thread(pack, proof)

    async def of_case(self, case_id: str) -> Pack:
        """The pack of a case: every customer and currency that it is about.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            case = await cases.get(tx, case_id)
            if case is None:
                raise NotFoundError("case", case_id)
            link = await _link(tx, case.connection_id)
            accounts: list[Account] = []
            for customer in case.customer_ids:
                family = await customers.families(tx, link.id, [customer])
                off = await discrepancies.of_customer(tx, link.id, family)
                own = [one for one in off if one.xero_contact_id == customer]
                lost = [one for one in off if one.xero_contact_id != customer and not one.is_over]
                accounts += await accounts_of(tx, link, customer, [*lost, *own])
            names = {account.customer for account in accounts}
            title = names.pop() if len(names) == 1 else _organisation(link)
            proof = await self._proof(tx, link, accounts, title=title, case=case)
        return await asyncio.to_thread(pack, proof)

    async def _proof(
        self, tx: Transaction, link: Link, accounts: list[Account], *, title: str, case: Case | None = None
    ) -> Proof:
        now = self._clock.now()
        since = min((one.discrepancy.opened_at for one in accounts if one.discrepancy), default=now) - BEFORE
        timeline = [moment for account in accounts for moment in _moments(account)]
        timeline += await _syncs(tx, link.id, since)
        if case is not None:
            timeline.append(Moment(at=case.created_at, what="case", about=case.id, sentence="It was reported."))
        return Proof(
            title=title,
            organisation=_organisation(link),
            description=case.description if case else "",
            finding=case.sentence if case else "",
            accounts=accounts,
            timeline=sorted(timeline, key=lambda moment: moment.at),
            made_at=now,
        )


async def _link(tx: Transaction, connection_id: str) -> Link:
    link = await connections.get(tx, connection_id)
    assert link is not None, "what is kept of a connection goes with it"
    return link


def _moments(account: Account) -> Iterator[Moment]:
    who = account.xero_contact_id
    for point in account.over_time:
        yield Moment(at=point.at, what="compared", about=who, sentence=_compared(point, account.currency))
    for event in account.discrepancy.history if account.discrepancy else ():
        yield Moment(at=event.at, what="discrepancy", about=who, sentence=_happened(event))
    for document in account.documents:
        if document.cause:
            yield from _of_document(document)


def _compared(point: Point, currency: str) -> str:
    ours, xero = readable(point.ours, currency), readable(point.xero, currency)
    if point.ours == point.xero:
        return f"Both sides were compared and agreed: {ours}."
    return f"Both sides were compared: {ours} here, {xero} in Xero."


def _happened(event: Happened) -> str:
    return f"{event.sentence}{_WHO.get(event.actor, f' ({event.actor})')}"


def _of_document(document: Compared) -> Iterator[Moment]:
    name = f"{kind(document.entity)} {document.number}".strip()
    told: list[tuple[datetime, str]] = []
    if document.ours is not None:
        told.append((document.ours.read_at, f"{name} was read from Xero: {standing(document, document.ours)}."))
    if document.xero is not None:
        told.append((document.xero.xero_updated_at, f"{name} was last changed in Xero, by the date that Xero gives."))
        told.append((document.xero.read_at, f"{name} was read again from Xero: {standing(document, document.xero)}."))
    for at, sentence in told:
        yield Moment(at=at, what="document", about=document.xero_id, sentence=sentence)


async def _syncs(tx: Transaction, connection_id: str, since: datetime) -> list[Moment]:
    latest = await syncs.page(tx, connection_id, limit=SYNCS)
    return [
        Moment(at=one.ended_at, what="sync", about=one.id, sentence=_synced(one))
        for one in latest
        if one.ended_at is not None and one.ended_at >= since
    ]


def _synced(sync: SyncRecord) -> str:
    what = "A full reading" if sync.mode == SyncMode.FULL else "A reading of changes"
    return f"{what} from Xero {_ENDS[SyncState(sync.state)]}."


def _organisation(link: Link) -> str:
    return link.organisation.name if link.organisation else "unknown"
