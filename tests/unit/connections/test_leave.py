"""Disconnecting: at once here, later at Xero, and with or without what was read."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Table, func, select

import fakes
from connection_steps import connected, do, due_at, history, reconnected, state_of, told
from documents import account
from fakes import BooksOf, World
from tieout_server.connections.consent_rules import check_was_not_ended
from tieout_server.connections.means import AFTER_CONSENT, PURGE, TAKE_LEAVE
from tieout_server.connections.messages import Connect, Disconnect, Reconnect, Return
from tieout_server.connections.purge import ERASED
from tieout_server.errors import (
    AccessRevokedError,
    ConsentStateError,
    CredentialsExpiredError,
    NotPermittedNowError,
    RequestIdReusedError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import Page, Purpose, Query
from tieout_server.ledger.documents import Entity, Organisation
from tieout_server.ledger.links import CALLER, Link, ReasonCode
from tieout_server.storage import syncs, tables, tokens
from tieout_server.syncs.service import WORK

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world whose Xero has one account in its books."""

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:  # noqa: ARG001 - a fake need not look
        found = (account(),) if query.entity is Entity.ACCOUNTS else ()
        return Page(documents=found, page_count=1, item_count=len(found), served_at=books.xero.clock.now())

    monkeypatch.setattr(BooksOf, "read", read)
    async with fakes.world(tmp_path) as made:
        yield made


async def has_tokens(around: World) -> bool:
    async with around.database.read() as tx:
        return await tokens.get(tx, "user-1") is not None


async def count(around: World, table: Table) -> int:
    async with around.database.read() as tx:
        rows: int = (await tx.execute(select(func.count()).select_from(table))).scalar_one()
    return rows


async def synced(around: World) -> Link:
    link = await connected(around)
    await do(around, AFTER_CONSENT, link.id)
    while await do(around, WORK, link.id):
        pass
    return await around.connections.get(link.id)


async def test_a_connection_is_ended_at_once_and_removed_at_xero_afterwards(around: World) -> None:
    link = await connected(around)
    ended = await around.connections.disconnect(Disconnect(link.id))
    assert (ended.state, ended.reason and ended.reason.code) == ("DISCONNECTED", ReasonCode.MANUALLY_DISCONNECTED)
    assert (await history(around, link))[-1].actor == CALLER
    assert around.xero.removed == []
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == [link.membership_id, "secret-refresh"], "removed, and as the last one revoked"
    assert not await has_tokens(around)


async def test_a_repeat_is_answered_as_it_is_and_other_content_is_refused(around: World) -> None:
    link = await connected(around)
    asked = Disconnect(link.id, request_id="request-1")
    ended = await around.connections.disconnect(asked)
    assert await around.connections.disconnect(asked) == ended
    assert await around.connections.disconnect(Disconnect(link.id)) == ended
    assert len(await history(around, link)) == 3
    with pytest.raises(RequestIdReusedError):
        await around.connections.disconnect(Disconnect(link.id, purge_data=True, request_id="request-1"))


async def test_an_outage_delays_the_removal_until_xero_answers(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    waits = []
    with monkeypatch.context() as patch:

        async def unavailable(*_: str) -> None:
            raise XeroUnavailableError("Down.")

        patch.setattr(around.xero, "disconnect", unavailable)
        for _ in range(14):
            again_at = await do(around, TAKE_LEAVE, link.id)
            assert again_at
            waits.append(again_at - around.clock.now())
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=1)
    assert await has_tokens(around), "they are needed for it"
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed[0] == link.membership_id


async def test_a_consent_that_is_gone_needs_no_removal(around: World) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    around.xero.trouble = CredentialsExpiredError("Gone.", error="invalid_grant")
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == []
    assert not await has_tokens(around)


async def test_another_organisation_of_the_same_user_goes_on(around: World) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one")
    around.xero.organisations = ["Two"]
    two = await connected(around, "two")
    await around.connections.disconnect(Disconnect(one.id))
    await do(around, TAKE_LEAVE, one.id)
    assert around.xero.removed == [one.membership_id], "a revocation would take both"
    assert await has_tokens(around)
    await around.connections.disconnect(Disconnect(two.id))
    await do(around, TAKE_LEAVE, two.id)
    assert around.xero.removed[1:] == [two.membership_id, "secret-refresh"]
    assert not await has_tokens(around)


async def test_what_another_connection_stands_on_is_not_removed(around: World) -> None:
    broken = await connected(around, "first")
    around.xero.is_linked, around.xero.refusal = False, AccessRevokedError("Refused.")
    await around.connections.check(broken.id)
    around.xero.is_linked, around.xero.refusal = True, None
    heir = await connected(around, "second")
    assert heir.membership_id == broken.membership_id
    await around.connections.disconnect(Disconnect(broken.id))
    await do(around, TAKE_LEAVE, broken.id)
    assert around.xero.removed == []


async def test_organisations_that_were_offered_and_never_chosen_are_removed_too(around: World) -> None:
    around.xero.organisations = ["One", "Two"]
    link = await connected(around)
    assert link.state == "PENDING_ORGANISATION"
    await around.connections.disconnect(Disconnect(link.id))
    await do(around, TAKE_LEAVE, link.id)
    assert around.xero.removed == ["membership-One", "membership-Two", "secret-refresh"]


async def test_a_choice_says_which_organisations_are_connected_already(around: World) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one")
    around.xero.organisations = ["One", "Two"]
    both = await connected(around, "both")
    assert [(choice.name, choice.connected_as) for choice in both.choices] == [("One", one.id), ("Two", "")]


# Coming back meanwhile


