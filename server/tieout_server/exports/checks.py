"""What Xero would refuse a payment for, and what it becomes where it would not: nothing is asked here, all is given."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.exports import accounts, markers, plan, sentences, twins
from tieout_server.exports.accounts import BANK, Ground
from tieout_server.exports.currencies import is_too_fine
from tieout_server.exports.plan import PlannedWrite, Share
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ExportReason, OverpaymentPolicy, StepState
from tieout_server.exports.twins import Pending, Sought
from tieout_server.ledger.documents import ContactStatus, DocumentStatus, Organisation
from tieout_server.ledger.exports import ExportError, PaymentLine, PlatformPayment, Step, XeroRecord
from tieout_server.ledger.money import readable
from tieout_server.ledger.writes import (
    BatchDraft,
    Draft,
    OverpaymentDraft,
    Payable,
    PaymentDraft,
    PaymentSeen,
    RecordKind,
)

ZERO = Decimal(0)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that an examination goes by, at one moment."""

    ground: Ground
    organisation: Organisation
    by_id: Mapping[str, Payable]
    by_number: Mapping[str, Sequence[Payable]]
    """Every sales invoice that has the number, by its letters in lower case: Xero finds it by either."""
    contact_statuses: Mapping[str, str] = {}
    """By Xero's id, where known: a ContactStatus."""
    linked: Collection[str] = frozenset()
    """Xero's ids of payments and batches that any export of the connection made or is linked to."""
    marked: Collection[str] = frozenset()
    """The markers of ours that payments of these invoices bear."""
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
    overpaid: Decimal = ZERO
    has_twins: bool = False
    markers: Collection[str] = frozenset()
    """Those of all that the export ever tried."""


NOTHING = Settled()


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination found.

    Without findings, `plan` is what is to be written; where that is empty, the whole payment is in Xero: by `twins`,
    or by what was there before. With findings nothing is planned.
    """

    findings: tuple[ExportError, ...] = ()
    """Everything that Xero would refuse it for, most decisive first."""
    plan: tuple[PlannedWrite, ...] = ()
    twins: tuple[XeroRecord, ...] = ()
    """Payments that somebody made in Xero for the same invoice, amount and date: linked, and not paid again."""
    records: tuple[XeroRecord, ...] = ()
    """What the plan becomes, without ids."""
    waits: bool = False
    """True: it depends on another export that is under way; nothing is planned, and findings may change."""


# What is known


def filed(payables: Sequence[Payable]) -> tuple[dict[str, Payable], dict[str, list[Payable]]]:
    """These invoices by id, and by number in lower case."""
    by_id = {payable.invoice.xero_invoice_id: payable for payable in payables}
    by_number: dict[str, list[Payable]] = {}
    for payable in by_id.values():
        by_number.setdefault(payable.invoice.number.casefold(), []).append(payable)
    return by_id, by_number


def settled(steps: Sequence[Step], records: Sequence[XeroRecord]) -> Settled:
    """What of an export is in Xero: its steps that are DONE, and the payments it is linked to."""
    done = [step.draft for step in steps if step.state == StepState.DONE and not step.reversal_id]
    linked = [record for record in records if not record.is_ours and not record.removed]
    paid: dict[str, Decimal] = {}
    for invoice_id, amount in [
        *(share for draft in done for share in _paid_by(draft)),
        *((record.xero_invoice_id, record.amount) for record in linked),
    ]:
        paid[invoice_id] = paid.get(invoice_id, ZERO) + amount
    overpaid = sum((draft.amount for draft in done if isinstance(draft, OverpaymentDraft)), ZERO)
    return Settled(paid=paid, overpaid=overpaid, has_twins=bool(linked))


def pending(steps: Sequence[Step]) -> tuple[Pending, ...]:
    """The payments among these steps whose answers are not known."""
    return tuple(
        Pending(marker=step.marker, xero_invoice_id=invoice_id, amount=amount, paid_on=step.draft.paid_on)
        for step in steps
        if step.state in (StepState.SENDING, StepState.UNKNOWN) and isinstance(step.draft, PaymentDraft | BatchDraft)
        for invoice_id, amount in _paid_by(step.draft)
    )


def after(situation: Situation, examined: Examined) -> Situation:
    """The situation for the next payment of the same group: what this one pays and links is taken."""
    planned = dict(situation.planned)
    for invoice_id, amount in (share for write in examined.plan for share in _paid_by(write.draft)):
        planned[invoice_id] = planned.get(invoice_id, ZERO) + amount
    taken = () if examined.findings or examined.waits else examined.twins
    linked = frozenset(situation.linked).union(twin.xero_id for twin in taken)
    return msgspec.structs.replace(situation, planned=planned, linked=linked)


def _paid_by(draft: Draft) -> list[tuple[str, Decimal]]:
    """Each invoice that a draft pays, with how much of it."""
    match draft:
        case PaymentDraft():
            return [(draft.xero_invoice_id, draft.amount)]
        case BatchDraft():
            return [(part.xero_invoice_id, part.amount) for part in draft.parts]
        case _:
            return []


# What is found


def examine(payment: PlatformPayment, situation: Situation, before: Settled = NOTHING) -> Examined:
    """All that is wrong with a payment, or what it becomes; `before` is what of it is in Xero already."""
    return _Examination(payment, situation, before).run()


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice that the payment names, with all the lines that do."""

    index: int
    """The first of these lines."""
    payable: Payable
    amounts: tuple[Decimal, ...]

    @property
    def id(self) -> str:
        return self.payable.invoice.xero_invoice_id

    @property
    def number(self) -> str:
        return self.payable.invoice.number or self.id


