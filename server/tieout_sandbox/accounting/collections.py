"""The collections of the Accounting API: where their documents are, what can be asked of them, how they are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, cast

from tieout_sandbox.accounting import fields
from tieout_sandbox.accounting.query import Query
from tieout_sandbox.accounting.render import (
    USUAL_PLACES,
    Detail,
    credit_block,
    id_key,
    invoice_block,
    payment_block,
)
from tieout_sandbox.accounting.render_banking import BANK_TRANSACTION, BATCH, bank_transaction_block, batch_block
from tieout_sandbox.accounting.render_contact import listed_contact, paged_contact, summary_contact
from tieout_sandbox.accounting.render_settings import account_block, currency_block, listed_user_id, user_block
from tieout_sandbox.accounting.where import Fields
from tieout_sandbox.accounting.wire import element
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.documents import Contact, ContactStatus, CreditKind, Invoice, Payment, Role, Status
from tieout_sandbox.organisations import Member, Organisation
from tieout_sandbox.switches import Switches


class Write(Protocol):
    """Writes a document as an element of the answer, with this many decimal places of each UnitAmount."""

    def __call__(
        self,
        document: Any,  # noqa: ANN401 any kind of document
        detail: Detail,
        organisation: Organisation,
        today: date,
        /,
        places: int = 2,
    ) -> bytes:
        """The element's bytes."""


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
        search: the fields that searchTerm looks in.
        created_by_app: whether createdByMyApp is honoured.
        printed: whether a single document can be had as a PDF.
        optimised: the fields that where may name in more documents than the threshold; None where none is kept.
        optimised_or: those of them that OR may join.
        optimised_order: the fields that order may name then, beside the id.
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
    search: tuple[str, ...] = ()
    created_by_app: bool = False
    printed: bool = False
    optimised: frozenset[str] | None = None
    optimised_or: frozenset[str] = frozenset()
    optimised_order: frozenset[str] = frozenset({"updateddateutc", "date"})

    def find(self, organisation: Organisation, wanted: str) -> Any | None:  # noqa: ANN401 any kind of document
        """The document with this id or number."""
        documents = self.documents(organisation)
        if wanted.lower() in documents:
            return documents[wanted.lower()]
        if self.number_field is None:
            return None
        read = self.fields[self.number_field]
        return next((document for document in documents.values() if read(document) == wanted), None)


def _contact(contact: Contact, detail: Detail, organisation: Organisation, today: date, /, places: int = 2) -> bytes:
    del places  # a contact has no lines
    if detail is Detail.LISTING:
        return element(listed_contact(contact))
    if detail is Detail.SUMMARY:
        return element(summary_contact(contact))
    return element(paged_contact(contact, balances_of(contact, today, organisation.books.switches)))


def _plain(block: Callable[[Any, Detail], str]) -> Write:
    """Write documents that have no lines."""

    def write(document: Any, detail: Detail, _organisation: Organisation, _today: date, /, places: int = 2) -> bytes:  # noqa: ANN401, ARG001 any kind; all write alike
        return element(block(document, detail))

    return write


def _lined(block: Callable[[Any, Detail, int], str]) -> Write:
    """Write documents that have lines."""

    def write(document: Any, detail: Detail, _organisation: Organisation, _today: date, /, places: int = 2) -> bytes:  # noqa: ANN401 any kind
        return element(block(document, detail, places))

    return write


def _kept(block: Callable[[Any, Detail, int], str]) -> Write:
    """Write documents with this; the paged shape is kept until the document changes, unless books are too large."""

    def write(document: Any, detail: Detail, organisation: Organisation, _today: date, /, places: int = 2) -> bytes:  # noqa: ANN401 any kind
        if detail is not Detail.PAGE or places != USUAL_PLACES:
            return element(block(document, detail, places))
        if document.rendered is not None:
            return cast("bytes", document.rendered)
        written = element(block(document, detail, places))
        if organisation.books.keeps_rendered:
            document.rendered = written
        return written

    return write


_write_invoice = _kept(invoice_block)


def _invoice(invoice: Invoice, detail: Detail, organisation: Organisation, today: date, /, places: int = 2) -> bytes:
    switches = organisation.books.switches
    brief = {"brief_credits": switches.nested_credits_are_brief, "brief_payments": switches.nested_payments_are_brief}
    if any(brief.values()):
        return element(invoice_block(invoice, detail, places, **brief))
    return _write_invoice(invoice, detail, organisation, today, places)


def _payment(payment: Payment, detail: Detail, organisation: Organisation, today: date, /, places: int = 2) -> bytes:
    if payment.batch is not None and organisation.books.switches.batches_in_payments_have_texts:
        return element(payment_block(payment, detail, places, texts_in_batch=True))
    return _kept_payment(payment, detail, organisation, today, places)


