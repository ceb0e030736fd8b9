"""Payments and allocations: the list of all, and the tables on their documents' pages."""

from tieout_sandbox.books.documents import Allocation, Credit, Invoice, Payment, Status
from tieout_sandbox.page.html import Child, Html, tag
from tieout_sandbox.page.view import (
    ROWS,
    View,
    about,
    badge,
    card,
    choice,
    day,
    form,
    link,
    money,
    pager,
    search,
    table,
)


def payments(view: View) -> Html:
    """The list, newest first."""
    wanted = view.query.get("q", "").casefold()
    found = [
        one
        for one in view.books.payments.values()
        if not wanted or wanted in one.reference.casefold() or mentions(one.target, wanted)
    ]
    found.sort(key=lambda one: (one.on, one.updated_at), reverse=True)
    first = (view.page_number() - 1) * ROWS
    return card(
        "All payments",
        search(view, "payments", "document, contact, reference"),
        payments_table(view, found[first : first + ROWS], with_document=True),
        pager(view, "payments", len(found), q=view.query.get("q", "")),
        tag("p", "A payment is entered on its invoice's page.", class_="note"),
    )


def payments_table(view: View, found: list[Payment], *, with_document: bool = False) -> Html:
    """Payments, each of which can be deleted; on a document's own page the document is not named."""
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
    undo = form(
        view,
        "delete-payment",
        about("Delete", f"the payment of {one.amount:,.2f} on {target.number}, {day(one.on)}"),
        ask=f"Delete this payment of {one.amount:,.2f} {target.currency}?",
        payment_id=one.id,
    )
    return [
        day(one.on),
        *(document if with_document else ()),
        money(one.amount, target.currency),
        one.account.name,
        one.reference or "—",
        badge(one.status, "" if one.status is Status.DELETED else "ok"),
        undo if one.status is not Status.DELETED else None,
    ]


def allocations_table(view: View, found: list[Allocation], *, of_credit: bool) -> Html:
    """Allocations as seen from the credit or from the invoice, each of which can be taken back."""
    rows: list[list[Child]] = []
    for one in found:
        other: Invoice | Credit = one.invoice if of_credit else one.credit
        page = "invoice" if of_credit else "credit"
        undo = form(
            view,
            "remove-allocation",
            about("Take back", f"{one.amount:,.2f} of {other.number}, {day(one.on)}"),
            ask=f"Take back {one.amount:,.2f} {other.currency}?",
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


def accounts(view: View, currency: str) -> Html:
    """A choice of where money goes or comes from: the currency's own account first."""
    own = view.books.bank_account(currency).id
    return choice(
        "Account", "account_id", [(one.id, one.name) for one in view.books.accounts.values() if one.is_payable], own
    )


def mentions(one: Invoice | Credit, wanted: str) -> bool:
    """Whether a search in lower case finds a document: by number, contact or reference."""
    return any(wanted in text.casefold() for text in (one.number, one.contact.name, one.reference))
