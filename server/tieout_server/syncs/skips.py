"""Which documents are kept but are not receivables, and why: the rules of import, one place for all."""

from tieout_server.ledger.documents import Contact, ContactStatus, Credit, Document, DocumentStatus, Invoice, Payment

NOT_A_CUSTOMER = "NOT_A_CUSTOMER"
ARCHIVED = "ARCHIVED"
ERASED = "ERASED"
MERGED = "MERGED"
NOT_APPROVED = "NOT_APPROVED"
VOIDED = "VOIDED"
UNCHANGED = "UNCHANGED"


def reason(document: Document) -> str:
    """Why this document does not count as a receivable; empty if it does.

    An archived customer who still owes stays visible all the same: the read side decides that with the balance.
    """
    match document:
        case Contact():
            return _of_contact(document)
        case Invoice() | Credit() | Payment():
            return _of_status(document.status)
        case _:
            return ""


def _of_contact(contact: Contact) -> str:
    if contact.merged_into:
        return MERGED
    if contact.status == ContactStatus.GDPRREQUEST:
        return ERASED
    if contact.status == ContactStatus.ARCHIVED:
        return ARCHIVED
    return "" if contact.is_customer else NOT_A_CUSTOMER


def _of_status(status: str) -> str:
    if status in (DocumentStatus.DRAFT, DocumentStatus.SUBMITTED):
        return NOT_APPROVED
    return VOIDED if status in (DocumentStatus.VOIDED, DocumentStatus.DELETED) else ""
