"""Promise: Disconnect ends one connection at once, here and at Xero, and takes nothing that is another's."""

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from statistics import median

import pytest
from sqlalchemy import func, select

from merchants import A_SECOND, BROKEN, ENDED, WORKS, Market, Merchant, eventually, in_words, standing
from servers import differences, mirror_of, truth_of, until
from tieout import errors
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1 import sync_service_pb2
from tieout_sandbox import FaultKind, FaultRule, Role
from tieout_sandbox.organisations import Member
from tieout_server.storage import tables

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module"), pytest.mark.in_turn]

MIRRORED = (tables.contacts, tables.invoices, tables.credits, tables.payments, tables.accounts, tables.syncs)
TOKEN_ENDPOINT = "^/connect/token$"


def linked_at_xero(merchant: Merchant) -> bool:
    """Whether Xero holds a connection of this user to these books."""
    held = merchant.market.sandbox.authority.connections.values()
    return any(one.user is merchant.user and one.organisation is merchant.organisation for one in held)


def consented_at_xero(merchant: Merchant) -> bool:
    """Whether any refresh token of this user still opens something."""
    issued = merchant.market.sandbox.authority.refresh_tokens.values()
    return any(token.grant.user is merchant.user and not token.revoked for token in issued)


async def rows_of(merchant: Merchant) -> int:
    """How many rows of what was read are kept."""
    counts = [select(func.count()).where(table.c.connection_id == merchant.id) for table in MIRRORED]
    async with merchant.market.database.read() as tx:
        return sum([(await tx.execute(count)).scalar_one() for count in counts])


async def has_no_rows(merchant: Merchant) -> bool:
    return await rows_of(merchant) == 0


async def has_no_tokens(merchant: Merchant) -> bool:
    return await merchant.tokens() is None


async def disconnect(merchant: Merchant, *, purge_data: bool = False) -> pb.Connection:
    return await merchant.running.client.connections.disconnect(merchant.id, purge_data=purge_data)


async def gone_at_xero(merchant: Merchant) -> None:
    await until(lambda: not linked_at_xero(merchant) and not consented_at_xero(merchant))


async def test_a_disconnected_connection_is_gone_at_xero_and_keeps_what_was_read(market: Market) -> None:
    merchant = await market.merchant()
    async with merchant.heard() as hearing:
        ended = await disconnect(merchant)
        change = await hearing.first(lambda told: standing(told.connection) == ENDED)
    assert standing(ended) == ENDED
    assert in_words(ended.reason)[0] == "MANUALLY_DISCONNECTED"
    assert change.connection == ended
    assert await disconnect(merchant) == ended, "a repeat is answered as it is"
    await gone_at_xero(merchant)
    await eventually(partial(has_no_tokens, merchant))
    assert differences(truth_of(merchant.organisation.books), await mirror_of(market.database_url, merchant.id)) == []
    with pytest.raises(errors.ConnectionNotUsableError):
        await merchant.running.client.syncs.start(merchant.id)


async def test_a_connection_comes_back_after_disconnect_with_its_data_and_its_history(market: Market) -> None:
    merchant = await market.merchant()
    await disconnect(merchant)
    await gone_at_xero(merchant)
    before = await rows_of(merchant)
    books = merchant.organisation.books
    contact = books.create_contact("Met while disconnected")
    books.create_invoice(contact.id, Decimal("12.50"))
    async with merchant.heard() as hearing:
        after = await merchant.reconnects()
        closed = await hearing.first(lambda told: told.event.kind == pb.CONNECTION_EVENT_KIND_GAP_CLOSED)
    assert (after.id, standing(after)) == (merchant.id, WORKS)
    assert closed.event.gap.changes == 2
    assert contact.id in (await mirror_of(market.database_url, merchant.id))["contacts"]
    assert await rows_of(merchant) >= before
    (newest, *_) = await merchant.running.client.syncs.list(merchant.id).first(0)
    assert newest.mode == sync_service_pb2.SYNC_MODE_INCREMENTAL


