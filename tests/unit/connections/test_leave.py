"""Disconnecting: at once here, later at Xero, and with or without what was read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Table, func, select

import fakes
from connection_steps import connected, do, due_at, history, reconnected, state_of, told
from databases import MISSED_AFTER, take
from documents import account
from fakes import BooksOf, World
from tieout_server.connections.authorisation import CONSENT_LIFE, IN_HAND
from tieout_server.connections.consent_rules import check_was_not_ended
from tieout_server.connections.forget import ERASED
from tieout_server.connections.means import AFTER_CONSENT, PURGE, TAKE_LEAVE
from tieout_server.connections.messages import Choose, Connect, Disconnect, Reconnect, Return, Started
from tieout_server.errors import (
    AccessRevokedError,
    ConsentStateError,
    CredentialsExpiredError,
    NotAdministratorError,
    NotPermittedNowError,
    RequestIdReusedError,
    TieoutError,
    UnexpectedAnswerError,
    WrongOrganisationError,
    XeroUnavailableError,
)
from tieout_server.events.feed import DISCREPANCY, ERASURE, EXPORT, RECONCILIATION, Feed
from tieout_server.ledger.books import Membership, Page, Purpose, Query, TokenSet
from tieout_server.ledger.documents import Entity, Organisation
from tieout_server.ledger.exports import (
    ExportChange,
    ExportError,
    ExportEvent,
    PaymentExport,
    PaymentLine,
    PlatformPayment,
    XeroRecord,
)
from tieout_server.ledger.links import CALLER, AuthorisedBy, Link, ReasonCode
from tieout_server.ledger.writes import RecordKind
from tieout_server.storage import events, syncs, tables, tokens
from tieout_server.storage.discrepancies import Change, Discrepancy, Happened, Share
from tieout_server.storage.events import Event
from tieout_server.storage.reconciliations import ReconciliationRecord, Total
from tieout_server.storage.work import Task
from tieout_server.syncs.means import SYNCING
from tieout_server.work.engine import Job, Lane, LostLeaseError

pytestmark = pytest.mark.timeout(60)

OFF = Decimal("77.10")


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


async def is_consenting(around: World) -> bool:
    async with around.database.read() as tx:
        return await tokens.is_consenting(tx, "user-1")


async def count(around: World, table: Table) -> int:
    async with around.database.read() as tx:
        rows: int = (await tx.execute(select(func.count()).select_from(table))).scalar_one()
    return rows


async def synced(around: World) -> Link:
    link = await connected(around)
    await do(around, AFTER_CONSENT, link.id)
    while await do(around, SYNCING, link.id):
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
    assert waits[-1] == timedelta(minutes=10), "a refresh whose answer was lost can be asked for again for 30"
    assert await has_tokens(around), "they are needed for it"
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed[0] == link.membership_id


async def test_a_consent_that_is_gone_needs_no_removal(around: World) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    around.xero.trouble = CredentialsExpiredError("Gone.", error="invalid_grant")
    around.clock.time += timedelta(hours=1)
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


async def test_what_was_offered_and_not_chosen_is_removed(around: World) -> None:
    around.xero.organisations = ["One", "Two", "Three"]
    link = await connected(around)
    chosen = await around.connections.choose(Choose(link.id, "tenant-code/Two"))
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == ["membership-One", "membership-Three"]
    assert (chosen.membership_id, await has_tokens(around)) == ("membership-Two", True)


async def test_what_another_consent_of_the_same_user_offers_is_not_removed(around: World) -> None:
    one = await connected(around, "one")
    around.xero.organisations = [*around.xero.organisations, "Two"]
    both = await connected(around, "both", "code-2")
    assert both.state == "PENDING_ORGANISATION"
    await around.connections.disconnect(Disconnect(one.id))
    await do(around, TAKE_LEAVE, one.id)
    assert around.xero.removed == []
    assert await has_tokens(around)


async def test_a_choice_says_which_organisations_are_connected_already(around: World) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one")
    around.xero.organisations = ["One", "Two"]
    both = await connected(around, "both")
    assert [(choice.name, choice.connected_as) for choice in both.choices] == [("One", one.id), ("Two", "")]


# What becomes of the links of others


class Meanwhile:
    """Does something once, just before the books are asked for their organisation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, do_this: Callable[[], Awaitable[object]]) -> None:
        self._left = [do_this]
        real = BooksOf.organisation

        async def organisation(books: BooksOf, purpose: Purpose) -> Organisation:
            if self._left:
                await self._left.pop()()
            return await real(books, purpose)

        monkeypatch.setattr(BooksOf, "organisation", organisation)


