"""Bank transactions, which is how over- and prepayments come about, and the allocation of credits, through the API."""

from dataclasses import replace
from decimal import Decimal

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.accounting.lines import Lines, read_amounts, read_lines
from tieout_sandbox.books.banking import BankTransaction, received_as
from tieout_sandbox.books.documents import (
    Account,
    Allocation,
    Credit,
    CreditKind,
    LineAmounts,
    Status,
)
from tieout_sandbox.books.rules import NotAllowedError, credit_number

_PLAIN = frozenset({"RECEIVE", "SPEND"})
_CREDITS = frozenset({CreditKind.OVERPAYMENT, CreditKind.PREPAYMENT})


def write_bank_transaction(call: Call, draft: Draft) -> BankTransaction:
    """Enter money spent or received, or with POST change the entry whose id is given."""
    if not call.creates and draft.has("BankTransactionID"):
        return _change(call, draft)
    type_ = _type(draft)
    contact = call.contact(draft)
    account = call.account(draft, draft.part("BankAccount"))
    if account is not None and account.type != "BANK":
        draft.refuse("BankAccount must be an account of the Type BANK")
    currency, rate = _currency(call, draft, account, type_)
    lines = _lines(call, draft, type_)
    on = draft.day("Date") or call.today
    call.check_open(draft, on)
    if lines.total <= 0:
        draft.refuse("The total of this document must be greater than zero")
    reference = draft.text("Reference") or ""
    draft.judge()
    assert contact is not None
    assert account is not None
    entry = BankTransaction(
        id=call.books.ids.new(),
        type=type_,
        account=account,
        updated_at=call.books.stamp().replace(microsecond=0),
        contact_of_its_own=call.contact_for(contact),
        dated_on=on,
        lines_of_its_own=lines.items,
        line_amounts=lines.amounts,
        sub_total=lines.sub_total,
        total_tax=lines.total_tax,
        reference=reference if type_ in _PLAIN else "",  # Xero, Bank Transactions: for SPEND and RECEIVE only
        currency=currency,
        rate=rate,
        is_reconciled=draft.flag("IsReconciled") or False,
    )
    if type_ in _CREDITS:
        return _received_in_advance(call, entry, account)
    call.books.bank_transactions[entry.id] = entry
    call.books.revision += 1
    return entry


def _type(draft: Draft) -> str:
    given = draft.text("Type") or ""
    if given not in _PLAIN | _CREDITS:
        draft.refuse(f"The sandbox keeps bank transactions of the types {', '.join(sorted(_PLAIN | _CREDITS))} only")
    return given


def _currency(call: Call, draft: Draft, account: Account | None, type_: str) -> tuple[str, Decimal]:
    """The bank account's currency; only an overpayment may say another one (Xero, Bank Transactions)."""
    own = (account.currency if account else None) or call.books.base_currency
    if type_ != CreditKind.OVERPAYMENT or not draft.has("CurrencyCode"):
        return own, call.rate(draft, own)
    code, rate = call.currency(draft, None)
    if own not in {code, call.books.base_currency}:
        draft.refuse(f"The account's currency must be {code} or {call.books.base_currency}")
    return code, rate


def _lines(call: Call, draft: Draft, type_: str) -> Lines:
    """An overpayment has exactly one line, without tax and account: accounts receivable is understood."""
    if type_ != CreditKind.OVERPAYMENT:
        return read_lines(call, draft, read_amounts(draft, LineAmounts.INCLUSIVE), approved=True)
    amounts = read_amounts(draft, LineAmounts.NO_TAX)
    parts = draft.parts("LineItems")
    if amounts is not LineAmounts.NO_TAX:
        draft.refuse("Overpayments must have LineAmountTypes NoTax")
    if len(parts) > 1:
        draft.refuse("Overpayments must have exactly one line item")
    if any(part.has("AccountCode") for part in parts):
        draft.refuse("Overpayments cannot have an account code on their line item")
    found = read_lines(call, draft, LineAmounts.NO_TAX, approved=True, coded=False)
    receivable = next((account.code for account in call.books.accounts.values() if account.system_account), None)
    return replace(found, items=tuple(replace(item, account_code=receivable or "") for item in found.items))


