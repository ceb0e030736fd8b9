"""Invoices and credit notes through the API: made, changed, brought from one status to another, voided."""

from datetime import date

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.drafts import Draft
from tieout_sandbox.accounting.lines import Lines, read_amounts, read_lines
from tieout_sandbox.books.documents import (
    GONE,
    Contact,
    Credit,
    CreditKind,
    Invoice,
    InvoiceType,
    LineAmounts,
    Status,
)
from tieout_sandbox.books.rules import conclude, credit_number, roles_of
from tieout_sandbox.switches import Switches

NOT_MODIFIABLE = "Invoice not of valid status for modification"
ALLOCATED = "This document cannot be edited as it has a payment or credit note allocated to it."
_STARTS = frozenset({Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED})
_PENDING = frozenset({Status.DRAFT, Status.SUBMITTED})
_MOVES = {
    Status.DRAFT: frozenset({Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED, Status.DELETED}),
    Status.SUBMITTED: frozenset({Status.DRAFT, Status.SUBMITTED, Status.AUTHORISED, Status.DELETED}),
    Status.AUTHORISED: frozenset({Status.AUTHORISED, Status.VOIDED}),
    Status.PAID: frozenset({Status.PAID}),
}
"""Xero, Invoices: status changes."""


def write_invoice(call: Call, draft: Draft) -> Invoice:
    """Make an invoice, or with POST change the one whose id or number is given."""
    if not call.creates:
        found = call.invoice(draft)
        if found is not None:
            return _change_invoice(call, draft, found)
        if draft.has("InvoiceID"):
            draft.refuse("Invoice could not be found")
    return _make_invoice(call, draft)


def _make_invoice(call: Call, draft: Draft) -> Invoice:
    type_ = _invoice_type(draft)
    status = _first_status(draft)
    contact = call.contact(draft)
    currency, rate = call.currency(draft, contact)
    amounts = read_amounts(draft, LineAmounts.EXCLUSIVE)
    lines = read_lines(call, draft, amounts, approved=status is Status.AUTHORISED)
    on = draft.day("Date") or call.today
    due_on = draft.day("DueDate")
    if status is Status.AUTHORISED and type_ is InvoiceType.ACCPAY and due_on is None:
        draft.refuse("DueDate must be specified")
    number = _number(call, draft, type_)
    call.check_open(draft, on)
    _check_total(draft, lines)
    reference = draft.text("Reference") or ""
    draft.judge()
    assert contact is not None
    invoice = Invoice(
        id=call.books.ids.new(),
        type=type_,
        number=number,
        contact=call.contact_for(contact),
        on=on,
        due_on=due_on or on,
        currency=currency,
        rate=rate,
        lines=lines.items,
        sub_total=lines.sub_total,
        total_tax=lines.total_tax,
        total=lines.total,
        updated_at=call.books.stamp(),
        status=status,
        reference=reference,
        expected_payment_on=draft.day("ExpectedPaymentDate") or draft.day("PlannedPaymentDate"),
        sent=status is Status.AUTHORISED and bool(draft.flag("SentToContact")),
        created_by=call.client_id,
        line_amounts=amounts,
    )
    conclude(invoice)  # one over nothing is paid at once
    call.remember_number(invoice)
    return call.books.put_invoice(invoice)


def _invoice_type(draft: Draft) -> InvoiceType:
    given = draft.text("Type")
    if given not in set(InvoiceType):
        draft.refuse("Invoice Type must be ACCREC or ACCPAY")
        return InvoiceType.ACCREC
    return InvoiceType(given)


def _first_status(draft: Draft) -> Status:
    """DRAFT unless said otherwise (Xero, Invoices)."""
    given = draft.text("Status") or Status.DRAFT
    if given not in _STARTS:
        draft.refuse("Invoice not of valid status for creation")
        return Status.DRAFT
    return Status(given)


def _number(call: Call, draft: Draft, type_: InvoiceType) -> str:
    """The number that was given, if nobody else has it, else the next free one; bills need none."""
    given = draft.text("InvoiceNumber")
    if type_ is InvoiceType.ACCPAY:
        return given or ""
    if given:
        if call.invoice_numbered(given) is not None:
            draft.refuse("Invoice # must be unique.")
        return given
    count = len(call.books.invoices) + 1
    while call.invoice_numbered(f"INV-{count:05d}") is not None:
        count += 1
    return f"INV-{count:05d}"