async def test_a_purged_connection_keeps_nothing_that_was_read_and_begins_anew(market: Market) -> None:
    merchant = await market.merchant()
    ended = await disconnect(merchant, purge_data=True)
    assert standing(ended) == ENDED
    await gone_at_xero(merchant)
    await eventually(partial(has_no_rows, merchant))
    events = [event async for event in merchant.running.client.connections.list_events(merchant.id)]
    assert events, "the transitions stay"
    told = f"{events} {await merchant.now()}"
    assert merchant.user.email not in told
    assert merchant.user.name not in told
    after = await merchant.reconnects()
    assert (after.id, standing(after)) == (merchant.id, WORKS)
    first = (await merchant.running.first_sync(merchant.id))[-1].sync
    assert (first.mode, first.state) == (sync_service_pb2.SYNC_MODE_FULL, sync_service_pb2.SYNC_STATE_SUCCEEDED)
    assert differences(truth_of(merchant.organisation.books), await mirror_of(market.database_url, merchant.id)) == []


async def test_a_disconnected_connection_can_be_purged_by_a_repeat(market: Market) -> None:
    merchant = await market.merchant()
    await disconnect(merchant)
    assert await rows_of(merchant) > 0
    await disconnect(merchant, purge_data=True)
    await eventually(partial(has_no_rows, merchant))


@pytest.mark.parametrize("path", ["^/connections", TOKEN_ENDPOINT, "^/connect/revocation$"])
async def test_a_connection_is_disconnected_here_at_once_and_at_xero_after_an_outage(market: Market, path: str) -> None:
    merchant = await market.merchant()
    market.expire_access()
    with market.breaking(FaultRule(FaultKind.UNAVAILABLE, path, times=None)):
        assert standing(await disconnect(merchant)) == ENDED
        market.sandbox.requests.clear()
        await until(lambda: market.sandbox.requests.count(path, status=503) >= 2)
        assert linked_at_xero(merchant) or consented_at_xero(merchant)
    await gone_at_xero(merchant)
    await eventually(partial(has_no_tokens, merchant))
    assert standing(await merchant.now()) == ENDED


async def test_a_connection_that_xero_ended_already_is_disconnected_all_the_same(market: Market) -> None:
    merchant = await market.merchant()
    await market.control(f"organisations/{merchant.organisation.id}/disconnect")
    await merchant.told()
    assert standing(await disconnect(merchant)) == ENDED
    await gone_at_xero(merchant)
    await eventually(partial(has_no_tokens, merchant))


async def test_a_disconnect_spares_the_connection_of_the_same_user_to_other_books(market: Market) -> None:
    first_books, second_books = market.organisation(), market.organisation()
    user = market.user(first_books, second_books)
    first, second = await market.merchant(first_books, user), await market.merchant(second_books, user)
    await disconnect(first)
    await until(lambda: not linked_at_xero(first))
    market.expire_access()
    await second.well_again()
    assert linked_at_xero(second)
    assert consented_at_xero(second)
    await disconnect(second)
    await gone_at_xero(second)
    await eventually(partial(has_no_tokens, second))


async def test_a_reconnect_on_the_heels_of_a_disconnect_leaves_a_connection_that_works(market: Market) -> None:
    merchant = await market.merchant()
    with market.breaking(FaultRule(FaultKind.UNAVAILABLE, "^/connections", "DELETE", times=None)):
        await disconnect(merchant)
        await merchant.reconnects()
    await merchant.well_again()
    market.expire_access()
    await merchant.well_again()
    assert linked_at_xero(merchant)


async def test_a_sync_under_way_is_cancelled_with_its_connection_and_did_not_fail(market: Market) -> None:
    merchant = await market.merchant()
    market.sandbox.accounting.latency_ms = 200
    try:
        sync = (await merchant.running.client.syncs.start(merchant.id, mode=sync_service_pb2.SYNC_MODE_FULL)).sync
        await disconnect(merchant)
        await until(lambda: not linked_at_xero(merchant))
    finally:
        market.sandbox.accounting.latency_ms = 0
    ended = await merchant.running.client.syncs.get(sync.id)
    assert ended.state == sync_service_pb2.SYNC_STATE_CANCELLED


