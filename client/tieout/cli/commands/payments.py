"""The commands about payments: have them recorded in Xero, list, examine, try again, dismiss, take back, follow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from uuid import uuid4

from tieout.cli import payment as display
from tieout.cli.amounts import typed_amount
from tieout.cli.asked import Asked
from tieout.cli.lists import first, listed, page_size
from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.run import PERSON, run
from tieout.cli.show import document, documents, note, say
from tieout.client import Client
from tieout.errors import NotFoundError
from tieout.v1.payment_export_service_pb2 import (
    ExportErrorReason,
    PaymentExport,
    ReversalKind,
    WatchPaymentExportsResponse,
    XeroStatus,
)

_Watched = AsyncGenerator[WatchPaymentExportsResponse, None]


def export(server: Server, name: str, asked: Asked, *, wait: bool, as_json: bool) -> None:
    """Have a payment recorded; with `wait`, leave with 3 where somebody must act."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        async with aclosing(client.payment_exports.watch(connection.id)) as watched:
            if wait:
                await anext(watched)  # from now on nothing is missed
            payment = display.payment_of(asked, connection.organisation.time_zone)
            accepted = await client.payment_exports.export(connection.id, payment, request_id=str(uuid4()))
            if wait:
                return await _follow(client, watched, accepted.export.id, as_json=as_json)
        if as_json:
            document(accepted)
        else:
            verb = "was there already" if accepted.existing else "is accepted"
            say(f"Payment {accepted.export.payment.payment_id} {verb}.")
            say(display.line_now(accepted.export))
        return None

    run(server, command, as_json=as_json)


def check(server: Server, name: str, asked: Asked, *, as_json: bool) -> None:
    """Examine a payment; leaves with 3 where Xero would refuse it."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        payment = display.payment_of(asked, connection.organisation.time_zone)
        found = await client.payment_exports.check(connection.id, payment)
        if as_json:
            document(found)
        else:
            for part in display.checked(found):
                say(part)
        return PERSON if found.findings else None

    run(server, command, as_json=as_json)


def show_all(server: Server, name: str, wanted: Mapping[str, Sequence[str]], limit: int, *, as_json: bool) -> None:
    """List exports, newest first; `wanted` holds statuses and reasons."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.payment_exports.list(
            connection.id,
            xero_statuses=[XeroStatus.Value(f"XERO_STATUS_{it}") for it in wanted["statuses"]],
            error_reasons=_reasons(wanted["reasons"]),
            page_size=page_size(limit),
        )
        found, more = await first(pages, limit)
        if as_json:
            documents(found)
        else:
            listed(display.listing(found) if found else "There are no such payments.", more=more)

    run(server, command, as_json=as_json)


def show(server: Server, name: str, named: str, *, as_json: bool) -> None:
    """Show all that is known of one export, by its id or by the caller's of the payment."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        try:
            found = await client.payment_exports.get(named)
        except NotFoundError:
            found = await client.payment_exports.get_by_payment(connection.id, named)
        if as_json:
            document(found)
            return
        for part in display.card(found):
            say(part)

    run(server, command, as_json=as_json)


def reexport(server: Server, export_id: str, *, wait: bool, as_json: bool) -> None:
    """Try one export again; with `wait`, leave with 3 where somebody must act once more."""

    async def command(client: Client) -> int | None:
        connection_id = (await client.payment_exports.get(export_id)).connection_id
        async with aclosing(client.payment_exports.watch(connection_id)) as watched:
            if wait:
                await anext(watched)  # from now on nothing is missed
            again = await client.payment_exports.reexport(export_id, request_id=str(uuid4()))
            if wait:
                return await _follow(client, watched, export_id, as_json=as_json)
        _now(again, as_json=as_json)
        return None

    run(server, command, as_json=as_json)


def reexport_all(server: Server, name: str, reasons: Sequence[str], *, as_json: bool) -> None:
    """Try again all that are in ERROR, or those of certain reasons."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        count = await client.payment_exports.reexport_all(
            connection.id, error_reasons=_reasons(reasons), request_id=str(uuid4())
        )
        say(f'{{"count": "{count}"}}' if as_json else f"Payments on their way again: {count:,}.")

    run(server, command, as_json=as_json)


