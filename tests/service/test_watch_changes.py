"""WatchChanges from a client's side: what happens in Xero is told to whoever watches."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from decimal import Decimal

import pytest

from servers import service
from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1.types_pb2 import ENTITY_CONTACTS, ENTITY_INVOICES, ENTITY_PAYMENTS, Money
from tieout_sandbox import Sandbox

pytestmark = pytest.mark.timeout(60)


async def test_what_happens_in_xero_is_told_to_whoever_watches_with_the_sync_that_brought_it(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with service(sandbox, sqlite_url) as running:
        connection = await running.connected()
        books = sandbox.books
        stream = running.client.receivables.watch_changes(
            connection.id, entities=[ENTITY_CONTACTS, ENTITY_INVOICES, ENTITY_PAYMENTS]
        )
        async with aclosing(stream) as messages:
            assert (await anext(messages)).HasField("heartbeat")
            customer = books.create_contact("Brand New")
            invoice = books.create_invoice(customer.id, Decimal("99.95"))
            first = (await running.sync(connection.id))[-1].sync
            owes = Money(currency_code=invoice.currency, amount="99.95")
            told = await told_until(
                messages, lambda told: invoice.id in told and list(told[customer.id].customer.outstanding) == [owes]
            )
            payment = books.pay(invoice.id, Decimal("99.95"))
            await running.sync(connection.id)
            await told_until(
                messages,
                lambda told: (
                    payment.id in told
                    and [paid.id for paid in told[invoice.id].invoice.payments] == [payment.id]
                    and told[invoice.id].invoice.status == pb.INVOICE_STATUS_PAID
                    and not told[customer.id].customer.outstanding
                ),
            )
    assert {change.sync_id for change in told.values()} == {first.id}


async def told_until(
    messages: AsyncIterator[pb.WatchChangesResponse], enough: Callable[[dict[str, pb.Change]], bool]
) -> dict[str, pb.Change]:
    """The latest change of each record until they say what they should; the commits of a sync have no order."""
    told: dict[str, pb.Change] = defaultdict(pb.Change)
    while not enough(told):
        change = (await anext(messages)).change
        told[change.id] = change
    return told
