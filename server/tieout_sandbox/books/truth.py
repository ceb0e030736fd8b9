"""The truth about books in few words, for tests to compare with what a client believes."""

from collections.abc import Callable, Mapping
from typing import Any

from tieout_sandbox.books.documents import Allocation, Contact, Credit, Invoice, Payment
from tieout_sandbox.books.ledger import Ledger


def compact_truth(books: Ledger) -> dict[str, dict[str, dict[str, Any]]]:
    """Per collection and id: when it was updated, where it stands, its amounts; amounts are decimal strings."""
    collections: dict[str, Mapping[str, Any]] = {
        "contacts": books.contacts,
        "invoices": books.invoices,
        "credit_notes": books.credit_notes,
        "overpayments": books.overpayments,
        "prepayments": books.prepayments,
        "payments": books.payments,
        "batch_payments": books.batches,
        "bank_transactions": books.bank_transactions,
        "accounts": books.accounts,
    }
    return {
        name: {document_id: _facts(document) for document_id, document in collection.items()}
        for name, collection in collections.items()
    }


def state_of(document: object) -> dict[str, Any]:
    """A document's facts with its id."""
    return {"id": getattr(document, "id", None)} | _facts(document)


def _facts(document: object) -> dict[str, Any]:
    writers: dict[type, Callable[[Any], dict[str, Any]]] = {
        Contact: _contact,
        Invoice: _invoice,
        Credit: _credit,
        Payment: _payment,
    }
    if isinstance(document, Allocation):
        return {
            "credit_id": document.credit.id,
            "invoice_id": document.invoice.id,
            "amount": str(document.amount),
        }
    facts = {"updated": document.updated_at.isoformat(timespec="milliseconds"), "status": document.status}  # type: ignore[attr-defined] # every document has both
    write = writers.get(type(document))
    return facts | write(document) if write else facts


def _contact(contact: Contact) -> dict[str, Any]:
    return {
        "name": contact.name,
        "is_customer": contact.is_customer,
        "is_supplier": contact.is_supplier,
        "merged_to_id": contact.merged_to_id,
    }


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "type": invoice.type,
        "contact_id": invoice.contact.id,
        "number": invoice.number,
        "reference": invoice.reference,
        "currency": invoice.currency,
        "due_on": invoice.due_on.isoformat(),
        "total": str(invoice.total),
        "amount_due": str(invoice.amount_due),
        "amount_paid": str(invoice.amount_paid),
        "amount_credited": str(invoice.amount_credited),
    }


def _credit(credit: Credit) -> dict[str, Any]:
    return {
        "contact_id": credit.contact.id,
        "currency": credit.currency,
        "total": str(credit.total),
        "remaining_credit": str(credit.remaining_credit),
    }


def _payment(payment: Payment) -> dict[str, Any]:
    return {
        "target_id": payment.target.id,
        "account_id": payment.account.id,
        "amount": str(payment.amount),
        "bank_amount": str(payment.bank_amount),
        "reference": payment.reference,
    }
