"""Made-up books: three years of an organisation's life out of a seed, in which everything adds up."""

import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import (
    ZERO,
    Account,
    Allocation,
    Contact,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    Line,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.generate_contacts import Cast, make_contacts
from tieout_sandbox.books.ids import Ids
from tieout_sandbox.books.ledger import Now
from tieout_sandbox.books.names import SERVICES
from tieout_sandbox.books.plan import Plan
from tieout_sandbox.books.rules import bank_amount, conclude, credit_number
from tieout_sandbox.switches import Switches

_HISTORY_DAYS = 1_095
_MS_OF_A_DAY = 86_400_000
_TAX_PERCENT = 15
_FATES = 5
"""A credit is unused, partly allocated, used up, refunded or voided, in turn."""


def make_books(plan: Plan, now: Now, switches: Switches) -> Books:
    """The books that this plan describes.

    Raises:
        ValueError: so few documents that not every kind of case fits in.
    """
    rng = random.Random(plan.seed)  # noqa: S311 made-up data has to be repeatable
    books = Books(plan.base_currency, plan.rates, Ids(rng), now, switches)
    books.timezone = plan.timezone
    return _Maker(plan, books, rng).make()


class _Maker:
    """Writes one set of books from beginning to end."""

    def __init__(self, plan: Plan, books: Books, rng: random.Random) -> None:
        self.plan = plan
        self.books = books
        self.rng = rng
        self.new_id = books.ids.new
        self.base_bank: Account
        self.banks: dict[str, Account] = {}
        self.buyers: list[Contact] = []
        self._midnight_at: dict[date, datetime] = {}
        self._bags = [self._bag() for _ in range(400)]

    def make(self) -> Books:
        """Contacts first, then sales, then what was credited and paid on them, then bills and suppliers' credits."""
        self._make_accounts()
        cast = make_contacts(self.plan, self.books, self.rng)
        paid, still_open = self._make_invoices(cast)
        self._make_credits(paid, still_open, cast.customers)
        self._pay(paid, still_open)
        self._make_bills(cast)
        return self.books

    # Accounts

    def _make_accounts(self) -> None:
        updated_at = self._moment(self.plan.anchor_on - timedelta(days=_HISTORY_DAYS))
        base = self.plan.base_currency

        def account(code: str | None, name: str, type_: str, class_: str, tax: str) -> Account:
            made = Account(self.new_id(), code, name, type_, class_, tax, updated_at)
            self.books.accounts[made.id] = made
            return made

        bank = account("090", "Business Account", "BANK", "ASSET", "NONE")
        bank.currency, bank.bank_account_number = base, "0209087654321050"
        euro = account(None, "Euro Account", "BANK", "ASSET", "NONE")  # some bank accounts have no Code
        euro.currency, euro.bank_account_number = "EUR", "DE02120300000000202051"
        account("200", "Sales", "REVENUE", "REVENUE", "OUTPUT2")
        account("610", "Accounts Receivable", "CURRENT", "ASSET", "NONE").system_account = "DEBTORS"
        self.base_bank, self.banks = bank, {"EUR": euro}

    # Invoices

    def _make_invoices(self, cast: Cast) -> tuple[list[Invoice], list[Invoice]]:
        """All sales invoices; the answer is those to be paid and those that stay open."""
        plan = self.plan
        fates = (
            [Status.AUTHORISED] * plan.open
            + [Status.DRAFT, Status.SUBMITTED] * (plan.pending // 2)
            + [Status.DRAFT] * (plan.pending % 2)
            + [Status.VOIDED, Status.DELETED] * (plan.gone // 2)
            + [Status.VOIDED] * (plan.gone % 2)
            + [Status.PAID] * plan.paid
        )
        self.rng.shuffle(fates)
        debtors = iter(cast.archived[: plan.archived_owing])
        self.buyers = cast.buyers
        paid, still_open = [], []
        for count, fate in enumerate(fates, start=1):
            contact = next(debtors, None) if fate is Status.AUTHORISED else None
            invoice = self._invoice(contact or self._customer(cast, count, fate), count, fate)
            if fate is Status.PAID:
                paid.append(invoice)
            elif fate is Status.AUTHORISED:
                still_open.append(invoice)
        return paid, still_open

    def _customer(self, cast: Cast, count: int, fate: Status) -> Contact:
        """Everybody gets an invoice once, then a few get most of them; archived ones owe only where that is meant."""
        pool = self.buyers if fate not in {Status.AUTHORISED, Status.DRAFT, Status.SUBMITTED} else cast.customers
        if count <= len(pool):
            return pool[count - 1]
        return pool[int(len(pool) * self.rng.random() ** 1.5)]

    def _invoice(self, contact: Contact, count: int, fate: Status, type_: InvoiceType = InvoiceType.ACCREC) -> Invoice:
        rng = self.rng
        on = self._invoiced_on(fate)
        currency = contact.currency or self.plan.base_currency
        if rng.random() < 0.02:  # noqa: PLR2004 a few customers are billed in a second currency
            currency = "USD" if currency == self.plan.base_currency else self.plan.base_currency
        lines, sub_total, total_tax, total = self._bags[int(rng.random() * len(self._bags))]
        invoice = Invoice(
            id=self.new_id(),
            type=type_,
            number=f"INV-{count:05d}",
            contact=contact,
            on=on,
            due_on=on + timedelta(days=14 if count % 3 else 30),
            currency=currency,
            rate=self.plan.rates[currency],
            lines=lines,
            sub_total=sub_total,
            total_tax=total_tax,
            total=total,
            updated_at=self._moment(on),
            status=Status.AUTHORISED if fate is Status.PAID else fate,
            reference=f"PO {int(rng.random() * 90_000) + 10_000}" if count % 4 else "",
            sent=fate not in {Status.DRAFT, Status.SUBMITTED, Status.DELETED},
        )
        if fate is Status.AUTHORISED and count % 5 == 0:
            invoice.expected_payment_on = self.plan.anchor_on + timedelta(days=int(rng.random() * 30))
        return self.books.put_invoice(invoice)

    def _invoiced_on(self, fate: Status) -> date:
        """Open and pending ones are young, the rest is spread over three years."""
        draw = self.rng.random()
        if fate in {Status.DRAFT, Status.SUBMITTED}:
            days = 1 + int(draw * 30)
        elif fate is Status.AUTHORISED:
            days = 1 + int(draw * draw * 200)
        else:
            days = 60 + int(draw * (_HISTORY_DAYS - 60))
        return self.plan.anchor_on - timedelta(days=days)

    def _bag(self) -> tuple[tuple[Line, ...], Decimal, Decimal, Decimal]:
        """Two lines and what they come to: shared by many invoices, because large books must fit into memory."""
        lines = tuple(self._line() for _ in range(2))
        sub_total = sum((line.line_amount for line in lines), ZERO)
        total_tax = sum((line.tax_amount for line in lines), ZERO)
        return lines, sub_total, total_tax, sub_total + total_tax

    def _line(self) -> Line:
        quantity = 1 + int(self.rng.random() * 5)
        unit_cents = 500 + int(self.rng.random() * 60_000)
        cents = quantity * unit_cents
        tax = (cents * _TAX_PERCENT + 50) // 100
        return Line(self.rng.choice(SERVICES), quantity, _money(unit_cents), _money(cents), _money(tax))

    # Credits

    def _make_credits(self, paid: list[Invoice], still_open: list[Invoice], customers: list[Contact]) -> None:
        """Each kind in each fate; allocations go to invoices that will be paid, some to ones that stay open."""
        invoices = iter(self.rng.sample(paid, len(paid)))
        open_ones = iter(self.rng.sample(still_open, len(still_open)))
        for kind, count in (
            (CreditKind.CREDIT_NOTE, self.plan.credit_notes),
            (CreditKind.OVERPAYMENT, self.plan.overpayments),
            (CreditKind.PREPAYMENT, self.plan.overpayments),
        ):
            for index in range(count):
                fate = index % _FATES
                allocated = fate in {1, 2}
                invoice = next(open_ones if index % 11 == 1 else invoices, None) if allocated else None
                contact = invoice.contact if invoice else self.rng.choice(customers)
                self._credit(kind, index, contact, invoice)

    def _credit(self, kind: CreditKind, index: int, contact: Contact, invoice: Invoice | None) -> None:
        fate = index % _FATES
        currency = invoice.currency if invoice else contact.currency or self.plan.base_currency
        on = invoice.on + timedelta(days=3) if invoice else self._invoiced_on(Status.AUTHORISED)
        on = min(on, self.plan.anchor_on - timedelta(days=1))
        share = self._share_of(invoice, index) if invoice else _money(2_000 + int(self.rng.random() * 30_000))
        total = share + _money(1_000 + index % 7 * 1_150) if fate == 1 else share
        credit = Credit(
            id=self.new_id(),
            kind=kind,
            number=credit_number(kind, index + 1),
            contact=contact,
            on=on,
            currency=currency,
            rate=self.plan.rates[currency],
            lines=(Line("Goods returned", 1, total, total, ZERO),),
            sub_total=total,
            total_tax=ZERO,
            total=total,
            updated_at=self._moment(on),
            status=Status.VOIDED if fate == _FATES - 1 else Status.AUTHORISED,
            reference="" if index % 2 else f"RMA {index:04d}",
        )
        self.books.put_credit(credit)
        if invoice:
            self._allocate(credit, invoice, share)
        elif fate == 3:  # noqa: PLR2004 the fourth fate: given back, every second one only half of it
            self._settle(credit, _half(total) if index // _FATES % 2 else total, on)

    def _share_of(self, invoice: Invoice, index: int) -> Decimal:
        """How much of an invoice a credit takes: every seventh settles an old one alone, the others up to a third."""
        if index % 7 == 2 and invoice.on < self._old_on:  # noqa: PLR2004 any one of seven
            return invoice.total
        return (invoice.total * Decimal(1 + index % 3) / 10).quantize(ZERO)

    @property
    def _old_on(self) -> date:
        """Invoices before this day are the ones that will be paid."""
        return self.plan.anchor_on - timedelta(days=201)

    def _allocate(self, credit: Credit, invoice: Invoice, amount: Decimal) -> None:
        on = max(credit.on, invoice.on)
        self.books.put_allocation(Allocation(self.new_id(), credit, invoice, amount, on))
        for document in (credit, invoice):
            conclude(document)
            document.updated_at = max(document.updated_at, self._moment(on))

    # Payments

    def _pay(self, paid: list[Invoice], still_open: list[Invoice]) -> None:
        """Pay what is to be paid, in one part or in two, so that payments come to exactly as many as invoices."""
        plan = self.plan
        unpaid = [invoice for invoice in paid if invoice.status is Status.AUTHORISED]
        part_paid = still_open[: plan.part_paid]
        in_two = plan.invoices - len(self.books.payments) - len(unpaid) - len(part_paid) - plan.deleted_payments
        if not 0 <= in_two <= len(unpaid):
            raise ValueError("So few invoices leave no room for every kind of payment.")
        for index, invoice in enumerate(unpaid):
            paid_on = invoice.on + timedelta(days=5 + int(self.rng.random() * 50))
            if index < in_two:
                self._settle(invoice, _half(invoice.amount_due), paid_on - timedelta(days=3))
            self._settle(invoice, invoice.amount_due, paid_on)
        for invoice in part_paid:
            paid_on = min(invoice.on + timedelta(days=10), plan.anchor_on - timedelta(days=1))
            self._settle(invoice, _half(invoice.amount_due), paid_on)
        for invoice in self.rng.sample(still_open + unpaid, plan.deleted_payments):
            self._settle_and_undo(invoice)

    def _settle(self, target: Target, amount: Decimal, on: date) -> None:
        payment = self._payment(target, amount, on)
        self.books.put_payment(payment)
        conclude(target)
        payment.updated_at = target.updated_at = max(target.updated_at, payment.updated_at)

    def _settle_and_undo(self, invoice: Invoice) -> None:
        """A payment that bounced: it stays as DELETED, stamped 10 ms after its document (as in Xero's examples)."""
        payment = self._payment(invoice, _half(invoice.total), invoice.on + timedelta(days=1))
        payment.status = Status.DELETED
        invoice.updated_at = max(invoice.updated_at, payment.updated_at)
        payment.updated_at = invoice.updated_at + timedelta(milliseconds=10)
        self.books.put_payment(payment)

    def _payment(self, target: Target, amount: Decimal, on: date) -> Payment:
        account = self.banks.get(target.currency, self.base_bank)
        on = min(on, self.plan.anchor_on - timedelta(days=1))
        return Payment(
            id=self.new_id(),
            target=target,
            account=account,
            on=on,
            amount=amount,
            bank_amount=bank_amount(amount, target, account),
            updated_at=self._moment(on),
            reference=target.number if self.rng.random() < 0.7 else "",  # noqa: PLR2004 most people name what they pay
            is_reconciled=self.rng.random() < 0.6,  # noqa: PLR2004 the bookkeeper lags behind
        )

    # Bills

    def _make_bills(self, cast: Cast) -> None:
        for count, supplier in enumerate(cast.suppliers, start=1):
            bill = self._invoice(supplier, count, Status.AUTHORISED, InvoiceType.ACCPAY)
            bill.number, bill.reference, bill.sent, bill.expected_payment_on = f"BILL-{count:04d}", "", False, None
        for count, kind in enumerate(CreditKind):
            self._credit_of_supplier(kind, cast.suppliers[count % len(cast.suppliers)])

    def _credit_of_supplier(self, kind: CreditKind, supplier: Contact) -> None:
        """What a supplier owes us: half of it is set against the bill."""
        (bill,) = (one for one in supplier.documents if isinstance(one, Invoice))
        total = (bill.total / 4).quantize(ZERO)
        credit = Credit(
            id=self.new_id(),
            kind=kind,
            number="",
            contact=supplier,
            on=bill.on,
            currency=bill.currency,
            rate=bill.rate,
            lines=(Line("Returned to the supplier", 1, total, total, ZERO),),
            sub_total=total,
            total_tax=ZERO,
            total=total,
            updated_at=self._moment(bill.on),
            of_supplier=True,
        )
        self.books.put_credit(credit)
        self._allocate(credit, bill, _half(total))

    def _moment(self, on: date) -> datetime:
        """Some millisecond of that day."""
        midnight_at = self._midnight_at.get(on)
        if midnight_at is None:
            midnight_at = self._midnight_at[on] = datetime.combine(on, time.min, UTC)
        return midnight_at + timedelta(milliseconds=int(self.rng.random() * (_MS_OF_A_DAY - 100)))


def _money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def _half(amount: Decimal) -> Decimal:
    return (amount / 2).quantize(ZERO)
