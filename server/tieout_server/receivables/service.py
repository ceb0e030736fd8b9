"""Reads of the mirror. Nothing here calls Xero or changes anything; a broken connection can still be read."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from tieout_server.clock import Clock
from tieout_server.errors import NotFoundError
from tieout_server.receivables import assembly
from tieout_server.receivables.views import CreditView, Customer, InvoiceView, Page, PaymentView
from tieout_server.storage import connections, customers, receivables
from tieout_server.storage.customers import CustomerQuery
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.pages import Span
from tieout_server.storage.receivables import CreditQuery, InvoiceQuery, PaymentQuery


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
            (customer,) = await assembly.customers_of(tx, connection_id, [found], self._clock.now())
            return customer

    async def list_customers(self, connection_id: str, query: CustomerQuery, span: Span) -> Page[Customer]:
        """Customers with their balances, in the order asked for."""
        async with self._reading(connection_id) as tx:
            found, following = await customers.page(tx, connection_id, query, span)
            return Page(await assembly.customers_of(tx, connection_id, found, self._clock.now()), following)

    async def get_invoice(self, connection_id: str, xero_invoice_id: str) -> InvoiceView:
        """One invoice, whatever its status, with the payments and credits that settled it.

        Raises:
            NotFoundError: there is no such invoice.
        """
        async with self._reading(connection_id) as tx:
            found = await receivables.find_invoice(tx, connection_id, xero_invoice_id)
            if found is None:
                raise NotFoundError("invoice", xero_invoice_id)
            (invoice,) = await assembly.settled_invoices(tx, connection_id, [found])
            return invoice

    async def list_invoices(self, connection_id: str, query: InvoiceQuery, span: Span) -> Page[InvoiceView]:
        """Invoices by due date, then by id, without what settled them; those without a due date come last."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_invoices(tx, connection_id, query, of, span)
            return Page(await assembly.invoices_of(tx, connection_id, found), following)

    async def list_credits(self, connection_id: str, query: CreditQuery, span: Span) -> Page[CreditView]:
        """Credits with their allocations, newest first, then by id: credit notes, unapplied credits, or all."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_credits(tx, connection_id, query, of, span)
            return Page(await assembly.credits_of(tx, connection_id, found), following)

    async def list_payments(self, connection_id: str, query: PaymentQuery, span: Span) -> Page[PaymentView]:
        """Payments, newest first, then by id."""
        async with self._reading(connection_id) as tx:
            of = await _contacts_of(tx, connection_id, query.customer_id)
            found, following = await receivables.page_of_payments(tx, connection_id, query, of, span)
            return Page(await assembly.payments_of(tx, connection_id, found), following)

    @asynccontextmanager
    async def _reading(self, connection_id: str) -> AsyncIterator[Transaction]:
        async with self._database.read() as tx:
            await _check_connection(tx, connection_id)
            yield tx


async def _check_connection(tx: Transaction, connection_id: str) -> None:
    if await connections.get(tx, connection_id) is None:
        raise NotFoundError("connection", connection_id)


async def _contacts_of(tx: Transaction, connection_id: str, customer_id: str) -> Collection[str] | None:
    """The contacts that this customer is; None if no customer is asked for."""
    if not customer_id:
        return None
    now = (await customers.merges(tx, connection_id, [customer_id])).get(customer_id, customer_id)
    return await customers.families(tx, connection_id, [now])
