"""What Xero would refuse a payment for, and what it becomes where it would not: nothing is asked here, all is given."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import msgspec

from tieout_server.exports import markers
from tieout_server.exports.accounts import Ground
from tieout_server.exports.plan import PlannedWrite
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.exports import ExportError, PlatformPayment, Step, XeroRecord
from tieout_server.ledger.writes import Payable


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that another export has sent, or may have, and whose answer is not known."""

    marker: str
    xero_invoice_id: str
    amount: Decimal
    paid_on: date


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that an examination goes by, at one moment."""

    ground: Ground
    organisation: Organisation
    by_id: Mapping[str, Payable]
    by_number: Mapping[str, Sequence[Payable]]
    """Every sales invoice that has the number."""
    contact_statuses: Mapping[str, str] = {}
    """By Xero's id, where known: a ContactStatus."""
    linked: Collection[str] = frozenset()
    """Xero's ids of payments that any export of the connection made or is linked to."""
    pending: Sequence[Pending] = ()
    """Of all other exports of the connection: steps SENDING and UNKNOWN."""
    planned: Mapping[str, Decimal] = {}
    """By invoice: what exports before this one in the same group will pay of it."""
    now: datetime
    new_marker: Callable[[], str] = markers.fresh


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has in Xero already when it is planned anew."""

    paid: Mapping[str, Decimal] = {}
    """By invoice, linked payments included."""
    overpaid: Decimal = Decimal(0)
    has_twins: bool = False


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination found.

    With findings there is nothing else but `twins`. Without: `plan` is what is to be written, and the whole payment is
    ALREADY_RECORDED where that is empty. `waits` excludes all of this.
    """

    findings: tuple[ExportError, ...] = ()
    """Everything that Xero would refuse it for, most decisive first."""
    plan: tuple[PlannedWrite, ...] = ()
    twins: tuple[XeroRecord, ...] = ()
    """Payments that somebody made in Xero for the same invoice, amount and date: linked, and not paid again."""
    records: tuple[XeroRecord, ...] = ()
    """What the plan becomes, without ids."""
    waits: bool = False
    """True: it depends on another export that is under way; examine it again when that is settled."""


def filed(payables: Sequence[Payable]) -> tuple[dict[str, Payable], dict[str, list[Payable]]]:
    """These invoices by id and by number."""
    raise NotImplementedError


def settled(steps: Sequence[Step], records: Sequence[XeroRecord]) -> Settled:
    """What of an export is in Xero: its steps that are DONE, and the payments it is linked to."""
    raise NotImplementedError


def pending(steps: Sequence[Step]) -> tuple[Pending, ...]:
    """The payments among these steps whose answers are not known."""
    raise NotImplementedError


def examine(payment: PlatformPayment, situation: Situation, before: Settled = Settled()) -> Examined:  # noqa: B008
    """All that is wrong with a payment, or what it becomes; `before` is what of it is in Xero already."""
    raise NotImplementedError


def after(situation: Situation, examined: Examined) -> Situation:
    """The situation for the next payment of the same group: what this one pays and links is taken."""
    raise NotImplementedError
