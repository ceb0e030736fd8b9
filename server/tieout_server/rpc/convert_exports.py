"""Payment exports, their errors, settings and accounts, as messages; and payments as they are asked for."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.exports.accounts import ExportAccount
from tieout_server.exports.messages import Checked, SettingsNow
from tieout_server.ledger import deep_links
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.exports import (
    ExportChange,
    ExportError,
    ExportEvent,
    PaymentExport,
    PaymentLine,
    PlatformPayment,
    Reversal,
    XeroRecord,
)
from tieout_server.ledger.money import Money
from tieout_server.ledger.writes import RecordKind
from tieout_server.rpc.convert import day, iso, money_of, timestamp

_SHOWN_AS: Mapping[RecordKind, Entity] = {
    RecordKind.PAYMENT: Entity.PAYMENTS,
    RecordKind.OVERPAYMENT: Entity.OVERPAYMENTS,
    RecordKind.CREDIT_NOTE: Entity.CREDIT_NOTES,
    RecordKind.REFUND: Entity.PAYMENTS,
    RecordKind.INVOICE: Entity.INVOICES,
    RecordKind.SPENT_MONEY: Entity.OVERPAYMENTS,  # both are bank transactions
}
"""By which page Xero shows each; a batch has none that can be linked to."""

_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def payment_of(asked: pb.PlatformPayment) -> PlatformPayment:
    """The payment that a request states, once it is known to be sound."""
    paid_on = day(asked.paid_on)
    assert paid_on is not None  # the rules ask for it
    return PlatformPayment(
        payment_id=asked.payment_id,
        paid_on=paid_on,
        currency=asked.amount.currency_code,
        amount=Decimal(asked.amount.amount),
        lines=tuple(
            PaymentLine(
                xero_invoice_id=_as_xero_says(line.xero_invoice_id),
                invoice_number=line.invoice_number.strip(),
                amount=Decimal(line.amount.amount),
            )
            for line in asked.lines
        ),
        reference=asked.reference,
        method=pb.PaymentMethod.Name(asked.method).removeprefix("PAYMENT_METHOD_").removeprefix("UNSPECIFIED"),
    )


def _as_xero_says(name: str) -> str:
    """An id as Xero says it: a GUID is the same in capitals, and here all are compared as texts."""
    return name.lower() if _GUID.fullmatch(name) else name


def amount_of(asked: types_pb2.Money) -> Money:
    """The amount that a request states, once it is known to be sound."""
    return Money(asked.currency_code, Decimal(asked.amount))


def export(found: PaymentExport) -> pb.PaymentExport:
    """An export as it stands, with history where it has been read."""
    return pb.PaymentExport(
        id=found.id,
        connection_id=found.connection_id,
        payment=_payment(found.payment),
        xero_status=_status(found.xero_status),
        error=_error(found.error),
        xero_records=records(found.records, found.short_code),
        attempts=found.attempts,
        next_attempt_at=timestamp(found.due_at),
        created_at=timestamp(found.created_at),
        updated_at=timestamp(found.updated_at),
        exported_at=timestamp(found.exported_at),
        verified_at=timestamp(found.verified_at),
        reversals=[_reversal(one, found.short_code) for one in found.reversals],
        dismissal_note=found.dismissal_note,
        dismissed_by=found.dismissed_by,
        history=[_event(happened) for happened in found.history],
    )


def change(told: ExportChange) -> pb.PaymentExportChange:
    """What happened to an export, and what it was right after."""
    return pb.PaymentExportChange(event=_event(told.event), export=export(told.export))


def checked(found: Checked) -> pb.CheckPaymentResponse:
    """What an examination found."""
    return pb.CheckPaymentResponse(
        findings=_errors(found.findings),
        plan=records(found.plan, found.short_code),
        twins=records(found.twins, found.short_code),
        as_of=timestamp(found.as_of),
    )


def account(found: ExportAccount) -> pb.ExportAccount:
    """An account that payments may go to."""
    return pb.ExportAccount(
        xero_account_id=found.account.xero_account_id,
        code=found.account.code,
        name=found.account.name,
        type=found.account.kind,
        currency_code=found.currency,
        usable=found.usable,
        problem=_error(found.problem),
        chosen=found.chosen,
    )


def settings(now: SettingsNow) -> pb.ExportSettings:
    """How payments go into Xero, and what is wrong with it."""
    kept = now.settings
    return pb.ExportSettings(
        connection_id=kept.connection_id,
        accounts=[
            pb.CurrencyAccount(currency_code=code, xero_account_id=account_id)
            for code, account_id in sorted(kept.accounts.items())
        ],
        overpayment_policy=pb.OverpaymentPolicy.Value(f"OVERPAYMENT_POLICY_{kept.overpayment_policy}"),
        refund_xero_account_id=kept.refund_xero_account_id,
        refund_tax_type=kept.refund_tax_type,
        revision=str(kept.revision),
        updated_at=timestamp(kept.updated_at),
        problems=_errors(now.problems),
    )


def records(found: Iterable[XeroRecord], short_code: str) -> list[pb.XeroRecord]:
    """What was made in Xero, or would be, with links into the organisation of this short code."""
    return [_record(one, short_code) for one in found]


def _payment(payment: PlatformPayment) -> pb.PlatformPayment:
    return pb.PlatformPayment(
        payment_id=payment.payment_id,
        paid_on=iso(payment.paid_on),
        amount=money_of(payment.currency, payment.amount),
        lines=[_line(line, payment.currency) for line in payment.lines],
        reference=payment.reference,
        method=pb.PaymentMethod.Value(f"PAYMENT_METHOD_{payment.method or 'UNSPECIFIED'}"),
    )


def _line(line: PaymentLine, currency: str) -> pb.PaymentLine:
    amount = money_of(currency, line.amount)
    if line.xero_invoice_id:
        return pb.PaymentLine(xero_invoice_id=line.xero_invoice_id, amount=amount)
    return pb.PaymentLine(invoice_number=line.invoice_number, amount=amount)


def _record(made: XeroRecord, short_code: str) -> pb.XeroRecord:
    shown_as = _SHOWN_AS.get(made.kind)
    return pb.XeroRecord(
        kind=pb.XeroRecordKind.Value(f"XERO_RECORD_KIND_{made.kind}"),
        xero_id=made.xero_id,
        xero_invoice_id=made.xero_invoice_id,
        invoice_number=made.invoice_number,
        amount=money_of(made.currency, made.amount),
        xero_account_id=made.xero_account_id,
        removed=made.removed,
        xero_url=deep_links.document(short_code, shown_as, made.xero_id) if shown_as else "",
        linked=not made.is_ours,
    )


def _reversal(taken_back: Reversal, short_code: str) -> pb.Reversal:
    return pb.Reversal(
        reversal_id=taken_back.reversal_id,
        kind=pb.ReversalKind.Value(f"REVERSAL_KIND_{taken_back.kind}"),
        amount=money_of(taken_back.currency, taken_back.amount),
        reason=taken_back.reason,
        xero_status=_status(taken_back.xero_status),
        error=_error(taken_back.error),
        xero_records=records(taken_back.records, short_code),
        created_at=timestamp(taken_back.created_at),
        completed_at=timestamp(taken_back.completed_at),
        reversed_on=iso(taken_back.reversed_on),
    )


def _event(happened: ExportEvent) -> pb.PaymentExportEvent:
    return pb.PaymentExportEvent(
        xero_status=_status(happened.xero_status),
        sentence=happened.sentence,
        error=_error(happened.error),
        actor=happened.actor,
        occurred_at=timestamp(happened.occurred_at),
    )


def _errors(found: Iterable[ExportError]) -> Iterable[pb.ExportError]:
    return filter(None, map(_error, found))


def _error(error: ExportError | None) -> pb.ExportError | None:
    if error is None:
        return None
    return pb.ExportError(
        reason=pb.ExportErrorReason.Value(f"EXPORT_ERROR_REASON_{error.reason}"),
        sentence=error.sentence,
        remedy=error.remedy,
        owner=types_pb2.Owner.Value(f"OWNER_{error.owner}"),
        retries_by_itself=error.retries_by_itself,
        xero_messages=error.xero_messages,
        line=error.line,
        occurred_at=timestamp(error.occurred_at),
    )


def _status(status: str) -> "pb.XeroStatus.ValueType":
    return pb.XeroStatus.Value(f"XERO_STATUS_{status}")
