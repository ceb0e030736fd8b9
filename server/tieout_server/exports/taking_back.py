"""How a payment is taken back in Xero: deleted, refunded by a credit note, or owed again in the open period."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from tieout_server.exports import accounts, markers, plan, sentences
from tieout_server.exports.accounts import ACTIVE, BANK, Ground
from tieout_server.exports.plan import PlannedWrite
from tieout_server.exports.reversal_rules import credited
from tieout_server.exports.sentences import Case
from tieout_server.exports.state import ReversalKind, StepState
from tieout_server.ledger.documents import Entity, Invoice, Organisation
from tieout_server.ledger.exports import ExportError, PaymentExport, Reversal, Step
from tieout_server.ledger.writes import (
    BatchDraft,
    CreditNoteDraft,
    Deletion,
    Draft,
    DraftLine,
    InvoiceDraft,
    InvoiceLines,
    OverpaymentDraft,
    Payable,
    PaymentDraft,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
)

ZERO = Decimal(0)
_NAMES: Mapping[str, str] = {
    ReversalKind.REFUND: "Refund",
    ReversalKind.CHARGEBACK: "Chargeback",
    ReversalKind.LATE_FAILURE: "Failure",
}


class Undoing(msgspec.Struct, frozen=True, kw_only=True):
    """A reversal, and what its plan depends on."""

    reversal: Reversal
    export: PaymentExport
    steps: tuple[Step, ...]
    """The export's own and those of all its reversals; only those that are DONE matter."""
    ground: Ground
    organisation: Organisation
    payables: Mapping[str, Payable]
    """By id: the invoices that were paid."""
    lines: Mapping[str, InvoiceLines] = {}
    """By invoice id; for a REFUND of an invoice's whole total."""
    kept: Collection[str] = ()
    """Ids of payments and batches that Xero does not let anybody delete: they are reconciled, or it said so."""
    new_marker: Callable[[], str] = markers.fresh


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written to take a payment back; nothing where there are findings."""

    findings: tuple[ExportError, ...] = ()
    plan: tuple[PlannedWrite, ...] = ()


def take_back(undoing: Undoing) -> Undone:
    """The writes of a reversal, one after the other; those that are DONE already are left out."""
    return _TakingBack(undoing).run()


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a payment paid of one invoice, and where the money is."""

    invoice: Invoice
    amount: Decimal
    xero_account_id: str

    @property
    def place(self) -> tuple[str, str]:
        """Whose it is, and in which account: what is of one place is taken back together."""
        return self.invoice.xero_contact_id, self.xero_account_id


def _without(parts: Sequence[_Part], taken: Decimal) -> Iterator[_Part]:
    """What is left of these without so much, which is taken of the first ones."""
    for part in parts:
        off = min(part.amount, taken)
        taken -= off
        if part.amount > off:
            yield msgspec.structs.replace(part, amount=part.amount - off)


def _what_for(draft: Draft) -> tuple[object, ...]:
    """What a write is for, however it is worded: accounts and lines may be others when it is planned again."""
    kind, amount = type(draft), plan.total(draft)
    match draft:
        case Deletion():
            return kind, draft.record, draft.xero_id
        case RefundDraft():
            return kind, draft.entity, draft.xero_credit_id, amount
        case CreditNoteDraft() | InvoiceDraft() | SpentMoneyDraft():
            return kind, draft.xero_contact_id, amount
        case _:
            return kind, amount


