"""Payments, refunds and batch payments through the API (Xero, Payments and Batch Payments)."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.books.documents import (
    ZERO,
    Account,
    Batch,
    Credit,
    CreditKind,
    Invoice,
    Payment,
    Status,
    Target,
)
from tieout_sandbox.books.rules import open_amount
from tieout_sandbox.books.settle import NOT_THE_SAME_KIND, Terms, is_open, settle, settle_together

EXCEEDS = "Payment amount exceeds the amount outstanding on this document"
NOT_AUTHORISED = "Payments can only be made against Authorised documents"
WRONG_ACCOUNT = "Account type is invalid for making a payment to/from"
LOCKED = "Organisation accounts are locked on the specified payment date"
_TARGETS = ("Invoice", "CreditNote", "Prepayment", "Overpayment")
_CREDITS = {
    "CreditNote": CreditKind.CREDIT_NOTE,
    "Prepayment": CreditKind.PREPAYMENT,
    "Overpayment": CreditKind.OVERPAYMENT,
}


def write_payment(call: Call, draft: Draft) -> Payment:
    """Make a payment, or with Status DELETED undo the one whose id is given."""
    if draft.text("Status") == Status.DELETED and not call.creates:
        return delete_payment(call, draft, draft.id("PaymentID") or "")
    target, terms = _target(call, draft), _terms(call, draft)
    if target is not None:
        _check_amount(draft, target, terms.amount if terms else None)
    if target is not None and terms is not None:
        _check_currency(call, draft, target, terms.account)
    draft.judge()
    assert target is not None
    assert terms is not None
    call.touch(target)
    return settle(call.books, target, replace(terms, rate=call.rate(draft, target.currency)))


def delete_payment(call: Call, draft: Draft, payment_id: str) -> Payment:
    """Undo a payment; a payment is never changed in any other way."""
    payment = call.books.payments.get(payment_id)
    if payment is None:
        draft.refuse("The document with the supplied id was not found for this endpoint.")
        draft.judge()
        raise AssertionError
    if draft.text("Status") != Status.DELETED:
        draft.refuse("Payments cannot be updated; delete it and make another one.")
    if payment.is_reconciled and not call.books.switches.reconciled_payments_can_be_deleted:
        draft.refuse("This payment cannot be deleted as it has been reconciled.")
    if call.is_locked(payment.on):
        draft.refuse(LOCKED)
    draft.judge()
    call.touch(payment.target)
    call.point.keep(payment)
    return call.books.delete_payment(payment.id)


def _target(call: Call, draft: Draft) -> Target | None:
    """The document that is paid or refunded: exactly one."""
    named = [key for key in _TARGETS if draft.has(key)]
    if not named and draft.has("InvoiceNumber"):
        named = ["Invoice"]
    if not named and draft.has("CreditNoteNumber"):
        named = ["CreditNote"]
    if len(named) != 1:
        draft.refuse("A payment must be for exactly one Invoice, CreditNote, Prepayment or Overpayment")
        return None
    part = draft.part(named[0])
    found: Invoice | Credit | None
    if named[0] == "Invoice":
        found = call.invoice(part, draft.text("InvoiceNumber"))
    elif named[0] == "CreditNote":
        found = call.credit_note(part, draft.text("CreditNoteNumber"))
    else:
        found = call.credit_of(_CREDITS[named[0]], part)
    if found is None:
        draft.refuse("Invoice could not be found" if named[0] == "Invoice" else "Document could not be found")
    return found


def _terms(call: Call, draft: Draft) -> Terms | None:
    """Account, day and amount; None where one of them is missing or wrong."""
    account = call.account(draft, draft.part("Account"), draft.text("Code"))
    if account is not None and not account.is_for_payments:
        draft.refuse(WRONG_ACCOUNT)
    on = _payment_day(call, draft)
    amount = draft.money("Amount")
    reference = draft.text("Reference", call.books.switches.payment_reference_length)
    given = draft.money("BankAmount") if call.books.switches.bank_amount_is_writable else None
    rate = draft.number("CurrencyRate")
    if rate is not None and rate <= 0:
        draft.refuse("The currency rate must be greater than zero")
    if amount is None or amount <= 0:
        draft.refuse("Payment amount must be greater than zero")  # wording not documented
        return None
    if account is None or on is None:
        return None
    return Terms(account, on, amount, reference or "", rate, given, draft.flag("IsReconciled") or False)


def _payment_day(call: Call, draft: Draft) -> date | None:
    on = draft.day("Date")
    if on is None:
        draft.refuse("Payment date must be specified")  # wording not documented
    elif call.is_locked(on):
        draft.refuse(LOCKED)
    elif on > call.today and not call.books.switches.payments_may_lie_in_the_future:
        draft.refuse("Payment date cannot be in the future")
    return on


def _check_amount(draft: Draft, target: Target, amount: Decimal | None) -> None:
    """A document that is paid already gets both messages, as reported from Xero."""
    if amount is not None and amount > open_amount(target):
        draft.refuse(EXCEEDS)
    if not is_open(target):
        draft.refuse(NOT_AUTHORISED)


def _check_currency(call: Call, draft: Draft, target: Target, account: Account) -> None:
    """A document is paid in its own currency or, unless switched, in the base currency (wording not documented)."""
    base = call.books.base_currency
    good = [target.currency]
    if base not in good and call.books.switches.base_currency_pays_foreign_documents:
        good.append(base)
    if (account.currency or base) not in good:
        draft.refuse(f"The account's currency must be {' or '.join(good)}")


# Batches


_TEXTS = {"Reference": 255, "Particulars": 12, "Code": 12, "Details": 18, "Narrative": 18}
"""What a batch says at the bank, in how many characters at most (Xero, OpenAPI)."""


def write_batch(call: Call, draft: Draft) -> Batch:
    """Make a batch payment, or with Status DELETED undo the one whose id is given."""
    if draft.text("Status") == Status.DELETED and not call.creates:
        return delete_batch(call, draft, draft.id("BatchPaymentID") or "")
    account = call.account(draft, draft.part("Account"))
    if account is not None and (account.type != "BANK" or account.currency != call.books.base_currency):
        draft.refuse(WRONG_ACCOUNT)
    on = _payment_day(call, draft)
    parts = _parts(call, draft)
    texts = {key: draft.text(key, longest) for key, longest in _TEXTS.items()}
    draft.judge()
    assert account is not None
    assert on is not None
    call.touch(*(invoice for invoice, _, _ in parts))
    batch = Batch(call.books.ids.new(), account, on, [], ZERO, call.books.stamp())
    for key, text in texts.items():
        setattr(batch, key.lower(), _kept(call, key, text))
    return settle_together(call.books, batch, parts)


def delete_batch(call: Call, draft: Draft, batch_id: str) -> Batch:
    """Undo a batch payment with all its parts."""
    batch = call.books.batches.get(batch_id)
    if batch is None:
        draft.refuse("The document with the supplied id was not found for this endpoint.")
        draft.judge()
        raise AssertionError
    if draft.text("Status") != Status.DELETED:
        draft.refuse("Batch payments cannot be updated; delete it and make another one.")
    if call.is_locked(batch.on):
        draft.refuse(LOCKED)
    if batch.is_reconciled and not call.books.switches.reconciled_payments_can_be_deleted:
        draft.refuse("This batch payment cannot be deleted as it has been reconciled.")
    draft.judge()
    call.point.keep(batch, *batch.payments)
    call.touch(*(payment.target for payment in batch.payments))
    return call.books.delete_batch(batch.id)


def _parts(call: Call, draft: Draft) -> list[tuple[Invoice, Decimal, str]]:
    """What is paid on which invoice; several parts for one invoice count together."""
    found: list[tuple[Invoice, Decimal, str]] = []
    wanted: dict[str, Decimal] = {}
    for part in draft.parts("Payments"):
        if any(part.has(key) for key in ("CreditNote", "Prepayment", "Overpayment")):
            part.refuse("Batch payments can only be made against invoices and bills")
            continue
        invoice, amount = call.invoice(part.part("Invoice"), part.text("InvoiceNumber")), part.money("Amount")
        if invoice is None:
            part.refuse("Invoice could not be found")
        if amount is None or amount <= 0:
            part.refuse("Payment amount must be greater than zero")
        if invoice is None or amount is None:
            continue
        wanted[invoice.id] = wanted.get(invoice.id, ZERO) + amount
        _check_amount(part, invoice, wanted[invoice.id])
        if invoice.currency != call.books.base_currency:
            part.refuse("Batch payments can only be made in the organisation's base currency")
        found.append((invoice, amount, _kept(call, "Reference", part.text("Reference"))))
    if not draft.has("Payments"):
        draft.refuse("A batch payment must have at least one payment")
    if len({invoice.of_supplier for invoice, _, _ in found}) > 1:
        draft.refuse(NOT_THE_SAME_KIND)
    return found


def _kept(call: Call, key: str, text: str | None) -> str:
    """The text if this country's batches have it; of any other nobody hears again."""
    country = call.organisation.country_code
    is_kept = {"Details": country != "NZ", "Narrative": country == "GB"}.get(key, country == "NZ")
    return (text or "") if is_kept or call.books.switches.batches_keep_all_texts else ""
