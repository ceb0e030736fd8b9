"""What must hold of payments once the dust settles: Xero shows each once, or visibly not, and all sums agree."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from payments_story import Story
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Credit, CreditKind, Invoice, Status
from tieout_server.exports import markers, plan
from tieout_server.ledger.exports import PaymentExport, Step
from tieout_server.ledger.writes import (
    BatchDraft,
    CreditNoteDraft,
    Deletion,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RefundDraft,
    SpentMoneyDraft,
)
from tieout_server.storage import export_steps

AT_REST = {"VERIFIED", "ERROR", "ALREADY_RECORDED", "REVERSED", "REMOVED_IN_XERO", "DISMISSED"}
KINDS = ("PAYMENT", "BATCH_PAYMENT", "OVERPAYMENT")
LOOKED_AFTER_NO_MORE = {"REVERSED", "DISMISSED", "ERROR"}
FOLLOW = {
    "QUEUED": {"CHECKED", "SENDING", "EXPORTED", "ERROR", "ALREADY_RECORDED", "DISMISSED"},
    "CHECKED": {"QUEUED", "SENDING", "EXPORTED", "ERROR", "ALREADY_RECORDED", "DISMISSED"},
    "SENDING": {"QUEUED", "EXPORTED", "ERROR", "OUTCOME_UNKNOWN"},
    "OUTCOME_UNKNOWN": {"QUEUED", "EXPORTED", "ERROR", "REMOVED_IN_XERO"},
    "EXPORTED": {"VERIFIED", "REVERSED", "REMOVED_IN_XERO"},
    "VERIFIED": {"REVERSED", "REMOVED_IN_XERO"},
    "ALREADY_RECORDED": {"REMOVED_IN_XERO"},
    "ERROR": {"QUEUED", "DISMISSED"},
    "REMOVED_IN_XERO": {"QUEUED", "DISMISSED"},
    "REVERSED": set(),
    "DISMISSED": set(),
}
"""What an export may become, as proto says (XeroStatus)."""


def live_records(books: Books) -> Iterator[tuple[str, str, Decimal]]:
    """Everything in the books that bears a marker of ours and counts: marker, id, amount; batches as one."""
    for payment in books.payments.values():
        if payment.status is not Status.DELETED and payment.batch is None:
            yield from ((marker, payment.id, payment.amount) for marker in markers.within([payment.reference]))
    for batch in books.batches.values():
        if batch.status is not Status.DELETED:
            yield from ((marker, batch.id, batch.total) for marker in markers.within([batch.reference]))
    for moved in books.bank_transactions.values():
        if moved.status not in (Status.DELETED, Status.VOIDED):
            texts = [moved.reference, *(line.description for line in moved.lines)]
            name = moved.credit.id if moved.credit else moved.id
            yield from ((marker, name, moved.total) for marker in markers.within(texts))
    settled: list[Credit | Invoice] = [*books.credits_of(CreditKind.CREDIT_NOTE).values(), *books.invoices.values()]
    for made in settled:
        if made.status not in (Status.DELETED, Status.VOIDED):
            yield from ((marker, made.id, made.total) for marker in markers.within([made.reference]))


async def check(story: Story) -> None:
    """See that each payment is in Xero exactly once, or visibly not.

    Raises:
        AssertionError: it is not, or we say what is not so.
    """
    exports = await story.every()
    steps = await story.tx(lambda tx: export_steps.of_exports(tx, [export.id for export in exports]))
    over = {
        step.xero_id for export in exports if export.xero_status in LOOKED_AFTER_NO_MORE for step in steps[export.id]
    }
    each = [step for some in steps.values() for step in some]
    each_step_once(story.sandbox.books, each, story.removed & over)
    for export in exports:
        stands_well(export, steps[export.id])
        _taken_back_well(export, steps[export.id], story.removed)
        _to_where_was_chosen(story, export, steps[export.id])
    _nothing_twice(story)
    _histories(exports)
    _watched(story, exports)


def each_step_once(books: Books, steps: list[Step], removed: set[str]) -> None:
    """What is DONE is in the books under its own marker, once; of everything else nothing is there.

    `removed`: what somebody deleted of exports that nobody looks after any more.
    """
    found = defaultdict[str, list[tuple[str, Decimal]]](list)
    for marker, name, amount in live_records(books):
        found[marker].append((name, amount))
    known = {step.marker: step for step in steps}
    assert not found.keys() - known.keys(), "Xero has something that we know nothing of"
    for step in steps:
        if isinstance(step.draft, Deletion):
            if step.state == "DONE":
                assert step.draft.xero_id not in [name for some in found.values() for name, _ in some], step
            continue
        is_there = step.state == "DONE" and step.xero_id not in removed
        expected = [(step.xero_id, plan.total(step.draft))] if is_there else []
        assert found[step.marker] == expected, f"{step} is in Xero as {found[step.marker]}"


def _done(steps: list[Step], *drafts: type, reversing: bool = False) -> Decimal:
    """What the steps of these kinds that are done come to: the export's own, or its reversals'."""
    made = [step for step in steps if bool(step.reversal_id) == reversing and isinstance(step.draft, drafts)]
    return sum((plan.total(step.draft) for step in made if step.state == "DONE"), Decimal(0))


def _own(steps: list[Step]) -> Decimal:
    """How much of a payment is in Xero because we put it there."""
    return _done(steps, PaymentDraft, BatchDraft, OverpaymentDraft)


def _linked(export: PaymentExport) -> Decimal:
    return sum((one.amount for one in export.records if not one.is_ours and not one.removed), Decimal(0))


def stands_well(export: PaymentExport, steps: list[Step]) -> None:
    """Each is at rest, says why where it is not in Xero, and is there with its whole amount where it says so."""
    payment_id, status = export.payment.payment_id, export.xero_status
    assert status in AT_REST, f"{payment_id} is {status} for ever: {export.error}"
    own, linked, amount = _own(steps), _linked(export), export.payment.amount
    assert own + linked <= amount, f"{payment_id} of {amount} is in Xero with {own} and {linked}"
    if status == "VERIFIED":
        assert own + linked == amount, f"{payment_id} is VERIFIED with {own} of {amount}"
    if status == "ALREADY_RECORDED":
        assert (own, linked) == (Decimal(0), amount), f"{payment_id}: {own}, {linked} of {amount}"
    if status == "ERROR":
        assert export.error is not None, payment_id
        assert all((export.error.sentence, export.error.remedy, export.error.owner)), export.error
    if status == "REMOVED_IN_XERO":
        assert own + linked < amount, f"{payment_id} is said to be removed, and all of it is there"
    ours = [one for one in export.records if one.is_ours and not one.removed and one.kind in KINDS]
    assert sum((one.amount for one in ours), Decimal(0)) == own, f"Xero shows {own} of {payment_id}, we say {ours}"


def _taken_back_well(export: PaymentExport, steps: list[Step], removed: set[str]) -> None:
    """What was taken back is what we say, never more than was paid, and nothing is owed or credited twice."""
    payment_id, own = export.payment.payment_id, _own(steps)
    gone = [step for step in steps if step.state == "GONE" and step.xero_id in removed]  # after it was paid back
    paid = own + sum((plan.total(step.draft) for step in gone), Decimal(0))
    for reversal in export.reversals:
        assert reversal.xero_status in ("VERIFIED", "ERROR", "REMOVED_IN_XERO"), reversal
        assert (reversal.xero_status == "VERIFIED") == (reversal.error is None), reversal
    said = sum((one.amount for one in export.reversals if one.xero_status != "ERROR"), Decimal(0))
    spent = _done(steps, RefundDraft, SpentMoneyDraft, reversing=True)
    owed, credited = (_done(steps, kind, reversing=True) for kind in (InvoiceDraft, CreditNoteDraft))
    assert said <= export.payment.amount, f"{said} of {payment_id} is said to be taken back"
    assert spent <= paid, f"{spent} of {payment_id} was paid back, and {paid} paid"
    on_invoices = paid - _done(steps, OverpaymentDraft)
    assert owed + credited <= on_invoices, f"{payment_id}: {owed} is owed again, {credited} credited of {on_invoices}"
    for reversal in [one for one in export.reversals if one.xero_status == "VERIFIED"]:
        between = _between([step for step in steps if step.reversal_id == reversal.id and step.state == "DONE"])
        assert not any(between.values()), f"what {reversal.reversal_id} owes again does not net to zero: {between}"
    if export.xero_status == "REVERSED":
        assert said == export.payment.amount, f"{payment_id} is REVERSED, and {said} taken back"
        assert spent == own, f"{payment_id} is REVERSED with {own} in Xero, of which {spent} was paid back"


def _between(steps: list[Step]) -> dict[str, Decimal]:
    """What invoices owed again and money spent leave on each account between them."""
    left = defaultdict[str, Decimal](Decimal)
    for step in steps:
        if isinstance(step.draft, InvoiceDraft | SpentMoneyDraft):
            for line in step.draft.lines:
                left[line.xero_account_id] += line.unit_amount * (1 if isinstance(step.draft, InvoiceDraft) else -1)
    return left


def _to_where_was_chosen(story: Story, export: PaymentExport, steps: list[Step]) -> None:
    """What was sent after a choice of accounts had been answered went to the account that was chosen."""
    for step in [one for one in steps if not one.reversal_id]:
        if (at := step.sent_at) is None:
            continue
        assert isinstance(step.draft, PaymentDraft | BatchDraft | OverpaymentDraft)
        before = [one for one in story.chosen if one.answered_at < at][-1:]
        during = [one for one in story.chosen if one.began_at <= at <= one.answered_at]
        may_be = {one.accounts.get(export.payment.currency, "") for one in (*before, *during)}
        assert step.draft.xero_account_id in may_be, f"{export.payment.payment_id} went to another account at {at}"


def _nothing_twice(story: Story) -> None:
    """No invoice has more of the platform's money than the platform has said, whoever recorded it."""
    left = defaultdict[str, Decimal](Decimal)
    for asked in story.asked:
        for line in asked.payment.lines:
            left[story.paid_by(line).id] += line.amount
    for payment in story.sandbox.books.payments.values():
        is_ours = bool(markers.within([payment.reference])) or payment.id in story.twins
        if is_ours and payment.status is not Status.DELETED and isinstance(payment.target, Invoice):
            left[payment.target.id] -= payment.amount
    assert all(amount >= 0 for amount in left.values()), "the same money is recorded twice"


def _histories(exports: list[PaymentExport]) -> None:
    for export in exports:
        statuses = [event.xero_status for event in export.history]
        assert statuses[0] == "QUEUED"
        assert statuses[-1] == export.xero_status
        for before, after in pairwise(statuses):
            assert after == before or after in FOLLOW[before], f"{export.payment.payment_id}: {before} became {after}"


def _watched(story: Story, exports: list[PaymentExport]) -> None:
    """Who watched was told what each history says: each change once, in order."""
    told = defaultdict[str, list[tuple[object, ...]]](list)
    for export_id, *change in story.watcher.changes:
        told[export_id].append(tuple(change))
    for export in exports:
        history = [(event.xero_status, event.sentence, event.occurred_at) for event in export.history]
        assert told[export.id] == history, f"{export.payment.payment_id}: {told[export.id]} is not {history}"
