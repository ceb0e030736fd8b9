"""What is not known of Xero may be the other way round, all of it at once: everyday things work all the same."""

import asyncio
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from servers import ROOMY, differences, mirror_of, service, truth_of, until
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.connection_service_pb2 import CONNECTION_HEALTH_OK, CONNECTION_STATE_DISCONNECTED
from tieout.v1.types_pb2 import Money
from tieout_sandbox import SandboxSettings, Switches, serve

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes."""
ASSUMED = frozenset({"web_apps_may_use_pkce"})
"""What has to be as we take it: where an app with a secret may not use PKCE, nobody can be connected."""
OTHER_VALUES: dict[str, Any] = {
    "invalid_client_status": 401,
    "limit_app_minute_name": "AppMinute",
    "payment_reference_length": 50,
    "query_error_number": 1,
    "post_data_error_number": 2,
    "no_data_error_number": 3,
}


def other_answers() -> Switches:
    """Every question that has two answers, answered the other way; of the rest another value."""
    defaults = Switches()
    assumed = {one.name: getattr(defaults, one.name) for one in fields(Switches) if one.name not in ASSUMED}
    others: dict[str, Any] = {name: not value for name, value in assumed.items() if isinstance(value, bool)}
    return Switches(**others, **OTHER_VALUES)


@pytest.mark.timeout(60)
async def test_what_is_done_every_day_is_done_under_the_other_answers_too(sqlite_url: str) -> None:
    books_of = SandboxSettings(contacts=12, invoices=40, speed=QUICK, switches=other_answers())
    async with serve(books_of) as sandbox, service(sandbox, sqlite_url, clock_speed=QUICK) as running:
        sandbox.limits.quota, books, client = ROOMY, sandbox.books, running.client
        owed = [books.create_invoice(books.create_contact(f"Kauri {n}").id, Decimal(40)) for n in range(3)]
        connection = await running.connected()
        assert connection.authorised_by.organisation_role == "FINANCIALADVISER"
        assert differences(truth_of(books), await mirror_of(sqlite_url, connection.id)) == []

        bank = books.bank_account("NZD").id
        await client.payment_exports.update_settings(connection.id, {"NZD": bank})
        for payment_id, paid in (("alone", owed[:1]), ("together", owed[1:])):
            payment = pb.PlatformPayment(
                payment_id=payment_id,
                paid_on=books.today().isoformat(),
                amount=Money(currency_code="NZD", amount=f"{40 * len(paid)}"),
                lines=[
                    pb.PaymentLine(xero_invoice_id=it.id, amount=Money(currency_code="NZD", amount="40")) for it in paid
                ],
            )
            export = (await client.payment_exports.export(connection.id, payment)).export
            while export.xero_status != pb.XERO_STATUS_VERIFIED:
                await asyncio.sleep(0.05)
                export = await client.payment_exports.get(export.id)
        assert [it.amount_due for it in owed] == [0, 0, 0]

        books.delete_payment(owed[0].payments[0].id)
        await running.sync(connection.id)
        assert (await client.receivables.get_invoice(connection.id, owed[0].id)).amount_due.amount == "40.00"
        assert (await client.connections.check(connection.id)).connection.health == CONNECTION_HEALTH_OK
        assert (await client.connections.disconnect(connection.id)).state == CONNECTION_STATE_DISCONNECTED
        await until(lambda: not sandbox.authority.connections)
