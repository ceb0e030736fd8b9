"""The commands of ReceivablesService."""

from collections.abc import Iterable
from typing import TypeVar

from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import console, documents, money, table, word
from tieout.client import Client
from tieout.paging import Page, Pages
from tieout.v1.receivables_service_pb2 import Customer, Invoice, InvoiceStatus

PageT = TypeVar("PageT", bound=Page)
Item = TypeVar("Item")
_LARGEST_PAGE = 1000


def customers(server: Server, name: str, search: str, limit: int, *, off_balance: bool, as_json: bool) -> None:
    """List customers with their balances."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.receivables.list_customers(
            connection.id, search=search, off_balance_only=off_balance, page_size=_page_size(limit)
        )
        found, more = await _first(pages, limit)
        if as_json:
            documents(found)
        else:
            _customers(found, more=more)

    run(server, command, as_json=as_json)


def invoices(
    server: Server, name: str, wanted: dict[str, str], statuses: Iterable[str], limit: int, *, as_json: bool
) -> None:
    """List invoices; `wanted` holds the filters by name as the API has them."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.receivables.list_invoices(
            connection.id,
            customer_id=wanted.get("customer_id", ""),
            number=wanted.get("number", ""),
            due_before=wanted.get("due_before", ""),
            statuses=[InvoiceStatus.Value(f"INVOICE_STATUS_{status.upper()}") for status in statuses],
            page_size=_page_size(limit),
        )
        found, more = await _first(pages, limit)
        if as_json:
            documents(found)
        else:
            _invoices(found, more=more)

    run(server, command, as_json=as_json)


async def _first(pages: Pages[PageT, Item], limit: int) -> tuple[list[Item], bool]:
    """The first items, and whether there are more; all of them with a limit of 0."""
    found = await pages.first(limit and limit + 1)
    return (found[:limit], len(found) > limit) if limit else (found, False)


def _page_size(limit: int) -> int:
    """Just enough to see whether there are more than `limit`; the largest page (1,000) where all are wanted."""
    return min(limit + 1, _LARGEST_PAGE) if limit else _LARGEST_PAGE


def _customers(found: list[Customer], *, more: bool) -> None:
    figures = ("outstanding", "overdue", "unapplied")
    made = table("customer", "mobile", *figures, "", right=figures)
    for it in found:
        marks = [mark for mark, on in (("off balance", it.off_balance), ("archived", it.archived_with_balance)) if on]
        balances = (money(it.outstanding), money(it.overdue), money(it.unapplied))
        made.add_row(it.name, it.mobile_phone, *balances, ", ".join(marks))
    _print(made if found else "There are no such customers.", more=more)


def _invoices(found: list[Invoice], *, more: bool) -> None:
    figures = ("total", "due")
    made = table("number", "issued", "due on", "expected", "status", *figures, "customer", right=figures)
    for it in found:
        status = word(InvoiceStatus, it.status, "INVOICE_STATUS_")
        dates = (it.issued_on, it.due_on, it.expected_payment_date)
        made.add_row(it.number, *dates, status, money([it.total]), money([it.amount_due]), it.customer_id)
    _print(made if found else "There are no such invoices.", more=more)


def _print(what: object, *, more: bool) -> None:
    console().print(what)
    if more:
        console().print("[dim]There are more; --limit 0 shows all.[/]")
