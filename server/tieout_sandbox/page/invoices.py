"""Invoices: the list, each one, and what a bookkeeper does with it."""

from tieout_sandbox.books.documents import GONE, ContactStatus, Credit, Invoice, Status
from tieout_sandbox.page.contacts import KINDS, names
from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.settlements import accounts, allocations_table, mentions, payments_table
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

_TYPES = (("ACCREC", "Sales invoices"), ("ACCPAY", "Bills"), ("", "Both"))


def invoices(view: View) -> Html:
    """The list, newest first."""
    wanted, status = view.query.get("q", "").casefold(), view.query.get("status", "")
    type_ = view.query.get("type", "ACCREC")
    found = [one for one in view.books.invoices.values() if type_ in {"", one.type} and _has(view, one, status)]
    found = [one for one in found if not wanted or mentions(one, wanted)]
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
        card("Payments", payments_table(view, found.payments), _pay(view, found)),
        card(
            "Credits set against it",
            allocations_table(view, found.allocations, of_credit=False),
            _allocate_here(view, found),
        ),
        card("Lines", _lines(found)),
        card("Edit", _edit(view, found)) if found.status not in GONE else None,
    )


def _has(view: View, one: Invoice, status: str) -> bool:
    if status == "OVERDUE":
        return one.status is Status.AUTHORISED and one.due_on < view.books.today()
    return status in {"", one.status}


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
        field("On", "on", type="date", value=view.books.today().isoformat()),
        accounts(view, found.currency),
        field("Reference", "reference"),
        invoice_id=found.id,
    )


def _allocate_here(view: View, found: Invoice) -> Html | None:
    held = [
        one
        for one in found.contact.documents
        if isinstance(one, Credit)
        and one.status is Status.AUTHORISED
        and one.currency == found.currency
        and one.of_supplier is found.of_supplier
    ]
    if found.status is not Status.AUTHORISED or not held:
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
