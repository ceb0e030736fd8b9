"""The organisations of a sandbox, the people who work in them, and what each may do."""

import hashlib
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Role
from tieout_sandbox.books.generate import make_books
from tieout_sandbox.books.ids import Ids
from tieout_sandbox.books.plan import Plan
from tieout_sandbox.clock import SandboxClock
from tieout_sandbox.settings import SandboxSettings

MAY_CONNECT = frozenset({Role.STANDARD, Role.FINANCIALADVISER})
"""Who may authorise an app, and whose consent keeps working (Xero, permissions FAQ)."""

CURRENCY_NAMES = {
    "NZD": "New Zealand Dollar",
    "USD": "United States Dollar",
    "EUR": "Euro",
    "GBP": "British Pound",
    "AUD": "Australian Dollar",
}
_NAMES = ("Harbour & Vine Ltd", "Koru Cycles Pty Ltd", "Tūī Press", "Long White Logistics", "Pōhutukawa Dental")
_HOMES = (("NZD", "NZ", "NEWZEALANDSTANDARDTIME"), ("AUD", "AU", "AUSEASTERNSTANDARDTIME"))
_RATES = {
    "NZD": {"USD": "0.610000", "EUR": "0.560000", "GBP": "0.480000"},
    "AUD": {"USD": "0.660000", "EUR": "0.600000", "GBP": "0.520000"},
}
_SMALL = (40, 200)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a Xero login."""

    id: str
    email: str
    first_name: str
    last_name: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"


@dataclass(slots=True)
class Member:
    """A user in an organisation."""

    user: User
    role: Role
    updated_at: datetime
    is_subscriber: bool = False


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency that an organisation deals in."""

    code: str
    description: str


@dataclass(slots=True)
class Organisation:
    """One set of books with its settings and people."""

    id: str
    name: str
    short_code: str
    base_currency: str
    country_code: str
    created_at: datetime
    books: Books
    members: dict[str, Member] = field(default_factory=dict)
    period_lock_on: date | None = None
    end_of_year_lock_on: date | None = None
    is_demo: bool = False
    is_closed: bool = False
    """Its subscription has lapsed or its trial has ended; paying opens it again."""

    def role_of(self, user_id: str) -> Role:
        """A user's role; REMOVED for a stranger."""
        member = self.members.get(user_id)
        return member.role if member else Role.REMOVED

    def set_role(self, user_id: str, role: Role, at: datetime) -> None:
        """Promote, downgrade or remove a user.

        Raises:
            KeyError: the user never belonged to this organisation.
        """
        member = self.members[user_id]
        member.role, member.updated_at = role, at

    @property
    def currencies(self) -> dict[str, Currency]:
        """The enabled currencies, by code."""
        return {code: Currency(code, CURRENCY_NAMES.get(code, code)) for code in sorted(self.books.rates)}


def make_organisations(settings: SandboxSettings, clock: SandboxClock) -> tuple[list[User], list[Organisation]]:
    """The people and organisations of a fresh sandbox.

    Raises:
        ValueError: the anchor lies in the future, or so few documents are asked for that not every case fits in.
    """
    anchor_on = settings.anchor_on or clock.today()
    if anchor_on > clock.today():
        raise ValueError("The anchor date cannot lie in the sandbox's future.")
    rng = random.Random(f"organisations {settings.seed}")  # noqa: S311 made-up data has to be repeatable
    ids = Ids(rng)
    users = [
        User(ids.new(), "ada.adviser@example.com", "Ada", "Adviser"),
        User(ids.new(), "stan.standard@example.com", "Stan", "Standard"),
        User(ids.new(), "ivy.invoices@example.com", "Ivy", "Invoices"),
        User(ids.new(), "rex.reader@example.com", "Rex", "Reader"),
    ]
    made = [_organisation(index, settings, anchor_on, ids, clock) for index in range(settings.organisations)]
    for organisation in made:
        roles = (Role.FINANCIALADVISER, Role.STANDARD, Role.INVOICEONLY, Role.READONLY)
        for user, role in zip(users, roles, strict=True):
            member = Member(user, role, organisation.created_at, is_subscriber=user is users[0])
            organisation.members[user.id] = member
    return users, made


def fresh_books(organisation: Organisation, index: int, settings: SandboxSettings, clock: SandboxClock) -> str:
    """Give the n-th organisation books as on its first day, with other ids, and answer with an id for itself.

    Those who watch its books watch the new ones.
    """
    ids = Ids(random.Random(f"reset {organisation.id}"))  # noqa: S311 made-up data has to be repeatable
    watching = organisation.books.observers
    organisation.books = _books(index, settings, settings.anchor_on or clock.today(), clock, salt=organisation.id)
    organisation.books.observers = watching
    return ids.new()


def _organisation(
    index: int, settings: SandboxSettings, anchor_on: date, ids: Ids, clock: SandboxClock
) -> Organisation:
    base, country, _ = _HOMES[index % len(_HOMES)]
    organisation_id = ids.new()
    return Organisation(
        id=organisation_id,
        name=_NAMES[index] if index < len(_NAMES) else f"Organisation {index + 1}",
        short_code=f"!{organisation_id[:5]}",
        base_currency=base,
        country_code=country,
        created_at=datetime.combine(anchor_on, time(9), UTC) - timedelta(days=4 * 365),
        books=_books(index, settings, anchor_on, clock),
    )


def _books(index: int, settings: SandboxSettings, anchor_on: date, clock: SandboxClock, salt: str = "") -> Books:
    base, _, timezone = _HOMES[index % len(_HOMES)]
    contacts, invoices = (settings.contacts, settings.invoices) if index == 0 else _SMALL
    rates = {base: Decimal("1.000000")} | {code: Decimal(rate) for code, rate in _RATES[base].items()}
    seed = settings.seed + index if not salt else int.from_bytes(hashlib.sha256(salt.encode()).digest()[:4])
    return make_books(Plan(seed, contacts, invoices, anchor_on, base, rates, timezone), clock.now, settings.switches)
