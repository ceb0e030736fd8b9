"""The commands of `tieout` about both sides agreeing, their arguments and options."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tieout.cli import commands
from tieout.cli.options import ConnectionName, Json, Limit

DiscrepancyId = Annotated[
    str, typer.Argument(metavar="DISCREPANCY", help="Its id, as `tieout discrepancies` shows it.")
]


class State(StrEnum):
    """The states of discrepancies."""

    OPENED = "opened"
    CAUSE_FOUND = "cause-found"
    SELF_HEALED = "self-healed"
    NEEDS_ATTENTION = "needs-attention"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Cause(StrEnum):
    """The causes of discrepancies."""

    MISSING_DOCUMENT = "missing-document"
    STALE_DOCUMENT = "stale-document"
    MISSED_DELETION = "missed-deletion"
    UNALLOCATED_CREDIT = "unallocated-credit"
    ALLOCATION_ON_OTHER_CONTACT = "allocation-on-other-contact"
    ROUNDING = "rounding"
    FOREIGN_CURRENCY_MIX = "foreign-currency-mix"
    FUTURE_DATED = "future-dated"
    DRAFT_COUNTED = "draft-counted"
    PAYMENT_REMOVED_IN_XERO = "payment-removed-in-xero"
    UNEXPLAINED = "unexplained"


def add_to(app: typer.Typer, watch: typer.Typer) -> None:
    """Add these commands to `tieout` and to `tieout watch`."""
    about_differences = (reconcile, discrepancies, discrepancy, acknowledge, evidence, report)
    for command in (*about_differences, chase_check, platform_balances):
        app.command()(command)
    watch.command("discrepancies")(watch_discrepancies)


def reconcile(
    context: typer.Context,
    connection: ConnectionName,
    customer: Annotated[str, typer.Argument(help="Only this customer, by id or by name.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until it has ended.")] = False,
    max_calls: Annotated[int, typer.Option(help="Calls to Xero at most; 0 means as many as it takes.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Compare with Xero and repair what is stale: one customer, or everybody. Leaves with 3 if something is off."""
    if customer:
        commands.reconciliations.one(context.obj, connection, customer, as_json=as_json)
    else:
        commands.reconciliations.everybody(context.obj, connection, max_calls, follow=follow, as_json=as_json)


def discrepancies(
    context: typer.Context,
    connection: ConnectionName,
    *,
    customer: Annotated[str, typer.Option(help="Only this customer's, by id or by name.")] = "",
    state: Annotated[list[State] | None, typer.Option(help="Only those in this state; else all not over.")] = None,
    cause: Annotated[list[Cause] | None, typer.Option(help="Only those with this cause.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List where both sides differ, the largest difference of each currency first."""
    wanted = {"states": [it.name for it in state or []], "causes": [it.name for it in cause or []]}
    commands.discrepancies.show_all(context.obj, connection, customer, wanted, limit, as_json=as_json)


def discrepancy(context: typer.Context, discrepancy_id: DiscrepancyId, *, as_json: Json = False) -> None:
    """Show one discrepancy: both sides, why they differ, which documents, what happened."""
    commands.discrepancies.show(context.obj, discrepancy_id, as_json=as_json)


def acknowledge(
    context: typer.Context,
    discrepancy_id: DiscrepancyId,
    *,
    note: Annotated[str, typer.Option(help="What to say about it.")] = "",
    as_json: Json = False,
) -> None:
    """Note that a person knows of a discrepancy."""
    commands.discrepancies.acknowledge(context.obj, discrepancy_id, note, as_json=as_json)


def evidence(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="DISCREPANCY|CASE", help="The id of either.")],
    *,
    output: Annotated[Path | None, typer.Option(help="The file or directory to write to.")] = None,
    as_json: Json = False,
) -> None:
    """Write a zip that proves a difference: both sides' documents, the arithmetic, a page to read."""
    commands.discrepancies.evidence(context.obj, subject, output, as_json=as_json)


def report(
    context: typer.Context,
    connection: ConnectionName,
    description: Annotated[str, typer.Argument(help="What is wrong, in your words.")] = "",
    *,
    customer: Annotated[list[str] | None, typer.Option(help="A customer it is about, by id or by name.")] = None,
    invoice: Annotated[list[str] | None, typer.Option(help="An invoice it is about, by number or by id.")] = None,
    payment: Annotated[list[str] | None, typer.Option(help="A payment it is about, by id.")] = None,
    as_json: Json = False,
) -> None:
    """Report a difference that was not flagged, of one customer, invoice or payment at least: becomes a case."""
    about = {"customers": customer or [], "invoices": invoice or [], "payments": payment or []}
    commands.discrepancies.report(context.obj, connection, description, about, as_json=as_json)


def chase_check(
    context: typer.Context,
    connection: ConnectionName,
    invoices: Annotated[list[str], typer.Argument(metavar="INVOICE…", help="Invoices, by number or by id.")],
    *,
    as_json: Json = False,
) -> None:
    """Ask whether invoices may be chased now, and as of when that is true."""
    commands.balances.chase_check(context.obj, connection, invoices, as_json=as_json)


def platform_balances(
    context: typer.Context,
    connection: ConnectionName,
    file: Annotated[
        Path, typer.Argument(help="CSV with the columns customer (ids), currency, balance; - reads stdin.")
    ],
    *,
    as_of: Annotated[datetime | None, typer.Option(help="When they were true, in UTC. Default: now.")] = None,
    as_json: Json = False,
) -> None:
    """Compare your own books with ours and with Xero's: who differs from whom."""
    at = as_of.replace(tzinfo=UTC) if as_of else None
    commands.balances.platform_balances(context.obj, connection, file, at, as_json=as_json)


def watch_discrepancies(
    context: typer.Context,
    connection: ConnectionName,
    *,
    after: Annotated[str, typer.Option(help="Go on after this resume token.")] = "",
    as_json: Json = False,
) -> None:
    """Follow discrepancies: what they are now, then every change."""
    commands.discrepancies.watch(context.obj, connection, after, as_json=as_json)