async def test_who_comes_back_with_an_older_consent_finds_the_connection_ended(around: World) -> None:
    link = await connected(around)
    started = await around.connections.reconnect(Reconnect(link.id))
    await around.connections.disconnect(Disconnect(link.id))
    with pytest.raises(ConsentStateError):
        await around.connections.complete(Return(state_of(started), "code"))
    assert (await around.connections.get(link.id)).state == "DISCONNECTED"


async def test_a_consent_that_settles_as_the_connection_is_ended_comes_too_late(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await around.connections.connect(Connect("acme"))
    real = BooksOf.organisation

    async def ended(books: BooksOf, purpose: Purpose) -> Organisation:
        await around.connections.disconnect(Disconnect(started.link.id))
        return await real(books, purpose)

    monkeypatch.setattr(BooksOf, "organisation", ended)
    with pytest.raises(NotPermittedNowError, match="disconnected meanwhile"):
        await around.connections.complete(Return(state_of(started), "code"))
    assert (await around.connections.get(started.link.id)).state == "DISCONNECTED"


async def test_the_removal_waits_for_who_was_sent_to_consent_anew_and_is_not_needed_once_they_did(
    around: World,
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    started = await around.connections.reconnect(Reconnect(link.id))
    assert await do(around, TAKE_LEAVE, link.id) == started.consent.expires_at
    back = await around.connections.complete(Return(state_of(started), "code"))
    assert back.link.state == "CONNECTED"
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == []
    assert await has_tokens(around)


def test_only_an_end_since_then_is_too_late() -> None:
    ended = Link(
        id="con_1", merchant_id="m", state="DISCONNECTED", created_at=fakes.SettableClock().now(),
        updated_at=fakes.SettableClock().now(),
    )  # fmt: skip
    check_was_not_ended(ended, ended)
    with pytest.raises(NotPermittedNowError):
        check_was_not_ended(msgspec.structs.replace(ended, state="RECONNECT_REQUIRED"), ended)


# The sync under way, and the gap after a reconnect


async def test_a_sync_under_way_is_cancelled_with_its_connection(around: World) -> None:
    link = await connected(around)
    await do(around, AFTER_CONSENT, link.id)
    await around.connections.disconnect(Disconnect(link.id))
    async with around.database.read() as tx:
        sync = await syncs.latest(tx, link.id)
    assert sync
    assert (sync.state, sync.fault, sync.ended_at) == ("CANCELLED", None, around.clock.now())
    assert await do(around, WORK, link.id) is None


async def test_after_a_reconnect_the_gap_is_told_from_to_and_how_much(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await synced(around)
    known_up_to = around.clock.now()
    await around.connections.disconnect(Disconnect(link.id))
    around.clock.time += timedelta(days=70)
    changed = account(updated_at=around.clock.now(), name="Another name")

    async def read(books: BooksOf, query: Query, purpose: Purpose) -> Page:  # noqa: ARG001 - a fake need not look
        found = (changed,) if query.entity is Entity.ACCOUNTS else ()
        return Page(documents=found, page_count=1, item_count=len(found), served_at=books.xero.clock.now())

    monkeypatch.setattr(BooksOf, "read", read)
    back = await reconnected(around, link)
    assert back.gap_from_at == known_up_to
    await do(around, AFTER_CONSENT, link.id)
    while await do(around, WORK, link.id):
        pass
    closed = (await history(around, link))[-1]
    assert closed.gap
    assert (closed.kind, closed.gap.from_at, closed.gap.to_at) == ("GAP_CLOSED", known_up_to, around.clock.now())
    assert closed.gap.changes == 1
    assert (await told(around, link))[-1].gap == closed.gap
    assert (await around.connections.get(link.id)).gap_from_at is None


async def test_a_consent_anew_without_a_break_leaves_no_gap(around: World) -> None:
    link = await synced(around)
    assert (await reconnected(around, link)).gap_from_at is None


# Purging


async def test_purging_erases_what_was_read_and_who_consented_and_keeps_what_happened(around: World) -> None:
    link = await synced(around)
    kinds = [event.kind for event in await history(around, link)]
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    assert await do(around, PURGE, link.id) is None
    for table in (tables.accounts, tables.syncs, tables.sync_lines, tables.watermarks):
        assert await count(around, table) == 0, table.name
    now = await around.connections.get(link.id)
    assert now.last_synced_at is None
    assert now.authorised_by
    assert (now.authorised_by.name, now.authorised_by.email, now.authorised_by.xero_user_id) == ("", "", "user-1")
    assert now.reason
    assert now.reason.sentence != ERASED
    kept = await history(around, link)
    assert [event.kind for event in kept][: len(kinds)] == kinds
    everything = msgspec.json.encode([kept, await told(around, link), now]).decode()
    assert "ruth" not in everything.lower()


async def test_what_an_earlier_disconnect_left_can_still_be_purged(around: World) -> None:
    link = await synced(around)
    await around.connections.disconnect(Disconnect(link.id))
    assert await due_at(around, PURGE, link.id) is None
    assert await count(around, tables.accounts) == 1
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    await do(around, PURGE, link.id)
    assert await count(around, tables.accounts) == 0


async def test_a_reconnect_after_a_purge_begins_with_a_first_sync_that_the_purge_does_not_touch(
    around: World,
) -> None:
    link = await synced(around)
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    back = await reconnected(around, link)
    await do(around, AFTER_CONSENT, link.id)
    while await do(around, WORK, link.id):
        pass
    await do(around, PURGE, link.id)
    async with around.database.read() as tx:
        (sync,) = await syncs.page(tx, link.id, limit=9)
    assert (sync.mode, sync.state, sync.ordinal) == ("FULL", "SUCCEEDED", 2)
    assert await count(around, tables.accounts) == 1
    now = await around.connections.get(link.id)
    assert now.authorised_by == back.authorised_by
    assert now.last_synced_at
    assert not [event for event in await history(around, link) if event.gap]
