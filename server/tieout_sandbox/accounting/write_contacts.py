"""Contacts through the API: made, changed, archived (Xero, Contacts)."""

import re

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.books.documents import Address, Contact, ContactStatus, Person, Phone
from tieout_sandbox.books.rules import NotAllowedError

_KINDS = ("DEFAULT", "DDI", "FAX", "MOBILE")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MOST_PERSONS = 5


def write_contact(call: Call, draft: Draft) -> Contact:
    """Make a contact; POST changes the one that ContactID, ContactNumber or Name finds."""
    found = None if call.creates else _existing(call, draft)
    if found is None and draft.has("ContactID") and not call.creates:
        draft.refuse("The specified contact could not be found")
    name = draft.text("Name")
    if found is None and not name:
        draft.refuse("The Contact Name must be specified.")
    status = draft.text("ContactStatus")
    if status is not None and status not in {ContactStatus.ACTIVE, ContactStatus.ARCHIVED}:
        draft.refuse(f"'{status}' is not a valid ContactStatus.")
    if found is not None and found.merged_to_id:
        draft.refuse("A merged contact cannot be restored.")
    if found is not None and found.status is ContactStatus.GDPRREQUEST:
        draft.refuse("An erased contact cannot be changed.")
    _check_name(call, draft, found, name, status)
    _check_texts(call, draft, found)
    draft.judge()
    contact = found or Contact(call.books.ids.new(), name or "", call.books.stamp())
    call.point.keep(contact)
    _fill(draft, contact)
    if found is None:
        return call.books.put_contact(contact)
    if name and name != contact.name:
        return call.books.rename_contact(contact.id, name)
    return call.books.moved(contact)


def _existing(call: Call, draft: Draft) -> Contact | None:
    contacts = call.books.contacts
    contact_id, number, name = draft.id("ContactID"), draft.text("ContactNumber", 50), draft.text("Name")
    if contact_id:
        return contacts.get(contact_id)
    by_number = (contact for contact in contacts.values() if number and contact.contact_number == number)
    by_name = (contact for contact in contacts.values() if contact.name == name and contact.status == "ACTIVE")
    return next(by_number, None) or next(by_name, None)


def _check_name(call: Call, draft: Draft, found: Contact | None, name: str | None, status: str | None) -> None:
    """A name is unique among active contacts, new ones and ones that come back included."""
    wanted = name or (found.name if found else "")
    active_after = (status or (found.status if found else ContactStatus.ACTIVE)) == ContactStatus.ACTIVE
    unchanged = found is not None and wanted == found.name and found.status is ContactStatus.ACTIVE
    if not wanted or not active_after or unchanged:
        return
    try:
        call.books.check_name_free(wanted, but=found)
    except NotAllowedError as error:
        draft.refuse(str(error))


def _check_texts(call: Call, draft: Draft, found: Contact | None) -> None:
    number = draft.text("ContactNumber", 50)
    taken = (contact for contact in call.books.contacts.values() if contact.contact_number == number)
    if number and any(contact is not found for contact in taken):
        draft.refuse("The contact number must be unique")
    draft.text("AccountNumber", 50)
    draft.text("FirstName")
    draft.text("LastName")
    address = draft.text("EmailAddress")
    if address and not _EMAIL.fullmatch(address):
        draft.refuse("A valid email address must be specified")
    currency = draft.text("DefaultCurrency")
    if currency and currency not in call.books.rates:
        draft.refuse(f"Organisation is not subscribed to currency {currency}")
    if len(draft.parts("ContactPersons")) > _MOST_PERSONS:
        draft.refuse("A contact can have at most 5 contact persons")


def _fill(draft: Draft, contact: Contact) -> None:
    """Put in what was said and leave the rest; persons that are not listed any more are gone (a known trap)."""
    for key, name in (
        ("FirstName", "first_name"),
        ("LastName", "last_name"),
        ("EmailAddress", "email"),
        ("ContactNumber", "contact_number"),
        ("AccountNumber", "account_number"),
        ("DefaultCurrency", "currency"),
    ):
        text = draft.text(key)
        if text is not None:
            setattr(contact, name, text)
    status = draft.text("ContactStatus")
    contact.status = ContactStatus(status) if status else contact.status
    if "Phones" in draft.given:
        contact.phones = _phones(draft, contact)
    if "Addresses" in draft.given:
        contact.addresses = tuple(map(_address, draft.parts("Addresses")))
    if "ContactPersons" in draft.given:
        contact.persons = tuple(map(_person, draft.parts("ContactPersons")))
    contact.stub = None


def _phones(draft: Draft, contact: Contact) -> tuple[Phone, ...]:
    """All four kinds, those that were sent anew."""
    phones = {kind: Phone(kind) for kind in _KINDS} | {phone.kind: phone for phone in contact.phones}
    for part in draft.parts("Phones"):
        kind = part.text("PhoneType") or "DEFAULT"
        number, area = part.text("PhoneNumber", 50) or "", part.text("PhoneAreaCode", 10) or ""
        phones[kind] = Phone(kind, number, area, part.text("PhoneCountryCode", 20) or "")
    return tuple(phones.values())


def _address(part: Draft) -> Address:
    lines = tuple(part.text(f"AddressLine{number}", 500) or "" for number in range(1, 5))
    return Address(
        part.text("AddressType") or "POBOX",
        lines,
        part.text("City") or "",
        part.text("Region") or "",
        part.text("PostalCode", 50) or "",
        part.text("Country", 50) or "",
        part.text("AttentionTo") or "",
    )


def _person(part: Draft) -> Person:
    return Person(
        part.text("FirstName") or "",
        part.text("LastName") or "",
        part.text("EmailAddress") or "",
        part.flag("IncludeInEmails") or False,
    )
