"""What became of drafts, read from Xero's answer element by element, and believed only where nothing contradicts it.

Xero answers 200 to elements that it refused (Xero, Requests and responses), also to a single one. Whether it keeps
their order is not documented: every element must fit the draft in its place, in its document, amount and reference.
What does not fit is no answer: the caller then looks in the books for what was made.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tieout_server.ledger.documents import Entity
from tieout_server.ledger.writes import (
    BatchDraft,
    CreditNoteDraft,
    Deletion,
    Draft,
    InvoiceDraft,
    OverpaymentDraft,
    PaymentDraft,
    RecordKind,
    RefundDraft,
    SpentMoneyDraft,
    Written,
)
from tieout_server.xero.answers import validation_messages
from tieout_server.xero.drafts import FORMS, collection_of
from tieout_server.xero.write_wire import WrittenRow

Elements = list[dict[str, Any]]

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_NO_WORDS = ("Xero refused this without saying why.",)
_DONE = frozenset({"OK", "WARNING"})


def read_written(drafts: Sequence[Draft], body: bytes) -> Sequence[Written]:
    """What became of each of these drafts, in their order.

    Raises:
        ValueError, msgspec.DecodeError: the answer leaves it open for at least one of them.
    """
    (first, *_) = drafts
    if isinstance(first, Deletion):
        return [_deleted(first, body)]
    form = FORMS[type(first)]
    elements = _elements(body, form.collection)
    if len(elements) != len(drafts):
        raise ValueError(f"{len(drafts)} elements were sent and {len(elements)} answered")
    twins = Counter(_identity(draft) for draft in drafts)
    return [
        _written(draft, element, form.key, has_twin=twins[_identity(draft)] > 1)
        for draft, element in zip(drafts, elements, strict=True)
    ]


def read_noted(body: bytes) -> tuple[str, ...]:
    """Why a note was refused, in Xero's words; empty where it was taken.

    Raises:
        ValueError, msgspec.DecodeError: the answer leaves it open.
    """
    return validation_messages(_elements(body, "HistoryRecords"))


def _elements(body: bytes, collection: str) -> Elements:
    found = _DECODER.decode(body).get(collection)
    if not isinstance(found, list) or not all(isinstance(element, dict) for element in found):
        raise ValueError(f"there are no {collection} in it")
    return found


def _deleted(deletion: Deletion, body: bytes) -> Written:
    (element,) = _elements(body, collection_of(deletion))
    row = _row(element)
    found = row.batch_payment_id if deletion.record is RecordKind.BATCH_PAYMENT else row.payment_id
    if not _same(found, deletion.xero_id):
        raise ValueError("it is about another record")
    if row.status == "DELETED":
        return Written(xero_id=deletion.xero_id)
    if not _is_refused(row, element):
        raise ValueError("the record is neither deleted nor refused")
    return Written(messages=validation_messages(element) or _NO_WORDS)


def _written(draft: Draft, element: dict[str, Any], key: str, *, has_twin: bool) -> Written:
    row = _row(element)
    made, refused = row.made(key), _is_refused(row, element)
    if refused == bool(made):
        raise ValueError("an element is both made and refused, or neither")
    check = _CHECKS[type(draft)]
    if not check(draft, row, refused):
        raise ValueError("an element does not belong to the draft in its place")
    if not _is_named(draft, row, has_twin=has_twin):
        raise ValueError("an element's reference does not tell which draft it belongs to")
    if refused:
        return Written(messages=validation_messages(element) or _NO_WORDS)
    return Written(xero_id=made, parts=_parts(draft, row))


def _row(element: dict[str, Any]) -> WrittenRow:
    return msgspec.convert(_without_nothing(element), WrittenRow, strict=False)


def _without_nothing(value: object) -> object:
    """The same without null and empty members: an empty list may stand for an object that is not there."""
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item not in (None, "", [], {})}
    return value


def _is_refused(row: WrittenRow, element: dict[str, Any]) -> bool:
    """Whether Xero refused an element; one that is called good and has errors of its own is answered both ways."""
    own = bool(element.get("ValidationErrors")) or row.has_validation_errors or row.has_errors
    if row.state in _DONE:
        return own
    return own or row.state == "ERROR" or bool(validation_messages(element))


# Whether an element belongs to its draft. One that was made must say so; one that was refused must not deny it.


def _payment(draft: PaymentDraft, row: WrittenRow, refused: bool) -> bool:  # noqa: FBT001 - one shape for all checks
    return _fits(row.target_id, draft.xero_invoice_id, refused) and _equals(row.amount, draft.amount, refused)


def _refund(draft: RefundDraft, row: WrittenRow, refused: bool) -> bool:  # noqa: FBT001 - one shape for all checks
    return _fits(row.target_id, draft.xero_credit_id, refused) and _equals(row.amount, draft.amount, refused)


def _batch(draft: BatchDraft, row: WrittenRow, refused: bool) -> bool:  # noqa: FBT001 - one shape for all checks
    wanted = Counter((part.xero_invoice_id.lower(), part.amount) for part in draft.parts)
    found = Counter((part.invoice.invoice_id.lower(), part.amount) for part in row.payments)
    return found == wanted or (refused and {invoice_id for invoice_id, _ in found} <= {*(i for i, _ in wanted), ""})


def _overpayment(draft: OverpaymentDraft, row: WrittenRow, refused: bool) -> bool:  # noqa: FBT001 - one shape for all checks
    is_ours = _fits(row.contact.contact_id, draft.xero_contact_id, refused)
    return is_ours and _equals(row.total, draft.amount, refused or row.total is None)


def _document(draft: CreditNoteDraft | InvoiceDraft | SpentMoneyDraft, row: WrittenRow, refused: bool) -> bool:  # noqa: FBT001 - one shape for all checks
    is_whole = len(row.lines) == len(draft.lines) or not row.lines
    return is_whole and _fits(row.contact.contact_id, draft.xero_contact_id, refused)


def _fits(found: str, wanted: str, may_be_missing: bool) -> bool:  # noqa: FBT001 - of the checks above
    return _same(found, wanted) or (may_be_missing and not found)


def _equals(found: Decimal | None, wanted: Decimal, may_be_missing: bool) -> bool:  # noqa: FBT001 - of the checks above
    return found == wanted or (may_be_missing and found is None)


def _same(found: str, wanted: str) -> bool:
    return found.lower() == wanted.lower()


_CHECKS: Mapping[type[Draft], Callable[[Any, WrittenRow, bool], bool]] = {
    PaymentDraft: _payment,
    RefundDraft: _refund,
    BatchDraft: _batch,
    OverpaymentDraft: _overpayment,
    CreditNoteDraft: _document,
    InvoiceDraft: _document,
    SpentMoneyDraft: _document,
}


def _is_named(draft: Draft, row: WrittenRow, *, has_twin: bool) -> bool:
    """Whether the reference is the draft's; Xero may leave it out, which is no matter where nothing else is alike."""
    found = (
        (row.lines[0].description or "" if row.lines else "") if isinstance(draft, OverpaymentDraft) else row.reference
    )
    return found.strip() == _reference(draft).strip() if found else not has_twin


