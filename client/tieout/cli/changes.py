"""Shows a change of the copy on one line."""

from collections.abc import Callable, Iterable, Mapping

from rich.text import Text

from tieout.cli.show import moment, money, say, word
from tieout.v1.receivables_service_pb2 import (
    Change,
    ChangeKind,
    InvoiceStatus,
    PaymentStatus,
    WatchChangesResponse,
)
from tieout.v1.types_pb2 import Entity, Money

_REMOVED, _MERGED = ChangeKind.CHANGE_KIND_REMOVED, ChangeKind.CHANGE_KIND_MERGED


def tell(message: WatchChangesResponse) -> None:
    """Print what was told."""
    is_news = message.HasField("change")
    change = message.change if is_news else message.snapshot
    line = Text(f"{moment(change.committed_at)}  {line_of(change)}")
    if change.kind in {_REMOVED, _MERGED}:
        line.stylize("dim")
    say(line)


def line_of(change: Change) -> str:
    """The change in words: what it is, what it is called, how it stands."""
    entity = word(Entity, change.entity, "ENTITY_").removesuffix("s")
    kind = "customer" if change.entity == Entity.ENTITY_CONTACTS else entity
    if change.kind == _MERGED:
        return f"{kind}  {change.id}  merged into {change.customer.name} ({change.customer.id})"
    gone = "left" if change.kind == _REMOVED else ""
    return "  ".join(filter(None, (kind, *_facts(change), gone)))


def _facts(change: Change) -> tuple[str, ...]:
    record = change.WhichOneof("record")
    return _FACTS[record](change) if record else (change.id,)


def _credit_note(change: Change) -> tuple[str, ...]:
    it = change.credit_note
    return it.number or it.id, _status(it.status), "remaining", _one_line([it.remaining_credit])


def _credit(change: Change) -> tuple[str, ...]:
    return change.credit.id, "remaining", _one_line([change.credit.remaining_credit])


def _payment(change: Change) -> tuple[str, ...]:
    it = change.payment
    status = word(PaymentStatus, it.status, "PAYMENT_STATUS_")
    return it.id, status, _one_line([it.amount]), f"of {it.invoice_number}" if it.invoice_number else ""


def _account(change: Change) -> tuple[str, ...]:
    return change.account.code, change.account.name, change.account.status.lower()


def _customer(change: Change) -> tuple[str, ...]:
    it = change.customer
    return it.name, it.mobile_phone, "owes", _one_line(it.outstanding) or "nothing"


def _invoice(change: Change) -> tuple[str, ...]:
    it = change.invoice
    due = f"due on {it.due_on}" if it.due_on else ""
    expected = f"expected on {it.expected_payment_date}" if it.expected_payment_date else ""
    return it.number or it.id, _status(it.status), "due", _one_line([it.amount_due]), due, expected


def _status(status: "InvoiceStatus.ValueType") -> str:
    return word(InvoiceStatus, status, "INVOICE_STATUS_")


def _one_line(amounts: Iterable[Money]) -> str:
    return money(amounts).replace("\n", ", ")


_FACTS: Mapping[str, Callable[[Change], tuple[str, ...]]] = {
    "customer": _customer,
    "invoice": _invoice,
    "credit_note": _credit_note,
    "credit": _credit,
    "payment": _payment,
    "account": _account,
}
