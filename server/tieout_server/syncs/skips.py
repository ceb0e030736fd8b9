"""Which documents are kept but are not receivables, and why: the rules of import, one place for all."""

from tieout_server.ledger.documents import Contact, ContactStatus, Credit, Document, DocumentStatus, Invoice, Payment

NOT_A_CUSTOMER = "NOT_A_CUSTOMER"
ARCHIVED = "ARCHIVED"
ERASED = "ERASED"
MERGED = "MERGED"
NOT_APPROVED = "NOT_APPROVED"
NOT_RECEIVABLE = "NOT_RECEIVABLE"
"""A payable: it is not even kept."""
VOIDED = "VOIDED"
UNCHANGED = "UNCHANGED"


def reason(document: Document) -> str:
    """Why this document does not count as a receivable; empty if it does.

    An archived customer who still owes stays visible all the same: the read side decides that with the balance.
    """
    if isinstance(document, Invoice | Credit | Payment):
        return _OF_STATUS.get(document.status, "")
    return _of_contact(document) if isinstance(document, Contact) else ""


def _of_contact(contact: Contact) -> str:
    if contact.merged_into:
        return MERGED
    if contact.status == ContactStatus.GDPRREQUEST:
        return ERASED
    if contact.status == ContactStatus.ARCHIVED:
        return ARCHIVED
    return "" if contact.is_customer else NOT_A_CUSTOMER


_OF_STATUS = {
    DocumentStatus.DRAFT.value: NOT_APPROVED,
    DocumentStatus.SUBMITTED.value: NOT_APPROVED,
    DocumentStatus.VOIDED.value: VOIDED,
    DocumentStatus.DELETED.value: VOIDED,
}
