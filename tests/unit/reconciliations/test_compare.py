"""Comparing two sides: the difference is zero exactly when they agree, and each kind of mismatch has its name."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.compare import Cause, by_owner, difference, mismatches
from tieout_server.reconciliations.items import Item, balances

READ_AT = datetime(2026, 11, 22, tzinfo=UTC)
ACME = ("acme", "NZD")


def invoice(xero_id: str = "inv", **changes: object) -> Item:
    """An open invoice of ACME over 100."""
    plain = Item(
        entity=Entity.INVOICES,
        xero_id=xero_id,
        number=xero_id.upper(),
        xero_contact_id="acme",
        currency="NZD",
        rate=Decimal(1),
        status="AUTHORISED",
        total=Decimal(100),
        due=Decimal(100),
        updated_at=READ_AT,
    )
    return msgspec.structs.replace(plain, **changes)


def credit(xero_id: str = "crd", **changes: object) -> Item:
    """A credit note of ACME over 30, all of it left."""
    amounts = {"entity": Entity.CREDIT_NOTES, "total": Decimal(30), "due": Decimal(30)}
    return invoice(xero_id, **(amounts | changes))


def side(*items: Item) -> dict[str, Item]:
    """Items by id."""
    return {item.xero_id: item for item in items}


amounts = st.integers(min_value=0, max_value=10**9).map(lambda units: Decimal(units).scaleb(-4))
items = st.builds(
    Item,
    entity=st.sampled_from([Entity.INVOICES, Entity.CREDIT_NOTES, Entity.OVERPAYMENTS, Entity.PREPAYMENTS]),
    xero_id=st.sampled_from([f"doc{n}" for n in range(8)]),
    number=st.just("N"),
    xero_contact_id=st.sampled_from(["acme", "bolt", "bolt-before-the-merge"]),
    currency=st.sampled_from(["NZD", "EUR"]),
    rate=st.just(Decimal(1)),
    status=st.sampled_from(["DRAFT", "AUTHORISED", "PAID", "VOIDED", "DELETED"]),
    total=amounts,
    due=amounts,
    paid=amounts,
    credited=amounts,
    updated_at=st.just(READ_AT),
)
sides = st.lists(items, max_size=8).map(lambda found: side(*found))
OWNERS = {"bolt-before-the-merge": "bolt"}


@given(sides, sides)
def test_mismatches_add_up_to_the_difference_of_the_balances_exactly(
    ours: dict[str, Item], xero: dict[str, Item]
) -> None:
    mine, theirs = balances(ours.values(), OWNERS), balances(xero.values(), OWNERS)
    found = [by_owner(mismatch, OWNERS) for mismatch in mismatches(ours, xero)]

    for key in mine.keys() | theirs.keys():
        assert difference(found, key) == mine.get(key, Decimal(0)) - theirs.get(key, Decimal(0))


@given(sides)
def test_sides_that_agree_have_no_mismatch(ours: dict[str, Item]) -> None:
    assert mismatches(ours, ours) == []


@pytest.mark.parametrize(
    ("ours", "xero", "cause", "share"),
    [
        (None, invoice(), Cause.MISSING_DOCUMENT, "-100"),
        (invoice(), None, Cause.MISSED_DELETION, "100"),
        (invoice(), invoice(status="VOIDED", due=Decimal(0)), Cause.MISSED_DELETION, "100"),
        (invoice(), invoice(total=Decimal(120), due=Decimal(120)), Cause.STALE_DOCUMENT, "-20"),
        (invoice(), invoice(status="PAID", due=Decimal(0), paid=Decimal(100)), Cause.STALE_DOCUMENT, "100"),
        (invoice(due=Decimal(60), paid=Decimal(40)), invoice(), Cause.PAYMENT_REMOVED_IN_XERO, "-40"),
        (invoice(due=Decimal(70), credited=Decimal(30)), invoice(), Cause.UNALLOCATED_CREDIT, "-30"),
        (credit(), credit(due=Decimal(10)), Cause.UNALLOCATED_CREDIT, "-20"),
        (None, credit(), Cause.MISSING_DOCUMENT, "30"),
        (invoice(), invoice(xero_contact_id="bolt"), Cause.STALE_DOCUMENT, "100"),
    ],
)
def test_a_mismatch_is_named_and_has_its_share(ours: Item | None, xero: Item | None, cause: Cause, share: str) -> None:
    (found,) = mismatches(side(*filter(None, [ours])), side(*filter(None, [xero])))

    assert found.cause is cause
    assert found.share(ACME) == Decimal(share)


def test_a_document_that_moved_to_another_contact_concerns_both() -> None:
    (found,) = mismatches(side(invoice()), side(invoice(xero_contact_id="bolt")))

    assert found.keys == {ACME, ("bolt", "NZD")}
    assert found.share(("bolt", "NZD")) == Decimal(-100)


def test_what_is_settled_on_both_sides_does_not_matter() -> None:
    ours, xero = invoice(status="PAID", due=Decimal(0), paid=Decimal(100)), None

    assert mismatches(side(ours), side(*filter(None, [xero]))) == []


def test_an_invoice_that_does_not_add_up_says_so() -> None:
    assert invoice().adds_up
    assert not invoice(paid=Decimal(1)).adds_up
    assert credit(due=Decimal(5)).adds_up
