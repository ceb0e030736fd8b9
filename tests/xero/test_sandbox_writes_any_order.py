"""Whatever is written in whatever order, right or wrong: books add up, refusals change nothing, lists agree."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.collections import COLLECTIONS
from tieout_sandbox.accounting.render import Detail
from tieout_sandbox.accounting.writing import Answer, Asked, Path, write
from tieout_sandbox.books.documents import Role
from tieout_sandbox.books.generate import make_books
from tieout_sandbox.books.plan import Plan
from tieout_sandbox.books.savepoint import Savepoint
from tieout_sandbox.organisations import Organisation
from tieout_sandbox.switches import Switches

ANCHOR_ON = date(2026, 11, 22)
NOW_AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
RATES = {code: Decimal(rate) for code, rate in {"NZD": "1.000000", "USD": "0.610000", "EUR": "0.560000"}.items()}
WRITTEN = (
    "contacts", "invoices", "creditnotes", "overpayments", "prepayments", "payments", "batchpayments",
    "banktransactions",
)  # fmt: skip
Amount: TypeAlias = Decimal | str | None
NUMBER = st.integers(0, 10_000)
AMOUNT: st.SearchStrategy[Amount] = st.one_of(
    st.integers(1, 60_000).map(lambda cents: Decimal(cents).scaleb(-2)),
    st.sampled_from([Decimal(0), Decimal(-5), Decimal("0.005"), Decimal(10) ** 9, None, "all"]),
)
DAY = st.sampled_from(["2026-11-22"] * 4 + ["2026-12-31", "2025-01-05", None])
STATUS = st.sampled_from(["AUTHORISED", "DRAFT", "SUBMITTED", "AUTHORISED", "VOIDED", "DELETED", "PAID", None])
VERB = st.sampled_from(["PUT", "POST"])
ENCODER = msgspec.json.Encoder(decimal_format="number")


@settings(max_examples=15, stateful_step_count=25, deadline=None)
class AnyWrites(RuleBasedStateMachine):
    """An app that writes what comes to mind."""

    def __init__(self) -> None:
        super().__init__()
        switches = Switches()
        books = make_books(Plan(5, 12, 40, ANCHOR_ON, "NZD", RATES), lambda: NOW_AT, switches)
        self.organisation = Organisation("org", "Org", "!org", "NZD", "NZ", NOW_AT, books)
        self.books = books
        self.heard: list[str] = []
        books.observers.append(lambda document, _change, _at: self.heard.append(document.id))

    # Asking

    def ask(self, method: str, path: str, body: object, *, tells_each: bool = False) -> Answer:
        """Write, and see to it that a refused call leaves everything as it was."""
        parts = path.split("/")
        where = Path(*(part.lower() for part in parts))
        before, heard = self.everything(), len(self.heard)
        call = Call(self.organisation, Role.STANDARD, "app", ANCHOR_ON, method == "PUT", Savepoint(self.books))
        answer = write(call, Asked(method, where, ENCODER.encode(body), tells_each=tells_each))
        if answer.response is not None and answer.response.status >= 400:
            assert self.everything() == before, answer.response.text
            assert len(self.heard) == heard
        return answer

    def everything(self) -> dict[str, dict[str, bytes]]:
        """Every document as a page shows it, written anew."""
        found: dict[str, dict[str, bytes]] = {}
        for name in WRITTEN:
            documents = COLLECTIONS[name].documents(self.organisation)
            found[name] = {
                document_id: self.written(name, document, Detail.PAGE) for document_id, document in documents.items()
            }
        return found

    def written(self, name: str, document: Any, detail: Detail) -> bytes:  # noqa: ANN401 any kind of document
        kept = getattr(document, "rendered", None)
        if kept is not None:
            document.rendered = None
        element = COLLECTIONS[name].write(document, detail, self.organisation, ANCHOR_ON)
        if detail is Detail.PAGE and kept is not None:
            assert element == kept, "what was kept is not what would be written now"
        return element

    def any_id(self, name: str, number: int) -> str:
        """Some document's id, now and then one that does not exist."""
        known = list(COLLECTIONS[name].documents(self.organisation))
        return known[number % len(known)] if number % 17 and known else "11111111-1111-4111-8111-111111111111"

    def open_id(self, number: int, currency: str | None = None) -> str:
        """An invoice's id, mostly of one that can be paid."""
        owed = [
            found for found in self.books.invoices.values() if found.status == "AUTHORISED" and found.type == "ACCREC"
        ]
        fit = [found.id for found in owed if currency in {None, found.currency}]
        return fit[number % len(fit)] if number % 7 and fit else self.any_id("invoices", number)

    def account_id(self, number: int) -> str:
        """An account's id, mostly of the bank's."""
        return self.books.bank_account("NZD").id if number % 5 else self.any_id("accounts", number // 5)

    def payment(self, number: int, amount: Amount, on: str | None) -> dict[str, Any]:
        kind = ("Invoice", "Invoice", "Invoice", "CreditNote", "Overpayment", "Prepayment")[number % 6]
        target = self.open_id(number // 6) if kind == "Invoice" else self.any_id(f"{kind.lower()}s", number)
        return {
            kind: {f"{kind}ID": target},
            "Account": {"AccountID": self.account_id(number)},
            "Date": on,
            "Amount": self.amount(target, amount),
        }

    def amount(self, target: str, amount: Amount) -> Amount:
        document = self.books.invoices.get(target)
        return (document.amount_due if document else Decimal(1)) if amount == "all" else amount

    # What may happen

    @rule(number=NUMBER, amounts=st.lists(AMOUNT, min_size=1, max_size=3), on=DAY, verb=VERB, tells_each=st.booleans())
    def pay(self, number: int, amounts: list[Amount], on: str | None, verb: str, *, tells_each: bool) -> None:
        body = {"Payments": [self.payment(number + index % 2, amount, on) for index, amount in enumerate(amounts)]}
        self.ask(verb, "Payments", body, tells_each=tells_each)

    @rule(number=NUMBER)
    def undo_payment(self, number: int) -> None:
        self.ask("POST", f"Payments/{self.any_id('payments', number)}", {"Status": "DELETED"})

    @rule(number=NUMBER, amounts=st.lists(AMOUNT, min_size=1, max_size=3), on=DAY)
    def batch(self, number: int, amounts: list[Amount], on: str | None) -> None:
        parts = []
        for index, amount in enumerate(amounts):
            invoice_id = self.open_id(number + index, "NZD")
            parts.append({"Invoice": {"InvoiceID": invoice_id}, "Amount": self.amount(invoice_id, amount)})
        account = {"AccountID": self.books.bank_account("NZD").id}
        self.ask("PUT", "BatchPayments", {"Account": account, "Date": on, "Payments": parts})

    @rule(number=NUMBER)
    def undo_batch(self, number: int) -> None:
        self.ask("POST", "BatchPayments", {"BatchPaymentID": self.any_id("batchpayments", number), "Status": "DELETED"})

    @rule(
        number=NUMBER, price=AMOUNT, status=STATUS, verb=VERB, amounts=st.sampled_from(["Exclusive", "Inclusive", None])
    )
    def invoice(self, number: int, price: Amount, status: str | None, verb: str, amounts: str | None) -> None:
        self.ask(verb, "Invoices", self.document("ACCREC" if number % 5 else "ACCPAY", number, price, status, amounts))

    @rule(number=NUMBER, price=AMOUNT, status=STATUS, verb=VERB)
    def credit_note(self, number: int, price: Amount, status: str | None, verb: str) -> None:
        self.ask(verb, "CreditNotes", self.document("ACCRECCREDIT", number, price, status, None))

    def document(
        self, type_: str, number: int, price: Amount, status: str | None, amounts: str | None
    ) -> dict[str, Any]:
        line = {"Description": "Work", "Quantity": 1 + number % 4, "UnitAmount": None if price == "all" else price}
        return {
            "Type": type_,
            "Contact": {"Name": f"Newcomer {number % 3}"}
            if number % 2
            else {"ContactID": self.any_id("contacts", number)},
            "LineItems": [line | {"AccountCode": "200"}, line | {"AccountCode": "200", "DiscountRate": 50}],
            "Status": status,
            "LineAmountTypes": amounts,
            "DueDate": "2026-12-24",
            "CurrencyCode": ("NZD", "USD", None, None, "NZD", "XXX")[number % 6],
        }

    @rule(number=NUMBER, status=STATUS, change=st.sampled_from(["reference", "due", "lines", "contact", "nothing"]))
    def change_invoice(self, number: int, status: str | None, change: str) -> None:
        changes: dict[str, dict[str, Any]] = {
            "reference": {"Reference": f"changed {number}"},
            "due": {"DueDate": "2027-01-01", "SentToContact": True},
            "lines": {"LineItems": [{"Description": "Other", "UnitAmount": 9, "AccountCode": "200"}]},
            "contact": {"Contact": {"ContactID": self.any_id("contacts", number + 3)}},
            "nothing": {},
        }
        body = {"InvoiceID": self.any_id("invoices", number), "Status": status} | changes[change]
        self.ask("POST", "Invoices", body)

    @rule(number=NUMBER, status=STATUS)
    def change_credit_note(self, number: int, status: str | None) -> None:
        body = {"CreditNoteID": self.any_id("creditnotes", number), "Status": status, "Reference": f"changed {number}"}
        self.ask("POST", "CreditNotes", body)

    @rule(number=NUMBER, amounts=st.lists(AMOUNT, min_size=1, max_size=2), tells_each=st.booleans())
    def allocate(self, number: int, amounts: list[Amount], *, tells_each: bool) -> None:
        name = ("CreditNotes", "Overpayments", "Prepayments")[number % 3]
        credit_id = self.any_id(name.lower(), number)
        credit = COLLECTIONS[name.lower()].documents(self.organisation).get(credit_id)
        own = [found.id for found in credit.contact.documents if found.id in self.books.invoices] if credit else []
        if credit and credit.status == "AUTHORISED" and number % 2:
            own = (
                [self.books.create_invoice(credit.contact.id, Decimal(90), currency=credit.currency).id]
                if credit.contact.status == "ACTIVE"
                else own
            )
        invoice_id = own[number % len(own)] if own else self.open_id(number)
        body = [{"Invoice": {"InvoiceID": invoice_id}, "Amount": self.amount(invoice_id, amount)} for amount in amounts]
        self.ask("PUT", f"{name}/{credit_id}/Allocations", body, tells_each=tells_each)

    @rule(number=NUMBER)
    def take_back(self, number: int) -> None:
        name = ("CreditNotes", "Overpayments", "Prepayments")[number % 3]
        used = [found for found in COLLECTIONS[name.lower()].documents(self.organisation).values() if found.allocations]
        if used:
            credit = used[number % len(used)]
            self.ask("DELETE", f"{name}/{credit.id}/Allocations/{credit.allocations[0].id}", {})

    @rule(
        number=NUMBER,
        price=AMOUNT,
        type_=st.sampled_from(["RECEIVE", "SPEND", "RECEIVE-OVERPAYMENT", "RECEIVE-PREPAYMENT"]),
    )
    def receive(self, number: int, price: Amount, type_: str) -> None:
        is_over = type_ == "RECEIVE-OVERPAYMENT"
        line = {"Description": "Money", "UnitAmount": None if price == "all" else price}
        body = {
            "Type": type_,
            "Contact": {"ContactID": self.any_id("contacts", number)},
            "BankAccount": {"AccountID": self.account_id(number)},
            "LineAmountTypes": "NoTax" if is_over else None,
            "LineItems": [line if is_over else line | {"AccountCode": "200"}],
        }
        self.ask("PUT", "BankTransactions", body)

    @rule(
        number=NUMBER, name=st.sampled_from(["A", "B", "C", None]), status=st.sampled_from(["ACTIVE", "ARCHIVED", None])
    )
    def contact(self, number: int, name: str | None, status: str | None) -> None:
        known = {"ContactID": self.any_id("contacts", number)} if number % 2 else {}
        self.ask("POST", "Contacts", known | {"Name": name, "ContactStatus": status})

    @rule(number=NUMBER)
    def merge(self, number: int) -> None:
        """A bookkeeper's move in between."""
        ids = list(self.books.contacts)
        losing, winning = self.books.contacts[ids[number % len(ids)]], self.books.contacts[ids[number * 7 % len(ids)]]
        if losing is not winning and winning.status == "ACTIVE" and not losing.merged_to_id:
            self.books.merge_contact(losing.id, winning.id)

    @rule(on=st.sampled_from([None, date(2026, 6, 30), date(2026, 11, 21)]), of_year=st.booleans())
    def lock(self, on: date | None, *, of_year: bool) -> None:
        name = "end_of_year_lock_on" if of_year else "period_lock_on"
        setattr(self.organisation, name, on)

    # What always holds

    @invariant()
    def everything_adds_up(self) -> None:
        self.books.check()

    @invariant()
    def every_list_agrees_with_every_single_read(self) -> None:
        for name in WRITTEN:
            for document in COLLECTIONS[name].documents(self.organisation).values():
                listed = json.loads(self.written(name, document, Detail.PAGE))
                single = json.loads(self.written(name, document, Detail.SINGLE))
                difference = difference_between(listed, single, name)
                assert difference is None, difference


def difference_between(listed: Any, single: Any, where: str) -> str | None:  # noqa: ANN401 any JSON value
    """Where a list says something else than the single read; a list may say less, and leave inner lists empty."""
    if isinstance(listed, dict):
        inner = (
            difference_between(value, single[key], f"{where}.{key}") if key in single else None
            for key, value in listed.items()
        )
        return next(filter(None, inner), None)
    if isinstance(listed, list):
        if listed == []:
            return None
        pairs = zip(listed, single, strict=False)
        inner = (difference_between(one, other, f"{where}[]") for one, other in pairs)
        return f"{where}: {len(listed)}" if len(listed) != len(single) else next(filter(None, inner), None)
    return None if listed == single else f"{where}: {listed!r} in the list, {single!r} alone"


TestAnyWrites = AnyWrites.TestCase
