"""The records that exports and reversals make, as they are looked for after an answer was lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tieout_server.ledger.writes import Found, RecordKind
from tieout_server.xero import wire
from tieout_server.xero.listings import CUSTOMER_OVERPAYMENTS, SALES_CREDIT_NOTES, SALES_INVOICES
from tieout_server.xero.write_wire import BankTransactionRow, BankTransactions, Batches, BatchRow

_PAYMENT = "ACCRECPAYMENT"
_REFUNDS = frozenset({"ARCREDITPAYMENT", "AROVERPAYMENTPAYMENT", "ARPREPAYMENTPAYMENT"})
_RECEIVED = "RECEIVE-OVERPAYMENT"
_SPENT = "SPEND"


@dataclass(frozen=True, slots=True)
class Place:
    """Where records of a kind are listed.

    Args:
        path: of the listing, and of a single record below it, unless `single` says otherwise.
        key: of the id, by which pages are ordered: no edit moves a record to another page, and none ever leaves.
        read: an answer as records and the number of its pages.
        parameters: what narrows the listing, with filters that Xero has optimised.
        is_paged: whether it comes in pages.
        single: where one record is read by the id that it is known by, and how.
    """

    path: str
    key: str
    read: "Read"
    parameters: tuple[tuple[str, str], ...] = ()
    is_paged: bool = True
    single: "tuple[str, Read] | None" = None

    @property
    def of_one(self) -> "tuple[str, Read]":
        """The path of single records, and what reads them."""
        return self.single or (self.path, self.read)


@dataclass(frozen=True, slots=True)
class Records:
    """One page of records, and of how many rows they were picked."""

    found: Sequence[Found]
    row_count: int
    pagination: wire.Pagination


class _Listed(Protocol):
    @property
    def pagination(self) -> wire.Pagination | None: ...

    @property
    def rows(self) -> Sequence[object]: ...


NONE = Records((), 0, wire.NO_PAGINATION)
Read = Callable[[bytes], Records]

_PAYMENTS = msgspec.json.Decoder(wire.Payments, strict=False)
_BATCHES = msgspec.json.Decoder(Batches, strict=False)
_BANK_TRANSACTIONS = msgspec.json.Decoder(BankTransactions, strict=False)
_CREDIT_NOTES = msgspec.json.Decoder(wire.CreditNotes, strict=False)
_OVERPAYMENTS = msgspec.json.Decoder(wire.Overpayments, strict=False)
_INVOICES = msgspec.json.Decoder(wire.Invoices, strict=False)


def _read_payments(body: bytes) -> Records:
    envelope = _PAYMENTS.decode(body)
    return _records(envelope, [_payment(RecordKind.PAYMENT, row) for row in envelope.rows if row.kind == _PAYMENT])


def _read_refunds(body: bytes) -> Records:
    envelope = _PAYMENTS.decode(body)
    return _records(envelope, [_payment(RecordKind.REFUND, row) for row in envelope.rows if row.kind in _REFUNDS])


def _read_batches(body: bytes) -> Records:
    envelope = _BATCHES.decode(body)
    return _records(envelope, [_batch(row) for row in envelope.rows])


def _read_received(body: bytes) -> Records:
    envelope = _BANK_TRANSACTIONS.decode(body)
    return _records(envelope, [_received(row) for row in envelope.rows if row.kind == _RECEIVED])


def _read_spent(body: bytes) -> Records:
    envelope = _BANK_TRANSACTIONS.decode(body)
    rows = [row for row in envelope.rows if row.kind == _SPENT]
    return _records(envelope, [_banked(RecordKind.SPENT_MONEY, row.bank_transaction_id, row) for row in rows])


def _read_credit_notes(body: bytes) -> Records:
    envelope = _CREDIT_NOTES.decode(body)
    rows = [row for row in envelope.rows if row.kind in SALES_CREDIT_NOTES]
    return _records(envelope, [_credit(RecordKind.CREDIT_NOTE, row) for row in rows])


def _read_overpayments(body: bytes) -> Records:
    envelope = _OVERPAYMENTS.decode(body)
    rows = [row for row in envelope.rows if row.kind in CUSTOMER_OVERPAYMENTS]
    return _records(envelope, [_credit(RecordKind.OVERPAYMENT, row) for row in rows])


def _read_invoices(body: bytes) -> Records:
    envelope = _INVOICES.decode(body)
    found = [
        Found(kind=RecordKind.INVOICE, xero_id=row.invoice_id, status=row.status, texts=_texts(row.reference))
        for row in envelope.rows
        if row.kind in SALES_INVOICES
    ]
    return _records(envelope, found)


def _payment(kind: RecordKind, row: wire.PaymentRow) -> Found:
    return Found(kind=kind, xero_id=row.payment_id, status=row.status, texts=_texts(row.reference))


def _batch(row: BatchRow) -> Found:
    parts = tuple((part.invoice.invoice_id, part.payment_id) for part in row.payments or () if part.payment_id)
    return Found(
        kind=RecordKind.BATCH_PAYMENT,
        xero_id=row.batch_payment_id,
        status=row.status,
        texts=_texts(row.reference, row.details),
        parts=parts,
    )


def _banked(kind: RecordKind, xero_id: str, row: BankTransactionRow) -> Found:
    descriptions = (line.description for line in row.lines or ())
    return Found(kind=kind, xero_id=xero_id, status=row.status, texts=_texts(row.reference, *descriptions))


def _received(row: BankTransactionRow) -> Found:
    """The bank's side of an overpayment. Whether Xero always names the overpayment there is not documented (UNSURE)."""
    found = _banked(RecordKind.OVERPAYMENT, row.overpayment_id or row.bank_transaction_id, row)
    return found if row.overpayment_id else msgspec.structs.replace(found, is_sure=False)


def _credit(kind: RecordKind, row: wire.CreditRow) -> Found:
    if not row.id:
        raise ValueError(f"there is a {kind} without its id")
    return Found(kind=kind, xero_id=row.id, status=row.status, texts=_texts(row.reference))


def _texts(*texts: str | None) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _records(envelope: _Listed, found: Sequence[Found]) -> Records:
    return Records(found, len(envelope.rows), envelope.pagination or wire.NO_PAGINATION)


PLACES: Mapping[RecordKind, Place] = {
    RecordKind.PAYMENT: Place("Payments", "PaymentID", _read_payments),
    RecordKind.REFUND: Place("Payments", "PaymentID", _read_refunds),
    RecordKind.BATCH_PAYMENT: Place("BatchPayments", "BatchPaymentID", _read_batches, is_paged=False),
    # An overpayment's marker stands in its line, and it has the reference of nothing: so the bank's side is read.
    RecordKind.OVERPAYMENT: Place(
        "BankTransactions",
        "BankTransactionID",
        _read_received,
        (("where", f'Type=="{_RECEIVED}"'),),
        single=("Overpayments", _read_overpayments),
    ),
    RecordKind.SPENT_MONEY: Place(
        "BankTransactions", "BankTransactionID", _read_spent, (("where", f'Type=="{_SPENT}"'),)
    ),
    RecordKind.CREDIT_NOTE: Place(
        "CreditNotes", "CreditNoteID", _read_credit_notes, (("where", 'Type=="ACCRECCREDIT"'),)
    ),
    RecordKind.INVOICE: Place(
        "Invoices", "InvoiceID", _read_invoices, (("where", 'Type=="ACCREC"'), ("summaryOnly", "true"))
    ),
}
