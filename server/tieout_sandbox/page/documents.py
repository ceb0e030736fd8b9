"""Invoices, credits and payments: the lists, each document, and what a bookkeeper does with it."""

from tieout_sandbox.books.documents import (
    GONE,
    Allocation,
    ContactStatus,
    Credit,
    Invoice,
    InvoiceType,
    Payment,
    Status,
)
from tieout_sandbox.page.contacts import KINDS, names
from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.view import (
    ROWS,
    View,
    amount_field,
    badge,
    card,
    choice,
    day,
    field,
    figures,
    form,
    link,
    money,
    pager,
    search,
    table,
)

_INVOICE_STATUSES = [("", "Any"), ("OVERDUE", "Overdue"), *((str(one), one.capitalize()) for one in Status)]
_CREDIT_STATUSES = [("", "Any"), ("AUTHORISED", "Authorised"), ("PAID", "Paid"), ("VOIDED", "Voided")]
_TYPES = (("ACCREC", "Sales invoices"), ("ACCPAY", "Bills"), ("", "Both"))


def invoices(view: View) -> Html:
    """The list, newest first."""
    wanted, status = view.query.get("q", "").casefold(), view.query.get("status", "")
    type_ = view.query.get("type", "ACCREC")
    found = [one for one in view.books.invoices.values() if type_ in {"", one.type} and _has(view, one, status)]
    found = [one for one in found if not wanted or _mentions(one, wanted)]
    found.sort(key=lambda one: (one.on, one.number), reverse=True)
    first = (view.page_number() - 1) * ROWS
    return join(
        card(
            "All invoices",
            search(
                view,
                "invoices",
                "number, contact, reference",
                choice("Status", "status", _INVOICE_STATUSES, status),
                choice("Kind", "type", _TYPES, type_),
            ),
            table(
                "Invoices",
                ("Number", "Contact", "Date", "Due", "Total", "Open", "Status"),
                [_invoice_row(view, one) for one in found[first : first + ROWS]],
                "No invoice matches.",
            ),
            pager(view, "invoices", len(found), q=view.query.get("q", ""), status=status, type=type_),
        ),
        card(
            "New invoice",
            form(
                view,
                "create-invoice",
                "Enter invoice",
                field("Contact", "contact", list="names", required=True, autocomplete="off"),
                amount_field("Total", "total", required=True),
                field("Due", "due_on", type="date"),
                field("Reference", "reference"),
            ),
            names(view, "names"),
        ),
    )


def invoice(view: View, found: Invoice) -> Html:
    """One invoice."""
    return join(
        card("As it stands", figures(_invoice_figures(view, found)), _steps(view, found)),
        card("Payments", _payments_table(view, found.payments), _pay(view, found)),
        card(
            "Credits set against it",
            _allocations_table(view, found.allocations, of_credit=False),
            _allocate_here(view, found),
        ),
        card("Lines", _lines(found)),
        card("Edit", _edit(view, found)) if found.status not in GONE else None,
    )


def credits_(view: View) -> Html:
    """Credit notes, overpayments and prepayments, newest first."""
    wanted, status = view.query.get("q", "").casefold(), view.query.get("status", "")
    books = view.books
    found = [*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values()]
    found = [one for one in found if status in {"", one.status} and (not wanted or _mentions(one, wanted))]
    found.sort(key=lambda one: (one.on, one.number), reverse=True)
    first = (view.page_number() - 1) * ROWS
    return card(
        "All credits",
        search(view, "credits", "number, contact, reference", choice("Status", "status", _CREDIT_STATUSES, status)),
        table(
            "Credits",
            ("Credit", "Kind", "Contact", "Date", "Total", "Unused", "Status"),
            [_credit_row(view, one) for one in found[first : first + ROWS]],
            "No credit matches.",
        ),
        pager(view, "credits", len(found), q=view.query.get("q", ""), status=status),
        tag("p", "A new credit is entered on its contact's page.", class_="note"),
    )


