"""The writing half of the Accounting API: which call does what to which documents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tieout_sandbox.accounting.bodies import NoDataError, PostDataError, read_elements
from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.collections import COLLECTIONS
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.accounting.refusals import HEADERS, NOT_FOUND
from tieout_sandbox.accounting.render import Detail, credit_block, id_key, invoice_block, payment_block
from tieout_sandbox.accounting.render_banking import (
    allocation_block,
    bank_transaction_block,
    batch_block,
    note_block,
    removed_allocation,
)
from tieout_sandbox.accounting.render_contact import contact_block
from tieout_sandbox.accounting.write_answers import refusal, unreadable, validation_failed, written
from tieout_sandbox.accounting.write_banking import (
    find_allocation,
    remove_allocation,
    write_allocation,
    write_bank_transaction,
)
from tieout_sandbox.accounting.write_contacts import write_contact
from tieout_sandbox.accounting.write_documents import write_credit_note, write_invoice
from tieout_sandbox.accounting.write_elements import Done, Write, write_elements
from tieout_sandbox.accounting.write_notes import NOTED, write_note
from tieout_sandbox.accounting.write_payments import delete_batch, delete_payment, write_batch, write_payment
from tieout_sandbox.books.documents import Credit, Status
from tieout_sandbox.faults import RULE, FaultKind

_CREDITS = frozenset({"creditnotes", "overpayments", "prepayments"})
_NOT_IMPLEMENTED = "This endpoint does not take writes"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document that can be written.

    Args:
        name: of the collection, on the wire.
        key: of the id.
        flag: the member that says whether there are errors.
        write: makes or changes one.
        block: writes one down, with this many decimal places of each UnitAmount.
        leave_out: members that answers to writes do not have (recorded from Xero).
    """

    name: str
    key: str
    flag: str
    write: Write
    block: Callable[[Any, int], str]
    leave_out: frozenset[str] = field(default=frozenset({"HasAttachments"}))


PAYMENTS = Kind(
    "Payments",
    "PaymentID",
    "HasValidationErrors",
    write_payment,
    lambda payment, places: payment_block(payment, Detail.SINGLE, places),
)
BATCHES = Kind(
    "BatchPayments",
    "BatchPaymentID",
    "HasValidationErrors",
    write_batch,
    lambda batch, _: batch_block(batch, Detail.SINGLE),
)
INVOICES = Kind(
    "Invoices",
    "InvoiceID",
    "HasErrors",
    write_invoice,
    lambda invoice, places: invoice_block(invoice, Detail.SINGLE, places),
    frozenset({"HasAttachments", "Payments", "CreditNotes", "AmountCredited"}),
)
CREDIT_NOTES = Kind(
    "CreditNotes",
    "CreditNoteID",
    "HasErrors",
    write_credit_note,
    lambda credit, places: credit_block(credit, Detail.SINGLE, places),
)
CONTACTS = Kind(
    "Contacts", "ContactID", "HasValidationErrors", write_contact, lambda contact, _: contact_block(contact)
)
BANK_TRANSACTIONS = Kind(
    "BankTransactions",
    "BankTransactionID",
    "HasErrors",
    write_bank_transaction,
    lambda entry, places: bank_transaction_block(entry, Detail.SINGLE, places),
)
KINDS = {kind.name.lower(): kind for kind in (PAYMENTS, BATCHES, INVOICES, CREDIT_NOTES, CONTACTS, BANK_TRANSACTIONS)}
_DELETIONS: dict[str, Callable[[Call, Draft, str], Any]] = {"payments": delete_payment, "batchpayments": delete_batch}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write comes to: elements of a collection in an envelope, or a response that is whole already."""

    name: str = ""
    blocks: tuple[str, ...] = ()
    response: web.Response | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """Where a write goes to: `/{endpoint}/{id}/{part}/{part_id}`, all but the first may be missing."""

    endpoint: str
    id: str | None = None
    part: str | None = None
    part_id: str | None = None

    @classmethod
    def of(cls, request: web.Request) -> "Path":
        """The path of a request."""
        info = request.match_info
        part = info.get("part")
        return cls(info["endpoint"].lower(), info.get("id"), part.lower() if part else None, info.get("part_id"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A writing request.

    Args:
        method: PUT, POST or DELETE; others are refused.
        path: where to.
        body: as sent.
        content_type: of the body.
        tells_each: whether summarizeErrors=false was asked for.
        demanded_error: the message of the fault that answers 200 with a refused element; nothing is written then.
    """

    method: str
    path: Path
    body: bytes = b""
    content_type: str = "application/json"
    tells_each: bool = False
    demanded_error: str | None = None

    @classmethod
    def of(cls, request: web.Request, path: Path, body: bytes) -> "Asked":
        """What a request asks for."""
        given = {name.lower(): value.lower() for name, value in request.query.items()}
        rule = request.get(RULE)
        message = rule.body if rule is not None and rule.kind is FaultKind.ELEMENT_ERROR else None
        tells_each = given.get("summarizeerrors") == "false"
        return cls(request.method, path, body, request.content_type, tells_each, message)


