"""Reads of the mirror. Nothing here calls Xero or changes anything; a broken connection can still be read."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.ledger.documents import ContactStatus
from tieout_server.ledger.money import Money, from_units
from tieout_server.receivables.off_balance import with_differences
from tieout_server.receivables.views import AllocationView, CreditView, Customer, InvoiceView, Page, PaymentView
from tieout_server.storage import connections, customers, receivables
from tieout_server.storage.customers import BalanceUnits, CustomerQuery, FoundCustomer
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.pages import Span
from tieout_server.storage.receivables import CreditQuery, FoundPayment, InvoiceQuery, PaymentQuery


class Receivables:
    """What is here of each connection's receivables. Every method raises NotFoundError for an unknown connection."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get_customer(self, connection_id: str, customer_id: str) -> Customer:
        """One customer. A contact that was merged away leads to the one that it became.

        Raises:
            NotFoundError: there is no such contact, or it is not a customer.
        """
        async with self._database.read() as tx:
            found = await customers.find(tx, connection_id, customer_id)  # first: most ids are of customers
            if found is None:
                await _check_connection(tx, connection_id)
                now = await customers.merges(tx, connection_id, [customer_id])
                found = await customers.find(tx, connection_id, now.get(customer_id, customer_id))
            if found is None:
                raise NotFoundError("customer", customer_id)
            (customer,) = await self._with_balances(tx, connection_id, [found])
            return customer

    async def list_customers(self, connection_id: str, query: CustomerQuery, span: Span) -> Page[Customer]:
        """Customers with their balances, in the order asked for."""
        async with self._reading(connection_id) as tx:
            found, following = await customers.page(tx, connection_id, query, span)
            return Page(await self._with_balances(tx, connection_id, found), following)

    async def get_invoice(self, connection_id: str, xero_invoice_id: str) -> InvoiceView:
        """One invoice, whatever its status, with the payments and credits that settled it.

        Raises:
            NotFoundError: there is no such invoice.
        """
        async with self._reading(connection_id) as tx:
            found = await receivables.find_invoice(tx, connection_id, xero_invoice_id)
            if found is None:
                raise NotFoundError("invoice", xero_invoice_id)
            paid = await receivables.payments_of(tx, connection_id, xero_invoice_id)
            credited = await receivables.credited_to(tx, connection_id, xero_invoice_id)
            contact = found.invoice.xero_contact_id
            owners = await _owners(tx, connection_id, {contact, *(p.payment.xero_contact_id for p in paid)})
        return InvoiceView(
            connection_id=connection_id,
            customer_id=owners[contact],
            invoice=found.invoice,
            updated_at=found.updated_at,
            payments=tuple(_payment(connection_id, payment, owners) for payment in paid),
            allocations=tuple(AllocationView.of(part) for part in credited),
        )

    async def list_invoices(self, connection_id: str, query: InvoiceQuery, span: Span) -> Page[InvoiceView]:
        """Invoices by due date, then by id, without what settled them; those without a due date come last."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_invoices(tx, connection_id, query, of, span)
            owners = await _owners(tx, connection_id, {f.invoice.xero_contact_id for f in found})
        views = [
            InvoiceView(
                connection_id=connection_id,
                customer_id=owners[f.invoice.xero_contact_id],
                invoice=f.invoice,
                updated_at=f.updated_at,
            )
            for f in found
        ]
        return Page(views, following)

    async def list_credits(self, connection_id: str, query: CreditQuery, span: Span) -> Page[CreditView]:
        """Credits with their allocations, newest first, then by id: credit notes, unapplied credits, or all."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_credits(tx, connection_id, query, of, span)
            owners = await _owners(tx, connection_id, {f.credit.xero_contact_id for f in found})
        views = [
            CreditView(
                connection_id=connection_id,
                customer_id=owners[f.credit.xero_contact_id],
                credit=f.credit,
                updated_at=f.updated_at,
            )
            for f in found
        ]
        return Page(views, following)

    async def list_payments(self, connection_id: str, query: PaymentQuery, span: Span) -> Page[PaymentView]:
        """Payments, newest first, then by id."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_payments(tx, connection_id, query, of, span)
            owners = await _owners(tx, connection_id, {f.payment.xero_contact_id for f in found})
        return Page([_payment(connection_id, payment, owners) for payment in found], following)

    @asynccontextmanager
    async def _reading(self, connection_id: str) -> AsyncIterator[Transaction]:
        async with self._database.read() as tx:
            await _check_connection(tx, connection_id)
            yield tx

    async def _with_balances(
        self, tx: Transaction, connection_id: str, found: Sequence[FoundCustomer]
    ) -> list[Customer]:
        """These customers with what they and the contacts merged into them owe: one pass for all of them."""
        ids = [customer.contact.xero_contact_id for customer in found]
        family = await customers.families(tx, connection_id, ids)
        today = self._clock.now().date()
        units = await customers.balances(tx, connection_id, today=today, of=family)
        owned = sorted(units, key=lambda balance: (family[balance.xero_contact_id], balance.currency))
        by_owner = {
            owner: list(balances) for owner, balances in groupby(owned, key=lambda b: family[b.xero_contact_id])
        }
        stand = [_customer(connection_id, f, by_owner.get(f.contact.xero_contact_id, [])) for f in found]
        return await with_differences(tx, connection_id, stand)


async def _check_connection(tx: Transaction, connection_id: str) -> None:
    if await connections.get(tx, connection_id) is None:
        raise NotFoundError("connection", connection_id)


def _customer(connection_id: str, found: FoundCustomer, balances: Iterable[BalanceUnits]) -> Customer:
    owed = list(balances)
    return Customer(
        connection_id=connection_id,
        contact=found.contact,
        archived_with_balance=found.contact.status == ContactStatus.ARCHIVED,
        off_balance=found.is_off_balance,
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


def _payment(connection_id: str, found: FoundPayment, owners: Mapping[str, str]) -> PaymentView:
    return PaymentView(
        connection_id=connection_id,
        customer_id=owners[found.payment.xero_contact_id],
        payment=found.payment,
        invoice_number=found.invoice_number,
        updated_at=found.updated_at,
    )


async def _contacts_of(tx: Transaction, connection_id: str, customer_id: str) -> Collection[str] | None:
    """The contacts that this customer is; None if no customer is asked for."""
    if not customer_id:
        return None
    now = (await customers.merges(tx, connection_id, [customer_id])).get(customer_id, customer_id)
    return await customers.families(tx, connection_id, [now])


async def _owners(tx: Transaction, connection_id: str, contacts: Collection[str]) -> Mapping[str, str]:
    """The customer that each of these contacts is now."""
    merged = await customers.merges(tx, connection_id, contacts)
    return {contact: merged.get(contact, contact) for contact in contacts}
