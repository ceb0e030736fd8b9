"""The commands of `tieout`, their arguments and options."""

from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

import typer

from tieout.cli import commands, exporting, reconciling
from tieout.cli.options import (
    A_CALL,
    CaFile,
    CertFile,
    ConnectionName,
    Ids,
    Json,
    KeyFile,
    Limit,
    Server,
    Target,
    Timeout,
    Token,
    UseTls,
)
from tieout.cli.panels import sort_into_panels

_EXIT_CODES = (
    "Exit codes: 0 all is well; 1 a fault of the service; 2 the request is to be corrected; 3 a person must act;"
    " 4 try again later; 130 Ctrl-C; 141 the reader of the output left."
)
app = typer.Typer(
    help="Keeps a merchant's receivables in agreement with their books in Xero.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
watch = typer.Typer(help="Follow what happens, until Ctrl-C.", no_args_is_help=True)
app.add_typer(watch, name="watch")

explain = typer.Typer(help="Tell why something is or is not here.", no_args_is_help=True)
app.add_typer(explain, name="explain")

Merchant = Annotated[str, typer.Option(help="Only this merchant's.")]
ReturnUrl = Annotated[str, typer.Option(help="Where the browser goes after consent.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address only.")]
After = Annotated[str, typer.Option(help="Go on after this resume token.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until consent has come back.")]


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"tieout {version('tieout')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
]


class Decision(StrEnum):
    """What can be decided about a sync that is held."""

    CONFIRM = "confirm"
    DISCARD = "discard"


class Standing(StrEnum):
    """The states of connections."""

    PENDING_AUTHORISATION = "pending-authorisation"
    PENDING_ORGANISATION = "pending-organisation"
    CONNECTED = "connected"
    RECONNECT_REQUIRED = "reconnect-required"
    DISCONNECTED = "disconnected"


class Kind(StrEnum):
    """The kinds of record that are followed."""

    CONTACTS = "contacts"
    INVOICES = "invoices"
    CREDIT_NOTES = "credit-notes"
    OVERPAYMENTS = "overpayments"
    PREPAYMENTS = "prepayments"
    PAYMENTS = "payments"
    ACCOUNTS = "accounts"


class Status(StrEnum):
    """The states that invoices are listed by."""

    AUTHORISED = "authorised"
    PAID = "paid"


@app.callback()
def server(
    context: typer.Context,
    *,
    target: Target = "127.0.0.1:7440",
    tls: UseTls = False,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    token: Token = "",
    timeout: Timeout = A_CALL,
    _version: Version = False,
) -> None:
    """Keep what all commands need."""
    context.obj = Server(target, tls, ca_file, cert_file, key_file, token, timedelta(seconds=timeout))