async def test_the_removal_of_one_connection_spares_a_consent_of_the_same_user_that_is_being_settled(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.xero.organisations = ["Wrong"]
    wrong = await connected(around, "acme", "code-a")
    await around.connections.disconnect(Disconnect(wrong.id))
    around.xero.organisations = ["Right"]
    started = await around.connections.connect(Connect("acme"))
    again: list[datetime | None] = []

    async def take_leave() -> None:
        again.append(await do(around, TAKE_LEAVE, wrong.id))

    Meanwhile(monkeypatch, take_leave)
    right = (await around.connections.complete(Return(state_of(started), "code-b"))).link
    assert (right.state, around.xero.removed) == ("CONNECTED", [])
    assert again == [around.clock.now() + timedelta(seconds=30)]
    assert await do(around, TAKE_LEAVE, wrong.id) is None
    assert around.xero.removed == [wrong.membership_id], "a revocation would take the other one, too"
    assert await has_tokens(around)


async def test_a_refused_consent_spares_the_tokens_of_another_one_that_is_being_settled(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, refused = [await around.connections.connect(Connect(name)) for name in ("good", "refused")]

    async def refuse() -> None:
        around.xero.role = "READONLY"
        with pytest.raises(NotAdministratorError):
            await around.connections.complete(Return(state_of(refused), "code-b"))
        await do(around, TAKE_LEAVE, refused.link.id)
        around.xero.role = "STANDARD"

    Meanwhile(monkeypatch, refuse)
    link = (await around.connections.complete(Return(state_of(good), "code-a"))).link
    assert (link.state, around.xero.removed) == ("CONNECTED", [])
    assert await has_tokens(around)


@pytest.mark.parametrize("membership", ["shared", "each its own"])
async def test_of_two_connections_of_one_user_that_end_together_one_takes_the_consent_back(
    around: World, monkeypatch: pytest.MonkeyPatch, membership: str
) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one", "code-1")
    if membership == "each its own":
        around.xero.organisations = ["Two"]
    two = await connected(around, "two", "code-2")
    for link in (one, two):
        await around.connections.disconnect(Disconnect(link.id))
    barrier, real = asyncio.Barrier(2), around.xero.disconnect

    async def disconnect(access_token: str, membership_id: str) -> None:
        await barrier.wait()
        await real(access_token, membership_id)

    monkeypatch.setattr(around.xero, "disconnect", disconnect)
    await asyncio.gather(*(do(around, TAKE_LEAVE, link.id) for link in (one, two)))
    assert sorted(around.xero.removed) == sorted([one.membership_id, two.membership_id, "secret-refresh"])
    assert not await has_tokens(around)


async def test_what_a_refused_consent_linked_is_removed_and_what_works_stays(around: World) -> None:
    link = await connected(around, "acme", "code-a")
    started = await around.connections.reconnect(Reconnect(link.id))
    around.xero.organisations = ["Another Ltd"]
    with pytest.raises(WrongOrganisationError):
        await around.connections.complete(Return(state_of(started), "code-b"))
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == ["membership-Another Ltd"]
    assert await has_tokens(around)
    assert (await around.connections.get(link.id)).state == "CONNECTED"


async def test_of_a_refused_consent_that_was_the_users_only_one_nothing_is_left(around: World) -> None:
    started = await around.connections.connect(Connect("acme"))
    around.xero.role = "READONLY"
    with pytest.raises(NotAdministratorError):
        await around.connections.complete(Return(state_of(started), "code"))
    assert await has_tokens(around), "they are needed to remove what was linked"
    assert await do(around, TAKE_LEAVE, started.link.id) is None
    assert around.xero.removed == ["membership-Southern Hops Ltd", "secret-refresh"]
    assert not await has_tokens(around)


async def test_who_is_replaced_by_a_reconnect_of_somebody_else_leaves_nothing_at_xero(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    real = around.xero.exchange

    async def exchange(*, code: str, code_verifier: str) -> TokenSet:
        given = await real(code=code, code_verifier=code_verifier)
        return msgspec.structs.replace(given, xero_user_id="user-2", refresh_token="their-refresh")

    async def memberships(access_token: str, *, authentication_event_id: str = "") -> list[Membership]:  # noqa: ARG001 - as the fake's
        return [Membership(membership_id="theirs", xero_tenant_id=link.xero_tenant_id, name="Southern Hops Ltd")]

    with monkeypatch.context() as patch:
        patch.setattr(around.xero, "exchange", exchange)
        patch.setattr(around.xero, "memberships", memberships)
        patch.setattr("tieout_server.connections.consent.check_is_administrator", _whoever_consented)
        back = await reconnected(around, link)
    assert (back.membership_id, back.authorised_by and back.authorised_by.xero_user_id) == ("theirs", "user-2")
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == [link.membership_id, "secret-refresh"]
    assert not await has_tokens(around)


async def _whoever_consented(_books: object, user: AuthorisedBy, _organisation: Organisation) -> AuthorisedBy:
    return user


async def test_a_consent_that_nobody_comes_back_to_settle_is_given_up_with_what_it_linked(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await around.connections.connect(Connect("acme"))

    async def unavailable(*_: object) -> Organisation:
        raise XeroUnavailableError("Down.")

    with monkeypatch.context() as patch:
        patch.setattr(BooksOf, "organisation", unavailable)
        with pytest.raises(XeroUnavailableError):
            await around.connections.complete(Return(state_of(started), "code"))
    begun_at = around.clock.now()
    assert await do(around, TAKE_LEAVE, started.link.id) is None
    assert around.clock.now() == begun_at + CONSENT_LIFE + IN_HAND
    assert around.xero.removed == ["membership-Southern Hops Ltd", "secret-refresh"]
    assert not await has_tokens(around)


@pytest.mark.parametrize(
    ("trouble", "calls"),
    [
        (AccessRevokedError("Xero refuses a fresh access token.", words="TokenExpired"), range(80, 160)),
        (UnexpectedAnswerError("Xero answered 400", status="400"), range(80, 160)),
    ],
)
async def test_a_refusal_to_remove_is_no_removal_and_is_given_up_after_a_day(
    around: World, monkeypatch: pytest.MonkeyPatch, trouble: TieoutError, calls: range
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    asked = 0

    async def disconnect(_access_token: str, _membership_id: str) -> None:
        nonlocal asked
        asked += 1
        raise trouble.with_traceback(None)  # the same one each time: what it drags along must not grow

    monkeypatch.setattr(around.xero, "disconnect", disconnect)
    began_at = around.clock.now()
    while await do(around, TAKE_LEAVE, link.id):
        assert await has_tokens(around)
    assert timedelta(days=1) <= around.clock.now() - began_at < timedelta(days=1, minutes=10)
    assert asked in calls
    assert not await has_tokens(around)


@pytest.mark.parametrize("kind", [TAKE_LEAVE, PURGE])
async def test_who_lost_the_task_to_another_process_does_nothing(around: World, kind: str) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    happened = await history(around, link)
    task, taken = Task(kind, link.id, Lane.READ), []
    for owner in ("lost", "taken over"):
        taken.append(await take(around.database, task, now=around.clock.now(), owner=owner))
        around.clock.time += MISSED_AFTER + timedelta(seconds=1)
    assert taken[0]
    assert taken[1]
    with pytest.raises(LostLeaseError):
        await around.connections._means.engine._kinds[kind].perform(Job(taken[0]))
    assert around.xero.removed == []
    assert await history(around, link) == happened


# Coming back meanwhile


async def test_who_connects_again_while_the_removal_waits_for_a_token_keeps_everything(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    own_tokens = around.connections._means.tokens
    real = own_tokens.access_token

    async def slowly(user: str, **named: str | None) -> str:
        token = await real(user, **named)
        monkeypatch.setattr(own_tokens, "access_token", real)
        await reconnected(around, link)
        return token

    monkeypatch.setattr(own_tokens, "access_token", slowly)
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert (await around.connections.get(link.id)).state == "CONNECTED"
    assert around.xero.removed == []
    assert await has_tokens(around)


async def test_a_consent_waits_for_a_removal_of_the_same_user_that_is_under_way(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    started = await around.connections.connect(Connect("acme"))
    is_asked, go, asked_books = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def disconnect(_access_token: str, membership_id: str) -> None:
        is_asked.set()
        await go.wait()
        around.xero.removed.append(membership_id)

    async def organisation_asked() -> None:
        asked_books.set()

    monkeypatch.setattr(around.xero, "disconnect", disconnect)
    monkeypatch.setattr(around.clock, "sleep", asyncio.sleep)
    Meanwhile(monkeypatch, organisation_asked)
    leaving = asyncio.create_task(do(around, TAKE_LEAVE, link.id))
    await is_asked.wait()
    completing = asyncio.create_task(around.connections.complete(Return(state_of(started), "code-2")))
    while not await is_consenting(around):  # noqa: ASYNC110 - the other task commits it
        await asyncio.sleep(0.01)
    assert not asked_books.is_set()
    go.set()
    assert await leaving == around.clock.now() + timedelta(seconds=30), "the consent is waited for in its turn"
    assert (await completing).link.state == "CONNECTED"
    assert "secret-refresh" not in around.xero.removed
    assert await has_tokens(around)


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
    with pytest.raises(NotPermittedNowError, match="disconnected meanwhile") as told_of:
        await around.connections.complete(Return(state_of(started), "code"))
    assert told_of.value.facts["connection_id"] == started.link.id, "the page leads back"
    assert (await around.connections.get(started.link.id)).state == "DISCONNECTED"
    assert await do(around, TAKE_LEAVE, started.link.id) is None
    assert around.xero.removed == ["membership-Southern Hops Ltd", "secret-refresh"]
    assert not await has_tokens(around)


@pytest.mark.parametrize("ends_during", ["exchange", "organisation"])
async def test_a_consent_that_was_in_hand_when_the_connection_was_ended_is_not_taken_up_again(
    around: World, monkeypatch: pytest.MonkeyPatch, ends_during: str
) -> None:
    started = await around.connections.connect(Connect("acme"))
    of: object = around.xero if ends_during == "exchange" else BooksOf

    async def ended(*_: object, **__: object) -> None:
        await around.connections.disconnect(Disconnect(started.link.id))
        raise XeroUnavailableError("Xero does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(of, ends_during, ended)
        with pytest.raises(XeroUnavailableError):
            await around.connections.complete(Return(state_of(started), "code"))
    with pytest.raises(ConsentStateError):
        await around.connections.complete(Return(state_of(started), "code"))
    assert (await around.connections.get(started.link.id)).state == "DISCONNECTED"
    assert await do(around, TAKE_LEAVE, started.link.id) is None
    assert not await has_tokens(around)


async def test_a_consent_whose_code_is_exchanged_as_the_connection_is_ended_comes_too_late(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await around.connections.connect(Connect("acme"))
    real = around.xero.exchange

    async def ended(**named: str) -> TokenSet:
        await around.connections.disconnect(Disconnect(started.link.id))
        return await real(**named)

    monkeypatch.setattr(around.xero, "exchange", ended)
    with pytest.raises(NotPermittedNowError) as told_of:
        await around.connections.complete(Return(state_of(started), "code"))
    assert told_of.value.facts["connection_id"] == started.link.id, "the page leads back"
    assert (await around.connections.get(started.link.id)).state == "DISCONNECTED"
    assert await do(around, TAKE_LEAVE, started.link.id) is None
    assert around.xero.removed == ["membership-Southern Hops Ltd", "secret-refresh"], "nothing stays linked at Xero"
    assert not await has_tokens(around)


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


async def test_who_reconnects_while_something_is_being_removed_is_sent_to_consent_after_it(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    is_asked, go = asyncio.Event(), asyncio.Event()
    real = around.xero.disconnect

    async def disconnect(access_token: str, membership_id: str) -> None:
        is_asked.set()
        await go.wait()
        await real(access_token, membership_id)

    monkeypatch.setattr(around.xero, "disconnect", disconnect)
    monkeypatch.setattr(around.clock, "sleep", lambda _: asyncio.sleep(0))
    leaving = asyncio.create_task(do(around, TAKE_LEAVE, link.id))
    await is_asked.wait()
    beginning = asyncio.create_task(around.connections.reconnect(Reconnect(link.id, request_id="request-1")))
    assert not (await asyncio.wait([beginning], timeout=0.2))[0], "consent would be given for what is about to go"
    go.set()
    started = await beginning
    assert around.xero.removed[0] == link.membership_id
    assert await leaving in {None, started.consent.expires_at, around.clock.now() + timedelta(seconds=30)}
    assert (await around.connections.complete(Return(state_of(started), "code"))).link.state == "CONNECTED"
    assert await has_tokens(around)


async def test_who_reconnects_just_before_something_would_be_removed_keeps_it(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    await around.connections.disconnect(Disconnect(link.id))
    own_tokens = around.connections._means.tokens
    real = own_tokens.access_token
    begun: list[Started] = []

    async def slowly(user: str, **named: str | None) -> str:
        begun.append(await around.connections.reconnect(Reconnect(link.id)))
        return await real(user, **named)

    with monkeypatch.context() as patch:
        patch.setattr(own_tokens, "access_token", slowly)
        assert await do(around, TAKE_LEAVE, link.id) == around.clock.now() + timedelta(seconds=30)
    assert around.xero.removed == []
    assert (await around.connections.complete(Return(state_of(begun[0]), "code"))).link.state == "CONNECTED"
    assert await do(around, TAKE_LEAVE, link.id) is None
    assert around.xero.removed == []


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
    assert await do(around, SYNCING, link.id) is None


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
    while await do(around, SYNCING, link.id):
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


async def test_after_a_purge_no_kept_answer_and_no_consent_names_the_person(around: World) -> None:
    started = await around.connections.connect(Connect("acme", request_id="request-1"))
    back = Return(state_of(started), "code", request_id="request-2")
    link = (await around.connections.complete(back)).link
    again = Reconnect(link.id, request_id="request-3")
    await around.connections.reconnect(again)
    asked = Disconnect(link.id, purge_data=True, request_id="request-4")
    await around.connections.disconnect(asked)
    await do(around, PURGE, link.id)
    answers = [
        await around.connections.complete(back),
        await around.connections.reconnect(again),
        await around.connections.disconnect(asked),
    ]
    async with around.database.read() as tx:
        kept = [(await tx.execute(table.select())).all() for table in (tables.authorisations, tables.connections)]
    assert "ruth" not in f"{answers} {kept}".lower()


async def test_what_was_purged_is_not_told_any_more_by_another_process_either(around: World) -> None:
    elsewhere = Feed(around.database, around.clock)
    await elsewhere.start()
    link = await connected(around)
    await elsewhere._advance()  # as its own poll does
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    await do(around, PURGE, link.id)
    await elsewhere._advance()
    told_there = []
    async with contextlib.aclosing(elsewhere.follow(0, lambda _: True)) as items:
        async for item in items:
            assert isinstance(item, Event)
            told_there.append(item.payload)
            if item.topic == ERASURE:
                break
    assert len(told_there) > 3
    assert b"ruth" not in b" ".join(told_there).lower()


async def test_after_a_purge_the_log_names_no_customer_and_no_balance(around: World) -> None:
    link = await synced(around)
    now = around.clock.now()
    happened = Happened(state="NEEDS_ATTENTION", sentence="Acme owes 77.10.", actor="caller", at=now, difference=OFF)
    off = Discrepancy(
        id="dis1", connection_id=link.id, xero_contact_id="contact-1", customer_name="Acme", currency="NZD", ours=OFF,
        xero=Decimal(0), causes=(Share(cause="UNEXPLAINED", amount=OFF, sentence="77.10 of Acme."),),
        state="NEEDS_ATTENTION", sentence="Acme owes 77.10.", note="Ask Acme.", opened_at=now, updated_at=now,
        history=(happened,),
    )  # fmt: skip
    totals = (Total(currency="NZD", ours=OFF, xero=Decimal(0)),)
    run = ReconciliationRecord(
        id="rec1", connection_id=link.id, ordinal=1, state="SUCCEEDED", totals=totals, created_at=now, updated_at=now
    )
    later = msgspec.structs.replace(run, id="rec2", ordinal=9)
    other = msgspec.structs.replace(off, connection_id="con-other")
    said: list[tuple[str, str, str, object]] = [
        (link.id, DISCREPANCY, "dis1", Change(happened, off)),
        (link.id, RECONCILIATION, "rec1", run),
        (link.id, RECONCILIATION, "rec2", later),
        ("con-other", DISCREPANCY, "dis2", Change(happened, other)),
    ]
    for connection_id, topic, subject, told_of in said:
        async with around.database.write() as tx:
            await around.connections._means.feed.append(
                tx, Event(0, connection_id, topic, subject, now, msgspec.json.encode(told_of))
            )
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    await do(around, PURGE, link.id)
    payloads: dict[str, bytes] = {}
    async with around.database.read() as tx:
        for subject, topic in (("dis1", DISCREPANCY), ("rec1", RECONCILIATION), ("rec2", RECONCILIATION)):
            (event,) = await events.about(tx, subject, topic=topic, after=0, limit=9)
            payloads[subject] = event.payload
        (spared,) = await events.about(tx, "dis2", topic=DISCREPANCY, after=0, limit=9)
    for subject in ("dis1", "rec1"):
        assert b"Acme" not in payloads[subject], payloads
        assert b"77.1" not in payloads[subject], payloads
    change = msgspec.json.decode(payloads["dis1"], type=Change)
    assert (change.discrepancy.id, change.discrepancy.state, change.event.sentence) == ("dis1", off.state, ERASED)
    assert msgspec.json.decode(payloads["rec1"], type=ReconciliationRecord).state == "SUCCEEDED"
    assert msgspec.json.decode(payloads["rec2"], type=ReconciliationRecord) == later, "it began after the disconnect"
    assert msgspec.json.decode(spared.payload, type=Change) == Change(happened, other)


async def test_after_a_purge_the_log_names_no_payment(around: World) -> None:
    link = await synced(around)
    now = around.clock.now()
    line = PaymentLine(invoice_number="INV-Acme", amount=OFF)
    paid = PlatformPayment(
        payment_id="p1", paid_on=now.date(), currency="NZD", amount=OFF, lines=(line,), reference="Acme"
    )
    error = ExportError(
        reason="CONTACT_ARCHIVED", sentence="Acme is archived.", remedy="Ask Acme.", owner="MERCHANT", occurred_at=now
    )
    happened = ExportEvent(
        xero_status="DISMISSED", sentence="Acme paid 77.10.", actor="ruth@acme.example", occurred_at=now, error=error
    )
    made = XeroRecord(kind=RecordKind.PAYMENT, xero_id="x1", invoice_number="INV-Acme", amount=OFF, currency="NZD")
    export = PaymentExport(
        id="exp1", connection_id=link.id, payment=paid, xero_status="DISMISSED", error=error, records=(made,),
        created_at=now, updated_at=now, dismissal_note="Acme", dismissed_by="ruth@acme.example", history=(happened,),
    )  # fmt: skip
    told = Event(0, link.id, EXPORT, "exp1", now, msgspec.json.encode(ExportChange(event=happened, export=export)))
    async with around.database.write() as tx:
        await around.connections._means.feed.append(tx, told)
    await around.connections.disconnect(Disconnect(link.id, purge_data=True))
    await do(around, PURGE, link.id)
    async with around.database.read() as tx:
        (event,) = await events.about(tx, "exp1", topic=EXPORT, after=0, limit=9)
    assert b"acme" not in event.payload.lower()
    assert b"77.1" not in event.payload
    change = msgspec.json.decode(event.payload, type=ExportChange)
    assert (change.export.id, change.export.payment.payment_id, change.event.sentence) == ("exp1", "p1", ERASED)
    assert change.export.xero_status == change.event.xero_status == "DISMISSED"


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
    while await do(around, SYNCING, link.id):
        pass
    await do(around, PURGE, link.id)
    async with around.database.read() as tx:
        (sync,) = await syncs.page(tx, link.id, limit=9)
    assert (sync.mode, sync.state, sync.ordinal) == ("FULL", "SUCCEEDED", 3), "the purge took a number, too"
    assert await count(around, tables.accounts) == 1
    now = await around.connections.get(link.id)
    assert now.authorised_by == back.authorised_by
    assert now.last_synced_at
    assert not [event for event in await history(around, link) if event.gap]