def _check_total(draft: Draft, lines: Lines) -> None:
    if lines.total < 0:
        draft.refuse("The total of this document cannot be negative")


# Changing an invoice


def _change_invoice(call: Call, draft: Draft, invoice: Invoice) -> Invoice:
    """Xero, Invoices: what may still be changed follows from the status and from what was paid."""
    after = _next_status(draft, invoice)
    call.check_open(draft, invoice.on)
    on = draft.day("Date")
    if on is not None and on != invoice.on:
        call.check_open(draft, on)
    lines = _new_lines(call, draft, invoice, after)
    is_other = draft.part("Contact").id("ContactID") != invoice.contact.id  # clients send back what they read
    contact = call.contact(draft) if draft.has("Contact") and is_other else None
    number = draft.text("InvoiceNumber")
    if number and number != invoice.number and invoice.type is InvoiceType.ACCREC:
        number = _number(call, draft, invoice.type)
    other_day = on is not None and on != invoice.on
    other_total = lines is not None and lines.total != invoice.total
    other_contact = contact is not None and contact is not invoice.contact and bool(invoice.allocations)
    if (invoice.payments or invoice.allocations) and (after in GONE or other_day or other_total or other_contact):
        draft.refuse(ALLOCATED if invoice.status is Status.AUTHORISED else NOT_MODIFIABLE)
    expected = draft.day("ExpectedPaymentDate") or draft.day("PlannedPaymentDate")
    due_on, reference = draft.day("DueDate"), draft.text("Reference")
    draft.judge()
    call.touch(invoice)
    spoken = after is not invoice.status or lines is not None
    if isinstance(contact, str) or (contact is not None and contact is not invoice.contact):
        _hand_over(invoice, call.contact_for(contact), call.books.switches)
        spoken = True
    for name, value in (
        ("number", number),
        ("reference", reference),
        ("on", on),
        ("expected_payment_on", expected),
    ):
        if value is not None and value != getattr(invoice, name):
            setattr(invoice, name, value)
            spoken = True
    if lines is not None:
        _put_lines(invoice, lines)
    invoice.status = after
    conclude(invoice)
    call.remember_number(invoice)
    return _told(call, draft, invoice, due_on, spoken=spoken)


def _next_status(draft: Draft, invoice: Invoice) -> Status:
    given = draft.text("Status") or invoice.status
    if invoice.status in GONE or given not in _MOVES.get(invoice.status, frozenset()):
        paid_already = given == Status.AUTHORISED and invoice.status is Status.PAID
        if not paid_already:
            settled = invoice.payments or invoice.allocations
            draft.refuse(ALLOCATED if given == Status.VOIDED and settled else NOT_MODIFIABLE)
        return invoice.status
    if given == Status.VOIDED and (invoice.payments or invoice.allocations):
        draft.refuse(ALLOCATED)
    return Status(given)


def _new_lines(call: Call, draft: Draft, invoice: Invoice, after: Status) -> Lines | None:
    if not draft.has("LineItems"):
        if draft.has("LineAmountTypes") and draft.text("LineAmountTypes") != invoice.line_amounts:
            draft.refuse("LineAmountTypes can only be changed together with the line items")
        if after is Status.AUTHORISED and any(not line.account_code for line in invoice.lines):
            draft.refuse("Account code '' is not a valid code for this document.")
        return None
    lines = read_lines(call, draft, read_amounts(draft, invoice.line_amounts), approved=after is Status.AUTHORISED)
    _check_total(draft, lines)
    return lines


def _hand_over(invoice: Invoice, contact: Contact, switches: Switches) -> None:
    """Another contact owes it from now on; who is a customer or supplier follows."""
    former = invoice.contact
    former.documents.remove(invoice)
    invoice.contact = contact
    contact.documents.append(invoice)
    for one in (former, contact):
        one.is_customer, one.is_supplier = roles_of(one, switches)


def _put_lines(document: Invoice | Credit, lines: Lines) -> None:
    document.lines, document.line_amounts = lines.items, lines.amounts
    document.sub_total, document.total_tax, document.total = lines.sub_total, lines.total_tax, lines.total


