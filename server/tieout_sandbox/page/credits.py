"""Credit notes, overpayments and prepayments: the list, each one, and what a bookkeeper does with it."""

from tieout_sandbox.books.documents import Credit, Invoice, Status
from tieout_sandbox.page.contacts import KINDS
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
    figures,
    form,
    link,
    money,
    pager,
    search,
    table,
)

_CREDIT_STATUSES = [("", "Any"), ("AUTHORISED", "Authorised"), ("PAID", "Paid"), ("VOIDED", "Voided")]


def credits_(view: View) -> Html:
    """Credit notes, overpayments and prepayments, newest first."""
    wanted, status = view.query.get("q", "").casefold(), view.query.get("status", "")
    books = view.books
    found = [*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values()]
    found = [one for one in found if status in {"", one.status} and (not wanted or mentions(one, wanted))]
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
    return join(
        card("As it stands", _standing(view, found), _voiding(view, found)),
        card(
            "Set against invoices",
            allocations_table(view, found.allocations, of_credit=True),
            _allocating(view, found),
        ),
        card("Given back", payments_table(view, found.payments), _refunding(view, found)),
    )


def _standing(view: View, found: Credit) -> Html:
    return figures(
        [
            ("Contact", link(view.link("contact", id=found.contact.id), found.contact.name)),
            ("Date", day(found.on)),
            ("Total", money(found.total, found.currency)),
            ("Unused", money(found.remaining_credit, found.currency)),
            ("Status", badge(found.status)),
            ("Reference", found.reference or "—"),
        ]
    )


def _voiding(view: View, found: Credit) -> Html | None:
    if found.status is not Status.AUTHORISED or found.payments or found.allocations:
        return None
    return form(view, "void-credit", "Void", ask="Void this credit?", credit_id=found.id)


def _allocating(view: View, found: Credit) -> Html:
    targets = [
        one
        for one in found.contact.documents
        if isinstance(one, Invoice)
        and one.status is Status.AUTHORISED
        and one.of_supplier is found.of_supplier
        and one.currency == found.currency
    ]
    if found.status is not Status.AUTHORISED or not targets:
        return tag("p", "There is no open invoice that it fits.", class_="note")
    choices = [(one.id, f"{one.number} · {one.amount_due:,.2f} open") for one in targets]
    return form(
        view,
        "allocate",
        "Allocate",
        choice("Invoice", "invoice_id", choices),
        amount_field("Amount", "amount", placeholder="as much as fits"),
        credit_id=found.id,
    )


def _refunding(view: View, found: Credit) -> Html | None:
    if found.status is not Status.AUTHORISED:
        return None
    return form(
        view,
        "refund",
        "Refund",
        amount_field("Amount", "amount", placeholder="all that is left"),
        accounts(view, found.currency),
        credit_id=found.id,
    )


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
