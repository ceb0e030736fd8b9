"""The commands that hold what the caller has against what is here: its own balances, and invoices to be chased."""

import csv
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from sys import stdin
from typing import TextIO
from uuid import uuid4

from tieout.calls import instant
from tieout.cli.amounts import typed_amount
from tieout.cli.names import find_connection, invoice_named
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, moment, money, say, table, word
from tieout.client import Client
from tieout.errors import CallerError
from tieout.v1.reconciliation_service_pb2 import (
    ChaseCheck,
    ChaseVerdict,
    PlatformBalance,
    PlatformVerdict,
    SubmitPlatformBalancesRequest,
    SubmitPlatformBalancesResponse,
)

_AT_ONCE = 1000
"""Balances in one message, and invoices in one call: the most that is taken."""
_COLUMNS = ("customer", "currency", "balance")


def platform_balances(server: Server, name: str, file: Path, as_of: datetime | None, *, as_json: bool) -> None:
    """Submit the balances of a CSV file, and show who differs from whom."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        with nullcontext(stdin) if str(file) == "-" else file.open(encoding="utf-8-sig", newline="") as lines:
            requests = _requests(lines, connection.id, as_of or datetime.now(UTC))
            answer = await client.reconciliations.submit_platform_balances(requests)
        if as_json:
            document(answer)
        else:
            _tell(answer)

    run(server, command, as_json=as_json)


def chase_check(server: Server, name: str, invoices: Sequence[str], *, as_json: bool) -> None:
    """Show which of these invoices may be chased now."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        for start in range(0, len(invoices), _AT_ONCE):
            some = invoices[start : start + _AT_ONCE]
            answer = await client.reconciliations.check_chase(connection.id, map(invoice_named, some))
            if as_json:
                document(answer)
            else:
                _verdicts(answer.checks)

    run(server, command, as_json=as_json)


async def _requests(lines: TextIO, connection_id: str, as_of: datetime) -> AsyncIterator[SubmitPlatformBalancesRequest]:
    balances = _balances(lines)
    first = SubmitPlatformBalancesRequest(connection_id=connection_id, as_of=instant(as_of), request_id=str(uuid4()))
    first.balances.extend(islice(balances, _AT_ONCE))
    yield first
    while some := list(islice(balances, _AT_ONCE)):
        yield SubmitPlatformBalancesRequest(balances=some)


def _balances(lines: TextIO) -> Iterator[PlatformBalance]:
    """The balances of a CSV file, line by line.

    Raises:
        CallerError: a line is none; the sentence names it.
    """
    rows = csv.DictReader(lines, restval="")
    if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise CallerError(f"The first line has to name the columns {', '.join(_COLUMNS)}; {missing[0]!r} is missing.")
    for row in rows:
        try:
            balance = typed_amount(row["balance"].strip(), row["currency"].strip())
        except CallerError as error:
            raise CallerError(f"Line {rows.line_num}: {error.sentence}") from error
        yield PlatformBalance(customer_id=row["customer"].strip(), balance=balance)


def _tell(answer: SubmitPlatformBalancesResponse) -> None:
    figures = ("ours", "Xero", "platform")
    if answer.differences:
        made = table("customer", *figures, "who differs", right=figures)
        for it in answer.differences:
            sides = (money([it.balances.ours]), money([it.balances.xero]), money([it.balances.platform]))
            verdict = word(PlatformVerdict, it.verdict, "PLATFORM_VERDICT_")
            made.add_row(it.balances.customer_id or it.unknown_customer, *sides, verdict)
        say(made)
    say(
        f"{answer.received:,} balances received, {answer.agreeing:,} agree on all three sides, "
        f"{answer.differing:,} do not; {answer.not_submitted:,} customers with a balance here were not in the file."
    )


def _verdicts(checks: Sequence[ChaseCheck]) -> None:
    made = table("invoice", "verdict", "amount due", "as of", "why", right=("amount due",), wide="why")
    for it in checks:
        named = it.invoice.invoice_number or it.invoice.invoice_id
        verdict = word(ChaseVerdict, it.verdict, "CHASE_VERDICT_")
        due = money([it.amount_due])
        made.add_row(named, verdict, due, moment(it.as_of), it.sentence)
    say(made)
