"""The commands about how payments go into Xero: which accounts there are, and which were chosen."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol
from uuid import uuid4

from rich.table import Table
from rich.text import Text

from tieout.cli.lists import first, listed, page_size
from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.payment import trouble
from tieout.cli.run import PERSON, run
from tieout.cli.show import document, documents, say, table, word
from tieout.client import Client
from tieout.errors import CallerError
from tieout.v1.payment_export_service_pb2 import (
    ExportAccount,
    ExportSettings,
    OverpaymentPolicy,
    UpdateExportSettingsResponse,
)
from tieout.v1.receivables_service_pb2 import Account
from tieout.v1.types_pb2 import Entity


class Named(Protocol):
    """An account, however it was read."""

    xero_account_id: str
    code: str
    name: str


def accounts(server: Server, name: str, currency: str, limit: int, *, as_json: bool) -> None:
    """List the accounts that payments may go to."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.payment_exports.list_accounts(
            connection.id, currency_code=currency.upper(), page_size=page_size(limit)
        )
        found, more = await first(pages, limit)
        if as_json:
            documents(found)
        else:
            listed(_listing(found) if found else "There are no such accounts.", more=more)

    run(server, command, as_json=as_json)


def settings(server: Server, name: str, chosen: Sequence[str], changes: Mapping[str, str], *, as_json: bool) -> None:
    """Show the settings, or change what is named; leaves with 3 where something is wrong with them."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        now = await client.payment_exports.get_settings(connection.id)
        changed = await _changed(client, now, chosen, changes) if chosen or changes else None
        now = changed.settings if changed else now
        if as_json:
            document(changed or now)
            return PERSON if now.problems else None
        for part in await _card(client, now):
            say(part)
        if changed and changed.exports_woken:
            say(f"Payments that waited for this and are on their way again: {changed.exports_woken:,}.")
        return PERSON if now.problems else None

    run(server, command, as_json=as_json)


async def _changed(
    client: Client, now: ExportSettings, chosen: Sequence[str], changes: Mapping[str, str]
) -> UpdateExportSettingsResponse:
    """The settings with these changes, and how many exports they woke.

    Raises:
        CallerError: an account is not there, or several are called so.
        ChangedMeanwhileError: somebody else changed them since they were read.
    """
    by_currency = {it.currency_code: it.xero_account_id for it in now.accounts}
    payable = [it async for it in client.payment_exports.list_accounts(now.connection_id)] if chosen else []
    for text in chosen:
        code, is_one, account = text.partition("=")
        if not is_one:
            raise CallerError(f"{text!r} is not of the form CURRENCY=ACCOUNT.")
        by_currency[code.upper()] = _meant(payable, account, code.upper()) if account else ""
    refunds, tax_type = now.refund_xero_account_id, changes.get("refund_tax_type", now.refund_tax_type)
    if (name := changes.get("refund_account")) is not None:
        refunds = _meant(await _chart(client, now.connection_id), name) if name else ""
    policy = changes.get("overpayment_policy")
    return await client.payment_exports.update_settings(
        now.connection_id,
        {code: account for code, account in by_currency.items() if account},
        overpayment_policy=OverpaymentPolicy.Value(f"OVERPAYMENT_POLICY_{policy}")
        if policy
        else now.overpayment_policy,
        refund_xero_account_id=refunds,
        refund_tax_type=tax_type if refunds else "",
        revision=now.revision,
        request_id=str(uuid4()),
    )


async def _chart(client: Client, connection_id: str) -> list[Account]:
    """The chart of accounts as it is in the copy."""
    found = []
    watched = client.receivables.watch_changes(connection_id, entities=[Entity.ENTITY_ACCOUNTS], from_start=True)
    async with aclosing(watched) as messages:
        async for message in messages:
            if not message.HasField("snapshot"):
                break
            found.append(message.snapshot.account)
    return found


def _meant(found: Sequence[Named], name: str, currency: str = "") -> str:
    """Xero's id of the account with this id, code or name; of several with one name, the one that takes the currency.

    Raises:
        CallerError: there is none, or there are several.
    """
    for of in (_ids, _codes, _names):
        fitting = [it for it in found if of(it) == name.casefold()]
        if len(fitting) > 1:
            fitting = [it for it in fitting if getattr(it, "currency_code", "") == currency] or fitting
        if len(fitting) > 1:
            raise CallerError(f"Several accounts are called {name!r}; name one by its id.")
        if fitting:
            return fitting[0].xero_account_id
    raise CallerError(f"There is no account {name!r}; `tieout export-accounts CONNECTION` lists them.")


def _ids(it: Named) -> str:
    return it.xero_account_id.casefold()


def _codes(it: Named) -> str:
    return it.code.casefold()


def _names(it: Named) -> str:
    return it.name.casefold()


def _listing(found: Sequence[ExportAccount]) -> Table:
    made = table("account", "code", "type", "currency", "", "id", wide="")
    for it in found:
        state = "takes payments" if it.usable else it.problem.sentence
        chosen = "chosen; " if it.chosen else ""
        made.add_row(it.name, it.code, it.type.lower(), it.currency_code, f"{chosen}{state}", it.xero_account_id)
    return made


async def _card(client: Client, now: ExportSettings) -> Iterator[Text | Table]:
    """The settings, accounts by their names, and what is wrong with them."""
    names = {it.xero_account_id: it.name for it in await _chart(client, now.connection_id)} if now.accounts else {}
    return _parts(now, names)


def _parts(now: ExportSettings, names: Mapping[str, str]) -> Iterator[Text | Table]:
    made = table("", "how payments go into Xero", wide="how payments go into Xero")
    made.show_header = False
    for it in now.accounts:
        made.add_row(it.currency_code, names.get(it.xero_account_id) or it.xero_account_id)
    policy = word(OverpaymentPolicy, now.overpayment_policy, "OVERPAYMENT_POLICY_")
    made.add_row("more than is due", "paid in part, the rest an overpayment" if policy == "split" else "held back")
    refunds = names.get(now.refund_xero_account_id) or now.refund_xero_account_id or "no account chosen"
    made.add_row("refunds", " ".join(filter(None, (refunds, now.refund_tax_type))))
    yield made
    if not now.accounts:
        yield Text("No account is chosen: `tieout export-settings CONNECTION --account CURRENCY=ACCOUNT` chooses one.")
    for error in now.problems:
        yield from trouble(error)
