"""The line items of a posted document: what each comes to, its tax, and whether its account can take it."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.books.documents import CENT, ZERO, Line, LineAmounts
from tieout_sandbox.books.rules import line_amount

_PERCENT = {
    "OUTPUT2": 15,
    "INPUT2": 15,
    "OUTPUT": 10,
    "INPUT": 10,
    "ZERORATED": 0,
    "ZERORATEDOUTPUT": 0,
    "EXEMPTOUTPUT": 0,
    "EXEMPTINPUT": 0,
    "BASEXCLUDED": 0,
    "NONE": 0,
}
"""Tax types of New Zealand and Australia, in percent."""
_LONGEST_DESCRIPTION = 4_000


@dataclass(frozen=True, slots=True)
class Lines:
    """All lines of a document and what they come to."""

    items: tuple[Line, ...]
    amounts: LineAmounts
    sub_total: Decimal
    total_tax: Decimal

    @property
    def total(self) -> Decimal:
        """With tax."""
        return self.sub_total + self.total_tax


def read_amounts(draft: Draft, default: LineAmounts) -> LineAmounts:
    """LineAmountTypes: Exclusive for sales documents unless said otherwise, Inclusive for bank transactions."""
    given = draft.text("LineAmountTypes")
    if given is None:
        return default
    for known in LineAmounts:
        if known.lower() == given.lower():
            return known
    draft.refuse(f"'{given}' is not a valid LineAmountTypes.")
    return default


def read_lines(call: Call, draft: Draft, amounts: LineAmounts, *, approved: bool, coded: bool = True) -> Lines:
    """The lines of a draft.

    Args:
        call: whose accounts are meant.
        draft: where the lines stand; it gets their faults.
        amounts: whether they contain tax.
        approved: whether the document goes into the ledger, and every line needs an account for that.
        coded: whether lines have accounts and taxes at all; an overpayment's have none.
    """
    parts = draft.parts("LineItems")
    if not parts:
        draft.refuse("One or more line items must be specified")
    items = tuple(_line(call, part, amounts, needs_account=approved and coded) for part in parts)
    tax = sum((item.tax_amount for item in items), ZERO)
    net = sum((item.line_amount for item in items), ZERO)
    return Lines(items, amounts, net - tax if amounts is LineAmounts.INCLUSIVE else net, tax)


def _line(call: Call, part: Draft, amounts: LineAmounts, *, needs_account: bool) -> Line:
    description = part.text("Description", _LONGEST_DESCRIPTION)
    if not description:
        part.refuse("Description must be at least 1 character.")
    code, default_tax = _account(call, part, needed=needs_account)
    quantity, unit_amount = _quantity_and_price(part, call.unit_places)
    discount = part.number("DiscountRate") or Decimal(0)
    if not 0 <= discount <= 100:  # noqa: PLR2004 percent
        part.refuse("The discount rate must lie between 0 and 100.")
    line = Line(description or "", quantity, unit_amount, ZERO, ZERO, code, discount_rate=discount)
    amount = line_amount(line)
    given = part.money("LineAmount")
    if given is not None and given != amount:
        part.refuse(f"The line total {given} does not match the expected line total {amount}")
    tax_type, tax = _tax(part, amounts, amount, code, default_tax)
    return Line(line.description, quantity, unit_amount, amount, tax, code, tax_type, discount)


def _account(call: Call, part: Draft, *, needed: bool) -> tuple[str, str]:
    """The account's code and its usual tax; an account can be named by its id, too (Xero, OpenAPI)."""
    code, wanted = part.text("AccountCode"), part.id("AccountID")
    if not code and not wanted:
        if needed and not part.has("ItemCode"):
            part.refuse("Account code '' is not a valid code for this document.")
        return "", "NONE"
    account = call.books.accounts.get(wanted or "")
    if code:
        account = next((found for found in call.books.accounts.values() if found.code == code), None)
    code = code or (account.code if account else None) or ""
    if account is None or account.system_account:
        part.refuse(f"Account code '{code}' is not a valid code for this document.")
        return code, "NONE"
    if account.status != "ACTIVE":
        part.refuse(f"Account code '{code}' has been archived or has been deleted.")
    return code, account.tax_type


def _quantity_and_price(part: Draft, places: int) -> tuple[Decimal, Decimal]:
    """One of something unless said otherwise; a price that is not given follows from the line's amount.

    Prices are rounded to cents, or with `unitdp=4` to four places (Xero, Invoices).
    """
    quantity = part.number("Quantity")
    quantity = (Decimal(1) if quantity is None else quantity).quantize(Decimal("0.0001"))
    price = part.number("UnitAmount")
    if price is None:
        whole = part.money("LineAmount") or ZERO
        price = whole / quantity if quantity else ZERO
    return quantity, price.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def _tax(part: Draft, amounts: LineAmounts, amount: Decimal, code: str, default: str) -> tuple[str, Decimal]:
    tax_type = part.text("TaxType") or default
    percent = _PERCENT.get(tax_type)
    if percent is None:
        part.refuse(f"The TaxType code '{tax_type}' cannot be used with account code '{code}'")
        return tax_type, ZERO
    if amounts is LineAmounts.NO_TAX:
        return "NONE", ZERO
    given = part.money("TaxAmount")
    if given is not None and percent:
        return tax_type, given
    base = amount * percent / (100 + percent) if amounts is LineAmounts.INCLUSIVE else amount * percent / 100
    return tax_type, base.quantize(CENT, ROUND_HALF_UP)
