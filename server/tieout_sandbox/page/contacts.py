"""Contacts with what they owe, one contact, and what can be done with it."""

from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.books.documents import ZERO, Contact, ContactStatus, Credit, CreditKind, Invoice
from tieout_sandbox.page.causes import causes
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
    fold,
    form,
    link,
    money,
    pager,
    search,
    table,
)

KINDS = {
    CreditKind.CREDIT_NOTE: "Credit note",
    CreditKind.OVERPAYMENT: "Overpayment",
    CreditKind.PREPAYMENT: "Prepayment",
}
_SHOWN_DOCUMENTS = 50
_SUGGESTED = 300
_WHICH = (("", "Active"), ("archived", "Archived"), ("all", "All"))


def contacts(view: View) -> Html:
    """The list, by name."""
    wanted, which = view.query.get("q", "").casefold(), view.query.get("show", "")
    status = {"": ContactStatus.ACTIVE, "archived": ContactStatus.ARCHIVED}.get(which)
    found = [one for one in view.books.contacts.values() if status in {None, one.status}]
    found = [one for one in found if wanted in one.name.casefold() or wanted in one.email.casefold()]
    found.sort(key=lambda one: one.name.casefold())
    first = (view.page_number() - 1) * ROWS
    return join(
        card(
            "All contacts",
            search(view, "customers", "name or email", choice("Which", "show", _WHICH, which)),
            table(
                "Contacts",
                ("Name", "Role", "Owes", "Overdue", "Status"),
                [_row(view, one) for one in found[first : first + ROWS]],
                "Nobody matches.",
            ),
            pager(view, "customers", len(found), q=view.query.get("q", ""), show=which),
        ),
        card(
            "New contact",
            form(
                view,
                "create-contact",
                "Add",
                field("Name", "name", required=True, maxlength=255),
                field("Email", "email", type="email"),
            ),
        ),
    )


def contact(view: View, found: Contact) -> Html:
    """One contact."""
    return join(
        card("Balance", figures(_balance(view, found))),
        card("Invoices and credits", _documents(view, found)),
        _entries(view, found) if found.status is ContactStatus.ACTIVE else None,
        card("Change this contact", _changes(view, found)),
        causes(view, found) if found.status is ContactStatus.ACTIVE else None,
    )


def names(view: View, list_id: str) -> Html:
    """Suggestions for an input that wants a contact's name."""
    active = sorted(one.name for one in view.books.contacts.values() if one.status is ContactStatus.ACTIVE)
    return tag("datalist", [tag("option", value=name) for name in active[:_SUGGESTED]], id=list_id)


def _row(view: View, found: Contact) -> list[Child]:
    balances = balances_of(found, view.books.today(), view.sandbox.switches)
    owes, overdue = (balances.receivable_outstanding, balances.receivable_overdue) if balances else (ZERO, ZERO)
    return [
        link(view.link("contact", id=found.id), found.name),
        _role(found),
        money(owes),
        money(overdue),
        badge(found.status),
    ]


def _role(found: Contact) -> str:
    roles = [text for text, is_one in (("Customer", found.is_customer), ("Supplier", found.is_supplier)) if is_one]
    return " and ".join(roles).capitalize() or "—"


def _balance(view: View, found: Contact) -> list[tuple[str, Child]]:
    balances = balances_of(found, view.books.today(), view.sandbox.switches)
    base = view.books.base_currency
    pairs: list[tuple[str, Child]] = [("Status", badge(found.status)), ("Role", _role(found))]
    if balances:
        pairs += [
            ("Owes", money(balances.receivable_outstanding, base)),
            ("Of it overdue", money(balances.receivable_overdue, base)),
            ("Is owed", money(balances.payable_outstanding, base)),
        ]
    if found.email:
        pairs.append(("Email", found.email))
    if found.merged_to_id:
        winner = view.books.contacts[found.merged_to_id]
        pairs.append(("Merged into", link(view.link("contact", id=winner.id), winner.name)))
    return [*pairs, ("Changed", f"{found.updated_at:%d %b %Y %H:%M:%S}")]


def _documents(view: View, found: Contact) -> Html:
    latest = sorted(found.documents, key=lambda one: one.on, reverse=True)
    rows = [_document_row(view, one) for one in latest[:_SHOWN_DOCUMENTS]]
    more = len(latest) - len(rows)
    note = tag("p", f"And {more:,} older ones.", class_="note") if more > 0 else None
    return join(table("Documents", ("Document", "Date", "Total", "Open", "Status"), rows, "There are none."), note)


def _document_row(view: View, one: Invoice | Credit) -> list[Child]:
    if isinstance(one, Invoice):
        name = link(view.link("invoice", id=one.id), one.number)
        return [name, day(one.on), money(one.total, one.currency), money(one.amount_due), badge(one.status)]
    name = link(view.link("credit", id=one.id), one.number or KINDS[one.kind])
    return [name, day(one.on), money(one.total, one.currency), money(one.remaining_credit), badge(one.status)]


def _entries(view: View, found: Contact) -> Html:
    currencies = [(code, code) for code in sorted(view.books.rates)]
    chosen = found.currency or view.books.base_currency
    return card(
        "Enter",
        fold(
            "New invoice",
            form(
                view,
                "create-invoice",
                "Enter invoice",
                amount_field("Total", "total", required=True),
                choice("Currency", "currency", currencies, chosen),
                field("Due", "due_on", type="date"),
                field("Reference", "reference"),
                choice(
                    "Status", "status", [("AUTHORISED", "Authorised"), ("SUBMITTED", "Submitted"), ("DRAFT", "Draft")]
                ),
                contact_id=found.id,
            ),
        ),
        fold(
            "New credit",
            form(
                view,
                "create-credit",
                "Enter credit",
                choice("Kind", "kind", [(str(k), text) for k, text in KINDS.items()]),
                amount_field("Total", "total", required=True),
                choice("Currency", "currency", currencies, chosen),
                field("Reference", "reference"),
                contact_id=found.id,
            ),
        ),
    )


def _changes(view: View, found: Contact) -> Html:
    rename = form(
        view,
        "rename-contact",
        "Rename",
        field("Name", "name", value=found.name, required=True),
        contact_id=found.id,
        quiet=True,
    )
    if found.status is ContactStatus.ARCHIVED:
        return form(view, "restore-contact", "Bring back", contact_id=found.id, quiet=True)
    return join(
        rename,
        form(
            view,
            "merge-contact",
            "Merge",
            field("Merge into the contact named", "winner", list="names", required=True, autocomplete="off"),
            ask=f"Merge {found.name} into another contact? It cannot be undone.",
            contact_id=found.id,
        ),
        names(view, "names"),
        form(view, "archive-contact", "Archive", ask=f"Archive {found.name}?", contact_id=found.id),
    )
