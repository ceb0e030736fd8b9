"""Promise: what is overdue here is what Xero says is overdue, whatever the hour and wherever the organisation is."""

from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from jumping import JumpingClock, days
from tieout import Client
from tieout.v1.receivables_service_pb2 import Customer
from tieout.v1.types_pb2 import ENTITY_CONTACTS
from tieout_sandbox import SandboxSettings, serve
from tieout_sandbox.books.balances import balances_of
from tieout_sandbox.organisations import Organisation

pytestmark = [pytest.mark.timeout(90), pytest.mark.in_turn]

TIME_ZONES = {
    "NEWZEALANDSTANDARDTIME": "Pacific/Auckland",
    "GMTSTANDARDTIME": "Europe/London",
    "PACIFICSTANDARDTIME": "America/Los_Angeles",
}
FIRST_DUE_ON = date(2027, 3, 10)
STARTS_AT = datetime(2027, 3, 12, 20, tzinfo=UTC)
DAYS = (
    # around midnight in Los Angeles, in Auckland, in London and of UTC
    ("03-13T07:30", "03-13", "03-13", "03-12"),
    ("03-13T08:05", "03-13", "03-13", "03-13"),
    ("03-13T10:30", "03-13", "03-13", "03-13"),
    ("03-13T11:05", "03-14", "03-13", "03-13"),
    ("03-13T23:30", "03-14", "03-13", "03-13"),
    ("03-14T00:05", "03-14", "03-14", "03-13"),
    # summer begins in Los Angeles: its midnight is an hour earlier
    ("03-15T06:30", "03-15", "03-15", "03-14"),
    ("03-15T07:05", "03-15", "03-15", "03-15"),
    # summer begins in London: its midnight is no longer that of UTC
    ("03-28T00:05", "03-28", "03-28", "03-27"),
    ("03-28T22:30", "03-29", "03-28", "03-28"),
    ("03-28T23:05", "03-29", "03-29", "03-28"),
    # summer ends in Auckland: its midnight is an hour later
    ("04-03T11:05", "04-04", "04-03", "04-03"),
    ("04-04T11:30", "04-04", "04-04", "04-04"),
    ("04-04T12:05", "04-05", "04-04", "04-04"),
)
"""Instants of UTC, and which day it is then in Auckland, London and Los Angeles: in 2027, by the calendars there."""


class ClockFrom(JumpingClock):
    """One that begins at an instant."""

    def __init__(self, begins_at: datetime) -> None:
        super().__init__()
        self._apart = begins_at - super().now()

    def now(self) -> datetime:
        return super().now() + self._apart


def dues(organisation: Organisation) -> str:
    """A customer with one dollar due on each day; answers its id."""
    contact = organisation.books.create_contact("Daily Bread Ltd")
    for day in range(30):
        due_on = FIRST_DUE_ON + timedelta(days=day)
        organisation.books.create_invoice(
            contact.id, Decimal(1), on=FIRST_DUE_ON, due_on=due_on, currency=organisation.base_currency
        )
    return contact.id


def stated(organisation: Organisation, contact_id: str) -> Decimal:
    """What Xero states as overdue."""
    books = organisation.books
    balances = balances_of(books.contacts[contact_id], books.today(), books.switches)
    assert balances is not None
    return balances.receivable_overdue


def overdue(customer: Customer) -> Decimal:
    return sum((Decimal(money.amount) for money in customer.overdue), Decimal())


async def told(client: Client, connection_id: str, contact_id: str) -> set[Decimal]:
    """What is overdue, by every call that tells it."""
    asked = client.receivables
    found = [await asked.get_customer(connection_id, contact_id)]
    found += [one async for one in asked.list_customers(connection_id, search="Daily Bread")]
    async with aclosing(asked.watch_changes(connection_id, entities=[ENTITY_CONTACTS], from_start=True)) as watched:
        async for message in watched:
            record = message.snapshot if message.HasField("snapshot") else message.change  # it may change meanwhile
            if record.customer.id == contact_id:
                found.append(record.customer)
                break
    assert len(found) == 3
    return {overdue(customer) for customer in found}


async def test_overdue_is_what_xero_states_around_every_midnight_and_on_the_days_on_which_clocks_change(
    database_url: str,
) -> None:
    settings = SandboxSettings(contacts=12, invoices=40, organisations=len(TIME_ZONES), starts_at=STARTS_AT)
    async with serve(settings) as sandbox:
        clock = ClockFrom(sandbox.clock.now())
        for organisation, timezone in zip(sandbox.organisations, TIME_ZONES, strict=True):
            organisation.books.timezone = timezone
        customers = [dues(organisation) for organisation in sandbox.organisations]
        async with days(sandbox, database_url, clock) as around:
            links = [await around.running.connected(o.name, organisations=[o.name]) for o in sandbox.organisations]
            assert [link.organisation.time_zone for link in links] == list(TIME_ZONES.values())
            for at, *dates in DAYS:
                around.jump_to(datetime.fromisoformat(f"2027-{at}").replace(tzinfo=UTC))
                for link, organisation, customer, today in zip(
                    links, sandbox.organisations, customers, dates, strict=True
                ):
                    expected = Decimal((date.fromisoformat(f"2027-{today}") - FIRST_DUE_ON).days)
                    assert stated(organisation, customer) == expected, (at, organisation.books.timezone)
                    assert await told(around.running.client, link.id, customer) == {expected}, (at, link.organisation)