async def test_every_change_of_a_connection_reaches_its_watchers_within_a_second(market: Market) -> None:
    merchant = await market.merchant()
    async with merchant.heard() as hearing:
        merchant.becomes(Role.REMOVED)
        await merchant.running.client.syncs.start(merchant.id)
        await hearing.first(lambda told: standing(told.connection) == BROKEN)
        merchant.becomes(Role.STANDARD)
        await merchant.reconnects()
        await hearing.first(lambda told: told.event.kind == pb.CONNECTION_EVENT_KIND_GAP_CLOSED)
        await disconnect(merchant)
        await hearing.first(lambda told: standing(told.connection) == ENDED)
    kinds = [pb.ConnectionEventKind.Name(told.event.kind) for told in hearing.changes]
    moved, started, closed = (
        f"CONNECTION_EVENT_KIND_{n}" for n in ("STATE_CHANGED", "AUTHORISATION_STARTED", "GAP_CLOSED")
    )
    assert kinds == [moved, started, moved, closed, moved]
    assert median(hearing.late) < A_SECOND  # a busy machine may stand still for longer than that
    history = [event async for event in merchant.running.client.connections.list_events(merchant.id)]
    assert [told.event for told in hearing.changes] == history[: len(kinds)][::-1]


# A user is not offered what they connected already (Xero, Permissions)


@pytest.fixture
def picky(market: Market) -> Iterator[Market]:
    """A Xero whose consent page offers only what the user has not connected yet."""
    market.sandbox.switches.connected_stay_in_picker = False
    yield market
    market.sandbox.switches.connected_stay_in_picker = True


async def test_a_consent_anew_that_chooses_nothing_leads_a_connection_back(picky: Market) -> None:
    merchant = await picky.merchant()
    assert standing(await merchant.reconnects()) == WORKS, "as it was, once more"
    merchant.becomes(Role.INVOICEONLY)
    await merchant.told()
    assert standing(await merchant.now()) == BROKEN
    merchant.becomes(Role.STANDARD)
    assert standing(await merchant.reconnects()) == WORKS
    await merchant.well_again()


async def test_a_connection_that_is_reconnected_while_it_is_being_ended_comes_back(picky: Market) -> None:
    merchant = await picky.merchant()
    with picky.breaking(FaultRule(FaultKind.ANSWER, "^/connections/", times=None, status=503)):
        await disconnect(merchant)
        assert linked_at_xero(merchant)
        assert standing(await merchant.reconnects()) == WORKS
    await merchant.rests()
    assert linked_at_xero(merchant)
    await merchant.well_again()


async def test_what_was_consented_to_by_mistake_can_be_connected_afterwards(picky: Market) -> None:
    merchant = await picky.merchant()
    other = picky.organisation()
    other.members[merchant.user.id] = Member(merchant.user, Role.STANDARD, picky.sandbox.clock.now())
    with pytest.raises(errors.WrongOrganisationError):
        await merchant.reconnects(organisation=other)
    mistaken = Merchant(picky, other, merchant.user, merchant.id)
    await until(lambda: not linked_at_xero(mistaken))
    assert standing(await merchant.now()) == WORKS
    second = await picky.running.connect("second", user=merchant.user.email, organisations=[other.name])
    assert (standing(second), second.organisation.name) == (WORKS, other.name)
    await merchant.well_again()


async def test_who_takes_over_by_reconnecting_leaves_nothing_of_the_one_before_at_xero(market: Market) -> None:
    merchant = await market.merchant()
    heir = market.user(merchant.organisation)
    assert standing(await merchant.reconnects(user=heir)) == WORKS
    await gone_at_xero(merchant)
    await eventually(partial(has_no_tokens, merchant))
    assert linked_at_xero(Merchant(market, merchant.organisation, heir, merchant.id))
    await merchant.well_again()
