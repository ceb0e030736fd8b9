"""What must hold of payments once the dust settles: Xero shows each once, or visibly not, and all sums agree."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from payments_story import Story
from tieout_sandbox.books.books import Books
from tieout_sandbox.books.documents import Credit, CreditKind, Invoice, Status
from tieout_server.exports import markers
from tieout_server.ledger.exports import PaymentExport, Step
from tieout_server.ledger.writes import BatchDraft, Deletion, OverpaymentDraft, PaymentDraft
from tieout_server.storage import export_steps

AT_REST = {"VERIFIED", "ERROR", "ALREADY_RECORDED", "REVERSED", "REMOVED_IN_XERO", "DISMISSED"}
LOOKED_AFTER_NO_MORE = {"REVERSED", "DISMISSED", "ERROR"}
FOLLOW = {
    "QUEUED": {"CHECKED", "SENDING", "EXPORTED", "ERROR", "ALREADY_RECORDED"},
    "CHECKED": {"QUEUED", "SENDING", "EXPORTED", "ERROR", "ALREADY_RECORDED"},
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
    _each_step_once(story.sandbox.books, each, story.removed & over)
    amounts = {name: amount for _, name, amount in live_records(story.sandbox.books)}
    for export in exports:
        _stands_well(export, steps[export.id], amounts)
    _sums_agree(exports, steps, amounts)
    _nothing_twice(story)
    _histories(exports)
    _watched(story, exports)


def _each_step_once(books: Books, steps: list[Step], removed: set[str]) -> None:
    """What is DONE is in the books under its own marker, once; of everything else nothing is there.

    `removed`: what somebody deleted of exports that nobody looks after any more.
    """
    found = defaultdict[str, list[str]](list)
    for marker, name, _ in live_records(books):
        found[marker].append(name)
    known = {step.marker: step for step in steps}
    assert not found.keys() - known.keys(), "Xero has something that we know nothing of"
    for step in steps:
        if isinstance(step.draft, Deletion):
            if step.state == "DONE":
                assert step.draft.xero_id not in [name for some in found.values() for name in some], step
            continue
        expected = [step.xero_id] if step.state == "DONE" and step.xero_id not in removed else []
        assert found[step.marker] == expected, f"{step} is in Xero as {found[step.marker]}"


def _own(steps: list[Step], amounts: dict[str, Decimal]) -> Decimal:
    """How much of a payment is in Xero because we put it there."""
    made = [s for s in steps if not s.reversal_id and isinstance(s.draft, PaymentDraft | BatchDraft | OverpaymentDraft)]
    return sum((amounts.get(step.xero_id, Decimal(0)) for step in made if step.state == "DONE"), Decimal(0))


def _linked(export: PaymentExport) -> Decimal:
    return sum((one.amount for one in export.records if not one.is_ours and not one.removed), Decimal(0))


def _stands_well(export: PaymentExport, steps: list[Step], amounts: dict[str, Decimal]) -> None:
    """Each is at rest, says why where it is not in Xero, and is there with its whole amount where it says so."""
    payment_id, status = export.payment.payment_id, export.xero_status
    assert status in AT_REST, f"{payment_id} is {status} for ever: {export.error}"
    own, amount = _own(steps, amounts), export.payment.amount
    assert own + _linked(export) <= amount, f"{payment_id} of {amount} is in Xero with {own} and {_linked(export)}"
    for reversal in export.reversals:
        assert reversal.xero_status in ("VERIFIED", "ERROR"), f"{reversal.reversal_id} is {reversal.xero_status}"
        assert (reversal.xero_status == "ERROR") == (reversal.error is not None), reversal
    if status == "VERIFIED" and not any(one.kind != "REFUND" for one in export.reversals):
        assert own + _linked(export) == amount, f"{payment_id} is VERIFIED with {own} of {amount}"
    if status == "ALREADY_RECORDED":
        assert (own, _linked(export)) == (Decimal(0), amount), f"{payment_id}: {own}, {_linked(export)} of {amount}"
    if status == "ERROR":
        assert export.error is not None, payment_id
        assert all((export.error.sentence, export.error.remedy, export.error.owner)), export.error
    if status == "REMOVED_IN_XERO":
        assert own + _linked(export) < amount, f"{payment_id} is said to be removed, and all of it is there"


def _sums_agree(exports: list[PaymentExport], steps: dict[str, list[Step]], amounts: dict[str, Decimal]) -> None:
    """What Xero shows of us is what our records say, to the cent."""
    kinds = ("PAYMENT", "BATCH_PAYMENT", "OVERPAYMENT")
    shown = sum((_own(steps[export.id], amounts) for export in exports), Decimal(0))
    said = [
        one for export in exports for one in export.records if one.is_ours and not one.removed and one.kind in kinds
    ]
    batches = {one.xero_id: one.amount for one in said if one.kind == "BATCH_PAYMENT"}
    singles = sum((one.amount for one in said if one.kind != "BATCH_PAYMENT"), Decimal(0))
    assert shown == sum(batches.values(), singles) or not said, f"Xero shows {shown}; we say {said}"


def _nothing_twice(story: Story) -> None:
    """No invoice has more of the platform's money than the platform has said, whoever recorded it."""
    said = Counter[str]()
    for asked in story.asked:
        for line in asked.payment.lines:
            invoice = next(i for i in story.invoices if i.id == line.xero_invoice_id or i.number == line.invoice_number)
            said[invoice.id] += line.amount  # type: ignore[assignment] # amounts are counted
    for payment in story.sandbox.books.payments.values():
        is_ours = bool(markers.within([payment.reference])) or payment.id in story.twins
        if is_ours and payment.status is not Status.DELETED and isinstance(payment.target, Invoice):
            said[payment.target.id] -= payment.amount  # type: ignore[assignment] # likewise
    assert not {name: left for name, left in said.items() if left < 0}, "the same money is recorded twice"


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
