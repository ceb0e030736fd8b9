"""One writing call: into whose books, as whom, and what it may find and touch there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TypeVar

from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Account, Contact, ContactStatus, Credit, CreditKind, Invoice, Role, Target
from tieout_sandbox.books.savepoint import Savepoint
from tieout_sandbox.organisations import Organisation

_Found = TypeVar("_Found", Invoice, Credit, Contact)

NO_CONTACT = (
    "The Contact must contain at least 1 of the following elements to identify the contact: "
    "Name, ContactID, ContactNumber"
)
ARCHIVED_CONTACT = (
    "The contact with the specified contact details has been archived. The contact must be un-archived "
    "before creating new invoices or credit notes."
)


@dataclass(slots=True)
class Call:
    """The books that a request writes to, and the user in whose name it does.

    Args:
        organisation: whose books.
        role: of the user who connected the app.
        client_id: of the app.
        today: the date where the organisation is.
        creates: whether existing documents are out of reach (PUT) or may be changed (POST).
        point: what the element at hand may be taken back to.
        unit_places: decimal places of each UnitAmount, 2 or 4.
    """

    organisation: Organisation
    role: Role
    client_id: str
    today: date
    creates: bool
    point: Savepoint
    unit_places: int = 2
    _numbers: dict[str, Invoice] | None = field(default=None)

    @property
    def books(self) -> Books:
        """The organisation's books."""
        return self.organisation.books

    # What may be written at all

    def check_open(self, draft: Draft, on: date | None) -> None:
        """Refuse a document in a locked period: before the end of year nobody may write, in the period advisers may."""
        end_of_year, period = self.organisation.end_of_year_lock_on, self.organisation.period_lock_on
        if on is None:
            return
        if end_of_year is not None and on <= end_of_year:
            draft.refuse(_locked("end of year lock date", end_of_year))
        elif self.is_locked(on) and period is not None:
            draft.refuse(_locked("period lock date", period))

    def is_locked(self, on: date) -> bool:
        """Whether this user may not write on that day."""
        end_of_year, period = self.organisation.end_of_year_lock_on, self.organisation.period_lock_on
        if end_of_year is not None and on <= end_of_year:
            return True
        return period is not None and on <= period and self.role is not Role.FINANCIALADVISER

    # What can be found

    def invoice(self, part: Draft, number: str | None = None) -> Invoice | None:
        """The invoice that an object names by id or number."""
        return _by_id(self.books.invoices, part.id("InvoiceID")) or self.invoice_numbered(
            part.text("InvoiceNumber") or number
        )

    def invoice_numbered(self, number: str | None) -> Invoice | None:
        """The sales invoice with this number."""
        if not number:
            return None
        if self._numbers is None:
            self._numbers = {found.number: found for found in self.books.invoices.values() if found.type == "ACCREC"}
        found = self._numbers.get(number)
        stands = found is not None and found.number == number and self.books.invoices.get(found.id) is found
        return found if stands else None

    def remember_number(self, invoice: Invoice) -> None:
        """An invoice of this call has got its number."""
        if self._numbers is not None and invoice.type == "ACCREC":
            self._numbers[invoice.number] = invoice

    def credit_note(self, part: Draft, number: str | None = None) -> Credit | None:
        """The credit note that an object names by id or number."""
        notes = self.books.credit_notes
        number = part.text("CreditNoteNumber") or number
        return _by_id(notes, part.id("CreditNoteID")) or _first(notes, lambda found: found.number == number, number)

    def credit_of(self, kind: CreditKind, part: Draft) -> Credit | None:
        """The credit of a kind that an object names by its id."""
        key = {CreditKind.OVERPAYMENT: "OverpaymentID", CreditKind.PREPAYMENT: "PrepaymentID"}.get(kind)
        return self.credit_note(part) if key is None else _by_id(self.books.credits_of(kind), part.id(key))

    def account(self, draft: Draft, part: Draft, code: str | None = None) -> Account | None:
        """The account that an object names by id or code; a fault where there is none or it is put away."""
        wanted, code = part.id("AccountID"), part.text("Code") or code
        found = self.books.accounts.get(wanted) if wanted else None
        if found is None and code:
            found = next((account for account in self.books.accounts.values() if account.code == code), None)
        if found is None:
            draft.refuse("Account could not be found")
        elif found.status != "ACTIVE":
            draft.refuse(f"Account code '{found.code or ''}' has been archived or has been deleted.")
        return found

    def contact(self, draft: Draft) -> Contact | str | None:
        """The contact that a document is for: an existing one, the name of one to be made, or a fault."""
        part = draft.part("Contact")
        wanted, number, name = part.id("ContactID"), part.text("ContactNumber"), part.text("Name")
        if not (wanted or number or name):
            draft.refuse(NO_CONTACT)
            return None
        contacts = self.books.contacts
        found = (
            _by_id(contacts, wanted)
            or _first(contacts, lambda contact: contact.contact_number == number, number)
            or _first(contacts, lambda contact: contact.name == name and contact.status != "ARCHIVED", name)
        )
        if found is None and not name:
            draft.refuse("The specified contact could not be found")
        if found is not None and found.status is not ContactStatus.ACTIVE:
            draft.refuse(ARCHIVED_CONTACT)
        return found or name

    def contact_for(self, found: Contact | str) -> Contact:
        """The contact to be used, made now where it is only a name."""
        if isinstance(found, str):
            return self.books.create_contact(found)
        self.point.keep(found)
        return found

    def currency(self, draft: Draft, contact: Contact | str | None) -> tuple[str, Decimal]:
        """The currency of a new document and its rate: as said, else the contact's, else the base currency."""
        default = contact.currency if isinstance(contact, Contact) else None
        code = draft.text("CurrencyCode") or default or self.books.base_currency
        if code not in self.books.rates:
            draft.refuse(f"Organisation is not subscribed to currency {code}")
            return code, Decimal(1)
        return code, self.rate(draft, code)

    def rate(self, draft: Draft, code: str) -> Decimal:
        """The rate that was given, else the sandbox's for the day; the base currency's is always 1."""
        given = draft.number("CurrencyRate")
        if given is None or code == self.books.base_currency:
            return self.books.rates[code]
        if given <= 0:
            draft.refuse("The currency rate must be greater than zero")
            return self.books.rates[code]
        return given.quantize(Decimal("0.000001"))

    def touch(self, *targets: Target) -> None:
        """Tell the savepoint that these will change, with their contacts."""
        for target in targets:
            self.point.keep(target, target.contact)


def _locked(name: str, on: date) -> str:
    return f"The document date cannot be before the {name}, currently set at {on:%d-%b-%Y}"


def _by_id(collection: dict[str, _Found], wanted: str | None) -> _Found | None:
    return collection.get(wanted) if wanted else None


def _first(collection: dict[str, _Found], is_it: Callable[[_Found], bool], wanted: str | None) -> _Found | None:
    return next(filter(is_it, collection.values()), None) if wanted else None
