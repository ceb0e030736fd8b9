"""The commands of ReceivablesService."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from tieout.cli import changes
from tieout.cli.lists import LARGEST_PAGE, first, listed, page_size
from tieout.cli.names import find_connection, find_customer
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, documents, money, say, table, word
from tieout.client import Client
from tieout.errors import NotFoundError
from tieout.v1.receivables_service_pb2 import ContactPerson, CreditKind, Customer, Invoice, InvoiceStatus, PhoneType
from tieout.v1.types_pb2 import Entity

_FEW = 3
"""Up to so many customers are read one by one rather than looked for in the list of all."""


def customer(server: Server, name: str, customer: str, *, as_json: bool) -> None:
    """Show one customer."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        found = await find_customer(client, connection.id, customer)
        if as_json:
            document(found)
        else:
            _show(found)

    run(server, command, as_json=as_json)


def watch(server: Server, name: str, entities: Iterable[str], after: str, *, from_start: bool, as_json: bool) -> None:
    """Follow the changes of a connection until Ctrl-C; with `from_start` what is here now comes first."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        wanted = [Entity.Value(f"ENTITY_{entity.upper().replace('-', '_')}") for entity in entities]
        stream = client.receivables.watch_changes(connection.id, entities=wanted, after=after, from_start=from_start)
        async with aclosing(stream) as messages:
            async for message in messages:
                if as_json:
                    document(message)
                elif not message.HasField("heartbeat"):
                    changes.tell(message)

    run(server, command, as_json=as_json)


def customers(
    server: Server, name: str, search: str, limit: int, *, off_balance: bool, ids: bool, as_json: bool
) -> None:
    """List customers with their balances."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.receivables.list_customers(
            connection.id, search=search, off_balance_only=off_balance, page_size=page_size(limit)
        )
        found, more = await first(pages, limit)
        if as_json:
            documents(found)
        else:
            _customers(found, ids=ids, more=more)
            if off_balance:
                _why(found)

    run(server, command, as_json=as_json)


def invoices(
    server: Server, name: str, wanted: dict[str, str], statuses: Iterable[str], limit: int, *, as_json: bool
) -> None:
    """List invoices; `wanted` holds the filters by name as the API has them, and `customer` by id or name.

    Those that were asked for by their number are shown with what was paid and credited.
    """

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        named = wanted.get("customer")
        pages = client.receivables.list_invoices(
            connection.id,
            customer_id=(await find_customer(client, connection.id, named)).id if named else "",
            number=wanted.get("number", ""),
            due_before=wanted.get("due_before", ""),
            statuses=[InvoiceStatus.Value(f"INVOICE_STATUS_{status.upper()}") for status in statuses],
            page_size=page_size(limit),
        )
        found, more = await first(pages, limit)
        if wanted.get("number"):
            found = [await client.receivables.get_invoice(connection.id, it.id) for it in found]
        if as_json:
            documents(found)
        else:
            names = await _names(client, connection.id, {it.customer_id for it in found})
            _invoices(found, names, more=more)
            _settled(found)

    run(server, command, as_json=as_json)


async def _names(client: Client, connection_id: str, ids: set[str]) -> dict[str, str]:
    """What the customers with these ids are called; one that is not here keeps its id."""
    if len(ids) <= _FEW:
        return dict(await asyncio.gather(*(_called(client, connection_id, it) for it in ids)))
    names: dict[str, str] = {}
    async for customer in client.receivables.list_customers(connection_id, page_size=LARGEST_PAGE):
        if customer.id in ids:
            names[customer.id] = customer.name
        if len(names) == len(ids):
            break
    return names


async def _called(client: Client, connection_id: str, id_: str) -> tuple[str, str]:
    try:
        return id_, (await client.receivables.get_customer(connection_id, id_)).name
    except NotFoundError:
        return id_, id_


def _show(it: Customer) -> None:
    made = table("", "")
    made.show_header = False
    rows = {
        "customer": it.name,
        "contact": " ".join(filter(None, (it.first_name, it.last_name))),
        "email": it.email,
        "phone": it.mobile_phone,
        "all phones": "\n".join(f"{phone.number}  {word(PhoneType, phone.type, 'PHONE_TYPE_')}" for phone in it.phones),
        "people": "\n".join(_person(person) for person in it.contact_persons),
        "account": it.account_number,
        "outstanding": money(it.outstanding),
        "overdue": money(it.overdue),
        "unapplied": money(it.unapplied),
        "archived": "yes, with a balance" if it.archived_with_balance else "",
        "off balance": it.off_balance_sentence,
        "id": it.id,
    }
    for label, value in rows.items():
        if value:
            made.add_row(label, value)
    say(made)


def _person(person: ContactPerson) -> str:
    mail = "gets invoices" if person.include_in_emails else ""
    return "  ".join(filter(None, (f"{person.first_name} {person.last_name}".strip(), person.email, mail)))


def _customers(found: list[Customer], *, ids: bool, more: bool) -> None:
    figures = ("outstanding", "overdue", "unapplied")
    made = table("customer", "mobile", *figures, "", *(["id"] if ids else []), right=figures)
    for it in found:
        marks = [mark for mark, on in (("off balance", it.off_balance), ("archived", it.archived_with_balance)) if on]
        balances = (money(it.outstanding), money(it.overdue), money(it.unapplied))
        made.add_row(it.name, it.mobile_phone, *balances, ", ".join(marks), *([it.id] if ids else []))
    listed(made if found else "There are no such customers.", more=more)


def _why(found: list[Customer]) -> None:
    """What each customer is off balance by."""
    for it in found:
        say(f"{it.name}: {it.off_balance_sentence}")


def _invoices(found: list[Invoice], names: dict[str, str], *, more: bool) -> None:
    figures = ("total", "amount due")
    made = table("number", "issued", "due date", "expected", "status", *figures, "customer", right=figures)
    for it in found:
        status = word(InvoiceStatus, it.status, "INVOICE_STATUS_")
        dates = (it.issued_on, it.due_on, it.expected_payment_date)
        customer = names.get(it.customer_id, it.customer_id)
        made.add_row(it.number, *dates, status, money([it.total]), money([it.amount_due]), customer)
    listed(made if found else "There are no such invoices.", more=more)


def _settled(found: Iterable[Invoice]) -> None:
    """What was paid and credited, as far as that was read."""
    made = table("settled by", "on", "amount", "id in Xero", right=("amount",))
    for it in found:
        for paid in it.payments:
            made.add_row(f"payment {paid.reference}".strip(), paid.paid_on, money([paid.amount]), paid.xero_payment_id)
        for part in it.allocations:
            credit = f"{word(CreditKind, part.kind, 'CREDIT_KIND_')} {part.credit_number}".strip()
            made.add_row(credit, part.applied_on, money([part.amount]), part.xero_credit_id)
    if made.row_count:
        say(made)