def write(call: Call, asked: Asked) -> Answer:
    """Do what a writing request asks for."""
    try:
        return _write(call, asked)
    except PostDataError as error:
        number = call.books.switches.post_data_error_number
        return Answer(response=unreadable("PostDataInvalidException", number, str(error)))
    except NoDataError as error:
        number = call.books.switches.no_data_error_number
        return Answer(response=unreadable("NoDataProcessedException", number, str(error)))


def _write(call: Call, asked: Asked) -> Answer:
    path = asked.path
    if path.endpoint not in KINDS and path.endpoint not in _CREDITS:
        return Answer(response=web.Response(status=501, text=_NOT_IMPLEMENTED))
    document = COLLECTIONS[path.endpoint].find(call.organisation, path.id) if path.id else None
    if path.id and document is None:
        return Answer(response=web.Response(status=404, text=NOT_FOUND))
    answer = _write_part(call, asked, document) if path.part else None
    is_document = path.part is None and path.endpoint in KINDS and asked.method in {"PUT", "POST"}
    if is_document and (document is None or asked.method == "POST"):
        answer = _write_documents(call, asked, document)
    refused = web.Response(status=405, text="The requested resource does not support this method")
    return answer or Answer(response=refused)


def _write_part(call: Call, asked: Asked, document: Any) -> Answer | None:  # noqa: ANN401 any kind of document
    """Do something below a document; None where nothing of that name can be done."""
    answer: Answer | None = None
    path = asked.path
    match asked.method, path.part:
        case "PUT" | "POST", "history" if path.endpoint in NOTED:
            answer = _write_notes(call, asked, document, takes_notes=NOTED[path.endpoint])
        case "PUT", "allocations" if path.endpoint in _CREDITS and path.part_id is None:
            answer = _write_allocations(call, asked, document)
        case "DELETE", "allocations" if path.endpoint in _CREDITS and path.part_id is not None:
            answer = _remove_allocation(call, document, path.part_id)
        case "POST", "email" if path.endpoint == "invoices":
            answer = _send(call, document)
    return answer


def _write_documents(call: Call, asked: Asked, document: Any) -> Answer:  # noqa: ANN401 any kind of document
    endpoint = asked.path.endpoint
    kind = KINDS[endpoint]
    drafts = [Draft(element) for element in read_elements(asked.body, asked.content_type, kind.name)]
    write_one = kind.write
    if document is not None:
        drafts = [Draft(draft.given | {kind.key: document.id}) for draft in drafts[:1]]
        delete = _DELETIONS.get(endpoint)
        if delete is not None:
            write_one = lambda call, draft: delete(call, draft, document.id)  # noqa: E731 one expression
    # Xero knows summarizeErrors for collections, and not for POST /Payments and POST /BatchPayments
    may_tell_each = document is None and (asked.method == "PUT" or endpoint not in _DELETIONS)
    return _answered(call, asked, kind, drafts, write_one, may_tell_each=may_tell_each)