class _Examination:
    """One examination on its way: what is left of the payment to be placed, and what was found so far."""

    def __init__(self, payment: PlatformPayment, situation: Situation, before: Settled) -> None:
        self.payment, self.situation, self.before = payment, situation, before
        self.left = payment.amount - sum(before.paid.values(), ZERO) - before.overpaid
        lines = sum((line.amount for line in payment.lines), ZERO)
        self.over = max(ZERO, before.overpaid - (payment.amount - lines))
        """What of lines, and not of the rest beside them, was made an overpayment before."""
        self.splits = situation.ground.settings.overpayment_policy == OverpaymentPolicy.SPLIT
        self.findings: list[ExportError] = []
        self.linked: list[XeroRecord] = []
        self.shares: list[Share] = []
        self.waits = False

    def run(self) -> Examined:
        self._check_amounts()
        to_write = self.left
        named = self._named()
        for one in named:
            self._place(one)
        to_write -= sum((record.amount for record in self.linked), ZERO)
        if to_write > 0:
            self._check_account()
            self._check_day()
        rest = max(ZERO, self.left)
        if rest and named:
            self._check_rest(rest, named)
        return self._examined(rest, named)

    # The payment as such

    def _check_amounts(self) -> None:
        currency = self.payment.currency
        if is_too_fine(self.payment.amount, currency):
            self.findings.append(sentences.too_fine(self._case(), self.payment.amount, currency))
        for index, line in enumerate(self.payment.lines):
            if is_too_fine(line.amount, currency):
                self.findings.append(sentences.too_fine(self._case(index), line.amount, currency))

    def _check_account(self) -> None:
        if problem := accounts.problem_of(self.payment.currency, self.situation.ground, self.situation.now):
            self.findings.append(problem)

    def _check_day(self) -> None:
        """Locked is locked, although advisers may write before the period lock date: nobody asked them."""
        if problem := plan.period_locked(self.situation.organisation, self.payment.paid_on, self._case()):
            self.findings.append(problem)

    # Its invoices

    def _named(self) -> list[_Named]:
        """The invoices that the lines name, each once; lines that name none are findings."""
        named: dict[str, _Named] = {}
        for index, line in enumerate(self.payment.lines):
            payable = self._meant(index, line)
            if payable is None:
                self.left -= line.amount
                continue
            one = named.get(payable.invoice.xero_invoice_id) or _Named(index=index, payable=payable, amounts=())
            named[one.id] = msgspec.structs.replace(one, amounts=(*one.amounts, line.amount))
        return list(named.values())

    def _meant(self, index: int, line: PaymentLine) -> Payable | None:
        if line.xero_invoice_id:
            found = [self.situation.by_id[line.xero_invoice_id]] if line.xero_invoice_id in self.situation.by_id else []
        else:
            alike = self.situation.by_number.get(line.invoice_number.casefold(), ())
            found = [one for one in alike if one.invoice.number == line.invoice_number] or list(alike)
        in_use = [payable for payable in found if payable.invoice.status not in _OUT_OF_USE]
        match in_use or found[:1]:
            case [only]:
                return only
            case []:
                name = line.invoice_number or line.xero_invoice_id
                self.findings.append(sentences.invoice_unknown(self._case(index), name))
            case several:
                self.findings.append(sentences.invoice_ambiguous(self._case(index), line.invoice_number, len(several)))
        return None

    def _place(self, one: _Named) -> None:
        """Find out how much of what the payment names for an invoice goes there; what does not stays in `left`."""
        missing = sum(one.amounts, ZERO) - self.before.paid.get(one.id, ZERO)
        if one.id in self.before.paid:
            missing -= (made_over := min(missing, self.over))
            self.over -= made_over
        missing -= self._link(one, missing)
        if missing <= 0:
            return
        if not self._is_payable(one, missing):
            self.left -= missing
            return
        pays = min(missing, one.payable.invoice.due, self.left)
        if pays > 0:
            self.shares.append(Share(invoice=one.payable.invoice, amount=pays))
            self.left -= pays

    def _link(self, one: _Named, missing: Decimal) -> Decimal:
        """Link what somebody recorded, and say how much that is."""
        whole = one.id not in self.before.paid
        sought = Sought(
            payable=one.payable,
            paid_on=self.payment.paid_on,
            amounts=one.amounts if whole else (missing,),
            linked=frozenset(self.situation.linked),
            theirs=frozenset(self.situation.marked).difference(self.before.markers),
            pending=self.situation.pending,
        )
        comparable = missing > 0 and one.payable.invoice.currency == self.payment.currency
        found = twins.find(sought) if comparable else twins.Twins()
        self.waits |= found.uncertain
        self.linked += [self._record(one, seen) for seen in found.payments]
        placed = sum((seen.amount for seen in found.payments), ZERO)
        self.left -= placed
        return placed

    def _record(self, one: _Named, seen: PaymentSeen) -> XeroRecord:
        return XeroRecord(
            kind=RecordKind.PAYMENT,
            xero_id=seen.xero_payment_id,
            xero_invoice_id=one.id,
            invoice_number=one.payable.invoice.number,
            amount=seen.amount,
            currency=self.payment.currency,
            is_ours=False,
        )

    def _is_payable(self, one: _Named, missing: Decimal) -> bool:
        """Whether Xero takes a payment of this invoice now; says why not."""
        invoice, case, found = one.payable.invoice, self._case(one.index), len(self.findings)
        if invoice.currency != self.payment.currency:
            self.findings.append(
                sentences.invoice_in_other_currency(case, one.number, invoice.currency, self.payment.currency)
            )
        is_settled = invoice.status == DocumentStatus.PAID or invoice.due <= 0
        if invoice.status not in (DocumentStatus.AUTHORISED, DocumentStatus.PAID):
            self.findings.append(sentences.invoice_not_payable(case, one.number, invoice.status))
        elif is_settled and one.id not in self.before.paid:
            self.findings.append(sentences.invoice_not_payable(case, one.number, DocumentStatus.PAID))
        elif len(self.findings) == found:
            self._check_due(one, missing)
        return len(self.findings) == found and not self.waits

    def _check_due(self, one: _Named, missing: Decimal) -> None:
        due, planned = one.payable.invoice.due, self.situation.planned.get(one.id, ZERO)
        if planned and missing > due - planned:
            self.waits = True
        elif missing > due and not self.splits:
            paid, open_ = readable(missing, self.payment.currency), readable(due, self.payment.currency)
            self.findings.append(sentences.exceeds_due(self._case(one.index), one.number, paid, open_))

    # What is left over

    def _check_rest(self, rest: Decimal, named: Sequence[_Named]) -> None:
        case, amount = self._case(), readable(rest, self.payment.currency)
        if not self.splits:
            self.findings.append(sentences.rest_held(case, amount))
            return
        if self.linked or self.before.has_twins:
            self.findings.append(sentences.rest_of_recorded(case, amount))
        if len({one.payable.invoice.xero_contact_id for one in named}) > 1:
            self.findings.append(sentences.rest_of_several(case, amount))
        elif self._is_archived(named[0]):
            self.findings.append(sentences.contact_archived(self._case(named[0].index), named[0].number))
        account = self.situation.ground.account_for(self.payment.currency)
        if account and account.takes_payments and account.kind != BANK:
            self.findings.append(sentences.account_no_bank(case, account, self.payment.currency, "overpayments"))

    def _is_archived(self, one: _Named) -> bool:
        """Payments of what an archived contact owes are taken; only new documents are refused (Xero, Contacts)."""
        status = self.situation.contact_statuses.get(one.payable.invoice.xero_contact_id, ContactStatus.ACTIVE)
        return status != ContactStatus.ACTIVE

    # The result

    def _examined(self, rest: Decimal, named: Sequence[_Named]) -> Examined:
        found = Examined(
            findings=tuple(sorted(self.findings, key=_decisiveness)), twins=tuple(self.linked), waits=self.waits
        )
        account = self.situation.ground.account_for(self.payment.currency)
        if found.findings or found.waits or account is None:
            return found
        spread = plan.Spread(
            payment=self.payment,
            shares=tuple(self.shares),
            rest=rest,
            contact=named[0].payable.invoice.xero_contact_id if named else "",
            account=account,
            base_currency=self.situation.ground.base_currency,
        )
        writes = plan.of_payment(spread, self.situation.new_marker)
        numbers = {one.id: one.payable.invoice.number for one in named}
        records = [record for write in writes for record in plan.records(write.draft, self.payment.currency, numbers)]
        return msgspec.structs.replace(found, plan=writes, records=tuple(records))

    def _case(self, line: int | None = None) -> Case:
        return Case(self.situation.now, line)


_OUT_OF_USE = (DocumentStatus.VOIDED, DocumentStatus.DELETED)
"""Their numbers may be given again."""

_DECISIVE = (
    ExportReason.ACCOUNT_NOT_CHOSEN,
    ExportReason.ACCOUNT_ARCHIVED,
    ExportReason.ACCOUNT_NOT_PAYABLE,
    ExportReason.CURRENCY_MISMATCH,
    ExportReason.INVOICE_NOT_PAYABLE,
    ExportReason.PERIOD_LOCKED,
    ExportReason.CONTACT_ARCHIVED,
    ExportReason.AMOUNT_EXCEEDS_DUE,
)
"""What holds up everything comes first, and what the settings can mend comes before what only the books can."""


def _decisiveness(finding: ExportError) -> tuple[int, int]:
    return _DECISIVE.index(ExportReason(finding.reason)), -1 if finding.line is None else finding.line
