"""The commands of `tieout` about payments that go into Xero, their arguments and options."""

from enum import StrEnum
from typing import Annotated

import typer

from tieout.cli import commands
from tieout.cli.asked import Asked
from tieout.cli.options import ConnectionName, Json, Limit

payments = typer.Typer(help="Record payments in Xero, once each, and see what became of them.", no_args_is_help=True)

ExportId = Annotated[str, typer.Argument(metavar="EXPORT", help="Its id, as `tieout payments list` shows it.")]
PaymentId = Annotated[str, typer.Option(help="Your own id of the payment: it is recorded once, however often you ask.")]
Pays = Annotated[
    list[str], typer.Option(metavar="INVOICE=AMOUNT", help="An invoice, by number or by id, and how much of it.")
]
Currency = Annotated[str, typer.Option(help="ISO 4217 code of all amounts: NZD.")]
Amount = Annotated[str, typer.Option(help="All that was paid. Default: what the invoices come to.")]
PaidOn = Annotated[
    str, typer.Option(metavar="DATE", help="When it was paid, YYYY-MM-DD. Default: today where the organisation is.")
]
Reference = Annotated[str, typer.Option(help="Shown on the payment in Xero.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it until it is seen in Xero, or somebody must act.")]


class Method(StrEnum):
    """How payments are made."""

    CARD = "card"
    DIRECT_DEBIT = "direct-debit"
    BANK_TRANSFER = "bank-transfer"
    OTHER = "other"


class Status(StrEnum):
    """Where exports stand."""

    QUEUED = "queued"
    CHECKED = "checked"
    SENDING = "sending"
    EXPORTED = "exported"
    VERIFIED = "verified"
    ERROR = "error"
    OUTCOME_UNKNOWN = "outcome-unknown"
    ALREADY_RECORDED = "already-recorded"
    REVERSED = "reversed"
    REMOVED_IN_XERO = "removed-in-xero"
    DISMISSED = "dismissed"


class Reason(StrEnum):
    """Why payments are not in Xero, or are there twice."""

    ACCOUNT_NOT_CHOSEN = "account-not-chosen"
    ACCOUNT_NOT_PAYABLE = "account-not-payable"
    ACCOUNT_ARCHIVED = "account-archived"
    PERIOD_LOCKED = "period-locked"
    INVOICE_NOT_PAYABLE = "invoice-not-payable"
    AMOUNT_EXCEEDS_DUE = "amount-exceeds-due"
    CONTACT_ARCHIVED = "contact-archived"
    CURRENCY_MISMATCH = "currency-mismatch"
    SCOPE_MISSING = "scope-missing"
    CONNECTION_LOST = "connection-lost"
    RATE_LIMITED = "rate-limited"
    XERO_UNAVAILABLE = "xero-unavailable"
    REJECTED_BY_XERO = "rejected-by-xero"
    RECORDED_TWICE = "recorded-twice"


class Kind(StrEnum):
    """Why payments are taken back."""

    REFUND = "refund"
    CHARGEBACK = "chargeback"
    LATE_FAILURE = "late-failure"


class Policy(StrEnum):
    """What happens where more is paid than is due."""

    HOLD = "hold"
    SPLIT = "split"


def add_to(app: typer.Typer) -> None:
    """Add these commands to `tieout`."""
    app.add_typer(payments, name="payments")
    for command in (export_accounts, export_settings):
        app.command()(command)


