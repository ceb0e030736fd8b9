"""Payments on their way into Xero: as they are typed in, and as they look."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from tieout.cli.amounts import typed_amount
from tieout.cli.asked import Asked
from tieout.cli.names import invoice_named
from tieout.cli.show import moment, money, table, word
from tieout.errors import CallerError
from tieout.v1.payment_export_service_pb2 import (
    CheckPaymentResponse,
    ExportError,
    PaymentExport,
    PaymentExportChange,
    PaymentExportEvent,
    PaymentLine,
    PaymentMethod,
    PlatformPayment,
    Reversal,
    ReversalKind,
    XeroRecord,
    XeroRecordKind,
    XeroStatus,
)
from tieout.v1.types_pb2 import Owner

_STATUS = "XERO_STATUS_"
_STUCK = (XeroStatus.XERO_STATUS_ERROR, XeroStatus.XERO_STATUS_REMOVED_IN_XERO)
_UNDER_WAY = (
    XeroStatus.XERO_STATUS_QUEUED,
    XeroStatus.XERO_STATUS_CHECKED,
    XeroStatus.XERO_STATUS_SENDING,
    XeroStatus.XERO_STATUS_OUTCOME_UNKNOWN,
)
_WHO = {
    Owner.OWNER_MERCHANT: "The merchant acts.",
    Owner.OWNER_OPERATOR: "Whoever runs the service acts.",
    Owner.OWNER_XERO: "Xero has to answer again.",
}


def payment_of(asked: Asked, time_zone: str) -> PlatformPayment:
    """The payment that somebody typed in, for an organisation in this time zone; none is UTC.

    Raises:
        CallerError: something that should be an amount is none.
    """
    currency = asked.currency.upper()
    lines = [_line(text, currency) for text in asked.pays]
    together = sum((Decimal(line.amount.amount) for line in lines), Decimal())
    return PlatformPayment(
        payment_id=asked.payment_id,
        paid_on=asked.paid_on or datetime.now(ZoneInfo(time_zone or "UTC")).date().isoformat(),
        amount=typed_amount(asked.amount or f"{together:f}", currency),
        lines=lines,
        reference=asked.reference,
        method=PaymentMethod.Value(f"PAYMENT_METHOD_{asked.method or 'UNSPECIFIED'}"),
    )


def is_ended(it: PaymentExport) -> bool:
    """Whether it is seen in Xero or nothing more happens by itself, to it and to what is taken back of it."""
    unproven = it.xero_status == XeroStatus.XERO_STATUS_EXPORTED and not it.reversals
    return not unproven and not any(one in _UNDER_WAY for one in _statuses(it))


def is_stuck(it: PaymentExport) -> bool:
    """Whether somebody has to decide: it is not in Xero, or not taken back."""
    return any(one in _STUCK for one in _statuses(it))


def status(it: PaymentExport | PaymentExportEvent | Reversal) -> str:
    """Where it stands."""
    return word(XeroStatus, it.xero_status, _STATUS)


def listing(found: Iterable[PaymentExport]) -> Table:
    """Exports, one a line."""
    made = table("paid on", "payment", "amount", "status", "export", "what", right=("amount",), wide="what")
    for it in found:
        what = it.error.sentence if it.HasField("error") else _paid(it.payment)
        payment = it.payment
        made.add_row(payment.paid_on, payment.payment_id, money([payment.amount]), status(it), it.id, what)
    return made


def card(it: PaymentExport) -> Iterator[Text | Table]:
    """All that is known of one export, part by part."""
    yield _facts(it)
    if it.HasField("error"):
        yield from trouble(it.error)
    yield from records(it.xero_records)
    for reversal in it.reversals:
        yield from taken_back(reversal)
    if it.history:
        yield _history(it.history)


def trouble(error: ExportError) -> Iterator[Text]:
    """What went wrong, in whose words, and what to do about it."""
    yield Text(error.sentence, style="bold")
    for message in error.xero_messages:
        yield Text(f"  Xero: {message}", style="dim")
    again = " It is then tried again by itself." if error.retries_by_itself else ""
    yield Text(f"{error.remedy} ({_WHO.get(error.owner, 'Nobody has to act.')}{again})")


def checked(found: CheckPaymentResponse) -> Iterator[Text | Table]:
    """What an examination found, what would become of the payment, and what looks like it."""
    for error in found.findings:
        yield from trouble(error)
    if found.plan:
        yield Text("Xero would be asked to record:")
        yield from records(found.plan)
    if found.twins:
        yield Text("In Xero already, and looking the same:")
        yield from records(found.twins)
    if not found.findings:
        yield Text(f"Nothing is known that Xero would refuse it for, as of {moment(found.as_of)}.")


def records(found: Collection[XeroRecord]) -> Iterator[Text | Table]:
    """What is in Xero, or would be, one a line, and where Xero shows each; nothing where there is nothing."""
    if not found:
        return
    made = table("in Xero", "invoice", "amount", "id", right=("amount",), wide="invoice")
    for it in found:
        kind = word(XeroRecordKind, it.kind, "XERO_RECORD_KIND_")
        what = ", ".join(filter(None, (kind, "linked" if it.linked else "", "removed" if it.removed else "")))
        made.add_row(what, it.invoice_number or it.xero_invoice_id, money([it.amount]), it.xero_id)
    yield made
    for it in found:
        if it.xero_url:
            yield Text(it.xero_url)


def taken_back(reversal: Reversal) -> Iterator[Text | Table]:
    """What was taken back, where that stands, and what was made in Xero for it."""
    kind = word(ReversalKind, reversal.kind, "REVERSAL_KIND_")
    why = f" ({reversal.reason})" if reversal.reason else ""
    yield Text(f"{kind} {reversal.reversal_id}: {money([reversal.amount])}{why}, {status(reversal)}")
    if reversal.HasField("error"):
        yield from trouble(reversal.error)
    yield from records(reversal.xero_records)


def line(told: PaymentExportChange) -> str:
    """What happened to an export, in one line."""
    return event_line(told.export, told.event)


def event_line(it: PaymentExport, event: PaymentExportEvent) -> str:
    """Something that happened to this export, in one line."""
    remedy = f" {event.error.remedy}" if event.HasField("error") and event.error.remedy not in event.sentence else ""
    return f"{moment(event.occurred_at)}  {_named(it)}  {status(event)}: {event.sentence}{remedy}"


def line_now(it: PaymentExport) -> str:
    """How an export stands, in one line."""
    why = f": {it.error.sentence} {it.error.remedy}" if it.HasField("error") else ""
    return f"{_named(it)}  {status(it)}{why}"


def _statuses(it: PaymentExport) -> tuple["XeroStatus.ValueType", ...]:
    """Where it stands, and where what is taken back of it does."""
    return it.xero_status, *(one.xero_status for one in it.reversals)


def _named(it: PaymentExport) -> str:
    return f"{it.id}  {it.payment.payment_id}  {money([it.payment.amount])}"


def _line(text: str, currency: str) -> PaymentLine:
    """What `INVOICE=AMOUNT` stands for."""
    name, _, amount = text.rpartition("=")
    if not name:
        raise CallerError(f"{text!r} is not of the form INVOICE=AMOUNT.")
    named = invoice_named(name)
    if named.invoice_id:
        return PaymentLine(xero_invoice_id=named.invoice_id, amount=typed_amount(amount, currency))
    return PaymentLine(invoice_number=named.invoice_number, amount=typed_amount(amount, currency))


def _paid(payment: PlatformPayment) -> str:
    """What a payment pays, in a few words."""
    first, *others = [it.invoice_number or it.xero_invoice_id for it in payment.lines]
    return f"{first} and {len(others)} more" if others else first


def _facts(it: PaymentExport) -> Table:
    made = table("", "all that is known", wide="all that is known")
    made.show_header = False
    payment = it.payment
    pays = (f"{line.invoice_number or line.xero_invoice_id}  {money([line.amount])}" for line in payment.lines)
    rows = {
        "export": it.id,
        "payment": payment.payment_id,
        "status": status(it),
        "paid on": payment.paid_on,
        "amount": money([payment.amount]),
        "pays": "\n".join(pays),
        "reference": payment.reference,
        "method": word(PaymentMethod, payment.method, "PAYMENT_METHOD_"),
        "sent": f"{it.attempts} times" if it.attempts > 1 else "",
        "next attempt": moment(it.next_attempt_at),
        "in Xero since": moment(it.exported_at),
        "seen there": moment(it.verified_at),
        "dismissed by": it.dismissed_by,
        "note": it.dismissal_note,
    }
    for label, value in rows.items():
        if value:
            made.add_row(label, value)
    return made


def _history(events: Iterable[PaymentExportEvent]) -> Table:
    made = table("when", "status", "what happened", "who", wide="what happened")
    for event in events:
        made.add_row(moment(event.occurred_at), status(event), event.sentence, event.actor)
    return made