def credit(view: View, found: Credit) -> Html:
    """One credit."""
    usable = found.status is Status.AUTHORISED
    unused = usable and not found.payments and not found.allocations
    targets = [
        one
        for one in found.contact.documents
        if isinstance(one, Invoice)
        and one.status is Status.AUTHORISED
        and one.type is InvoiceType.ACCREC
        and one.currency == found.currency
    ]
    choices = [(one.id, f"{one.number} · {one.amount_due:,.2f} open") for one in targets]
    return join(
        card(
            "As it stands",
            figures(
                [
                    ("Contact", link(view.link("contact", id=found.contact.id), found.contact.name)),
                    ("Date", day(found.on)),
                    ("Total", money(found.total, found.currency)),
                    ("Unused", money(found.remaining_credit, found.currency)),
                    ("Status", badge(found.status)),
                    ("Reference", found.reference or "—"),
                ]
            ),
            form(view, "void-credit", "Void", ask="Void this credit?", credit_id=found.id) if unused else None,
        ),
        card(
            "Set against invoices",
            _allocations_table(view, found.allocations, of_credit=True),
            form(
                view,
                "allocate",
                "Allocate",
                choice("Invoice", "invoice_id", choices),
                amount_field("Amount", "amount", placeholder="as much as fits"),
                credit_id=found.id,
            )
            if usable and choices
            else tag("p", "There is no open invoice that it fits.", class_="note"),
        ),
        card(
            "Given back",
            _payments_table(view, found.payments),
            form(
                view,
                "refund",
                "Refund",
                amount_field("Amount", "amount", placeholder="all that is left"),
                _accounts(view, found.currency),
                credit_id=found.id,
            )
            if usable
            else None,
        ),
    )


def payments(view: View) -> Html:
    """The list, newest first."""
    wanted = view.query.get("q", "").casefold()
    found = [
        one
        for one in view.books.payments.values()
        if not wanted or wanted in one.reference.casefold() or _mentions(one.target, wanted)
    ]
    found.sort(key=lambda one: (one.on, one.updated_at), reverse=True)
    first = (view.page_number() - 1) * ROWS
    return card(
        "All payments",
        search(view, "payments", "document, contact, reference"),
        _payments_table(view, found[first : first + ROWS], with_document=True),
        pager(view, "payments", len(found), q=view.query.get("q", "")),
        tag("p", "A payment is entered on its invoice's page.", class_="note"),
    )


def _has(view: View, one: Invoice, status: str) -> bool:
    if status == "OVERDUE":
        return one.status is Status.AUTHORISED and one.due_on < view.sandbox.clock.today()
    return status in {"", one.status}


def _mentions(one: Invoice | Credit, wanted: str) -> bool:
    return any(wanted in text.casefold() for text in (one.number, one.contact.name, one.reference))


def _invoice_row(view: View, one: Invoice) -> list[Child]:
    return [
        link(view.link("invoice", id=one.id), one.number or "(no number)"),
        link(view.link("contact", id=one.contact.id), one.contact.name),
        day(one.on),
        day(one.due_on),
        money(one.total, one.currency),
        money(one.amount_due),
        badge(one.status),
    ]


def _credit_row(view: View, one: Credit) -> list[Child]:
    return [
        link(view.link("credit", id=one.id), one.number or "(no number)"),
        KINDS[one.kind],
        link(view.link("contact", id=one.contact.id), one.contact.name),
        day(one.on),
        money(one.total, one.currency),
        money(one.remaining_credit),
        badge(one.status),
    ]


def _invoice_figures(view: View, found: Invoice) -> list[tuple[str, Child]]:
    return [
        ("Contact", link(view.link("contact", id=found.contact.id), found.contact.name)),
        ("Total", money(found.total, found.currency)),
        ("Paid", money(found.amount_paid)),
        ("Credited", money(found.amount_credited)),
        ("Open", money(found.amount_due, found.currency)),
        ("Status", badge(found.status)),
        ("Date", day(found.on)),
        ("Due", day(found.due_on)),
        ("Expected", day(found.expected_payment_on)),
        ("Reference", found.reference or "—"),
        ("Changed", f"{found.updated_at:%d %b %Y %H:%M:%S}"),
    ]


def _steps(view: View, found: Invoice) -> Html | None:
    if found.payments or found.allocations:
        return None
    steps = []
    if found.status in {Status.DRAFT, Status.SUBMITTED}:
        steps.append(form(view, "authorise", "Authorise", invoice_id=found.id))
        steps.append(form(view, "delete-invoice", "Delete", ask=f"Delete {found.number}?", invoice_id=found.id))
    if found.status is Status.AUTHORISED:
        steps.append(form(view, "void", "Void", ask=f"Void {found.number}? It cannot be undone.", invoice_id=found.id))
    return tag("div", steps, class_="actions") if steps else None