def dismiss(server: Server, export_id: str, remark: str, *, as_json: bool) -> None:
    """Record that a payment was handled elsewhere."""

    async def command(client: Client) -> None:
        _now(await client.payment_exports.dismiss(export_id, remark, request_id=str(uuid4())), as_json=as_json)

    run(server, command, as_json=as_json)


def reverse(server: Server, export_id: str, kind: str, asked: Mapping[str, str], *, wait: bool, as_json: bool) -> None:
    """Take an exported payment back; `asked` holds reversal_id, amount, reason and reversed_on."""

    async def command(client: Client) -> int | None:
        exported = await client.payment_exports.get(export_id)
        currency = exported.payment.amount.currency_code
        async with aclosing(client.payment_exports.watch(exported.connection_id)) as watched:
            if wait:
                await anext(watched)  # from now on nothing is missed
            answer = await client.payment_exports.reverse(
                export_id,
                ReversalKind.Value(f"REVERSAL_KIND_{kind}"),
                asked["reversal_id"],
                reason=asked["reason"],
                amount=typed_amount(asked["amount"], currency) if asked["amount"] else None,
                reversed_on=asked["reversed_on"],
                request_id=str(uuid4()),
            )
            if wait:
                return await _follow(client, watched, export_id, as_json=as_json)
        if as_json:
            document(answer)
            return None
        for part in display.taken_back(answer.reversals[-1]):
            say(part)
        return None

    run(server, command, as_json=as_json)


def watch(server: Server, name: str, after: str, *, as_json: bool) -> None:
    """Follow exports: what is not over now, then everything that happens."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        watched = client.payment_exports.watch(connection.id, after=after, from_start=not after)
        async with aclosing(watched) as messages:
            async for message in messages:
                _tell(message, as_json=as_json)

    run(server, command, as_json=as_json)


async def _follow(client: Client, watched: _Watched, export_id: str, *, as_json: bool) -> int | None:
    """Show what happened to an export so far, and what happens, until it is seen in Xero or somebody must act."""
    try:
        last = await _last(client, watched, export_id, as_json=as_json)
    except asyncio.CancelledError:
        note(f"It goes on; `tieout payments list CONNECTION --id {export_id}` shows it.")
        raise
    for part in () if as_json else display.records(last.xero_records):
        say(part)
    return PERSON if display.is_stuck(last) else None


async def _last(client: Client, watched: _Watched, export_id: str, *, as_json: bool) -> PaymentExport:
    """The export once nothing more happens to it by itself; prints all that did."""
    last = await client.payment_exports.get(export_id)
    told = [(it.occurred_at.ToNanoseconds(), it.sentence) for it in last.history]
    if as_json:
        document(last)
    else:
        for event in last.history:
            say(display.event_line(last, event))
    while not display.is_ended(last):
        message = await anext(watched)
        change = message.change
        if change.export.id != export_id or (change.event.occurred_at.ToNanoseconds(), change.event.sentence) in told:
            continue
        last = change.export
        _tell(message, as_json=as_json)
    return last


def _reasons(names: Sequence[str]) -> list["ExportErrorReason.ValueType"]:
    return [ExportErrorReason.Value(f"EXPORT_ERROR_REASON_{name}") for name in names]


def _now(it: PaymentExport, *, as_json: bool) -> None:
    if as_json:
        document(it)
    else:
        say(display.line_now(it))


def _tell(message: WatchPaymentExportsResponse, *, as_json: bool) -> None:
    if as_json:
        document(message)
    elif message.HasField("snapshot"):
        say(display.line_now(message.snapshot))
    elif message.HasField("change"):
        say(display.line(message.change))
