"""The first page: how the books stand, who is connected, how the limits are, what was asked and sent last."""

from decimal import Decimal

from tieout_sandbox.books.balances import in_base
from tieout_sandbox.books.documents import ZERO, ContactStatus, InvoiceType, Status
from tieout_sandbox.page.html import Child, Html, join, tag
from tieout_sandbox.page.traffic import gauges, requests_table
from tieout_sandbox.page.view import View, card, figures, link, live, money
from tieout_sandbox.page.webhooks import deliveries_table

_SHOWN = 8


def overview(view: View) -> Html:
    """Everything at a glance."""
    return join(
        tag(
            "p",
            "A Xero to test with: look around, do what a bookkeeper or an administrator would, and watch your app "
            "find out.",
            class_="lead",
        ),
        card("Sales", figures(_sales(view)), class_="card big"),
        card("Limits", live("limits", gauges(view))),
        card("Last requests", live("last", requests_table(view, _SHOWN)), link(view.link("traffic"), "All requests")),
        card(
            "Last webhooks", live("last-deliveries", deliveries_table(view, 5)), link(view.link("webhooks"), "Webhooks")
        ),
        _how_to_connect(view) if not view.sandbox.authority.connections else None,
    )


def _sales(view: View) -> list[tuple[str, Child]]:
    today, base = view.books.today(), view.books.base_currency
    owed, overdue, open_invoices = ZERO, ZERO, 0
    for invoice in view.books.invoices.values():
        if invoice.type is InvoiceType.ACCREC and invoice.status is Status.AUTHORISED:
            due = in_base(invoice.amount_due, invoice.rate)
            owed, open_invoices = owed + due, open_invoices + 1
            overdue += due if invoice.due_on < today else ZERO
    customers = [found for found in view.books.contacts.values() if found.is_customer]
    active = sum(1 for found in customers if found.status is ContactStatus.ACTIVE)
    return [
        ("Owed by customers", money(owed, base)),
        ("Of it overdue", money(overdue, base)),
        ("Credit not yet used", money(_unused_credit(view), base)),
        ("Open invoices", f"{open_invoices:,}"),
        ("Active customers", f"{active:,}"),
    ]


def _unused_credit(view: View) -> Decimal:
    books = view.books
    held = (*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values())
    open_ones = (credit for credit in held if credit.status is Status.AUTHORISED and not credit.of_supplier)
    return sum((in_base(credit.remaining_credit, credit.rate) for credit in open_ones), ZERO)


def _how_to_connect(view: View) -> Html:
    app = view.sandbox.settings.apps[0]
    return card(
        "Connect an app",
        tag(
            "p",
            "No app is connected yet. Point yours at this address for login, identity and API, and send its user to "
            "the authorise page:",
        ),
        tag(
            "pre",
            f"{view.sandbox.url}/identity/connect/authorize?response_type=code&client_id={app.client_id}"
            "&redirect_uri=…&scope=…&state=…",
        ),
    )