@payments.command("export")
def export(
    context: typer.Context,
    connection: ConnectionName,
    *,
    payment_id: PaymentId,
    pays: Pays,
    currency: Currency,
    amount: Amount = "",
    paid_on: PaidOn = "",
    reference: Reference = "",
    method: Annotated[Method | None, typer.Option(help="How it was paid.")] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Have a payment recorded in Xero. It is kept before this returns, and never recorded twice."""
    asked = Asked(payment_id, pays, currency, amount, paid_on, reference, method.name if method else "")
    commands.payments.export(context.obj, connection, asked, wait=wait, as_json=as_json)


@payments.command("check")
def check(
    context: typer.Context,
    connection: ConnectionName,
    *,
    pays: Pays,
    currency: Currency,
    amount: Amount = "",
    paid_on: PaidOn = "",
    as_json: Json = False,
) -> None:
    """Find everything Xero would refuse a payment for, writing nothing. Leaves with 3 if there is anything."""
    commands.payments.check(context.obj, connection, Asked("check", pays, currency, amount, paid_on), as_json=as_json)


@payments.command("list")
def list_payments(
    context: typer.Context,
    connection: ConnectionName,
    *,
    one: Annotated[str, typer.Option("--id", help="Show this one with its history: an export's id, or yours.")] = "",
    status: Annotated[list[Status] | None, typer.Option(help="Only those that stand so.")] = None,
    reason: Annotated[list[Reason] | None, typer.Option(help="Only those with an error of this reason.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List payments and what became of them in Xero, newest first; or show one."""
    if one:
        commands.payments.show(context.obj, connection, one, as_json=as_json)
        return
    wanted = {"statuses": [it.name for it in status or []], "reasons": [it.name for it in reason or []]}
    commands.payments.show_all(context.obj, connection, wanted, limit, as_json=as_json)


@payments.command("reexport")
def reexport(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="EXPORT|CONNECTION", help="An export; a connection with --all.")],
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of the connection that are in error.")] = False,
    reason: Annotated[list[Reason] | None, typer.Option(help="With --all: only those with this reason.")] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Try again what Xero did not take, with the settings of now: one export, or all."""
    if everything:
        commands.payments.reexport_all(context.obj, subject, [it.name for it in reason or []], as_json=as_json)
    else:
        commands.payments.reexport(context.obj, subject, wait=wait, as_json=as_json)


@payments.command("dismiss")
def dismiss(
    context: typer.Context,
    export_id: ExportId,
    *,
    note: Annotated[str, typer.Option(help="How it was handled.")],
    as_json: Json = False,
) -> None:
    """Say that a payment was handled elsewhere, or is not to be recorded: it is not tried again."""
    commands.payments.dismiss(context.obj, export_id, note, as_json=as_json)


@payments.command("reverse")
def reverse(
    context: typer.Context,
    export_id: ExportId,
    *,
    kind: Annotated[Kind, typer.Option(help="refund: you gave it back; the others: it was taken, or never came.")],
    reversal_id: Annotated[str, typer.Option(help="Your own id of the reversal: it is carried out once.")],
    amount: Annotated[str, typer.Option(help="How much: part of a refund, or all that is left. Default: all.")] = "",
    reason: Annotated[str, typer.Option(help="Why; shown in Xero.")] = "",
    reversed_on: Annotated[
        str, typer.Option("--on", metavar="DATE", help="When. Default: today where the organisation is.")
    ] = "",
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Take an exported payment back in Xero."""
    asked = {"reversal_id": reversal_id, "amount": amount, "reason": reason, "reversed_on": reversed_on}
    commands.payments.reverse(context.obj, export_id, kind.name, asked, wait=wait, as_json=as_json)


@payments.command("watch")
def watch(
    context: typer.Context,
    connection: ConnectionName,
    *,
    after: Annotated[str, typer.Option(help="Go on after this resume token.")] = "",
    as_json: Json = False,
) -> None:
    """Follow payments on their way into Xero: what is not over now, then everything that happens."""
    commands.payments.watch(context.obj, connection, after, as_json=as_json)


def export_accounts(
    context: typer.Context,
    connection: ConnectionName,
    *,
    currency: Annotated[str, typer.Option(help="Only those that take this currency.")] = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the accounts that payments may go to."""
    commands.export_settings.accounts(context.obj, connection, currency, limit, as_json=as_json)


def export_settings(
    context: typer.Context,
    connection: ConnectionName,
    *,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CURRENCY=ACCOUNT", help="An account, by code, name or id; nothing after = takes it away."
        ),
    ] = None,
    overpayments: Annotated[Policy | None, typer.Option(help="Where more is paid than is due.")] = None,
    refund_account: Annotated[str | None, typer.Option(help="For refunds: an account, by code, name or id.")] = None,
    refund_tax_type: Annotated[str | None, typer.Option(help="Its tax type in Xero's words: NONE.")] = None,
    as_json: Json = False,
) -> None:
    """Show how payments go into Xero, or change what is named and keep the rest."""
    changes = {
        "overpayment_policy": overpayments.name if overpayments else None,
        "refund_account": refund_account,
        "refund_tax_type": refund_tax_type,
    }
    named = {name: value for name, value in changes.items() if value is not None}
    commands.export_settings.settings(context.obj, connection, account or [], named, as_json=as_json)
