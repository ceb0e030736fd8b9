"""The commands that compare: one customer, or a whole organisation."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

from tieout.cli import discrepancy as display
from tieout.cli.names import find_connection, find_customer
from tieout.cli.options import Server
from tieout.cli.run import PERSON, run
from tieout.cli.show import document, money, note, say, table, word
from tieout.client import Client
from tieout.v1.reconciliation_service_pb2 import (
    ReconcileCustomerResponse,
    Reconciliation,
    ReconciliationState,
    StartReconciliationResponse,
)


def one(server: Server, name: str, customer: str, *, as_json: bool) -> None:
    """Compare one customer; leaves with 3 where it is still off balance."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        found = await find_customer(client, connection.id, customer)
        answer = await client.reconciliations.reconcile_customer(connection.id, found.id)
        if as_json:
            document(answer)
        else:
            _tell(answer, found.name)
        return PERSON if answer.discrepancies else None

    run(server, command, as_json=as_json)


def everybody(server: Server, name: str, max_calls: int, *, follow: bool, as_json: bool) -> None:
    """Compare a whole organisation, or join where that is under way, and follow it to its end if asked to."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        answer = await client.reconciliations.start(connection.id, max_calls=max_calls, request_id=str(uuid4()))
        if follow:
            try:
                return await _follow(client, answer.reconciliation.id, as_json=as_json)
            except asyncio.CancelledError:
                note(f"It runs on; `tieout reconcile {name} --follow` shows it again.")
                raise
        _started(answer, as_json=as_json)
        return None

    run(server, command, as_json=as_json)


async def _follow(client: Client, reconciliation_id: str, *, as_json: bool) -> int | None:
    """Show progress until it has ended; one that failed, or found something, needs somebody to look at it."""
    last, told = Reconciliation(), ""
    async with aclosing(client.reconciliations.watch(reconciliation_id)) as messages:
        async for message in messages:
            last = message.reconciliation if message.HasField("reconciliation") else last
            if as_json:
                document(message)
            elif (line := _line(last)) != told:
                say(line)
                told = line
    if not as_json:
        _ended(last)
    failed = last.state != ReconciliationState.RECONCILIATION_STATE_SUCCEEDED
    return PERSON if failed or last.off_balance else None


def _started(answer: StartReconciliationResponse, *, as_json: bool) -> None:
    if as_json:
        document(answer)
        return
    it = answer.reconciliation
    verb = "was there already" if answer.joined else "has been started"
    say(f"Reconciliation {it.id} {verb} and is {_state(it)}; --follow shows it.")


def _line(it: Reconciliation) -> str:
    compared = f"{it.compared:,}/{it.customers:,} customers" if it.customers else ""
    off = f"{it.off_balance:,} off balance" if it.off_balance else ""
    healed = f"{it.self_healed:,} repaired" if it.self_healed else ""
    return "  ".join(filter(None, (f"{it.percent:5.1f} %", _state(it), compared, off, healed)))


def _ended(it: Reconciliation) -> None:
    if it.error_sentence:
        say(it.error_sentence)
    if it.totals:
        figures = ("ours", "Xero", "difference")
        made = table("all customers", *figures, right=figures)
        for total in it.totals:
            made.add_row(total.currency_code, money([total.ours]), money([total.xero]), money([total.difference]))
        say(made)
    counts = (
        f"Customers: {it.agreeing:,} agree, {it.off_balance:,} off balance. Differences repaired: {it.self_healed:,}"
    )
    left = f". Not compared within the calls: {it.left_over:,}" if it.left_over else ""
    say(f"{counts}{left}. Calls: {it.calls_used:,}.")
    if it.off_balance:
        say(f"`tieout discrepancies {it.connection_id}` says why.")


def _tell(answer: ReconcileCustomerResponse, name: str) -> None:
    for line in display.repairs(answer.repairs):
        say(line)
    say(display.balances(answer.balances))
    for it in answer.discrepancies:
        for part in display.explained(it):
            say(part)
        say(f"{it.id}: {display.state(it)}; `tieout evidence {it.id}` writes the proof.")
    if not answer.discrepancies:
        say(f"{name} agrees with Xero. Calls: {answer.calls_used:,}.")


def _state(it: Reconciliation) -> str:
    return word(ReconciliationState, it.state, "RECONCILIATION_STATE_")
