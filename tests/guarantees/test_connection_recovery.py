"""Promise: what broke a connection may pass or be mended, and then everything that was missed is read, for sure."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from merchants import BROKEN, HELD_UP, QUICK, WORKS, Market, Merchant, in_words, open_market, open_sandbox, standing
from servers import ROOMY, client_of, differences, mirror_of, server_process, truth_of, until
from tieout import errors
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED
from tieout_sandbox import Role, Sandbox, SandboxSettings, serve
from tieout_sandbox.books.books import Books

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module"), pytest.mark.in_turn]

# Healing without a consent.


@pytest.mark.parametrize("lost", [Role.REMOVED, Role.READONLY])
async def test_a_connection_works_again_once_its_user_may_again(market: Market, lost: Role) -> None:
    merchant = await market.merchant()
    merchant.becomes(lost)
    await merchant.told()
    assert standing(await merchant.now()) == BROKEN
    merchant.becomes(Role.STANDARD)
    checked = await merchant.running.client.connections.check(merchant.id)
    assert standing(checked.connection) == WORKS
    assert not any(seen.is_trouble for seen in checked.evidence)
    await merchant.well_again()


async def test_a_connection_is_found_to_work_again_and_catches_up_though_nobody_asks(market: Market) -> None:
    merchant = await market.merchant()
    merchant.becomes(Role.REMOVED)
    await merchant.told()
    merchant.becomes(Role.STANDARD)
    async with merchant.heard() as hearing:
        market.leap(timedelta(days=8))
        change = await hearing.first(lambda told: standing(told.connection) == WORKS)
        assert change.event.actor == "tieout"
        await hearing.first(lambda told: told.event.kind == pb.CONNECTION_EVENT_KIND_GAP_CLOSED)


async def test_a_connection_warns_of_a_downgrade_within_a_day_though_nobody_asks(market: Market) -> None:
    merchant = await market.merchant()
    merchant.becomes(Role.INVOICEONLY)
    async with merchant.heard() as hearing:
        market.leap(timedelta(days=1, hours=1))
        change = await hearing.first(lambda told: told.connection.HasField("reason"))
    assert in_words(change.event.reason) == ("AUTHORISING_USER_DOWNGRADED", "MERCHANT")
    assert standing(change.connection) in (HELD_UP, BROKEN), "BROKEN where polling was refused before anybody looked"


async def test_a_connection_that_nobody_uses_keeps_its_tokens_alive(market: Market) -> None:
    merchant = await market.merchant()
    for number in range(9):
        await merchant.rests()  # or it would sleep through the leap
        market.leap(timedelta(days=8))
        await until(partial(was_refreshed, merchant, number + 1))
    await merchant.rests()
    assert standing((await merchant.running.client.connections.check(merchant.id)).connection) == WORKS
    kept = await merchant.tokens()
    assert kept is not None
    assert kept.refresh_expires_at - market.sandbox.clock.now() > timedelta(days=50)


def refreshes_of(*merchants: Merchant) -> int:
    """How many refresh tokens Xero has given out to the user of these, who consented for each of them."""
    issued = merchants[0].market.sandbox.authority.refresh_tokens.values()
    return sum(token.grant.user is merchants[0].user for token in issued) - len(merchants)


def was_refreshed(merchant: Merchant, times: int) -> bool:
    return refreshes_of(merchant) >= times


# Healing by another consent.


async def test_a_connection_is_taken_over_by_a_second_user_after_the_first_has_gone(market: Market) -> None:
    merchant = await market.merchant()
    second = market.user(merchant.organisation)
    merchant.becomes(Role.REMOVED)
    await merchant.told()
    after = await merchant.reconnects(second)
    assert (after.id, standing(after)) == (merchant.id, WORKS)
    assert after.authorised_by.email == second.email
    await merchant.well_again()
    await market.control(f"users/{merchant.user.email}/revoke")  # nothing of the first one's is in use any more
    assert standing((await merchant.running.client.connections.check(merchant.id)).connection) == WORKS


async def test_a_broken_connection_refuses_other_books_and_stays_as_it_was(market: Market) -> None:
    merchant, other = await market.merchant(), market.organisation()
    merchant.becomes(Role.REMOVED)
    await merchant.told()
    user = market.user(other)
    with pytest.raises(errors.WrongOrganisationError):
        await merchant.reconnects(user, other)
    now = await merchant.now()
    assert standing(now) == BROKEN
    assert now.organisation.xero_tenant_id == merchant.organisation.id
    assert now.authorised_by.xero_user_id == merchant.user.id


# What was missed.


def work_in(books: Books, number: int) -> int:
    """Invoices written, and some of them paid, while nobody reads; how many records that touches at least."""
    contact = books.create_contact(f"Met meanwhile {number}")
    made = [books.create_invoice(contact.id, Decimal(f"{amount}.50")) for amount in range(1, 6)]
    for invoice in made[:3]:
        books.pay(invoice.id)
    return 1 + len(made) + 3


async def test_a_connection_broken_for_seventy_days_comes_back_whole_and_says_what_it_caught_up(
    database_url: str,
) -> None:
    async with open_sandbox() as sandbox, open_market(sandbox, database_url) as market:
        organisation = market.organisation()
        books = organisation.books
        owed = books.create_invoice(books.create_contact("Known before").id, Decimal("99.50"))
        merchant, second = await market.merchant(organisation), market.user(organisation)
        last_read_at = sandbox.clock.now()
        merchant.becomes(Role.REMOVED)
        await merchant.told()
        books.void(owed.id)
        changed = 2  # it, and what its contact owes
        for number in range(7):
            market.leap(timedelta(days=10))
            changed += work_in(books, number)
        async with merchant.heard() as hearing:
            await merchant.reconnects(second)
            closed = await hearing.first(lambda told: told.event.kind == pb.CONNECTION_EVENT_KIND_GAP_CLOSED)
        gap = closed.event.gap
        assert gap.from_at.ToDatetime(UTC) <= last_read_at
        assert gap.to_at.ToDatetime(UTC) - gap.from_at.ToDatetime(UTC) >= timedelta(days=70)
        assert gap.changes == changed
        assert standing(closed.connection) == WORKS
        assert differences(truth_of(books), await mirror_of(database_url, merchant.id)) == []
        gaps = [event async for event in merchant.running.client.connections.list_events(merchant.id)
                if event.kind == pb.CONNECTION_EVENT_KIND_GAP_CLOSED]  # fmt: skip
        assert gaps == [closed.event]


# One refresh, whatever happens.


async def test_all_connections_of_a_user_refresh_once_when_they_are_read_at_once(market: Market) -> None:
    books = [market.organisation() for _ in range(3)]
    user = market.user(*books)
    merchants = [await market.merchant(organisation, user) for organisation in books]
    before = refreshes_of(*merchants)
    market.expire_access()
    states = await asyncio.gather(*(merchant.syncs() for merchant in merchants))
    assert set(states) == {SYNC_STATE_SUCCEEDED}
    assert refreshes_of(*merchants) == before + 1


async def test_a_connection_outlives_a_kill_between_xeros_answer_and_our_commit(
    database_url: str, tmp_path: Path
) -> None:
    origin_at = datetime.now(UTC)
    books = SandboxSettings(contacts=20, invoices=100, speed=QUICK, starts_at=origin_at, anchor_on=origin_at.date())
    quick = (str(Path(__file__).with_name("quick_server.py")),)
    killed = tmp_path / "killed"
    async with (
        serve(books) as sandbox,
        server_process(
            sandbox.url, database_url, tmp_path, *quick, TIEOUT_TEST_ORIGIN=origin_at.isoformat(),
            TIEOUT_TEST_DIES_IN="tieout_server.storage.tokens:replace", TIEOUT_TEST_DIED=str(killed),
        ) as server,
        client_of(server) as running,
    ):  # fmt: skip
        sandbox.limits.quota = ROOMY
        connection = await running.connected()
        sandbox.clock.advance(timedelta(minutes=31))
        await running.client.syncs.start(connection.id)
        assert server.process is not None
        assert await server.process.wait() == -9
        assert killed.exists()
        assert _rotated(sandbox) == 1, "Xero has answered, and we forgot it"
        await server.replace()
        assert (await running.sync(connection.id))[-1].sync.state == SYNC_STATE_SUCCEEDED
        now = await running.client.connections.get(connection.id)
        assert standing(now) == WORKS
        assert not now.HasField("reason")


def _rotated(sandbox: Sandbox) -> int:
    return sum(token.used_at is not None for token in sandbox.authority.refresh_tokens.values())
