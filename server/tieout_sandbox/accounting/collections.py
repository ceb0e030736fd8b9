"""The collections of the Accounting API: where their documents are, what can be asked of them, how they are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from tieout_sandbox.accounting import fields
from tieout_sandbox.accounting.render import (
    Detail,
    credit_block,
    id_key,
    invoice_block,
    payment_block,
)
from tieout_sandbox.accounting.render_contact import listed_contact, paged_contact, summary_contact
from tieout_sandbox.accounting.render_settings import account_block, currency_block, user_block
from tieout_sandbox.accounting.where import Fields
from tieout_sandbox.accounting.wire import element
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.documents import Contact, ContactStatus, CreditKind
from tieout_sandbox.organisations import Organisation

Write = Callable[[Any, Detail, Organisation, date], bytes]


@dataclass(frozen=True, slots=True)
class Collection:
    """One endpoint that lists documents.

    Args:
        name: as on the wire; the path is the same without regard to case.
        key: the name of the primary id.
        fields: what `where` and `order` can ask.
        documents: all of an organisation's, by id.
        write: a document as an element of the answer.
        number_field: a second name that a single GET may use instead of the id.
        paged: whether `page` is honoured.
        modified_since: whether If-Modified-Since is honoured.
        lists: parameters with lists of ids or the like, lower case.
    """

    name: str
    key: str
    fields: Fields
    documents: Callable[[Organisation], Mapping[str, Any]]
    write: Write
    number_field: str | None = None
    paged: bool = True
    modified_since: bool = True
    lists: tuple[str, ...] = ()

    def find(self, organisation: Organisation, wanted: str) -> object | None:
        """The document with this id or number."""
        documents = self.documents(organisation)
        if wanted.lower() in documents:
            return cast("object", documents[wanted.lower()])
        if self.number_field is None:
            return None
        read = self.fields[self.number_field]
        return next((document for document in documents.values() if read(document) == wanted), None)


def _contact(contact: Contact, detail: Detail, organisation: Organisation, today: date) -> bytes:
    if detail is Detail.LISTING:
        return element(listed_contact(contact))
    if detail is Detail.SUMMARY:
        return element(summary_contact(contact))
    return element(paged_contact(contact, balances_of(contact, today, organisation.books.switches)))


def _kept(block: Callable[[Any, Detail], str]) -> Write:
    """Write documents with this; the paged shape is kept until the document changes, unless books are too large."""

    def write(document: Any, detail: Detail, organisation: Organisation, _today: date) -> bytes:  # noqa: ANN401 any kind
        if detail is not Detail.PAGE:
            return element(block(document, detail))
        if document.rendered is not None:
            return cast("bytes", document.rendered)
        written = element(block(document, detail))
        if organisation.books.keeps_rendered:
            document.rendered = written
        return written

    return write


def warm_up(organisation: Organisation, today: date) -> None:
    """Write every paged document of not too large books beforehand, so that reading measures the reader."""
    if not organisation.books.keeps_rendered:
        return
    for name in ("invoices", "creditnotes", "overpayments", "prepayments", "payments"):
        collection = COLLECTIONS[name]
        for document in collection.documents(organisation).values():
            collection.write(document, Detail.PAGE, organisation, today)


def is_visible(contact: object, *, include_archived: bool) -> bool:
    """Archived contacts are listed only when asked for (Xero, Contacts)."""
    return include_archived or not isinstance(contact, Contact) or contact.status is not ContactStatus.ARCHIVED


def _credits(kind: CreditKind, name: str, *, number_field: str | None, lists: tuple[str, ...] = ()) -> Collection:
    key = id_key(kind)
    return Collection(
        name,
        key,
        fields.credit_fields(kind, key.lower()),
        lambda organisation: organisation.books.credits_of(kind),
        _kept(credit_block),
        number_field=number_field,
        lists=lists,
    )


_ALL = (
    Collection(
        "Contacts",
        "ContactID",
        fields.CONTACT,
        lambda organisation: organisation.books.contacts,
        _contact,
        number_field="contactnumber",
        lists=("ids",),
    ),
    Collection(
        "Invoices",
        "InvoiceID",
        fields.INVOICE,
        lambda organisation: organisation.books.invoices,
        _kept(invoice_block),
        number_field="invoicenumber",
        lists=("ids", "invoicenumbers", "contactids", "statuses"),
    ),
    _credits(CreditKind.CREDIT_NOTE, "CreditNotes", number_field="creditnotenumber"),
    _credits(CreditKind.OVERPAYMENT, "Overpayments", number_field=None, lists=("references",)),
    _credits(CreditKind.PREPAYMENT, "Prepayments", number_field=None, lists=("invoicenumbers",)),
    Collection(
        "Payments",
        "PaymentID",
        fields.PAYMENT,
        lambda organisation: organisation.books.payments,
        _kept(payment_block),
    ),
    Collection(
        "Accounts",
        "AccountID",
        fields.ACCOUNT,
        lambda organisation: organisation.books.accounts,
        lambda account, _detail, _organisation, _today: element(account_block(account)),
        paged=False,
    ),
    Collection(
        "Users",
        "UserID",
        fields.USER,
        lambda organisation: organisation.members,
        lambda member, detail, _organisation, _today: element(user_block(member, detail)),
        paged=False,
    ),
    Collection(
        "Currencies",
        "Code",
        fields.CURRENCY,
        lambda organisation: organisation.currencies,
        lambda currency, _detail, _organisation, _today: element(currency_block(currency)),
        paged=False,
        modified_since=False,
    ),
)
COLLECTIONS = {collection.name.lower(): collection for collection in _ALL}
"""By lower-case path."""
