"""The values of payment exports: the platform's payment, what was made of it, and what went wrong."""

from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server.ledger.writes import Draft, RecordKind


class PaymentLine(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a payment that pays one invoice, named by its id or by its number."""

    xero_invoice_id: str = ""
    invoice_number: str = ""
    amount: Decimal


class PlatformPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that was collected on the caller's platform. The lines add up to the amount, or to less."""

    payment_id: str
    paid_on: date
    currency: str
    amount: Decimal
    lines: tuple[PaymentLine, ...]
    reference: str = ""
    method: str = ""
    """CARD, DIRECT_DEBIT, BANK_TRANSFER, OTHER; empty where not stated."""


class ExportError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a payment is not in Xero, said for a person."""

    reason: str
    """An ExportReason."""
    sentence: str
    remedy: str
    owner: str
    """Who must act: see `ledger.links.Owner`."""
    retries_by_itself: bool = False
    xero_messages: tuple[str, ...] = ()
    line: int | None = None
    occurred_at: datetime


class XeroRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What an export or a reversal became in Xero."""

    kind: RecordKind
    xero_id: str = ""
    """Empty in a plan."""
    xero_invoice_id: str = ""
    invoice_number: str = ""
    amount: Decimal
    currency: str
    xero_account_id: str = ""
    removed: bool = False
    is_ours: bool = True
    """False: somebody else made it, and the payment is linked to it."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One write to Xero that an export or a reversal consists of."""

    id: str
    connection_id: str
    export_id: str
    reversal_id: str = ""
    """Our id of the reversal that it belongs to; empty for the export's own."""
    number: int
    """In what order steps are sent; those of an export with the same number may go together."""
    draft: Draft
    marker: str
    """12 characters that are in Xero nowhere else."""
    state: str
    """A StepState."""
    idempotency_key: str = ""
    """Of the call it was last sent with; empty until then."""
    sent_at: datetime | None = None
    """When it was committed to be sent, by our clock."""
    look_from: datetime | None = None
    """From which instant of Xero's clock it may have come to be."""
    xero_id: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    """Of a batch: each invoice's id with the id of its payment."""


class Reversal(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken back of an export."""

    id: str
    export_id: str
    connection_id: str
    reversal_id: str
    """The caller's own."""
    kind: str
    amount: Decimal
    currency: str
    reason: str = ""
    reversed_on: date
    xero_status: str
    error: ExportError | None = None
    records: tuple[XeroRecord, ...] = ()
    due_at: datetime | None = None
    created_at: datetime
    completed_at: datetime | None = None
    updated_at: datetime


class ExportEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an export."""

    xero_status: str
    sentence: str
    actor: str
    occurred_at: datetime
    error: ExportError | None = None


class PaymentExport(msgspec.Struct, frozen=True, kw_only=True):
    """A payment on its way into Xero."""

    id: str
    connection_id: str
    payment: PlatformPayment
    xero_status: str
    """A XeroStatus."""
    error: ExportError | None = None
    records: tuple[XeroRecord, ...] = ()
    attempts: int = 0
    """How often it was sent."""
    due_at: datetime | None = None
    """When it is to be tried next; None where it will not be by itself."""
    created_at: datetime
    updated_at: datetime
    exported_at: datetime | None = None
    verified_at: datetime | None = None
    dismissal_note: str = ""
    dismissed_by: str = ""
    short_code: str = ""
    """The organisation's, for links into Xero."""
    reversals: tuple[Reversal, ...] = ()
    history: tuple[ExportEvent, ...] = ()
    """Oldest first; only where it was asked for."""


class ExportChange(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to an export, and what it is since: the payload of its events."""

    event: ExportEvent
    export: PaymentExport


class ExportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How payments of a connection go into Xero."""

    connection_id: str
    accounts: dict[str, str] = {}
    """The account by currency: Xero's id of it."""
    overpayment_policy: str = "HOLD"
    refund_xero_account_id: str = ""
    refund_tax_type: str = ""
    revision: int = 0
    """0 before the first update."""
    updated_at: datetime | None = None