def _reference(draft: Draft) -> str:
    if isinstance(draft, OverpaymentDraft):
        return draft.text
    return "" if isinstance(draft, Deletion) else draft.reference


def _identity(draft: Draft) -> tuple[object, ...]:
    """What tells drafts of one kind apart beside their references."""
    match draft:
        case PaymentDraft():
            return (draft.xero_invoice_id.lower(), draft.amount)
        case RefundDraft(entity=Entity() as entity):
            return (entity, draft.xero_credit_id.lower(), draft.amount)
        case BatchDraft():
            return tuple(sorted((part.xero_invoice_id.lower(), part.amount) for part in draft.parts))
        case OverpaymentDraft():
            return (draft.xero_contact_id.lower(), draft.amount)
        case CreditNoteDraft() | InvoiceDraft() | SpentMoneyDraft():
            return (draft.xero_contact_id.lower(), draft.lines)
        case _:
            return ()


def _parts(draft: Draft, row: WrittenRow) -> tuple[tuple[str, str], ...]:
    """Each invoice's id, as the draft spells it, with the id of its payment."""
    if not isinstance(draft, BatchDraft):
        return ()
    payments = {part.invoice.invoice_id.lower(): part.payment_id for part in row.payments}
    found = ((part.xero_invoice_id, payments[part.xero_invoice_id.lower()]) for part in draft.parts)
    return tuple((invoice_id, payment_id) for invoice_id, payment_id in found if payment_id)