@app.command()
def connect(
    context: typer.Context,
    merchant: Annotated[str, typer.Argument(help="Your own id of the merchant.")],
    *,
    return_url: ReturnUrl = "",
    no_browser: NoBrowser = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Connect a merchant: opens Xero's consent in the browser."""
    commands.consents.connect(context.obj, merchant, return_url, browser=not no_browser, wait=wait, as_json=as_json)


@app.command()
def reconnect(
    context: typer.Context,
    connection: ConnectionName,
    *,
    return_url: ReturnUrl = "",
    no_browser: NoBrowser = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Consent anew for a connection that broke; data and settings stay."""
    commands.consents.reconnect(context.obj, connection, return_url, browser=not no_browser, wait=wait, as_json=as_json)


@app.command()
def choose(
    context: typer.Context,
    connection: ConnectionName,
    organisation: Annotated[str, typer.Argument(help="The organisation's id in Xero, or its name.")],
    *,
    as_json: Json = False,
) -> None:
    """Choose the organisation where one consent gave several."""
    commands.consents.choose(context.obj, connection, organisation, as_json=as_json)


@app.command()
def disconnect(
    context: typer.Context,
    connection: ConnectionName,
    *,
    purge: Annotated[bool, typer.Option("--purge", help="Erase what was read as well, for good.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before erasing.")] = False,
    as_json: Json = False,
) -> None:
    """End a connection; data and settings stay unless they are purged."""
    commands.connections.disconnect(context.obj, connection, purge=purge, yes=yes, as_json=as_json)


@app.command()
def purge_merchant(
    context: typer.Context,
    merchant: Annotated[str, typer.Argument(help="The merchant, by your own id for it.")],
    *,
    disconnect: Annotated[bool, typer.Option("--disconnect", help="End what is still connected, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before erasing.")] = False,
    as_json: Json = False,
) -> None:
    """Erase all that is kept of a merchant, over all of their connections, for good."""
    commands.connections.purge_merchant(context.obj, merchant, disconnect=disconnect, yes=yes, as_json=as_json)


@app.command()
def erase_customer(
    context: typer.Context,
    connection: ConnectionName,
    customer: Annotated[str, typer.Argument(help="The contact's id in Xero.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before erasing.")] = False,
    as_json: Json = False,
) -> None:
    """Erase one person whom Xero has erased; it happens by itself with the next read, and at once with this."""
    commands.forgetting.erase_customer(context.obj, connection, customer, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command()
def prune(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False,
    as_json: Json = False,
) -> None:
    """Forget now what is older than the server keeps it, of all merchants; it takes the role operator for all."""
    commands.forgetting.prune(context.obj, dry_run=dry_run, as_json=as_json)


@app.command()
def check(context: typer.Context, connection: ConnectionName, *, as_json: Json = False) -> None:
    """Find out now whether a connection works: what was looked at, what was seen, who acts."""
    commands.connections.check(context.obj, connection, as_json=as_json)


@app.command()
def events(context: typer.Context, connection: ConnectionName, *, limit: Limit = 20, as_json: Json = False) -> None:
    """List what happened to a connection, newest first."""
    commands.connections.events(context.obj, connection, limit, as_json=as_json)


@app.command()
def audit(
    context: typer.Context,
    about: Annotated[str, typer.Argument(help="A connection's id or a merchant's; all without one.")] = "",
    *,
    caller: Annotated[str, typer.Option(help="Only what this caller did.")] = "",
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List what callers of the service did, newest first; it takes the role operator."""
    commands.audit.show(context.obj, about, caller, limit, as_json=as_json)


@app.command()
def connections(
    context: typer.Context,
    connection: Annotated[str, typer.Argument(help="Only this one, by its id, or its merchant's.")] = "",
    *,
    merchant: Merchant = "",
    state: Annotated[list[Standing] | None, typer.Option(help="Only those in this state.")] = None,
    as_json: Json = False,
) -> None:
    """List connections, and why they are as they are; or show one."""
    commands.connections.show(context.obj, connection, merchant, [it.name for it in state or []], as_json=as_json)


@watch.command("connections")
def watch_connections(
    context: typer.Context,
    connection: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    *,
    merchant: Merchant = "",
    after: After = "",
    as_json: Json = False,
) -> None:
    """Follow connections: what they are now, then every change."""
    commands.connections.watch(context.obj, merchant, connection or [], after, as_json=as_json)


@watch.command("changes")
def watch_changes(
    context: typer.Context,
    connection: ConnectionName,
    *,
    entity: Annotated[list[Kind] | None, typer.Option(help="Only these.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Print all that is here first.")] = False,
    after: After = "",
    as_json: Json = False,
) -> None:
    """Follow what changes in the copy: customers, invoices, credits, payments, accounts."""
    commands.receivables.watch(context.obj, connection, entity or [], after, from_start=from_start, as_json=as_json)


@explain.command("contact")
def explain_contact(
    context: typer.Context,
    connection: ConnectionName,
    contact: Annotated[str, typer.Argument(help="Its name, email address, contact number or id in Xero.")],
    *,
    as_json: Json = False,
) -> None:
    """Tell why a contact of Xero is or is not a customer here."""
    commands.explain.contact(context.obj, connection, contact, as_json=as_json)


@app.command()
def customer(
    context: typer.Context,
    connection: ConnectionName,
    customer: Annotated[str, typer.Argument(help="The customer's id or name.")],
    *,
    as_json: Json = False,
) -> None:
    """Show one customer with all phones and people."""
    commands.receivables.customer(context.obj, connection, customer, as_json=as_json)


@app.command()
def sync(
    context: typer.Context,
    connection: ConnectionName,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until it has ended.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    as_json: Json = False,
) -> None:
    """Read from Xero what changed; joins a sync that runs already. Ctrl-C leaves it running."""
    commands.syncs.sync(context.obj, connection, full=full, follow=follow, as_json=as_json)


@app.command()
def syncs(context: typer.Context, connection: ConnectionName, *, limit: Limit = 20, as_json: Json = False) -> None:
    """List the last syncs of a connection."""
    commands.syncs.show(context.obj, connection, limit, as_json=as_json)


@app.command("cancel-sync")
def cancel_sync(
    context: typer.Context,
    sync_id: Annotated[str, typer.Argument(metavar="SYNC", help="The sync's id, as `tieout syncs` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """End a sync before its time; what was read stays."""
    commands.syncs.cancel(context.obj, sync_id, as_json=as_json)


@app.command("resolve-sync")
def resolve_sync(
    context: typer.Context,
    sync_id: Annotated[str, typer.Argument(metavar="SYNC", help="The sync's id, as `tieout syncs` shows it.")],
    decision: Annotated[
        Decision, typer.Argument(help="confirm: what Xero says is true; discard: leave all as it was.")
    ],
    *,
    note: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: Json = False,
) -> None:
    """Decide about a sync that is held because it would have removed or emptied too much."""
    commands.syncs.resolve(context.obj, sync_id, decision, note, as_json=as_json)


@app.command()
def customers(
    context: typer.Context,
    connection: ConnectionName,
    *,
    search: Annotated[str, typer.Option(help="Only those whose name, email or number has this in it.")] = "",
    off_balance: Annotated[
        bool, typer.Option("--off-balance", help="Only those that are off balance, and why.")
    ] = False,
    ids: Ids = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List customers with what they owe."""
    commands.receivables.customers(
        context.obj, connection, search, limit, off_balance=off_balance, ids=ids, as_json=as_json
    )


@app.command()
def invoices(
    context: typer.Context,
    connection: ConnectionName,
    *,
    customer: Annotated[str, typer.Option(help="Only this customer's, by id or by name.")] = "",
    number: Annotated[str, typer.Option(help="Only those with this number, and what settled them.")] = "",
    due_before: Annotated[str, typer.Option(help="Only those due before this date, YYYY-MM-DD.")] = "",
    status: Annotated[list[Status] | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List invoices, those due first first."""
    wanted = {"customer": customer, "number": number, "due_before": due_before}
    commands.receivables.invoices(context.obj, connection, wanted, status or [], limit, as_json=as_json)


@app.command()
def freshness(context: typer.Context, connection: ConnectionName, *, as_json: Json = False) -> None:
    """Show how fresh the copy is, and what it has cost in calls and bytes."""
    commands.syncs.freshness(context.obj, connection, as_json=as_json)


reconciling.add_to(app, watch)
exporting.add_to(app)
sort_into_panels(app)
