"""Documents of the mirror put together for a reader: whose they are, what settled them, how a customer stands.

Everything is looked up for a whole page at once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from tieout_server.ledger.calendar import today_of
from tieout_server.ledger.documents import ContactStatus
from tieout_server.ledger.money import Money, from_units
from tieout_server.receivables.off_balance import with_differences
from tieout_server.receivables.views import AllocationView, CreditView, Customer, InvoiceView, PaymentView
from tieout_server.storage import connections, customers, receivables
from tieout_server.storage.customers import BalanceUnits, FoundCustomer, Listed
from tieout_server.storage.database import Transaction
from tieout_server.storage.receivables import FoundCredit, FoundInvoice, FoundPayment


async def customers_of(
    tx: Transaction, connection_id: str, found: Sequence[FoundCustomer | Listed], now: datetime
) -> list[Customer]:
    """These customers with what they and the contacts merged into them owe: one pass for all of them.

    What is overdue now is so by the calendar of the organisation.
    """
    today = today_of(await connections.organisation(tx, connection_id), now)
    winners = [f.contact.xero_contact_id for f in found if isinstance(f, Listed) or f.has_merged]
    family = {f.contact.xero_contact_id: f.contact.xero_contact_id for f in found}
    family |= await customers.families(tx, connection_id, winners)
    units = await customers.balances(tx, connection_id, today=today, of=family)
    owned = sorted(units, key=lambda balance: (family[balance.xero_contact_id], balance.currency))
    by_owner = {owner: list(balances) for owner, balances in groupby(owned, key=lambda b: family[b.xero_contact_id])}
    stand = [_customer(connection_id, f, by_owner.get(f.contact.xero_contact_id, [])) for f in found]
    return await with_differences(tx, connection_id, stand)


async def invoices_of(tx: Transaction, connection_id: str, found: Sequence[FoundInvoice]) -> list[InvoiceView]:
    """These invoices with whose they are, without what settled them."""
    owner = await owners(tx, connection_id, {f.invoice.xero_contact_id for f in found})
    return [
        InvoiceView(
            connection_id=connection_id,
            customer_id=owner[f.invoice.xero_contact_id],
            invoice=f.invoice,
            updated_at=f.updated_at,
        )
        for f in found
    ]


async def settled_invoices(tx: Transaction, connection_id: str, found: Sequence[FoundInvoice]) -> list[InvoiceView]:
    """These invoices with the payments and credits that settled them."""
    ids = [f.invoice.xero_invoice_id for f in found]
    paid = await receivables.payments_of(tx, connection_id, ids)
    payers = await payments_of(tx, connection_id, [payment for several in paid.values() for payment in several])
    payments = {payment.payment.xero_payment_id: payment for payment in payers}
    credited = await receivables.credited_to(tx, connection_id, ids)
    return [
        msgspec.structs.replace(
            view,
            payments=tuple(payments[p.payment.xero_payment_id] for p in paid.get(name, ())),
            allocations=tuple(AllocationView.of(part) for part in credited.get(name, ())),
        )
        for name, view in zip(ids, await invoices_of(tx, connection_id, found), strict=True)
    ]


async def credits_of(tx: Transaction, connection_id: str, found: Sequence[FoundCredit]) -> list[CreditView]:
    """These credits with whose they are."""
    owner = await owners(tx, connection_id, {f.credit.xero_contact_id for f in found})
    return [
        CreditView(
            connection_id=connection_id,
            customer_id=owner[f.credit.xero_contact_id],
            credit=f.credit,
            updated_at=f.updated_at,
        )
        for f in found
    ]


async def payments_of(tx: Transaction, connection_id: str, found: Sequence[FoundPayment]) -> list[PaymentView]:
    """These payments with whose they are."""
    owner = await owners(tx, connection_id, {f.payment.xero_contact_id for f in found})
    return [
        PaymentView(
            connection_id=connection_id,
            customer_id=owner[f.payment.xero_contact_id],
            payment=f.payment,
            invoice_number=f.invoice_number,
            updated_at=f.updated_at,
        )
        for f in found
    ]


async def owners(tx: Transaction, connection_id: str, contacts: Collection[str]) -> Mapping[str, str]:
    """The customer that each of these contacts is now."""
    merged = await customers.merges(tx, connection_id, contacts)
    return {contact: merged.get(contact, contact) for contact in contacts}


def _customer(connection_id: str, found: FoundCustomer | Listed, balances: Iterable[BalanceUnits]) -> Customer:
    owed = list(balances)
    return Customer(
        connection_id=connection_id,
        contact=found.contact,
        archived_with_balance=isinstance(found, FoundCustomer) and found.contact.status == ContactStatus.ARCHIVED,
        off_balance=isinstance(found, FoundCustomer) and found.is_off_balance,
        outstanding=_amounts((b.currency, b.due - b.unapplied) for b in owed),
        overdue=_amounts((b.currency, b.overdue) for b in owed),
        unapplied=_amounts((b.currency, b.unapplied) for b in owed),
        updated_at=found.updated_at,
    )


def _amounts(parts: Iterable[tuple[str, int]]) -> tuple[Money, ...]:
    """The sum per currency, by its code, without those that are nothing."""
    sums: dict[str, int] = {}
    for currency, units in parts:
        sums[currency] = sums.get(currency, 0) + units
    return tuple(Money(currency, from_units(units)) for currency, units in sorted(sums.items()) if units)
