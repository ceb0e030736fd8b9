"""Looking before anything is sent: settings, accounts, lock dates, and the invoices as they are in Xero right now."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from tieout_server.connections.patience import in_time
from tieout_server.errors import RejectedError
from tieout_server.exports import checks, markers, waits
from tieout_server.exports.accounts import Ground
from tieout_server.exports.checks import Examined, Situation
from tieout_server.exports.many import MANY, read_many
from tieout_server.exports.means import Means
from tieout_server.exports.state import ExportReason, StepState
from tieout_server.exports.turn import Turn
from tieout_server.ledger.books import Purpose, Query, WritableBooks
from tieout_server.ledger.documents import Account, Document, Entity, Organisation
from tieout_server.ledger.exports import PlatformPayment
from tieout_server.ledger.links import Link
from tieout_server.ledger.writes import Payable
from tieout_server.storage import customers, export_settings, export_steps
from tieout_server.storage.database import Transaction
from tieout_server.syncs import followers

GROUND_KEPT = timedelta(minutes=5)
"""How long accounts and lock dates are gone by before they are read again; what they forbid is read again at once."""
GOOD_FOR = timedelta(seconds=30)
"""How long what was read of invoices may be gone by: the less, the fewer of Xero's refusals are races."""
XERO_CLOCK_MARGIN = timedelta(minutes=2)
"""Between what was read by Xero's clock, and from when on something sent afterwards is looked for."""
GROUND_REASONS = frozenset(
    {
        ExportReason.ACCOUNT_NOT_PAYABLE,
        ExportReason.ACCOUNT_ARCHIVED,
        ExportReason.PERIOD_LOCKED,
        ExportReason.CURRENCY_MISMATCH,
    }
)
MANY_STEPS = 10_000
"""Steps of a connection whose outcome is unknown, at most."""


ASKED_WITHIN = 15.0
"""Seconds in which Xero has to answer what a caller waits for: half of what callers give a call, unless they choose."""


class UnaskableError(RejectedError):
    """Xero does not even let the invoices of these payments be asked for."""


class Footing(msgspec.Struct, frozen=True, kw_only=True):
    """What the books say of themselves and of their accounts."""

    organisation: Organisation
    accounts: dict[str, Account]
    read_at: datetime
    """By our clock."""
    xero_at: datetime
    """By Xero's."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination goes by, when it was read, and from when on something sent later is looked for."""

    situation: Situation
    read_at: datetime
    """By our clock, before the first call."""
    look_from: datetime
    """By Xero's clock."""
    is_new: bool
    """Whether accounts and lock dates were read just now."""


