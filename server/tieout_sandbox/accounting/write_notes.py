"""Notes in the history of documents (Xero, History and Notes)."""

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.books.banking import Note
from tieout_sandbox.books.settle import note

NOTED = {
    "invoices": True,
    "contacts": True,
    "creditnotes": True,
    "banktransactions": True,
    "batchpayments": True,
    "payments": False,
    "overpayments": False,
    "prepayments": False,
}
"""The endpoints with a history, and whether it takes notes: three refuse them (Xero, OpenAPI examples)."""
_LONGEST = 2_500


def write_note(call: Call, draft: Draft, document_id: str, *, takes_notes: bool) -> Note:
    """Add a note to a document; it can never be changed or removed."""
    details = draft.text("Details", _LONGEST)
    if not takes_notes:
        draft.refuse("The document with the supplied id was not found for this endpoint.")
    elif not details:
        draft.refuse("Details must be specified")
    draft.judge()
    return note(call.books, document_id, "Note", details or "")
