"""Records as a reader of changes is told of them: what is here, what has left, and what became of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.ledger.documents import CREDITS, IN_LEDGER, Entity
from tieout_server.receivables import assembly
from tieout_server.receivables.views import AccountView, ChangeKind, Customer, Record
from tieout_server.storage import customers, receivables
from tieout_server.storage.customers import Listed
from tieout_server.storage.database import Transaction
from tieout_server.storage.pages import IdSpan


class Told(msgspec.Struct, frozen=True):
    """A record, and what there is to tell of it."""

    id: str
    kind: ChangeKind
    record: Record


class Reader(msgspec.Struct, frozen=True):
    """Reads records of one connection in one transaction."""

    tx: Transaction
    connection_id: str
    now: datetime

    async def read(self, entity: Entity, ids: Sequence[str]) -> Mapping[str, Told]:
        """What there is to tell of these records, by id: nothing of those that never counted."""
        return {told.id: told for told in await _READ[entity](self, ids)}

    async def ids(self, entity: Entity, unchanged_since: int, span: IdSpan) -> Sequence[str]:
        """The records that are here and whose own data did not change behind this number, in the order of their ids."""
        if entity is Entity.CONTACTS:
            return await customers.customer_ids(self.tx, self.connection_id, unchanged_since, span)
        return await receivables.ids_that_count(self.tx, self.connection_id, entity, unchanged_since, span)

    async def customers(self, found: Sequence[customers.FoundCustomer | Listed]) -> list[Customer]:
        """These contacts with how they stand, customers or not."""
        return await assembly.customers_of(self.tx, self.connection_id, found, self.now)


async def _customers(by: Reader, ids: Sequence[str]) -> list[Told]:
    here = await customers.customers_named(by.tx, by.connection_id, ids)
    told = [Told(view.customer_id, ChangeKind.UPSERTED, view) for view in await by.customers(here)]
    others = set(ids) - {view.id for view in told}
    if not others:
        return told
    left = await customers.contacts_named(by.tx, by.connection_id, others)
    gone = [contact for contact in left if contact.was_here and not contact.contact.merged_into]
    told += [Told(view.customer_id, ChangeKind.REMOVED, view) for view in await by.customers(gone)]
    return told + await _merged(by, [contact for contact in left if contact.contact.merged_into])


async def _merged(by: Reader, losers: Sequence[Listed]) -> list[Told]:
    """The customers that these contacts have become; of suppliers merged among themselves nothing is told."""
    became = await customers.merges(by.tx, by.connection_id, [loser.contact.xero_contact_id for loser in losers])
    known = await customers.contacts_named(by.tx, by.connection_id, set(became.values()))
    winners = {view.customer_id: view for view in await by.customers(known)}
    here = await customers.customers_named(by.tx, by.connection_id, list(winners))
    now = {view.customer_id: view for view in await by.customers(here)}
    return [
        Told(name, ChangeKind.MERGED, now.get(winner) or winners.get(winner) or await _unknown(by, loser, winner))
        for loser in losers
        for name, winner in [(loser.contact.xero_contact_id, became[loser.contact.xero_contact_id])]
        if winner in now or loser.was_here or loser.contact.is_customer
    ]


async def _unknown(by: Reader, loser: Listed, winner: str) -> Customer:
    """The customer that a contact was merged into before it came here itself: of it only the id is known."""
    contact = msgspec.structs.replace(loser.contact, xero_contact_id=winner, merged_into="")
    (view,) = await by.customers([msgspec.structs.replace(loser, contact=contact)])
    return view


async def _invoices(by: Reader, ids: Sequence[str]) -> list[Told]:
    found = await receivables.invoices_named(by.tx, by.connection_id, ids)
    counted = [invoice for invoice in found if invoice.was_here]
    views = await assembly.settled_invoices(by.tx, by.connection_id, counted)
    return [Told(view.invoice.xero_invoice_id, _kind(view.invoice.status), view) for view in views]


async def _credits(by: Reader, ids: Sequence[str]) -> list[Told]:
    found = await receivables.credits_named(by.tx, by.connection_id, ids)
    views = await assembly.credits_of(by.tx, by.connection_id, [credit for credit in found if credit.was_here])
    return [Told(view.credit.xero_credit_id, _kind(view.credit.status), view) for view in views]


async def _payments(by: Reader, ids: Sequence[str]) -> list[Told]:
    found = await receivables.payments_named(by.tx, by.connection_id, ids)
    views = await assembly.payments_of(by.tx, by.connection_id, [payment for payment in found if payment.was_here])
    return [Told(view.payment.xero_payment_id, _kind(view.payment.status), view) for view in views]


async def _accounts(by: Reader, ids: Sequence[str]) -> list[Told]:
    found = await receivables.accounts_named(by.tx, by.connection_id, ids)
    views = [AccountView(connection_id=by.connection_id, account=f.account, updated_at=f.updated_at) for f in found]
    return [Told(view.account.xero_account_id, ChangeKind.UPSERTED, view) for view in views]


def _kind(status: str) -> ChangeKind:
    return ChangeKind.UPSERTED if status in IN_LEDGER else ChangeKind.REMOVED


_READ: Mapping[Entity, Callable[[Reader, Sequence[str]], Awaitable[list[Told]]]] = {
    Entity.CONTACTS: _customers,
    Entity.INVOICES: _invoices,
    **dict.fromkeys(CREDITS, _credits),
    Entity.PAYMENTS: _payments,
    Entity.ACCOUNTS: _accounts,
}
