"""The sandbox's books: what is in them, what may happen to them, and that they always add up."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tieout_sandbox import CreditKind, Status
from tieout_sandbox.accounting.render import Detail, credit_block, invoice_block, payment_block
from tieout_sandbox.accounting.wire import element
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import ContactStatus, Invoice, InvoiceType
from tieout_sandbox.books.generate import make_books
from tieout_sandbox.books.plan import Plan
from tieout_sandbox.books.rules import NotAllowedError, NotFoundError
from tieout_sandbox.books.truth import compact_truth
from tieout_sandbox.switches import Switches

ANCHOR_ON = date(2026, 11, 22)
NOW_AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
RATES = {
    "NZD": Decimal("1.000000"),
    "USD": Decimal("0.610000"),
    "EUR": Decimal("0.560000"),
    "GBP": Decimal("0.480000"),
}
T = TypeVar("T")
NUMBER = st.integers(0, 10_000)
CENTS = st.integers(1, 50_000)


def money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def make(seed: int = 1, contacts: int = 20, invoices: int = 100, switches: Switches | None = None) -> Books:
    plan = Plan(seed, contacts, invoices, ANCHOR_ON, "NZD", RATES)
    return make_books(plan, lambda: NOW_AT, switches or Switches())


def sales(books: Books, *statuses: Status) -> list[Invoice]:
    return [i for i in books.invoices.values() if i.type is InvoiceType.ACCREC and i.status in statuses]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("contacts", "invoices"), [(12, 40), (20, 100), (31, 977), (200, 2_000)])
def test_made_up_books_add_up_and_are_as_large_as_asked(seed: int, contacts: int, invoices: int) -> None:
    books = make(seed, contacts, invoices)
    books.check()
    assert len(books.contacts) == contacts
    assert sum(i.type is InvoiceType.ACCREC for i in books.invoices.values()) == invoices
    assert len(books.payments) == invoices
    assert len(sales(books, Status.AUTHORISED)) <= invoices * 0.125


@pytest.mark.slow
def test_the_reference_organisation_has_exactly_its_records() -> None:
    books = make(1, 2_000, 20_000)
    books.check()
    assert [len(found) for found in (books.contacts, books.payments, books.accounts)] == [2_000, 20_000, 4]
    every = [books.credit_notes, books.overpayments, books.prepayments]
    assert [Counter(credit.of_supplier for credit in found.values()) for found in every] == [
        {False: 500, True: 1},
        {False: 200, True: 1},
        {False: 200, True: 1},
    ]
    statuses = Counter(i.status for i in books.invoices.values() if i.type is InvoiceType.ACCREC)
    assert statuses == {
        "PAID": 16_600,
        "AUTHORISED": 2_400,
        "VOIDED": 300,
        "DELETED": 300,
        "DRAFT": 200,
        "SUBMITTED": 200,
    }
    part_paid = [i for i in sales(books, Status.AUTHORISED) if i.amount_paid]
    assert len(part_paid) == 800


@pytest.mark.parametrize("seed", range(6))
def test_even_small_books_contain_every_kind_of_case(seed: int) -> None:
    books = make(seed)
    assert {i.status for i in books.invoices.values()} == set(Status)
    assert {c.status for c in books.contacts.values()} == set(ContactStatus)
    assert any(c.merged_to_id for c in books.contacts.values())
    assert any(c.is_supplier and not c.is_customer for c in books.contacts.values())
    assert any(c.status is ContactStatus.ACTIVE and not c.documents for c in books.contacts.values())
    owing = [c for c in books.contacts.values() if c.status is ContactStatus.ARCHIVED and c.documents]
    assert any(document.status is Status.AUTHORISED for c in owing for document in c.documents)
    assert any(i.amount_paid for i in sales(books, Status.AUTHORISED))
    assert any(i.amount_credited for i in books.invoices.values())
    assert any(i.expected_payment_on for i in sales(books, Status.AUTHORISED))
    assert len({i.currency for i in books.invoices.values()}) >= 3
    for kind in CreditKind:
        credits_ = books.credits_of(kind).values()
        assert {c.status for c in credits_} == {Status.AUTHORISED, Status.PAID, Status.VOIDED}
        assert any(c.payments for c in credits_)
        assert any(c.allocations and c.remaining_credit for c in credits_)
    assert any(p.status is Status.DELETED for p in books.payments.values())
    assert any(phone.kind == "MOBILE" and phone.number for c in books.contacts.values() for phone in c.phones)
    assert any(not c.name.isascii() for c in books.contacts.values())
    assert any('"' in c.name for c in books.contacts.values())


def test_the_same_seed_makes_the_same_books_and_another_seed_others() -> None:
    assert compact_truth(make(7)) == compact_truth(make(7))
    assert not compact_truth(make(7))["invoices"].keys() & compact_truth(make(8))["invoices"].keys()


def test_everything_happened_within_three_years_before_the_anchor_at_some_millisecond() -> None:
    books = make(3, 200, 2_000)
    stamps = [i.updated_at for i in books.invoices.values()] + [p.updated_at for p in books.payments.values()]
    anchor_at = datetime(2026, 11, 22, tzinfo=UTC)
    assert all(anchor_at - timedelta(days=1_100) < stamp < anchor_at for stamp in stamps)
    assert len({stamp.microsecond // 1000 for stamp in stamps}) > 500
    assert len({stamp.year for stamp in stamps}) >= 3


def test_too_few_documents_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        make(1, 3, 100)


def test_a_payment_moves_invoice_and_payment_to_the_same_instant() -> None:
    books = make()
    invoice = next(i for i in sales(books, Status.AUTHORISED) if not i.payments)
    payment = books.pay(invoice.id)
    assert payment.updated_at == invoice.updated_at == NOW_AT
    assert (invoice.status, invoice.amount_due, invoice.fully_paid_on) == (Status.PAID, Decimal(0), ANCHOR_ON)


def test_a_deleted_payment_stays_and_its_invoice_is_open_again() -> None:
    books = make()
    payment = books.pay(sales(books, Status.AUTHORISED)[0].id)
    due = payment.amount
    books.delete_payment(payment.id)
    invoice = payment.target
    assert isinstance(invoice, Invoice)
    assert (payment.status, invoice.status, invoice.amount_due) == (Status.DELETED, Status.AUTHORISED, due)
    assert invoice.fully_paid_on is None
    assert payment not in invoice.payments
    assert payment.updated_at > invoice.updated_at
    books.check()
    with pytest.raises(NotAllowedError):
        books.delete_payment(payment.id)


def test_more_than_is_due_cannot_be_paid() -> None:
    books = make()
    invoice = sales(books, Status.AUTHORISED)[0]
    with pytest.raises(NotAllowedError, match="exceeds the amount outstanding"):
        books.pay(invoice.id, invoice.amount_due + Decimal("0.01"))
    with pytest.raises(NotAllowedError, match="Authorised documents"):
        books.pay(sales(books, Status.PAID)[0].id)
    sales_account = next(a for a in books.accounts.values() if a.code == "200")
    with pytest.raises(NotAllowedError, match="Account type"):
        books.pay(invoice.id, account_id=sales_account.id)
    with pytest.raises(NotFoundError):
        books.pay("nothing")


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "NaN", "Infinity", "1E+40"])
def test_amounts_that_are_none_are_refused(amount: str) -> None:
    books = make()
    invoice = sales(books, Status.AUTHORISED)[0]
    with pytest.raises(NotAllowedError, match="greater than zero"):
        books.pay(invoice.id, Decimal(amount))
    contact = books.create_contact("Paying Ltd")
    with pytest.raises(NotAllowedError, match="greater than zero"):
        books.create_invoice(contact.id, Decimal(amount))


def test_amounts_always_have_two_places() -> None:
    books = make()
    contact = next(c for c in books.contacts.values() if c.status is ContactStatus.ACTIVE)
    invoice = books.create_invoice(contact.id, Decimal(115))
    payment = books.pay(invoice.id, Decimal("1E+1"))
    assert (str(invoice.total), str(invoice.amount_due), str(payment.amount)) == ("115.00", "105.00", "10.00")


def test_a_foreign_payment_reaches_the_bank_in_its_currency() -> None:
    books = make()
    contact = next(c for c in books.contacts.values() if c.status is ContactStatus.ACTIVE)
    dollars = books.pay(books.create_invoice(contact.id, Decimal("61.00"), currency="USD").id)
    euros = books.pay(books.create_invoice(contact.id, Decimal("61.00"), currency="EUR").id)
    assert (dollars.bank_amount, dollars.account.currency) == (Decimal("100.00"), "NZD")
    assert (euros.bank_amount, euros.account.currency) == (Decimal("61.00"), "EUR")


def test_a_new_due_date_on_a_part_paid_invoice_is_silent_unless_switched() -> None:
    switches = Switches()
    books = make(switches=switches)
    invoice = next(i for i in sales(books, Status.AUTHORISED) if i.payments)
    before_at, revision = invoice.updated_at, books.revision
    books.edit_invoice(invoice.id, due_on=date(2027, 1, 1))
    assert (invoice.updated_at, invoice.due_on) == (before_at, date(2027, 1, 1))
    assert books.revision > revision
    books.edit_invoice(invoice.id, reference="spoken")
    assert invoice.updated_at > before_at
    switches.due_date_of_part_paid_moves_updated = True
    before_at = invoice.updated_at
    books.edit_invoice(invoice.id, due_on=date(2027, 1, 2))
    assert invoice.updated_at > before_at


@pytest.mark.parametrize("moves", [True, False])
def test_allocations_move_both_sides_or_neither_by_switch(moves: bool) -> None:  # noqa: FBT001 a parametrised case
    books = make(switches=Switches(allocations_move_updated=moves))
    contact = next(c for c in books.contacts.values() if c.status is ContactStatus.ACTIVE)
    invoice = books.create_invoice(contact.id, Decimal("100.00"), currency="NZD")
    credit = books.create_credit(CreditKind.OVERPAYMENT, contact.id, Decimal("30.00"), currency="NZD")
    before = (invoice.updated_at, credit.updated_at)
    allocation = books.allocate(credit.id, invoice.id)
    assert (invoice.amount_due, credit.remaining_credit, credit.status) == (Decimal(70), Decimal(0), Status.PAID)
    assert (invoice.updated_at > before[0], credit.updated_at > before[1]) == (moves, moves)
    books.check()
    books.remove_allocation(allocation)
    assert (invoice.amount_due, credit.remaining_credit, credit.status) == (
        Decimal(100),
        Decimal(30),
        Status.AUTHORISED,
    )


def test_the_first_invoice_makes_a_customer_without_moving_the_contact() -> None:
    books = make()
    contact = books.create_contact("Newcomer Ltd")
    before_at = contact.updated_at
    was_customer = contact.is_customer
    books.create_invoice(contact.id, Decimal("10.00"))
    assert (was_customer, contact.is_customer) == (False, True)
    assert contact.updated_at == before_at


def test_a_merge_moves_documents_and_archives_the_loser_without_moving_the_winner() -> None:
    books = make()
    losing = books.create_contact("Twice Entered Ltd")
    winning = books.create_contact("Entered Once Ltd")
    invoice = books.create_invoice(losing.id, Decimal("10.00"))
    before_at = winning.updated_at
    books.merge_contact(losing.id, winning.id)
    assert (losing.status, losing.merged_to_id) == (ContactStatus.ARCHIVED, winning.id)
    assert invoice.contact is winning
    assert winning.updated_at == before_at
    books.check()
    with pytest.raises(NotAllowedError):
        books.restore_contact(losing.id)


@pytest.mark.parametrize("is_redacted", [True, False])
def test_who_is_erased_keeps_documents_and_never_comes_back(*, is_redacted: bool) -> None:
    books = make()
    books.switches.erased_contacts_are_redacted = books.switches.erasing_moves_updated = is_redacted
    contact = books.create_contact("Ann Onymous", email="ann@example.com")
    invoice = books.create_invoice(contact.id, Decimal("10.00"))
    before_at = contact.updated_at
    books.erase_contact(contact.id)
    assert contact.status is ContactStatus.GDPRREQUEST
    assert ("Ann" in contact.name, bool(contact.email)) == (not is_redacted, not is_redacted)
    assert (contact.updated_at > before_at) is is_redacted
    assert contact.documents == [invoice]
    books.check()
    with pytest.raises(NotAllowedError):
        books.restore_contact(contact.id)


def test_balances_follow_their_switches() -> None:
    books = make()
    contact = books.create_contact("Overseas Ltd")
    books.create_invoice(contact.id, Decimal("61.00"), currency="USD")
    base = balances_of(contact, ANCHOR_ON, Switches())
    raw = balances_of(contact, ANCHOR_ON, Switches(balances_in_base_currency=False))
    assert base is not None
    assert raw is not None
    assert (base.receivable_outstanding, raw.receivable_outstanding) == (Decimal("100.00"), Decimal("61.00"))


@settings(max_examples=25, stateful_step_count=30, deadline=None)
class AnyLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, refused or not, the books add up."""

    def __init__(self) -> None:
        super().__init__()
        self.books = make(5, 12, 40)

    def attempt(self, move: Callable[[], object]) -> None:
        try:
            move()
        except NotAllowedError:
            self.books.check()  # a refused move leaves nothing behind

    def any_of(self, collection: Mapping[str, T], number: int) -> T:
        return list(collection.values())[number % len(collection)]

    @rule(number=NUMBER, cents=CENTS)
    def pay(self, number: int, cents: int) -> None:
        invoice = self.any_of(self.books.invoices, number)
        self.attempt(lambda: self.books.pay(invoice.id, min(money(cents), invoice.amount_due)))

    @rule(number=NUMBER)
    def delete_payment(self, number: int) -> None:
        self.attempt(lambda: self.books.delete_payment(self.any_of(self.books.payments, number).id))

    @rule(number=NUMBER, cents=CENTS, kind=st.sampled_from(CreditKind))
    def credit(self, number: int, cents: int, kind: CreditKind) -> None:
        contact = self.any_of(self.books.contacts, number)
        self.attempt(lambda: self.books.create_credit(kind, contact.id, money(cents)))

    @rule(number=NUMBER, kind=st.sampled_from(CreditKind))
    def allocate(self, number: int, kind: CreditKind) -> None:
        credit = self.any_of(self.books.credits_of(kind), number)
        owed = [found for found in credit.contact.documents if isinstance(found, Invoice)]
        if owed:
            self.attempt(lambda: self.books.allocate(credit.id, owed[number % len(owed)].id))

    @rule(number=NUMBER, kind=st.sampled_from(CreditKind))
    def take_back(self, number: int, kind: CreditKind) -> None:
        credit = self.any_of(self.books.credits_of(kind), number)
        if credit.allocations:
            self.books.remove_allocation(credit.allocations[0])

    @rule(number=NUMBER, kind=st.sampled_from(CreditKind))
    def refund(self, number: int, kind: CreditKind) -> None:
        self.attempt(lambda: self.books.refund(self.any_of(self.books.credits_of(kind), number).id))

    @rule(number=NUMBER, kind=st.sampled_from(CreditKind))
    def void_credit(self, number: int, kind: CreditKind) -> None:
        self.attempt(lambda: self.books.void_credit(self.any_of(self.books.credits_of(kind), number).id))

    @rule(number=NUMBER, cents=CENTS, status=st.sampled_from([Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED]))
    def invoice(self, number: int, cents: int, status: Status) -> None:
        contact = self.any_of(self.books.contacts, number)
        self.attempt(lambda: self.books.create_invoice(contact.id, money(cents), status=status))

    @rule(number=NUMBER, move=st.sampled_from(["authorise", "void", "delete_invoice"]))
    def step(self, number: int, move: str) -> None:
        self.attempt(lambda: getattr(self.books, move)(self.any_of(self.books.invoices, number).id))

    @rule(number=NUMBER, move=st.sampled_from(["archive_contact", "restore_contact"]))
    def shelve(self, number: int, move: str) -> None:
        self.attempt(lambda: getattr(self.books, move)(self.any_of(self.books.contacts, number).id))

    @rule(losing=NUMBER, winning=NUMBER)
    def merge(self, losing: int, winning: int) -> None:
        contacts = self.books.contacts
        self.attempt(
            lambda: self.books.merge_contact(self.any_of(contacts, losing).id, self.any_of(contacts, winning).id)
        )

    @invariant()
    def everything_adds_up(self) -> None:
        self.books.check()

    @invariant()
    def what_is_kept_rendered_is_what_would_be_written_now(self) -> None:
        for document in self.books.invoices.values():
            assert document.rendered in {None, element(invoice_block(document, Detail.PAGE))}
            document.rendered = element(invoice_block(document, Detail.PAGE))
        for credit in self.books.credit_notes.values():
            assert credit.rendered in {None, element(credit_block(credit, Detail.PAGE))}
            credit.rendered = element(credit_block(credit, Detail.PAGE))
        for payment in self.books.payments.values():
            assert payment.rendered in {None, element(payment_block(payment, Detail.PAGE))}
            payment.rendered = element(payment_block(payment, Detail.PAGE))


TestAnyLife = AnyLife.TestCase
