"""May an invoice be chased? Each verdict has its case, and the first of them in order is the one that is given."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest

from documents import invoice
from tieout_server.ledger.money import Money
from tieout_server.reconciliations.chase import FRESH_FOR, ChaseVerdict, Standing, check
from tieout_server.storage.discrepancies import Discrepancy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OFF = Discrepancy(
    id="dis_1",
    connection_id="con_1",
    xero_contact_id="c1",
    customer_name="Acme",
    currency="NZD",
    ours=Decimal(10),
    xero=Decimal(0),
    state="NEEDS_ATTENTION",
    sentence="An invoice is missing.",
    opened_at=NOW,
    updated_at=NOW,
)


def standing(**known: object) -> Standing:
    return Standing(**({"invoice": invoice(), "known_at": NOW} | known))  # type: ignore[arg-type] # what a test says


def test_an_open_fresh_invoice_of_a_customer_that_agrees_is_safe() -> None:
    found = check(standing(), NOW)
    assert (found.verdict, found.due, found.as_of) == (ChaseVerdict.SAFE, Money("NZD", Decimal("230.50")), NOW)


@pytest.mark.parametrize(("status", "due"), [("PAID", "0"), ("AUTHORISED", "0")])
def test_what_owes_nothing_is_paid(status: str, due: str) -> None:
    found = check(standing(invoice=invoice(status=status, due=Decimal(due)), discrepancy=OFF), NOW)
    assert (found.verdict, found.discrepancy_id) == (ChaseVerdict.PAID, "")


@pytest.mark.parametrize("status", ["DRAFT", "SUBMITTED", "VOIDED", "DELETED"])
def test_what_is_not_in_the_ledger_is_unknown_and_bears_no_amount(status: str) -> None:
    found = check(standing(invoice=invoice(status=status), payment_export_id="exp_1", discrepancy=OFF), NOW)
    assert (found.verdict, found.due, found.payment_export_id) == (ChaseVerdict.UNKNOWN_INVOICE, None, "")


def test_a_payment_on_its_way_is_named() -> None:
    found = check(standing(payment_export_id="exp_1"), NOW)
    assert (found.verdict, found.payment_export_id) == (ChaseVerdict.PAYMENT_PENDING, "exp_1")


def test_a_customer_that_is_off_balance_is_named_with_the_reason() -> None:
    found = check(standing(discrepancy=OFF), NOW)
    assert (found.verdict, found.discrepancy_id) == (ChaseVerdict.OFF_BALANCE, "dis_1")
    assert "An invoice is missing." in found.sentence


@pytest.mark.parametrize(
    ("age", "said"),
    [(FRESH_FOR, ChaseVerdict.SAFE), (FRESH_FOR + timedelta(microseconds=1), ChaseVerdict.STALE)],
)
def test_ten_minutes_are_fresh_and_not_a_moment_more(age: timedelta, said: ChaseVerdict) -> None:
    assert check(standing(known_at=NOW - age), NOW).verdict is said


def test_before_the_first_sync_has_ended_nothing_is_safe() -> None:
    found = check(standing(known_at=None), NOW)
    assert (found.verdict, found.as_of) == (ChaseVerdict.STALE, None)


def test_of_several_reasons_the_first_in_order_is_given() -> None:
    order: tuple[tuple[ChaseVerdict, dict[str, object]], ...] = (
        (ChaseVerdict.UNKNOWN_INVOICE, {"invoice": invoice(status="VOIDED")}),
        (ChaseVerdict.PAID, {"invoice": invoice(status="PAID", due=Decimal(0))}),
        (ChaseVerdict.PAYMENT_PENDING, {"payment_export_id": "exp_1"}),
        (ChaseVerdict.OFF_BALANCE, {"discrepancy": OFF}),
        (ChaseVerdict.STALE, {"known_at": NOW - timedelta(hours=1)}),
        (ChaseVerdict.UNAPPLIED_CREDIT, {"unapplied": Decimal("230.50")}),
    )
    for chosen in product((False, True), repeat=len(order)):
        given = [reason for reason, is_given in zip(order, chosen, strict=True) if is_given]
        known: dict[str, object] = {}
        for _, facts in reversed(given):
            known |= facts
        expected = given[0][0] if given else ChaseVerdict.SAFE
        assert check(standing(**known), NOW).verdict is expected