class _TakingBack:
    """One plan on its way."""

    def __init__(self, undoing: Undoing) -> None:
        self.undoing, self.reversal, self.payment = undoing, undoing.reversal, undoing.export.payment
        self.case = Case(undoing.reversal.updated_at)
        self.done = [step for step in undoing.steps if step.state == StepState.DONE and not step.reversal_id]
        self.before = [
            step.draft
            for step in undoing.steps
            if step.state == StepState.DONE and step.reversal_id == undoing.reversal.id
        ]
        self.done_before = [_what_for(draft) for draft in self.before]
        self.credited = credited(undoing.reversal, undoing.steps)
        self.findings: list[ExportError] = []
        self.plan: list[PlannedWrite] = []
        self.count = 0

    def run(self) -> Undone:
        if self.reversal.kind != ReversalKind.REFUND:
            self._undo_rest() if self.credited else self._undo()
        elif self.reversal.amount == self.payment.amount:
            self._refund_all()
        else:
            self._refund_part()
        self._check_day()
        self._check_begun()
        if self.findings:
            return Undone(findings=tuple(dict.fromkeys(self.findings)))
        return Undone(plan=tuple(self.plan))

    # Chargebacks and late failures

    def _undo(self) -> None:
        """Delete what can be deleted, refund what was overpaid, and let the rest be owed again."""
        staying: list[_Part] = self._linked()
        for step in self.done:
            if isinstance(step.draft, OverpaymentDraft):
                self._refund_what_is_left(step, step.draft)
            elif self._is_deletable(step):
                kind = RecordKind.BATCH_PAYMENT if isinstance(step.draft, BatchDraft) else RecordKind.PAYMENT
                self._add(Deletion(record=kind, xero_id=step.xero_id), self._mark())
            else:
                staying += self._parts(step)
        if staying:
            self._owe_again(staying)

    def _undo_rest(self) -> None:
        """After refunds of a part: Xero deletes no part of a payment, so it stays, and the rest of it is owed again."""
        for step in self.done:
            if isinstance(step.draft, OverpaymentDraft):
                self._refund_what_is_left(step, step.draft)
        parts = self._paid()
        if len({part.place for part in parts}) > 1:
            self.findings.append(sentences.taken_back_in_part(self.case))
        else:
            self._owe_again(list(_without(parts, self.credited)))

    def _is_deletable(self, step: Step) -> bool:
        locked = plan.locked_up_to(self.undoing.organisation)
        return step.xero_id not in self.undoing.kept and not (locked and self.payment.paid_on <= locked)

    def _owe_again(self, parts: list[_Part]) -> None:
        """An invoice and the money spent, on one account in between that nets to zero (Xero, bounced payments)."""
        between = self._on_refunds()
        for place in dict.fromkeys(part.place for part in parts):
            here = [part for part in parts if part.place == place]
            self._check_bank(place[1])
            lines = tuple(self._line(part, between) for part in here)
            self._add(self._invoice(place[0], lines, marker := self._mark()), marker)
            self._add(self._spent(place, lines, marker := self._mark()), marker)

    def _invoice(self, contact_id: str, lines: tuple[DraftLine, ...], marker: str) -> InvoiceDraft:
        return InvoiceDraft(
            xero_contact_id=contact_id,
            currency=self.payment.currency,
            issued_on=self.reversal.reversed_on,
            due_on=self.reversal.reversed_on,
            reference=markers.marked(marker, self._name(), markers.LONG_REFERENCE),
            lines=lines,
        )

    def _spent(self, place: tuple[str, str], lines: tuple[DraftLine, ...], marker: str) -> SpentMoneyDraft:
        return SpentMoneyDraft(
            xero_contact_id=place[0],
            xero_account_id=place[1],
            paid_on=self.reversal.reversed_on,
            currency=self.payment.currency,
            reference=markers.marked(marker, self._name()),
            lines=lines,
        )

    def _check_bank(self, account_id: str) -> None:
        account = self.undoing.ground.accounts.get(account_id)
        if account is not None and account.kind != BANK:
            self.findings.append(
                sentences.account_no_bank(self.case, account, self.payment.currency, "money that is taken back")
            )
        self._check_account(account_id)

    # Refunds

    def _refund_all(self) -> None:
        for part in self._paid():
            self._credit(part, self._note_of(part))
        for step in self.done:
            if isinstance(step.draft, OverpaymentDraft):
                self._refund_overpayment(step, step.draft)

    def _refund_part(self) -> None:
        """From what is left of an overpayment, and by a credit note on the account for refunds."""
        left = self.reversal.amount
        for step in self.done:
            if isinstance(step.draft, OverpaymentDraft) and (paid := min(left, self._left_of(step, step.draft))):
                self._refund_overpayment(step, msgspec.structs.replace(step.draft, amount=paid))
                left -= paid
        if not left:
            return
        parts = self._paid()
        if len({part.place for part in parts}) > 1:
            self.findings.append(sentences.taken_back_in_part(self.case))
        elif parts:
            part = msgspec.structs.replace(parts[0], amount=left)
            self._credit(part, self._note_by_hand(part))

    def _left_of(self, overpaid: Step, draft: OverpaymentDraft) -> Decimal:
        """What other reversals have left of an overpayment."""
        refunds = [
            step.draft.amount
            for step in self.undoing.steps
            if step.state == StepState.DONE
            and step.reversal_id != self.reversal.id
            and isinstance(step.draft, RefundDraft)
            and step.draft.xero_credit_id == overpaid.xero_id
        ]
        return draft.amount - sum(refunds, ZERO)

    def _note_of(self, part: _Part) -> InvoiceLines:
        """The invoice's own lines where it is refunded as a whole, and they come to just that."""
        own = self.undoing.lines.get(part.invoice.xero_invoice_id)
        if own and part.amount == part.invoice.total == plan.total(self._note(part, own, "")):
            return own
        return self._note_by_hand(part)

    def _note_by_hand(self, part: _Part) -> InvoiceLines:
        return InvoiceLines(line_amount_types="Inclusive", lines=(self._line(part, self._on_refunds()),))

    def _credit(self, part: _Part, lines: InvoiceLines) -> None:
        """A credit note, and the refund of it: it follows at once and learns the credit note's id then."""
        self._check_account(part.xero_account_id)
        self._add(self._note(part, lines, marker := self._mark()), marker)
        self._add(
            self._refund(Entity.CREDIT_NOTES, "", part.xero_account_id, part.amount, marker := self._mark()), marker
        )

    def _note(self, part: _Part, lines: InvoiceLines, marker: str) -> CreditNoteDraft:
        is_foreign = part.invoice.currency != self.undoing.ground.base_currency
        return CreditNoteDraft(
            xero_contact_id=part.invoice.xero_contact_id,
            currency=part.invoice.currency,
            rate=part.invoice.rate if is_foreign else None,
            issued_on=self.reversal.reversed_on,
            reference=markers.marked(marker, self._name(part), markers.LONG_REFERENCE),
            line_amount_types=lines.line_amount_types,
            lines=lines.lines,
        )

    def _refund_what_is_left(self, step: Step, draft: OverpaymentDraft) -> None:
        if left := self._left_of(step, draft):
            self._refund_overpayment(step, msgspec.structs.replace(draft, amount=left))

    def _refund_overpayment(self, step: Step, draft: OverpaymentDraft) -> None:
        account_id, marker = draft.xero_account_id, self._mark()
        self._check_account(account_id)
        self._add(self._refund(Entity.OVERPAYMENTS, step.xero_id, account_id, draft.amount, marker), marker)

    def _refund(self, entity: Entity, credit_id: str, account_id: str, amount: Decimal, marker: str) -> RefundDraft:
        return RefundDraft(
            entity=entity,
            xero_credit_id=credit_id,
            xero_account_id=account_id,
            paid_on=self.reversal.reversed_on,
            amount=amount,
            reference=markers.marked(marker, self._name()),
        )

    # What both need

    def _paid(self) -> list[_Part]:
        """What the payment paid of invoices, whoever recorded it."""
        return [*(part for step in self.done for part in self._parts(step)), *self._linked()]

    def _parts(self, step: Step) -> list[_Part]:
        """What a step paid of invoices."""
        match step.draft:
            case PaymentDraft() as draft:
                paid = [(draft.xero_invoice_id, draft.amount)]
            case BatchDraft() as draft:
                paid = [(part.xero_invoice_id, part.amount) for part in draft.parts]
            case _:
                return []
        return [part for invoice_id, amount in paid for part in self._part(invoice_id, amount, draft.xero_account_id)]

    def _linked(self) -> list[_Part]:
        """What somebody else recorded: theirs is never deleted, and Xero does not say where the money went."""
        account_id = self.undoing.ground.settings.accounts.get(self.payment.currency, "")
        return [
            part
            for record in self.undoing.export.records
            if not record.is_ours and not record.removed
            for part in self._part(record.xero_invoice_id, record.amount, record.xero_account_id or account_id)
        ]

    def _part(self, invoice_id: str, amount: Decimal, account_id: str) -> list[_Part]:
        payable = self.undoing.payables.get(invoice_id)
        if payable is None:
            self.findings.append(sentences.invoice_unknown(self.case, invoice_id))
            return []
        return [_Part(invoice=payable.invoice, amount=amount, xero_account_id=account_id)]

    def _line(self, part: _Part, on: DraftLine) -> DraftLine:
        """A line of this part on the account of another one."""
        text = ": ".join(filter(None, (self._name(part), self.reversal.reason)))
        return msgspec.structs.replace(on, description=text, unit_amount=part.amount)

    def _name(self, part: _Part | None = None) -> str:
        of = f" of invoice {part.invoice.number or part.invoice.xero_invoice_id}" if part else ""
        return f"{_NAMES[self.reversal.kind]} of payment {self.payment.payment_id}{of}"

    def _on_refunds(self) -> DraftLine:
        """A line on the account for refunds: that of what is done of this reversal, or the one that is chosen now.

        Once begun, an account is kept: on two of them an invoice and the money spent would not net to zero.
        """
        if begun := next((line for draft in self.before for line in self._own_lines(draft)), None):
            return begun
        if problem := accounts.refund_problem(self.undoing.ground, self.case.at):
            self.findings.append(problem)
        account = self.undoing.ground.refund_account()
        is_taxed = self.reversal.kind == ReversalKind.REFUND
        return DraftLine(
            description="",
            unit_amount=ZERO,
            account_code=account.code if account else "",
            xero_account_id=account.xero_account_id if account else "",
            tax_type=self.undoing.ground.settings.refund_tax_type if is_taxed else "",
        )

    def _own_lines(self, draft: Draft) -> Sequence[DraftLine]:
        """What of a draft is on the account for refunds; lines that repeat an invoice's do not name the payment."""
        lines = draft.lines if isinstance(draft, CreditNoteDraft | InvoiceDraft | SpentMoneyDraft) else ()
        return [line for line in lines if line.description.startswith(self._name())]

    def _check_account(self, account_id: str) -> None:
        """Whether money can still leave the account that it went to."""
        account = self.undoing.ground.accounts.get(account_id)
        if account is None:
            self.findings.append(sentences.account_gone(self.case, self.payment.currency))
        elif problem := accounts.closed(account, self.payment.currency, self.case):
            self.findings.append(problem)

    def _check_day(self) -> None:
        if all(isinstance(write.draft, Deletion) for write in self.plan):
            return
        if problem := plan.period_locked(self.undoing.organisation, self.reversal.reversed_on, self.case):
            self.findings.append(problem)

    def _check_begun(self) -> None:
        """Whether what is done has its place in the plan, and can be finished where it was begun."""
        if any(kind is not Deletion for kind, *_ in self.done_before):  # a payment that is deleted is not in the plan
            self.findings.append(sentences.begun_otherwise(self.case))
        if not any(self._own_lines(draft) for draft in self.before):
            return
        for account_id in {line.xero_account_id for write in self.plan for line in self._own_lines(write.draft)}:
            account = self.undoing.ground.accounts.get(account_id)
            if account is None or account.status != ACTIVE:
                self.findings.append(sentences.account_begun_with(self.case, account.name if account else ""))

    def _mark(self) -> str:
        return self.undoing.new_marker()

    def _add(self, draft: Draft, marker: str) -> None:
        """Plan a write, unless it was done when this was tried before. Its number is the same each time."""
        self.count += 1
        if (key := _what_for(draft)) in self.done_before:
            self.done_before.remove(key)
        else:
            self.plan.append(PlannedWrite(number=self.count, draft=draft, marker=marker))