def _told(call: Call, draft: Draft, invoice: Invoice, due_on: date | None, *, spoken: bool) -> Invoice:
    """Settle whether UpdatedDateUTC moves: DueDate and SentToContact alone do not, once something was paid."""
    quiet = False
    if due_on is not None and due_on != invoice.due_on:
        invoice.due_on = due_on
        quiet = True
    sent = draft.flag("SentToContact")
    if sent and invoice.status not in {Status.AUTHORISED, Status.PAID}:
        draft.warnings.append("Only AUTHORISED invoices may have SentToContact updated.")
    elif sent and not invoice.sent:
        invoice.sent = quiet = True
    part_paid = bool(invoice.payments or invoice.allocations)
    if quiet and not spoken and part_paid and not call.books.switches.due_date_of_part_paid_moves_updated:
        return call.books.silent(invoice)
    for payment in invoice.payments:
        payment.rendered = None  # it shows the number and the contact
    for allocation in invoice.allocations:
        allocation.credit.rendered = None  # likewise
    return call.books.moved(invoice)


# Credit notes


def write_credit_note(call: Call, draft: Draft) -> Credit:
    """Make a credit note, or with POST change the one whose id or number is given."""
    if not call.creates:
        found = call.credit_note(draft)
        if found is not None:
            return _change_credit_note(call, draft, found)
        if draft.has("CreditNoteID"):
            draft.refuse("An existing Credit Note with the specified CreditNoteID could not be found")
    return _make_credit_note(call, draft)


def _make_credit_note(call: Call, draft: Draft) -> Credit:
    type_ = draft.text("Type")
    if type_ not in {"ACCRECCREDIT", "ACCPAYCREDIT"}:
        draft.refuse("Credit Note Type must be ACCRECCREDIT or ACCPAYCREDIT")
    status = _first_status(draft)
    contact = call.contact(draft)
    currency, rate = call.currency(draft, contact)
    amounts = read_amounts(draft, LineAmounts.EXCLUSIVE)
    lines = read_lines(call, draft, amounts, approved=status is Status.AUTHORISED)
    on = draft.day("Date") or call.today
    number = _credit_number(call, draft)
    call.check_open(draft, on)
    _check_total(draft, lines)
    reference = draft.text("Reference") or ""
    draft.judge()
    assert contact is not None
    credit = Credit(
        id=call.books.ids.new(),
        kind=CreditKind.CREDIT_NOTE,
        number=number,
        contact=call.contact_for(contact),
        on=on,
        currency=currency,
        rate=rate,
        lines=lines.items,
        sub_total=lines.sub_total,
        total_tax=lines.total_tax,
        total=lines.total,
        updated_at=call.books.stamp(),
        status=status,
        reference=reference,
        line_amounts=amounts,
        of_supplier=type_ == "ACCPAYCREDIT",
    )
    conclude(credit)
    return call.books.put_credit(credit)


def _credit_number(call: Call, draft: Draft) -> str:
    taken = {credit.number for credit in call.books.credit_notes.values()}
    given = draft.text("CreditNoteNumber")
    if given:
        if given in taken:
            draft.refuse("Credit Note # must be unique.")
        return given
    count = len(taken) + 1
    while credit_number(CreditKind.CREDIT_NOTE, count) in taken:
        count += 1
    return credit_number(CreditKind.CREDIT_NOTE, count)


def _change_credit_note(call: Call, draft: Draft, credit: Credit) -> Credit:
    given = draft.text("Status") or credit.status
    used = credit.payments or credit.allocations
    if credit.status in GONE or given not in _MOVES.get(credit.status, frozenset()):
        draft.refuse(ALLOCATED if used else "Credit note not of valid status for modification")
        given = credit.status
    call.check_open(draft, credit.on)
    lines = None
    if draft.has("LineItems"):
        amounts = read_amounts(draft, credit.line_amounts)
        lines = read_lines(call, draft, amounts, approved=given == Status.AUTHORISED)
        _check_total(draft, lines)
    if used and (given in GONE or (lines is not None and lines.total != credit.total)):
        draft.refuse(ALLOCATED)
    reference = draft.text("Reference")
    draft.judge()
    call.touch(credit)
    if lines is not None:
        _put_lines(credit, lines)
    if reference is not None:
        credit.reference = reference
    credit.status = Status(given)
    conclude(credit)
    for payment in credit.payments:
        payment.rendered = None
    return call.books.moved(credit)
