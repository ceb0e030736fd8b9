"""Invoices as payments meet them: what is due, what was paid, and, for credit notes, what they consist of."""

import re
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from urllib.parse import quote

import msgspec

from tieout_server.ledger.books import IDS_AT_ONCE
from tieout_server.ledger.writes import DraftLine, InvoiceLines, Payable, PaymentSeen
from tieout_server.xero import wire
from tieout_server.xero.listings import SALES_INVOICES, to_invoice
from tieout_server.xero.write_wire import LinedInvoices, LineRow, NestedPaymentRow, PayableRow, Payables

LONGEST_LIST = 1_600
"""Characters that a list of numbers takes in an address, escaped: an address stays well below 2,000."""
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CENT = Decimal("0.01")
_PAYABLES = msgspec.json.Decoder(Payables, strict=False)
_LINED = msgspec.json.Decoder(LinedInvoices, strict=False)


class PayablesPage(msgspec.Struct, frozen=True):
    """A page of invoices with their payments."""

    payables: Sequence[Payable]
    page_count: int


def read_payables(body: bytes, *, page: int, page_size: int) -> PayablesPage:
    """The sales invoices of an answer; bills that bear the same numbers are left out."""
    envelope = _PAYABLES.decode(body)
    found = [_payable(row, envelope) for row in envelope.rows if row.kind in SALES_INVOICES]
    pagination = envelope.pagination or wire.NO_PAGINATION
    pagination.check(len(envelope.rows), page=page, page_size=page_size)
    return PayablesPage(found, max(pagination.page_count, 1))


def read_lines(body: bytes) -> InvoiceLines | None:
    """The lines of the invoice in an answer that carry money."""
    rows = _LINED.decode(body).rows
    if not rows:
        return None
    lines = (_line(row) for row in rows[0].lines or ())
    return InvoiceLines(line_amount_types=rows[0].line_amount_types, lines=tuple(line for line in lines if line))


def is_id(text: str) -> bool:
    """Whether this could be an id at Xero: all of them are GUIDs."""
    return _GUID.fullmatch(text) is not None


def in_lists(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """These names, none of which holds a comma, in lists that fit an address, `IDS_AT_ONCE` at most in each."""
    some: list[str] = []
    length = 0
    for name in names:
        more = len(quote(name, safe="")) + len("%2C")
        if some and (len(some) == IDS_AT_ONCE or length + more > LONGEST_LIST):
            yield some
            some, length = [], 0
        some.append(name)
        length += more
    if some:
        yield some


def _payable(row: PayableRow, envelope: wire.Envelope) -> Payable:
    return Payable(
        invoice=to_invoice(row, wire.instant(row.updated)),
        payments=tuple(_seen(payment) for payment in row.payments or () if payment.status != "DELETED"),
        as_of=wire.anchor(envelope.served),
    )


def _seen(row: NestedPaymentRow) -> PaymentSeen:
    return PaymentSeen(
        xero_payment_id=row.payment_id,
        amount=row.amount,
        paid_on=wire.on_date(row.paid) if row.paid else None,
        reference=row.reference or "",
        xero_batch_payment_id=row.batch_payment_id or "",
    )


def _line(row: LineRow) -> DraftLine | None:
    """A line to be said again; None for one that is only words. One whose amount does not follow is said as that."""
    if row.quantity is None and row.unit_amount is None and not row.line_amount:
        return None
    quantity = Decimal(1) if row.quantity is None else row.quantity
    price = row.unit_amount or wire.ZERO
    discount = row.discount_rate or None
    amount = row.line_amount if row.line_amount is not None else _amount(quantity, price, discount)
    follows = _amount(quantity, price, discount) == amount
    return DraftLine(
        description=row.description or "-",
        quantity=quantity if follows else Decimal(1),
        unit_amount=price if follows else amount,
        account_code=row.account_code or "",
        xero_account_id=row.account_id or "",
        tax_type=row.tax_type or "",
        tax_amount=row.tax_amount,
        discount_rate=discount if follows else None,
        item_code=(row.item_code or "") if follows else "",  # an item's stock moves by the quantity
        tracking=tuple((part.name, part.option) for part in row.tracking or ()),
    )


def _amount(quantity: Decimal, price: Decimal, discount: Decimal | None) -> Decimal:
    whole = quantity * price * (1 - (discount or wire.ZERO) / 100)
    return whole.quantize(_CENT, ROUND_HALF_UP)
