"""The contacts of made-up books: customers, suppliers, archived, merged and forgotten ones, with names that hurt."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Contact, ContactStatus, Person, Phone
from tieout_sandbox.books.names import CITIES, FIRST_NAMES, FIRST_WORDS, LAST_NAMES, ODD_NAMES, SECOND_WORDS
from tieout_sandbox.books.plan import Plan

_FOREIGN = ("USD", "EUR", "GBP")
_NO_EMAIL = 9
_ODD = 6
_HISTORY_MS = 1_094 * 86_400_000


@dataclass(slots=True)
class Cast:
    """Who plays which part."""

    customers: list[Contact] = field(default_factory=list)
    archived: list[Contact] = field(default_factory=list)
    suppliers: list[Contact] = field(default_factory=list)
    idle: list[Contact] = field(default_factory=list)
    merged: list[Contact] = field(default_factory=list)

    @property
    def buyers(self) -> list[Contact]:
        """Whoever may have been invoiced in the past."""
        return self.archived + self.customers


def make_contacts(plan: Plan, books: Books, rng: random.Random) -> Cast:
    """Enter as many contacts of each kind as planned; who is a customer shows once the invoices are there."""
    start_at = datetime.combine(plan.anchor_on, time.min, UTC) - timedelta(milliseconds=_HISTORY_MS)
    foreign = [code for code in _FOREIGN if code != plan.base_currency]
    cast = Cast()
    parts = (
        (cast.customers, plan.customers),
        (cast.archived, plan.archived),
        (cast.suppliers, plan.suppliers),
        (cast.idle, plan.without_documents),
        (cast.merged, plan.merged),
    )
    index = 0
    for part, count in parts:
        for _ in range(count):
            updated_at = start_at + timedelta(milliseconds=int(rng.random() * _HISTORY_MS))
            contact = _contact(index, books.ids.new(), updated_at, rng)
            if index % 5 == 1:
                contact.currency = foreign[index // 5 % len(foreign)]
            books.contacts[contact.id] = contact
            part.append(contact)
            index += 1
    _settle_states(cast, rng)
    return cast


def _settle_states(cast: Cast, rng: random.Random) -> None:
    cast.idle[0].status = ContactStatus.GDPRREQUEST
    for contact in (*cast.archived, *cast.merged):
        contact.status = ContactStatus.ARCHIVED
    for contact in cast.merged:
        winner = rng.choice(cast.customers)
        contact.merged_to_id = winner.id
        contact.name = winner.name  # the usual reason to merge: the same customer entered twice


def _contact(index: int, contact_id: str, updated_at: datetime, rng: random.Random) -> Contact:
    person = Person(rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES), f"contact{index}@example.com", index % 2 == 0)
    return Contact(
        id=contact_id,
        name=_name(index),
        updated_at=updated_at,
        email="" if index % _NO_EMAIL == 0 else person.email,
        first_name=person.first_name,
        last_name=person.last_name,
        contact_number=f"C-{index:05d}" if index % 6 == 0 else None,
        account_number=f"{1_000 + index}" if index % 3 == 0 else None,
        city=rng.choice(CITIES),
        phones=_phones(index),
        persons=(person,) if index % 4 == 0 else (),
    )


def _name(index: int) -> str:
    """A name that no other index has; every sixth is an odd one."""
    if index % _ODD == 0:
        return f"{ODD_NAMES[index // _ODD % len(ODD_NAMES)]} {index}"
    words = f"{FIRST_WORDS[index % len(FIRST_WORDS)]} {SECOND_WORDS[index // 7 % len(SECOND_WORDS)]}"
    return f"{words} {index} Ltd"


def _phones(index: int) -> tuple[Phone, ...]:
    """All four kinds, as Xero sends them; three in five have a mobile number, some only a landline, some nothing."""
    number = f"{555_0000 + index}"
    landline = Phone("DEFAULT", number, "09", "64") if index % 5 else Phone("DEFAULT")
    mobile = Phone("MOBILE", number[::-1], "021", "64") if index % 5 in {0, 1, 3} and index % 10 else Phone("MOBILE")
    return (Phone("DDI"), landline, Phone("FAX"), mobile)