class Preflight:
    """Examines payments against the books as they are."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._footings: dict[str, Footing] = {}

    async def check(self, link: Link, books: WritableBooks, payment: PlatformPayment) -> tuple[Examined, datetime]:
        """What is wrong with a payment or what it becomes, for a caller who asks; and as of when.

        Nothing is written, but what was read goes into the mirror.

        Raises:
            XeroUnavailableError, CallLimitError: no answer came within `ASKED_WITHIN`. And what `WritableBooks` does.
        """
        turn = Turn(self._means, None, link, books)
        seen = await in_time(self.look(turn, [payment], is_new=True), ASKED_WITHIN, books.held_up)
        return waits.permitted(checks.examine(payment, seen.situation), link, turn.now()), seen.read_at

    async def look(self, turn: Turn, payments: Sequence[PlatformPayment], *, is_new: bool = False) -> Seen:
        """What these payments are examined by; accounts and lock dates are not older than 5 minutes, or new.

        Raises:
            UnaskableError: an invoice of one of these payments cannot be asked for. And what `WritableBooks` does.
        """
        read_at, known = turn.now(), self._footings.get(turn.link.id)
        footing = await (self.footing(turn) if is_new else self.current(turn))
        try:
            payables = await self.payables(turn, payments)
        except RejectedError as refusal:
            raise UnaskableError(refusal.sentence, refusal.messages) from refusal
        async with self._means.database.read() as tx:
            situation = await self._situation(tx, turn, footing, payables)
        return Seen(
            situation=situation,
            read_at=read_at,
            look_from=min([footing.xero_at, *(one.as_of for one in payables)]) - XERO_CLOCK_MARGIN,
            is_new=footing is not known,
        )

    async def current(self, turn: Turn) -> Footing:
        """Accounts and lock dates of the last 5 minutes."""
        known = self._footings.get(turn.link.id)
        if known is None or turn.now() - known.read_at > GROUND_KEPT:
            return await self.footing(turn)
        return known

    async def asked_footing(self, link: Link, books: WritableBooks) -> Footing:
        """Accounts and lock dates, read now for a caller who asks.

        Raises:
            XeroUnavailableError, CallLimitError: no answer came within `ASKED_WITHIN`. And what `WritableBooks` does.
        """
        return await in_time(self.footing(Turn(self._means, None, link, books)), ASKED_WITHIN, books.held_up)

    async def footing(self, turn: Turn) -> Footing:
        """Accounts and lock dates, read now: two calls."""
        read_at = turn.now()
        organisation = await turn.books.organisation(Purpose.PAYMENT_EXPORT)
        page = await turn.books.read(Query(entity=Entity.ACCOUNTS), Purpose.PAYMENT_EXPORT)
        await _keep(turn, page.documents)
        footing = Footing(
            organisation=organisation,
            accounts={one.xero_account_id: one for one in page.documents if isinstance(one, Account)},
            read_at=read_at,
            xero_at=page.served_at,
        )
        self._footings[turn.link.id] = footing
        return footing

    async def payables(self, turn: Turn, payments: Sequence[PlatformPayment]) -> Sequence[Payable]:
        """The invoices that these payments name, as they are now: one call for 40 of them."""
        lines = [line for payment in payments for line in payment.lines]
        ids = sorted({line.xero_invoice_id for line in lines if line.xero_invoice_id})
        numbers = sorted({line.invoice_number for line in lines if not line.xero_invoice_id})
        return await read_payables(turn, ids, numbers)

    async def ground(self, tx: Transaction, turn: Turn, footing: Footing) -> Ground:
        """The settings of now on this footing."""
        return Ground(
            settings=await export_settings.get(tx, turn.link.id),
            accounts=footing.accounts,
            base_currency=footing.organisation.base_currency,
        )

    async def _situation(self, tx: Transaction, turn: Turn, footing: Footing, payables: Sequence[Payable]) -> Situation:
        link_id = turn.link.id
        by_id, by_number = checks.filed(payables)
        contacts = {one.invoice.xero_contact_id for one in payables}
        payments = [payment for one in payables for payment in one.payments]
        seen = {name for one in payments for name in (one.xero_payment_id, one.xero_batch_payment_id) if name}
        borne = set(markers.within([one.reference for one in payments]))
        unsettled = await export_steps.in_state(tx, link_id, (StepState.SENDING, StepState.UNKNOWN), MANY_STEPS)
        return Situation(
            ground=await self.ground(tx, turn, footing),
            organisation=footing.organisation,
            by_id=by_id,
            by_number=by_number,
            contact_statuses=await _statuses(tx, link_id, contacts),
            linked=await export_steps.linked(tx, link_id, seen),
            marked={step.marker for step in await export_steps.with_marker(tx, link_id, borne)},
            pending=checks.pending(unsettled),
            now=turn.now(),
        )


async def read_payables(turn: Turn, ids: Sequence[str], numbers: Sequence[str] = ()) -> Sequence[Payable]:
    """These invoices with their payments as they are now; what was read goes into the mirror."""
    many = await read_many(turn, ids, numbers) if len(ids) + len(numbers) > MANY else None
    known = many or ()
    ids = sorted(set(ids) - {one.invoice.xero_invoice_id for one in known})
    numbers = sorted(set(numbers) - {one.invoice.number for one in known})
    if not ids and not numbers:
        return known
    payables = await turn.books.payable(ids, numbers, Purpose.PAYMENT_EXPORT)
    await _keep(turn, [one.invoice for one in payables])
    return [*known, *payables]


async def _statuses(tx: Transaction, connection_id: str, contacts: Collection[str]) -> dict[str, str]:
    """Where these contacts stand, as far as the mirror has them."""
    found = await customers.contacts_named(tx, connection_id, contacts) if contacts else ()
    return {one.contact.xero_contact_id: one.contact.status for one in found}


async def _keep(turn: Turn, documents: Sequence[Document]) -> None:
    """Take what was read into the mirror, and have read what moved with it."""
    if not documents:
        return
    async with turn.save() as tx:
        await turn.means.wake_news(tx, turn.link.id)
        if await followers.save(tx, turn.link.id, documents, seen_in=0, at=turn.now()):
            await turn.means.feed.tell_of_changes(tx, turn.link.id)
