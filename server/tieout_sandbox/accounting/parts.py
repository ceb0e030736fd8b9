"""Reads below a document: its history, an invoice's address for the customer, and the report."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from tieout_sandbox.accounting.collections import COLLECTIONS
from tieout_sandbox.accounting.render_banking import note_block
from tieout_sandbox.accounting.reports import BadReportError, aged_receivables
from tieout_sandbox.accounting.wire import pretty
from tieout_sandbox.accounting.write_notes import NOTED
from tieout_sandbox.books.documents import Invoice, InvoiceType, Status
from tieout_sandbox.organisations import Organisation

Part = tuple[str, list[str]]
"""The name of a collection and its elements."""


def read_part(organisation: Organisation, endpoint: str, document_id: str, part: str) -> Part | None:
    """What stands below a document, or None where there is nothing of that name."""
    document = COLLECTIONS[endpoint].find(organisation, document_id) if endpoint in COLLECTIONS else None
    if document is None:
        return None
    if part == "history" and endpoint in NOTED:
        notes = organisation.books.history.get(document.id, [])
        return "HistoryRecords", [note_block(note) for note in reversed(notes)]  # newest first, as recorded
    if part == "onlineinvoice" and isinstance(document, Invoice):
        return _online(document)
    return None


def _online(invoice: Invoice) -> Part | None:
    """Where the customer sees the invoice: sales invoices only, and no drafts (Xero, Invoices)."""
    if invoice.type is not InvoiceType.ACCREC or invoice.status in {Status.DRAFT, Status.DELETED}:
        return None
    token = hashlib.sha256(invoice.id.encode()).hexdigest()[:40]
    return "OnlineInvoices", [pretty({"OnlineInvoiceUrl": f"https://in.xero.com/{token}"})]


def read_report(organisation: Organisation, name: str, params: Mapping[str, str], now_at: datetime) -> Part | None:
    """A report, or None where it is not kept here.

    Raises:
        BadReportError: its parameters are wrong.
    """
    if name.lower() != "agedreceivablesbycontact":
        return None
    return "Reports", [aged_receivables(organisation, params, now_at)]


__all__ = ["BadReportError", "Part", "read_part", "read_report"]
