"""What happens on the days of the soak: people work in Xero, platforms hand payments over, and things go wrong."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from soak_world import World  # type: ignore[import-not-found] # beside this one

from edits import EDITS, edit
from merchants import Merchant
from servers import CLIENT_ID
from tieout import errors
from tieout.v1.payment_export_service_pb2 import PaymentLine, PlatformPayment
from tieout.v1.types_pb2 import Money
from tieout_sandbox import FaultKind, FaultRule, InvoiceType, Status
from tieout_sandbox.books.documents import Invoice
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.limits import Problem
from tieout_sandbox.webhooks.subscription import Disturbance

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SHORT = timedelta(minutes=40)
"""Long enough for every access token to expire, and for most listings to be read again."""
EDITED, EDITS_EACH = 15, 3
"""Organisations in which somebody works between two jumps of the clock, and how much is done there."""
PAID = 6
COMING_AND_GOING = 12
NEVER = 1_000 * DAY
LOST = (3, 2)
"""The webhooks that wait in such a round at the beginning of such a step are lost."""
API, IDENTITY = r"^/api\.xro/", r"^/connect/token"
PAYMENTS = r"/Payments"


async def one_round(world: World, number: int, length: timedelta) -> None:
    """So many days of everybody: two short jumps, while things go wrong, and a long one."""
    ends_at = world.around.clock.now() + length
    for step, jump in enumerate((SHORT, SHORT, length)):
        disturb_webhooks(world, number, step)
        await something_goes_wrong(world, number, step)
        await everybody_works(world)
        left = max(ends_at - world.around.clock.now(), timedelta())
        await world.around.passing(min(jump, left), step=length)
        drain(world)
    await world.note_what_was_logged()


def disturb_webhooks(world: World, number: int, step: int) -> None:
    """In every other round they come late, twice and out of order; in one of four those of a step are lost."""
    if (number % 4, step) == LOST:
        world.tally["webhooks lost"] += len(world.webhook.pending)
        world.webhook.pending.clear()
    if (number % 4, step + 1) == LOST:
        world.webhook.disturb(Disturbance(lag=NEVER))
    elif number % 2:
        world.webhook.disturb(Disturbance(timedelta(seconds=5), timedelta(seconds=40), 0.3, number))
    else:
        world.webhook.disturb(Disturbance())


async def everybody_works(world: World) -> None:
    """People in Xero, platforms, and those who watch for a while."""
    chance, all_ = world.chance, world.merchants
    works = await world.connected()
    for merchant in chance.sample(all_, min(EDITED, len(all_))):
        for _ in range(EDITS_EACH):
            with contextlib.suppress(NotAllowedError):  # in Xero's words, as it happens to people
                edit(merchant.organisation.books, chance.choice(sorted(EDITS)), chance.randrange(2_000))
                world.tally["edits in Xero"] += 1
    await asyncio.gather(*(pay(world, merchant) for merchant in chance.sample(works, min(PAID, len(works)))))
    for subscriber in chance.sample(world.subscribers, len(world.subscribers) // 4):
        await subscriber.leave()
        subscriber.listen(world.any().service.client)
        world.tally["streams opened"] += 1
    await asyncio.gather(*(come_and_go(world, merchant) for merchant in chance.choices(all_, k=COMING_AND_GOING)))


# Payments


async def choose_accounts(merchant: Merchant) -> None:
    """Payments in the base currency go to a bank account."""
    api, currency = merchant.running.client.payment_exports, merchant.organisation.base_currency
    accounts = [it async for it in api.list_accounts(merchant.id, currency_code=currency)]
    usable = next(it.xero_account_id for it in accounts if it.usable and it.type == "BANK")
    await api.update_settings(merchant.id, {currency: usable})


async def pay(world: World, merchant: Merchant) -> None:
    """The platform hands over a payment of an invoice, and now and then asks twice."""
    if not (invoices := payable(merchant)):
        return
    invoice = world.chance.choice(invoices)
    world.tally["payments handed over"] += 1
    name = f"pay-{world.tally['payments handed over']}"
    amount = min(invoice.amount_due, Decimal(world.chance.randrange(1, 200)))
    money = Money(currency_code=invoice.currency, amount=f"{amount:f}")
    line = PaymentLine(xero_invoice_id=invoice.id, amount=money)
    paid_on = merchant.organisation.books.today().isoformat()
    payment = PlatformPayment(payment_id=name, paid_on=paid_on, amount=money, lines=[line])
    for _ in range(world.chance.choice([1, 1, 2])):
        await world.any().service.client.payment_exports.export(merchant.id, payment)


def payable(merchant: Merchant) -> Sequence[Invoice]:
    """Sales invoices in the base currency of which something is due."""
    found = merchant.organisation.books.invoices.values()
    return [
        one for one in found
        if one.type is InvoiceType.ACCREC and one.status is Status.AUTHORISED and one.amount_due >= 1
        and one.currency == merchant.organisation.base_currency
    ]  # fmt: skip


# Streams that come and go

WATCHES: Sequence[Callable[[Any, str], AsyncGenerator[Any, None]]] = (
    lambda client, name: client.receivables.watch_changes(name, from_start=True),
    lambda client, name: client.syncs.watch_connection(name),
    lambda client, name: client.payment_exports.watch(name, from_start=True),
    lambda client, name: client.reconciliations.watch_discrepancies(name, from_start=True),
    lambda client, name: client.connections.watch(connection_ids=[name], from_start=True),
)


async def come_and_go(world: World, merchant: Merchant) -> None:
    """Somebody opens a stream, is told something, and breaks it off."""
    watch = world.chance.choice(WATCHES)(world.any().service.client, merchant.id)
    world.tally["streams opened"] += 1
    async with contextlib.aclosing(watch) as messages:
        for _ in range(world.chance.randrange(1, 4)):
            await anext(messages)


# What goes wrong


async def something_goes_wrong(world: World, number: int, step: int) -> None:
    """Each round has two disconnections, an outage, a used-up day, and the end of all of them."""
    world.sandbox.faults.clear()
    if step == 0:
        for merchant in world.chance.sample(await world.connected(), 2):
            await disconnect(world, merchant)
    elif step == 1:
        break_something(world, number)
    else:
        await reconnect_all(world)


async def disconnect(world: World, merchant: Merchant) -> None:
    """By us, or in Xero, where it is noticed later."""
    world.tally["disconnections"] += 1
    if world.tally["disconnections"] % 2:
        await merchant.running.client.connections.disconnect(merchant.id)
    else:
        await world.market.control(f"organisations/{merchant.organisation.id}/disconnect")


async def reconnect_all(world: World) -> None:
    """Whoever is not connected consents again."""
    works = {merchant.id for merchant in await world.connected()}
    for merchant in world.merchants:
        if merchant.id not in works:
            with contextlib.suppress(errors.CallLimitError):  # its calls of the day are used up: tomorrow, then
                await merchant.reconnects()
                world.tally["reconnections"] += 1


def break_something(world: World, number: int) -> None:
    """Until the next step: Xero is away, or its token endpoint, or answers get lost; an organisation's day is over."""
    faults, books = world.sandbox.faults, world.chance.choice(world.merchants).organisation
    match number % 4:
        case 0:
            faults.add(FaultRule(FaultKind.UNAVAILABLE, API, times=None))
        case 1:
            faults.add(FaultRule(FaultKind.UNAVAILABLE, IDENTITY, times=40))
        case 2:
            faults.add(FaultRule(FaultKind.DROP_AFTER, PAYMENTS, method="PUT", times=3))
        case _:
            faults.add(FaultRule(FaultKind.TRUNCATED, API, times=None, probability=0.1))
    world.tally["outages"] += 1
    now = world.sandbox.clock.now()
    world.sandbox.limits.exhaust(Problem.DAY, books.id, CLIENT_ID, now)
    world.tally["days' calls used up"] += 1


def drain(world: World) -> None:
    """Count what was asked of Xero since this was done last; the sandbox remembers only so much."""
    tally = world.tally
    for entry in world.sandbox.requests.entries:
        if entry.path == "/connect/token":
            tally["token refreshes"] += entry.status == 200
        elif entry.organisation_id:
            tally["calls to Xero"] += 1
            tally["more than five at once"] += entry.in_flight > 5
            if entry.status == 429:
                tally[f"refused: {entry.limit_problem}"] += 1
    world.sandbox.requests.clear()


async def end_mishaps(world: World) -> None:
    """From now on nothing goes wrong, and everybody is connected."""
    world.sandbox.faults.clear()
    world.webhook.disturb(Disturbance())
    await world.around.passing(6 * HOUR, step=DAY)
    await reconnect_all(world)