def _pay(view: View, found: Invoice) -> Html | None:
    if found.status is not Status.AUTHORISED:
        return None
    return form(
        view,
        "pay",
        "Pay",
        amount_field("Amount", "amount", placeholder=str(found.amount_due)),
        field("On", "on", type="date", value=view.sandbox.clock.today().isoformat()),
        _accounts(view, found.currency),
        field("Reference", "reference"),
        invoice_id=found.id,
    )


def _allocate_here(view: View, found: Invoice) -> Html | None:
    held = [
        one
        for one in found.contact.documents
        if isinstance(one, Credit) and one.status is Status.AUTHORISED and one.currency == found.currency
    ]
    if found.status is not Status.AUTHORISED or found.type is not InvoiceType.ACCREC or not held:
        return None
    choices = [(one.id, f"{one.number or KINDS[one.kind]} · {one.remaining_credit:,.2f} unused") for one in held]
    return form(
        view,
        "allocate",
        "Allocate",
        choice("Credit", "credit_id", choices),
        amount_field("Amount", "amount", placeholder="as much as fits"),
        invoice_id=found.id,
    )


def _edit(view: View, found: Invoice) -> Html:
    expected = found.expected_payment_on.isoformat() if found.expected_payment_on else ""
    return join(
        form(
            view,
            "edit-invoice",
            "Save reference",
            field("Reference", "reference", value=found.reference),
            invoice_id=found.id,
            quiet=True,
        ),
        form(
            view,
            "edit-invoice",
            "Save due date",
            field("Due", "due_on", type="date", value=found.due_on.isoformat(), required=True),
            invoice_id=found.id,
            quiet=True,
        ),
        form(
            view,
            "edit-invoice",
            "Save expected date",
            field("Payment expected", "expected_payment_on", type="date", value=expected, required=True),
            invoice_id=found.id,
            quiet=True,
        )
        if found.contact.status is ContactStatus.ACTIVE
        else None,
    )


def _accounts(view: View, currency: str) -> Html:
    own = view.books.bank_account(currency).id
    return choice(
        "Account", "account_id", [(one.id, one.name) for one in view.books.accounts.values() if one.is_payable], own
    )


def _lines(found: Invoice) -> Html:
    rows = [
        [
            line.description,
            f"{line.quantity:,}",
            money(line.unit_amount),
            money(line.tax_amount),
            money(line.line_amount),
        ]
        for line in found.lines
    ]
    return table("Lines", ("Description", "Quantity", "Price", "Tax", "Amount"), rows, "There are none.")


def _payments_table(view: View, found: list[Payment], *, with_document: bool = False) -> Html:
    headings = (
        "Date",
        *(("Document", "Contact") if with_document else ()),
        "Amount",
        "Account",
        "Reference",
        "Status",
        "",
    )
    rows = [_payment_row(view, one, with_document=with_document) for one in found]
    return table("Payments", headings, rows, "There are none.")


def _payment_row(view: View, one: Payment, *, with_document: bool) -> list[Child]:
    target = one.target
    page = "invoice" if isinstance(target, Invoice) else "credit"
    document = [link(view.link(page, id=target.id), target.number or "(no number)"), target.contact.name]
    undo = form(view, "delete-payment", "Delete", ask="Delete this payment?", payment_id=one.id)
    return [
        day(one.on),
        *(document if with_document else ()),
        money(one.amount, target.currency),
        one.account.name,
        one.reference or "—",
        badge(one.status, "" if one.status is Status.DELETED else "ok"),
        undo if one.status is not Status.DELETED else None,
    ]


def _allocations_table(view: View, found: list[Allocation], *, of_credit: bool) -> Html:
    rows: list[list[Child]] = []
    for one in found:
        other: Invoice | Credit = one.invoice if of_credit else one.credit
        page = "invoice" if of_credit else "credit"
        undo = form(
            view,
            "remove-allocation",
            "Take back",
            ask="Take this allocation back?",
            credit_id=one.credit.id,
            allocation_id=one.id,
        )
        rows.append(
            [
                link(view.link(page, id=other.id), other.number or "Overpayment"),
                day(one.on),
                money(one.amount, other.currency),
                undo,
            ]
        )
    return table("Allocations", ("Invoice" if of_credit else "Credit", "Date", "Amount", ""), rows, "There are none.")