_kept_payment = _kept(payment_block)


def warm_up(organisation: Organisation) -> None:
    """Write every paged document of not too large books beforehand, so that reading measures the reader."""
    if not organisation.books.keeps_rendered:
        return
    today = organisation.books.today()
    for name in ("invoices", "creditnotes", "overpayments", "prepayments", "payments"):
        collection = COLLECTIONS[name]
        for document in collection.documents(organisation).values():
            collection.write(document, Detail.PAGE, organisation, today)


def is_visible(document: object, query: Query, switches: Switches) -> bool:
    """Whether a list shows a document at all: archived and erased contacts only when asked for (Xero, Contacts)."""
    if isinstance(document, Contact):
        return query.include_archived or document.status is ContactStatus.ACTIVE
    if isinstance(document, Payment) and query.modified_since is not None:
        return switches.deleted_payments_in_delta or document.status is not Status.DELETED
    if isinstance(document, Member):
        return switches.removed_users_stay_listed or document.role is not Role.REMOVED
    return True


def _user(member: Member, detail: Detail, organisation: Organisation, _today: date, /, places: int = 2) -> bytes:
    del places  # a user has no lines
    return element(user_block(member, detail, listed_user_id(member, organisation.books.switches)))


def _users(organisation: Organisation) -> dict[str, Member]:
    switches = organisation.books.switches
    return {listed_user_id(member, switches): member for member in organisation.members.values()}


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
        printed=kind is CreditKind.CREDIT_NOTE,
        optimised=_OPTIMISED_CREDITS if kind is CreditKind.CREDIT_NOTE else None,
    )


_OF_CONTACT = ("contact.contactid", "contact.name", "contact.contactnumber")
_OPTIMISED_CREDITS = frozenset({"status", "type", "date", "reference", *_OF_CONTACT})
_ALL = (
    Collection(
        "Contacts",
        "ContactID",
        fields.CONTACT,
        lambda organisation: organisation.books.contacts,
        _contact,
        number_field="contactnumber",
        lists=("ids",),
        search=("name", "firstname", "lastname", "contactnumber", "emailaddress"),
        optimised=frozenset({"name", "emailaddress", "accountnumber"}),
        optimised_order=frozenset({"updateddateutc", "name"}),
    ),
    Collection(
        "Invoices",
        "InvoiceID",
        fields.INVOICE,
        lambda organisation: organisation.books.invoices,
        _invoice,
        number_field="invoicenumber",
        lists=("ids", "invoicenumbers", "contactids", "statuses"),
        search=("invoicenumber", "reference", "contact.name"),
        created_by_app=True,
        printed=True,
        optimised=frozenset(
            {
                "status",
                "reference",
                "invoicenumber",
                "invoiceid",
                "date",
                "duedate",
                "type",
                "amountdue",
                "amountpaid",
                *_OF_CONTACT,
            }
        ),
        optimised_or=frozenset({"invoiceid"}),
    ),
    _credits(CreditKind.CREDIT_NOTE, "CreditNotes", number_field="creditnotenumber"),
    _credits(CreditKind.OVERPAYMENT, "Overpayments", number_field=None, lists=("references",)),
    _credits(CreditKind.PREPAYMENT, "Prepayments", number_field=None, lists=("invoicenumbers",)),
    Collection(
        "Payments",
        "PaymentID",
        fields.PAYMENT,
        lambda organisation: organisation.books.payments,
        _payment,
        optimised=frozenset({"paymenttype", "status", "date", "invoice.invoiceid", "reference"}),
        optimised_or=frozenset({"paymentid", "invoice.invoiceid"}),
    ),
    Collection(
        "BatchPayments",
        "BatchPaymentID",
        BATCH,
        lambda organisation: organisation.books.batches,
        _plain(batch_block),
        paged=False,
    ),
    Collection(
        "BankTransactions",
        "BankTransactionID",
        BANK_TRANSACTION,
        lambda organisation: organisation.books.bank_transactions,
        _lined(bank_transaction_block),
        optimised=frozenset({"type", "status", "date", "contact.contactid"}),
    ),
    Collection(
        "Accounts",
        "AccountID",
        fields.ACCOUNT,
        lambda organisation: organisation.books.accounts,
        _plain(lambda account, _detail: account_block(account)),
        paged=False,
    ),
    Collection(
        "Users",
        "UserID",
        fields.USER,
        _users,
        _user,
        paged=False,
    ),
    Collection(
        "Currencies",
        "Code",
        fields.CURRENCY,
        lambda organisation: organisation.currencies,
        _plain(lambda currency, _detail: currency_block(currency)),
        paged=False,
        modified_since=False,
    ),
)
COLLECTIONS = {collection.name.lower(): collection for collection in _ALL}
"""By lower-case path."""
