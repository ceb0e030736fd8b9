"""Whatever a payment is and is known: no cent is lost, none is paid twice, no invoice gets more than its due."""

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from payments_known import BANK_EUR, BANK_NZD, CLEARING, ORGANISATION, PAID_ON, ground, payable, seen, situation, step
from tieout_server.exports.checks import Examined, Situation, after, examine, settled
from tieout_server.exports.plan import PlannedWrite
from tieout_server.exports.state import ExportReason
from tieout_server.ledger.exports import PaymentLine, PlatformPayment
from tieout_server.ledger.writes import BatchDraft, OverpaymentDraft, Payable, PaymentDraft, PaymentSeen

ZERO = Decimal(0)
INVOICES = ("i1", "i2", "i3")
# Few amounts, so that twins, exact payments and invoices that are paid twice all come about.
CENTS = st.sampled_from([1, 20_00, 40_00, 60_00, 100_00, 100_01, 120_00])


def money(cents: int) -> Decimal:
    return Decimal(cents) / 100


@st.composite
def recorded(draw: st.DrawFn, name: str) -> PaymentSeen:
    on = draw(st.sampled_from([PAID_ON, PAID_ON.replace(day=1)]))
    return seen(name, str(money(draw(CENTS))), on, draw(st.sampled_from(["", "by hand", "TIE00000000B Card"])))


@st.composite
def invoices(draw: st.DrawFn, name: str) -> Payable:
    payments = [draw(recorded(f"{name}-p{index}")) for index in range(draw(st.integers(0, 2)))]
    due = draw(st.one_of(st.just(0), CENTS))
    status = "PAID" if due == 0 else draw(st.sampled_from(["AUTHORISED"] * 6 + ["DRAFT", "VOIDED"]))
    number = draw(st.sampled_from([name.upper()] * 4 + ["SAME"]))
    currency = draw(st.sampled_from(["NZD"] * 7 + ["EUR"]))
    contact = draw(st.sampled_from(["c1", "c1", "c2"]))
    return payable(
        name, str(money(due)), *payments, status=status, number=number, currency=currency, xero_contact_id=contact
    )


@st.composite
def lines(draw: st.DrawFn) -> PaymentLine:
    name, amount = draw(st.sampled_from([*INVOICES, *INVOICES, "i9"])), money(draw(CENTS))
    if draw(st.booleans()):
        return PaymentLine(invoice_number=draw(st.sampled_from([name.upper(), "SAME"])), amount=amount)
    return PaymentLine(xero_invoice_id=name, amount=amount)


