"""Which customers are meant by the references of a report: customers, invoices, and payments."""

from tieout_server.errors import NotFoundError
from tieout_server.reconciliations.messages import InvoiceReference, Report
from tieout_server.storage import customers, open_items
from tieout_server.storage.database import Transaction


async def contacts_meant(tx: Transaction, asked: Report) -> list[str]:
    """The customers that a report is about, each once, over merges, in the order of its references.

    Raises:
        NotFoundError: something that it names is not here.
    """
    named = [*asked.customer_ids]
    named += [await _of_invoice(tx, asked.connection_id, reference) for reference in asked.invoices]
    named += [await _of_payment(tx, asked.connection_id, payment_id) for payment_id in asked.payment_ids]
    now = await customers.merges(tx, asked.connection_id, named)
    meant = list(dict.fromkeys(now.get(name, name) for name in named))
    for name in meant:
        if await customers.find(tx, asked.connection_id, name) is None:
            raise NotFoundError("customer", name)
    return meant


async def _of_invoice(tx: Transaction, connection_id: str, reference: InvoiceReference) -> str:
    found = await open_items.named_invoices(
        tx, connection_id, xero_invoice_id=reference.xero_invoice_id, number=reference.number
    )
    if len(found) != 1:  # several have the number: nobody can say which is meant
        raise NotFoundError("invoice", reference.xero_invoice_id or reference.number)
    return found[0].xero_contact_id


async def _of_payment(tx: Transaction, connection_id: str, payment_id: str) -> str:
    found = await open_items.contact_of_payment(tx, connection_id, payment_id)
    if found is None:
        raise NotFoundError("payment", payment_id)
    return found