def _received_in_advance(call: Call, entry: BankTransaction, account: Account) -> BankTransaction:
    """Put the over- or prepayment into the books; the bank transaction is its other side."""
    kind = CreditKind(entry.type)
    credit = Credit(
        id=call.books.ids.new(),
        kind=kind,
        number=credit_number(kind, len(call.books.credits_of(kind)) + 1),
        contact=entry.contact,
        on=entry.on,
        currency=entry.currency,
        rate=entry.rate,
        lines=entry.lines,
        sub_total=entry.sub_total,
        total_tax=entry.total_tax,
        total=entry.total,
        updated_at=call.books.stamp(),
        line_amounts=entry.line_amounts,
    )
    call.books.put_credit(credit, account)
    made = call.books.bank_transactions[received_as(credit, account).id]
    made.is_reconciled = entry.is_reconciled
    return made


def _change(call: Call, draft: Draft) -> BankTransaction:
    """Change what is not an over- or prepayment: reference, reconciled or not, deleted."""
    found = call.books.bank_transactions.get(draft.id("BankTransactionID") or "")
    if found is None:
        draft.refuse("The document with the supplied id was not found for this endpoint.")
        draft.judge()
        raise AssertionError
    if found.credit is not None:
        draft.refuse("Overpayments and prepayments cannot be edited or deleted through the API")
    if found.status is not Status.AUTHORISED:
        draft.refuse("Bank transaction not of valid status for modification")
    after = draft.text("Status") or found.status
    if after not in {Status.AUTHORISED, Status.DELETED}:
        draft.refuse("Bank transaction not of valid status for modification")
    if draft.has("LineItems") and len(draft.parts("LineItems")) != len(found.lines):
        draft.refuse("The sandbox does not change the line items of bank transactions")
    call.check_open(draft, found.on)
    reference, is_reconciled = draft.text("Reference"), draft.flag("IsReconciled")
    draft.judge()
    call.point.keep(found)
    found.reference = found.reference if reference is None else reference
    found.is_reconciled = found.is_reconciled if is_reconciled is None else is_reconciled
    found.own_status = Status(after)
    found.updated_at = call.books.stamp().replace(microsecond=0)
    call.books.revision += 1
    return found


# Allocations


def write_allocation(call: Call, draft: Draft, credit: Credit) -> Allocation:
    """Set a credit against an invoice of the same contact and currency."""
    invoice = call.invoice(draft.part("Invoice"))
    amount = (
        draft.money("AppliedAmount") if draft.has("AppliedAmount") else draft.money("Amount")
    )  # pyxero's name first
    draft.day("Date")  # must be one, but the later of both documents' dates counts
    if invoice is None:
        draft.refuse("Invoice could not be found")
    if amount is None or amount <= 0:
        draft.refuse("Allocation amount must be greater than zero")
    if credit.status is not Status.AUTHORISED:
        draft.refuse("Allocations can only be made from Authorised documents")
    if invoice is not None:
        call.check_open(draft, max(credit.on, invoice.on))
    draft.judge()
    assert invoice is not None
    call.touch(credit, invoice)
    try:
        return call.books.allocate(credit.id, invoice.id, amount)
    except NotAllowedError as error:
        draft.refuse(str(error))
        draft.judge()
        raise


def find_allocation(credit: Credit, allocation_id: str) -> Allocation | None:
    """The allocation of a credit with this id."""
    return next((made for made in credit.allocations if made.id == allocation_id.lower()), None)


def remove_allocation(call: Call, draft: Draft, allocation: Allocation) -> Allocation:
    """Take an allocation back, unless the books are locked on its day."""
    call.check_open(draft, allocation.on)
    draft.judge()
    call.touch(allocation.credit, allocation.invoice)
    call.books.remove_allocation(allocation)
    return allocation
