"""How discrepancies and balances look: what differs, by how much, why, and what to do."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from tieout.cli.show import moment, money, table, word
from tieout.v1.reconciliation_service_pb2 import (
    BalanceComparison,
    Discrepancy,
    DiscrepancyCause,
    DiscrepancyChange,
    DiscrepancyDocument,
    DiscrepancyState,
    DocumentValues,
    Repair,
)
from tieout.v1.types_pb2 import Entity, Money, Owner

_SIDES = ("ours", "Xero", "difference")


def state(it: Discrepancy) -> str:
    """Where a discrepancy stands."""
    return word(DiscrepancyState, it.state, "DISCREPANCY_STATE_")


def cause(number: "DiscrepancyCause.ValueType") -> str:
    """Why two balances differ."""
    return word(DiscrepancyCause, number, "DISCREPANCY_CAUSE_")


def listing(found: Iterable[Discrepancy]) -> Table:
    """Discrepancies, one a line."""
    made = table("customer", *_SIDES, "cause", "state", "id", right=_SIDES)
    for it in found:
        made.add_row(it.customer_name, *_sides(it), cause(it.cause), state(it), it.id)
    return made


def card(it: Discrepancy) -> Iterator[Text | Table]:
    """All that is known of one discrepancy, part by part."""
    made = table("", "all that is known", wide="all that is known")
    made.show_header = False
    rows = {
        "discrepancy": it.id,
        "customer": it.customer_name,
        "ours": money([it.ours]),
        "Xero": money([it.xero]),
        "difference": _signed(it.difference),
        "cause": cause(it.cause),
        "state": state(it),
        "who acts": word(Owner, it.owner, "OWNER_"),
        "opened": moment(it.opened_at),
        "over": moment(it.resolved_at),
        "note": it.note,
        "ruled out": ", ".join(map(cause, it.ruled_out)),
    }
    for label, value in rows.items():
        if value:
            made.add_row(label, value)
    yield made
    yield from explained(it)
    if it.history:
        yield _history(it)
    if it.xero_url:
        yield Text(it.xero_url)


def explained(it: Discrepancy) -> Iterator[Text | Table]:
    """Why both sides differ, for a person: the sentence, each of several causes with its part, the documents."""
    yield Text(it.sentence)
    if len(it.causes) > 1:
        made = table("cause", "part", "why", right=("part",), wide="why")
        for share in it.causes:
            made.add_row(cause(share.cause), _signed(share.amount), share.sentence)
        yield made
    if it.documents:
        yield _documents(it.documents)


def balances(found: Sequence[BalanceComparison]) -> Table:
    """Both sides of a customer's balances, and the caller's where it submitted any."""
    with_platform = any(it.HasField("platform") for it in found)
    figures = (*_SIDES, *(("platform",) if with_platform else ()))
    made = table("currency", *figures, "as of", right=figures)
    for it in found:
        third = (money([it.platform] if it.HasField("platform") else []),) if with_platform else ()
        made.add_row(it.currency_code, *_sides(it), *third, moment(it.as_of))
    return made


def repairs(made: Iterable[Repair]) -> Iterator[str]:
    """What was put right here, one a line."""
    for it in made:
        name = f"{word(Entity, it.entity, 'ENTITY_').removesuffix('s')} {it.number or it.xero_id}"
        before = _values(it.before) if it.HasField("before") else "not here"
        after = _values(it.after) if it.HasField("after") else "gone"
        yield f"Repaired {name} ({cause(it.cause)}): {before} → {after}"


def line(told: DiscrepancyChange) -> str:
    """What happened to a discrepancy, in one line."""
    it, event = told.discrepancy, told.event
    head = f"{moment(event.occurred_at)}  {it.id}  {it.customer_name}  {money([event.difference])}"
    return f"{head}  {word(DiscrepancyState, event.state, 'DISCREPANCY_STATE_')}: {event.sentence}"


def line_now(it: Discrepancy) -> str:
    """How a discrepancy stands, in one line."""
    return f"{it.id}  {it.customer_name}  {money([it.difference])}  {state(it)}: {it.sentence}"


def _documents(found: Iterable[DiscrepancyDocument]) -> Table:
    made = table("document", *_SIDES, "cause", right=_SIDES)
    for it in found:
        kind = word(Entity, it.entity, "ENTITY_").removesuffix("s")
        ours = _values(it.ours) if it.HasField("ours") else "not here"
        theirs = _values(it.xero) if it.HasField("xero") else "not there"
        made.add_row(f"{kind} {it.number or it.xero_id}", ours, theirs, _signed(it.difference), cause(it.cause))
    return made


def _history(it: Discrepancy) -> Table:
    made = table("when", "state", "difference", "what happened", right=("difference",), wide="what happened")
    for event in it.history:
        stood = word(DiscrepancyState, event.state, "DISCREPANCY_STATE_")
        made.add_row(moment(event.occurred_at), stood, _signed(event.difference), event.sentence)
    return made


def _values(it: DocumentValues) -> str:
    """A document's status, and what is open of it."""
    still = it.remaining_credit if it.HasField("remaining_credit") else it.amount_due
    return f"{it.status} {money([still])}".strip()


def _sides(it: BalanceComparison | Discrepancy) -> tuple[str, str, str]:
    return money([it.ours]), money([it.xero]), _signed(it.difference)


def _signed(it: Money) -> str:
    amount = Decimal(it.amount or 0)
    return f"{amount:+,} {it.currency_code}" if amount else f"{amount:,} {it.currency_code}"
