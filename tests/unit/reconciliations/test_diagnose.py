"""Explaining what Xero states: the convention is inferred from all contacts, and causes are exact or not claimed."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.convention import ALL, USUAL, Convention, Told, readings
from tieout_server.reconciliations.diagnose import Part, explain
from tieout_server.reconciliations.items import Item
from tieout_server.reconciliations.suspects import Crossing, Suspects, offered

TODAY = date(2026, 11, 22)
RATE = Decimal("0.5")


def item(xero_id: str, due: str, entity: Entity = Entity.INVOICES, **changes: object) -> Item:
    """An open document of ACME in the base currency."""
    plain = Item(
        entity=entity,
        xero_id=xero_id,
        number=xero_id.upper(),
        xero_contact_id="acme",
        currency="NZD",
        rate=Decimal(1),
        status="AUTHORISED",
        total=Decimal(due),
        due=Decimal(due),
        issued_on=TODAY,
        updated_at=datetime(2026, 11, 22, tzinfo=UTC),
    )
    return msgspec.structs.replace(plain, **changes)


INVOICE, CREDIT = item("inv", "100.00"), item("crd", "30.00", Entity.CREDIT_NOTES)
FOREIGN = item("eur", "80.00", currency="EUR", rate=RATE)
LATER = item("later", "45.00", issued_on=date(2027, 1, 5))
DRAFT = item("draft", "17.50", status="DRAFT")


def told(contacts: Sequence[tuple[Decimal, Sequence[Item]]]) -> Told:
    """What these contacts tell by their figures and documents."""
    found = Told()
    for number, (figure, items) in enumerate(contacts):
        found.add(f"c{number}", readings(figure, items))
    return found


@pytest.mark.parametrize("convention", ALL, ids=str)
def test_the_convention_is_found_from_the_contacts_that_tell(convention: Convention) -> None:
    contacts = [[INVOICE], [INVOICE, CREDIT], [FOREIGN], [FOREIGN, CREDIT]]

    assert told([(convention.expected(items), items) for items in contacts]).holding() == (convention,)


@pytest.mark.parametrize("convention", ALL, ids=str)
def test_one_contact_that_is_off_does_not_change_how_the_others_are_read(convention: Convention) -> None:
    contacts = [[INVOICE, CREDIT], [FOREIGN], [FOREIGN, CREDIT], [item("x", "7.00"), CREDIT]]
    stated = [(convention.expected(items), items) for items in contacts]
    stated.append((Decimal("1.23"), [INVOICE, CREDIT, FOREIGN]))

    assert told(stated).holding() == (convention,)


def test_where_nobody_else_tells_every_reading_holds_that_makes_the_figure() -> None:
    alone = told([(Decimal(100), [INVOICE]), (Decimal(100), [INVOICE, CREDIT])])

    assert alone.holding(["c1"]) == ALL
    assert alone.reading(Decimal(100), [INVOICE, CREDIT], ["c1"]).agrees(Decimal(100), [INVOICE, CREDIT])
    assert alone.reading(Decimal(99), [INVOICE, CREDIT], ["c1"]) == USUAL
    assert not alone.reading(Decimal(70), [INVOICE, CREDIT], ["c2"]).nets_credits


def test_a_figure_is_converted_document_by_document_or_as_a_whole() -> None:
    thirds = [item(f"t{n}", "10.00", currency="EUR", rate=Decimal("0.3")) for n in range(3)]

    assert [cents for cents in range(9_995, 10_005) if USUAL.agrees(Decimal(cents) / 100, thirds)] == [9_999, 10_000]
    assert not USUAL.agrees(Decimal("100.01"), [INVOICE])


@pytest.mark.parametrize("entity", [Entity.INVOICES, Entity.CREDIT_NOTES])
def test_a_document_that_converts_to_half_a_cent_may_be_rounded_either_way(entity: Entity) -> None:
    half = item("e", "100.02", entity, currency="USD", rate=Decimal("0.8"))  # 125.025
    sign = -1 if entity is Entity.CREDIT_NOTES else 1
    agreeing = [cents for cents in range(12_500, 12_505) if USUAL.agrees(sign * Decimal(cents) / 100, [half])]
    assert agreeing == [12_502, 12_503]
    whole = item("e", "100.00", entity, currency="USD", rate=Decimal("0.8"))
    assert [cents for cents in range(12_498, 12_503) if USUAL.agrees(sign * Decimal(cents) / 100, [whole])] == [12_500]


def causes(stated: Decimal, suspects: Suspects, convention: Convention = USUAL) -> dict[Cause, Decimal]:
    """The causes found and what each explains."""
    difference = convention.expected(suspects.items) - stated
    found = explain(difference, offered(suspects, convention, TODAY))
    shares: dict[Cause, Decimal] = {}
    for part in found.parts:
        shares[part.cause] = shares.get(part.cause, Decimal(0)) + part.amount
    assert sum(shares.values(), Decimal(0)) == difference
    return shares


EVERYTHING = Suspects(
    xero_contact_id="acme",
    items=[INVOICE, CREDIT, FOREIGN, LATER],
    drafts=[DRAFT],
    crossings=[
        Crossing(credit=item("moved", "12.25", Entity.CREDIT_NOTES), invoice_contact_id="bolt", amount=Decimal("12.25"))
    ],
)
BALANCE = USUAL.expected(EVERYTHING.items)
INJECTED = {
    Cause.DRAFT_COUNTED: Decimal("17.50"),
    Cause.FUTURE_DATED: Decimal("-45.00"),
    Cause.UNALLOCATED_CREDIT: Decimal("30.00"),
    Cause.ALLOCATION_ON_OTHER_CONTACT: Decimal("-12.25"),
    Cause.FOREIGN_CURRENCY_MIX: Decimal("80.00") - Decimal("160.00"),
}


@pytest.mark.parametrize("cause", INJECTED)
def test_a_cause_that_is_alone_is_named(cause: Cause) -> None:
    assert causes(BALANCE + INJECTED[cause], EVERYTHING) == {cause: -INJECTED[cause]}


@pytest.mark.parametrize(("one", "other"), [(a, b) for a in INJECTED for b in INJECTED if a < b])
def test_two_causes_together_are_both_named(one: Cause, other: Cause) -> None:
    found = causes(BALANCE + INJECTED[one] + INJECTED[other], EVERYTHING)

    assert found == {one: -INJECTED[one], other: -INJECTED[other]}


def test_a_few_cents_that_nothing_else_explains_are_rounding() -> None:
    assert causes(BALANCE + Decimal("0.07"), EVERYTHING) == {Cause.ROUNDING: Decimal("-0.07")}


@pytest.mark.parametrize("cause", INJECTED)
def test_a_cause_and_a_few_cents_of_rounding_are_both_named(cause: Cause) -> None:
    found = causes(BALANCE + INJECTED[cause] + Decimal("0.07"), EVERYTHING)

    assert found == {cause: -INJECTED[cause], Cause.ROUNDING: Decimal("-0.07")}


def test_what_several_documents_nearly_explain_is_not_claimed() -> None:
    alike = [Part(cause=Cause.DRAFT_COUNTED, amount=Decimal(amount)) for amount in ("17.50", "17.52")]

    assert explain(Decimal("17.51"), {Cause.DRAFT_COUNTED: alike}).parts[0].cause is Cause.UNEXPLAINED


def test_what_nothing_explains_says_what_was_ruled_out_and_is_never_plugged() -> None:
    found = explain(Decimal("1234.56"), offered(EVERYTHING, USUAL, TODAY))

    assert [part.cause for part in found.parts] == [Cause.UNEXPLAINED]
    assert set(found.ruled_out) == {*INJECTED, Cause.ROUNDING}


def test_no_difference_needs_no_explanation() -> None:
    assert explain(Decimal("0.00"), offered(EVERYTHING, USUAL, TODAY)).parts == ()


parts = st.lists(
    st.builds(
        Part,
        cause=st.sampled_from(list(INJECTED)),
        amount=st.integers(-9999, 9999).map(lambda n: Decimal(n).scaleb(-2)),
    ),
    max_size=40,
)


@given(st.integers(-99999, 99999).map(lambda n: Decimal(n).scaleb(-2)), parts)
def test_an_explanation_always_adds_up(difference: Decimal, found: list[Part]) -> None:
    by_cause = {cause: [part for part in found if part.cause is cause and part.amount] for cause in INJECTED}

    assert sum((part.amount for part in explain(difference, by_cause).parts), Decimal(0)) == difference


EUROS: dict[str, Any] = {"currency": "EUR", "rate": RATE}


def test_drafts_and_allocations_in_another_currency_are_converted_as_the_figure_is() -> None:
    around = Suspects(
        xero_contact_id="acme",
        items=[INVOICE],
        drafts=[
            item("invoice", "100.00", status="DRAFT", **EUROS),
            item("credit", "11.00", Entity.CREDIT_NOTES, status="DRAFT", **EUROS),
        ],
        crossings=[
            Crossing(
                credit=item("moved", "30.00", Entity.CREDIT_NOTES, **EUROS),
                invoice_contact_id="bolt",
                amount=Decimal("30.00"),
            )
        ],
    )
    for difference, cause in (
        ("-200", Cause.DRAFT_COUNTED),
        ("22", Cause.DRAFT_COUNTED),
        ("60", Cause.ALLOCATION_ON_OTHER_CONTACT),
    ):
        assert causes(Decimal(100) - Decimal(difference), around) == {cause: Decimal(difference)}
    assert causes(Decimal(200), around, Convention(in_base=False)) == {Cause.DRAFT_COUNTED: Decimal(-100)}