def _answered(
    call: Call, asked: Asked, kind: Kind, drafts: list[Draft], write_one: Write, *, may_tell_each: bool
) -> Answer:
    """Write elements and tell of all of them, or summarise: then one that is refused refuses the call."""
    tells_each = may_tell_each and asked.tells_each
    if asked.demanded_error is not None:
        return Answer(kind.name, tuple(_refused(kind, draft, asked.demanded_error) for draft in drafts))
    together = not tells_each and call.books.switches.failed_calls_commit_nothing

    def block(document: Any) -> str:  # noqa: ANN401 any kind of document
        return kind.block(document, call.unit_places)

    done = write_elements(call, drafts, write_one, block, together=together)
    refused = [one.draft.echo(kind.key, kind.flag) for one in done if one.block is None]
    if refused and not tells_each:
        return Answer(response=validation_failed(refused))
    if not call.books.switches.written_elements_keep_their_order:
        done.reverse()
    return Answer(kind.name, tuple(_told(kind, one, tells_each=tells_each) for one in done))


def _told(kind: Kind, one: Done, *, tells_each: bool) -> str:
    state = {"StatusAttributeString": one.state} if tells_each else {}
    if one.block is None:
        return one.draft.echo(kind.key, kind.flag, **state)
    warnings = [{"Message": message} for message in one.draft.warnings]
    return written(one.block, kind.leave_out, state | ({"Warnings": warnings} if warnings else {}))


def _refused(kind: Kind, draft: Draft, message: str) -> str:
    draft.refuse(message)
    return draft.echo(kind.key, kind.flag, StatusAttributeString="ERROR")


# Parts of documents


def _write_allocations(call: Call, asked: Asked, credit: Credit) -> Answer:
    drafts = [Draft(element) for element in read_elements(asked.body, asked.content_type, "Allocations")]
    kind = Kind(
        "Allocations",
        "",
        "",
        lambda call, draft: write_allocation(call, draft, credit),
        lambda made, _: allocation_block(made),
    )
    return _answered(call, asked, kind, drafts, kind.write, may_tell_each=True)


def _remove_allocation(call: Call, credit: Credit, allocation_id: str) -> Answer:
    allocation = find_allocation(credit, allocation_id)
    if allocation is None:
        return Answer(response=web.Response(status=404, text=NOT_FOUND))
    draft = Draft({id_key(credit.kind): credit.id})
    done = write_elements(
        call,
        [draft],
        lambda call, draft: remove_allocation(call, draft, allocation),
        removed_allocation,
        together=True,
    )
    if done[0].block is None:
        return Answer(response=validation_failed([draft.echo(id_key(credit.kind), "HasErrors")]))
    if call.books.switches.removed_allocations_have_envelope:
        return Answer("Allocations", (done[0].block,))
    return Answer(response=web.Response(body=done[0].block.replace("\n", "\r\n").encode(), headers=HEADERS))


def _write_notes(call: Call, asked: Asked, document: Any, *, takes_notes: bool) -> Answer:  # noqa: ANN401 any kind of document
    drafts = [Draft(element) for element in read_elements(asked.body, asked.content_type, "HistoryRecords")]
    kind = Kind(
        "HistoryRecords",
        "",
        "",
        lambda call, draft: write_note(call, draft, document.id, takes_notes=takes_notes),
        lambda note, _: note_block(note, is_new=True),
    )
    return _answered(call, asked, kind, drafts, kind.write, may_tell_each=False)


def _send(call: Call, document: Any) -> Answer:  # noqa: ANN401 an invoice
    """Email an invoice: nobody gets anything, but it is marked as sent."""
    if document.status not in {Status.SUBMITTED, Status.AUTHORISED, Status.PAID} or not document.contact.email:
        return Answer(response=refusal("The invoice cannot be emailed: it must be approved and have an email address"))
    document.sent = True
    call.books.moved(document)
    return Answer(response=web.Response(status=204))
