"""A customer with every kind of document, for bringing differences about and reading what is found of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from servers import Service
from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1.connection_service_pb2 import Connection
from tieout.v1.receivables_service_pb2 import Customer
from tieout.v1.types_pb2 import Money
from tieout_sandbox import CreditKind, Sandbox, Status
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.causes import Cause, Deed, bring_about
from tieout_sandbox.books.documents import Contact, Invoice

REPAIRABLE = (
    Cause.MISSING_DOCUMENT, Cause.STALE_DOCUMENT, Cause.MISSED_DELETION, Cause.UNALLOCATED_CREDIT,
    Cause.PAYMENT_REMOVED_IN_XERO,
)  # fmt: skip
"""What reading afresh mends; the others are in how Xero makes its figure."""
LASTING = tuple(cause for cause in Cause if cause not in REPAIRABLE)
LONG_AGO = timedelta(days=2)
ALL_STATES = tuple(state for state in pb.DiscrepancyState.values() if state)


def customer_with_everything(books: Books) -> Contact:
    """Kauri & Co: open, part-paid and foreign invoices, a paid one and a credit, none of it touched for two days."""
    made = books.create_contact("Kauri & Co")
    books.create_invoice(made.id, Decimal("310.00"), reference="plain")
    part_paid = books.create_invoice(made.id, Decimal("200.00"))
    books.pay(part_paid.id, Decimal("45.00"))
    books.pay(books.create_invoice(made.id, Decimal("99.00")).id)
    books.create_invoice(made.id, Decimal("125.50"))
    books.create_invoice(made.id, Decimal("80.00"), currency="EUR")
    books.create_credit(CreditKind.CREDIT_NOTE, made.id, Decimal("70.00"))
    payments = [payment for document in made.documents for payment in document.payments]
    for touched in (made, *made.documents, *payments):
        touched.updated_at -= LONG_AGO
    return made


@dataclass
class Kept:
    """A connection that is in sync with a sandbox, and the customer to bring differences about on."""

    sandbox: Sandbox
    running: Service
    connection: Connection
    kauri: Contact

    def bring_about(self, cause: Cause) -> Deed:
        return bring_about(self.sandbox.books, cause, self.kauri.id)

    async def reconcile(self, customer_id: str = "") -> pb.ReconcileCustomerResponse:
        """Kauri, or another customer, compared."""
        return await self.running.client.reconciliations.reconcile_customer(
            self.connection.id, customer_id or self.kauri.id
        )

    async def discrepancies(
        self, *states: pb.DiscrepancyState.ValueType, customer_id: str = ""
    ) -> list[pb.Discrepancy]:
        """Kauri's, or another customer's, in one of these states; by default those that are not over."""
        found = self.running.client.reconciliations.list_discrepancies(
            self.connection.id, states=states, customer_id=customer_id or self.kauri.id
        )
        return [await self.running.client.reconciliations.get_discrepancy(one.id) async for one in found]

    async def everywhere(self) -> list[pb.Discrepancy]:
        """Every discrepancy that the connection ever had."""
        found = self.running.client.reconciliations.list_discrepancies(self.connection.id, states=ALL_STATES)
        return [one async for one in found]

    async def off_balance(self) -> list[Customer]:
        listed = self.running.client.receivables.list_customers(self.connection.id, off_balance_only=True)
        return [customer async for customer in listed]

    def truth(self, contact: Contact | None = None) -> dict[str, Decimal]:
        """What the documents in the books come to, by currency."""
        return documents_of(contact or self.kauri)


def documents_of(contact: Contact) -> dict[str, Decimal]:
    """What a contact's documents in the books come to, by currency, without those that are nothing."""
    sums: dict[str, Decimal] = {}
    for one in contact.documents:
        if one.status is Status.AUTHORISED and not one.of_supplier:
            amount = one.amount_due if isinstance(one, Invoice) else -one.remaining_credit
            sums[one.currency] = sums.get(one.currency, Decimal(0)) + amount
    return {currency: amount for currency, amount in sums.items() if amount}


def exact(money: Money) -> Decimal:
    return Decimal(money.amount)


def ours(balances: Iterable[pb.BalanceComparison]) -> dict[str, Decimal]:
    """Our side by currency, without what is nothing."""
    return {one.currency_code: exact(one.ours) for one in balances if exact(one.ours)}


def cause_named(cause: Cause) -> pb.DiscrepancyCause.ValueType:
    """What a cause is called on the wire."""
    name = Cause.UNALLOCATED_CREDIT if cause is Cause.CREDIT_NOT_NETTED else cause
    return pb.DiscrepancyCause.Value(f"DISCREPANCY_CAUSE_{name}")


def states_of(found: pb.Discrepancy) -> list[str]:
    """The states that a discrepancy went through."""
    return [pb.DiscrepancyState.Name(one.state).removeprefix("DISCREPANCY_STATE_") for one in found.history]