@st.composite
def payments(draw: st.DrawFn) -> PlatformPayment:
    named = tuple(draw(st.lists(lines(), min_size=1, max_size=4)))
    rest = money(draw(st.sampled_from([0, 0, 0, 1, 20_00])))
    return PlatformPayment(
        payment_id="pay-1",
        paid_on=PAID_ON,
        currency="NZD",
        amount=sum((line.amount for line in named), rest),
        lines=named,
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    account = draw(st.sampled_from(["bank-nzd"] * 5 + ["clearing", "bank-eur", "gone"]))
    settings = ground(
        BANK_NZD,
        BANK_EUR,
        CLEARING,
        accounts={"NZD": account},
        overpayment_policy=draw(st.sampled_from(["HOLD", "SPLIT", "SPLIT"])),
    )
    return situation(
        *(draw(invoices(name)) for name in INVOICES),
        ground=settings,
        organisation=ORGANISATION,
        contact_statuses={"c2": draw(st.sampled_from(["ACTIVE", "ARCHIVED"]))},
        linked=draw(st.sets(st.sampled_from(["i1-p0", "i2-p0"]))),
    )


def paid(writes: tuple[PlannedWrite, ...]) -> Counter[str]:
    """What writes pay of each invoice, in cents."""
    total: Counter[str] = Counter()
    for draft in (write.draft for write in writes):
        if isinstance(draft, PaymentDraft):
            total[draft.xero_invoice_id] += int(draft.amount * 100)
        elif isinstance(draft, BatchDraft):
            total.update({part.xero_invoice_id: int(part.amount * 100) for part in draft.parts})
    return total


def overpaid(writes: tuple[PlannedWrite, ...]) -> Decimal:
    return sum((write.draft.amount for write in writes if isinstance(write.draft, OverpaymentDraft)), ZERO)


def placed(examined: Examined) -> Decimal:
    """Where all of the payment goes: paid, linked, and left over."""
    linked = sum((twin.amount for twin in examined.twins), ZERO)
    return money(paid(examined.plan).total()) + overpaid(examined.plan) + linked


@given(payments(), situations())
def test_a_payment_is_refused_with_reasons_or_placed_to_the_cent(payment: PlatformPayment, known: Situation) -> None:
    examined = examine(payment, known)
    if examined.findings:
        assert (examined.plan, examined.records) == ((), ())
        assert all(ExportReason(finding.reason) for finding in examined.findings)
        assert all(finding.sentence and finding.remedy for finding in examined.findings)
    else:
        assert placed(examined) == payment.amount
        assert examined.plan or examined.twins
        assert sum((record.amount for record in (*examined.records, *examined.twins)), ZERO) == payment.amount


@given(payments(), situations())
def test_no_invoice_gets_more_than_its_due_nor_two_writes(payment: PlatformPayment, known: Situation) -> None:
    examined = examine(payment, known)
    for invoice_id, cents in paid(examined.plan).items():
        assert 0 < money(cents) <= known.by_id[invoice_id].invoice.due
    assert len({write.marker for write in examined.plan}) == len(examined.plan)


@given(st.lists(payments(), min_size=1, max_size=4), situations())
def test_a_group_pays_no_more_than_is_due_and_shares_no_twin(group: list[PlatformPayment], known: Situation) -> None:
    paid_by_all: Counter[str] = Counter()
    linked: list[str] = []
    for payment in group:
        examined = examine(payment, known)
        known = after(known, examined)
        paid_by_all += paid(examined.plan)
        linked += [twin.xero_id for twin in examined.twins if not examined.findings]
    assert all(money(cents) <= known.by_id[invoice_id].invoice.due for invoice_id, cents in paid_by_all.items())
    assert len(set(linked)) == len(linked)


@given(payments(), situations(), st.data())
def test_a_plan_done_in_part_is_completed_to_the_cent(
    payment: PlatformPayment, known: Situation, data: st.DataObject
) -> None:
    first = examine(payment, known)
    if first.findings:
        return
    done = data.draw(st.sets(st.sampled_from(first.plan)) if first.plan else st.just(set()), label="done")
    before = settled([step(write.draft) for write in done], first.twins)
    second = examine(payment, _paid_meanwhile(known, tuple(done), first), before)
    was_placed = sum(before.paid.values(), ZERO) + before.overpaid
    assert not second.findings
    assert was_placed + placed(second) == payment.amount


def _paid_meanwhile(known: Situation, done: tuple[PlannedWrite, ...], first: Examined) -> Situation:
    """The same books after these writes: what is due has fallen, and what is linked is known to be."""
    spent = paid(done)
    payables = []
    for one in known.by_id.values():
        due = one.invoice.due - money(spent[one.invoice.xero_invoice_id])
        status = "PAID" if due == 0 and one.invoice.status == "AUTHORISED" else one.invoice.status
        fields = {name: getattr(one.invoice, name) for name in ("number", "currency", "xero_contact_id")}
        payables.append(payable(one.invoice.xero_invoice_id, str(due), *one.payments, status=status, **fields))
    linked = frozenset(known.linked).union(twin.xero_id for twin in first.twins)
    return situation(*payables, ground=known.ground, contact_statuses=known.contact_statuses, linked=linked)
