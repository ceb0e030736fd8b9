"""What a look at a connection makes of troubles that prove nothing, and when it looks again."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest

from connection_steps import connected, do, due_at, history, shut_out
from fakes import BooksOf, World
from tieout_server.connections import probe, reasons
from tieout_server.connections.means import AFTER_CONSENT, LOOK_AFTER
from tieout_server.errors import (
    AccessRevokedError,
    CredentialsExpiredError,
    UnexpectedAnswerError,
    XeroUnavailableError,
)
from tieout_server.ledger.books import HeldUp, Page, Purpose, Query, TokenSet, WaitingFor
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import Link, Owner, ReasonCode
from tieout_server.syncs.means import SYNCING

pytestmark = pytest.mark.timeout(60)

GRACE = timedelta(minutes=30)
"""How long an old refresh token is good once it was used (Xero, Token types)."""


async def now(around: World, link: Link) -> Link:
    return await around.connections.get(link.id)


def lose_refreshes(monkeypatch: pytest.MonkeyPatch, around: World) -> None:
    async def refresh(_token: str) -> TokenSet:
        raise XeroUnavailableError("The answer was lost.")

    monkeypatch.setattr(around.xero, "refresh", refresh)


def close(monkeypatch: pytest.MonkeyPatch) -> None:
    real = BooksOf.organisation

    async def organisation(books: BooksOf, purpose: Purpose) -> Organisation:
        return msgspec.structs.replace(await real(books, purpose), status="LAPSED")

    monkeypatch.setattr(BooksOf, "organisation", organisation)


# Our own limits


async def test_waiting_for_our_own_minute_is_no_trouble_of_xeros(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    waiting: list[int] = []

    async def organisation(_books: BooksOf, _purpose: Purpose) -> Organisation:
        waiting.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            waiting.clear()
        raise AssertionError("nobody waits so long")

    def held_up(_books: BooksOf) -> HeldUp | None:
        return HeldUp(WaitingFor.MINUTE_LIMIT) if waiting else None

    monkeypatch.setattr(probe, "PATIENCE", 1.0)  # the refresh has to come first
    monkeypatch.setattr(BooksOf, "organisation", organisation)
    monkeypatch.setattr(BooksOf, "held_up", held_up)
    checked = await around.connections.check(link.id)
    assert checked.link == link
    assert "not asked" in checked.evidence[-1].finding
    assert await due_at(around, LOOK_AFTER, link.id) == around.clock.now() + timedelta(minutes=1)


async def test_who_does_not_answer_in_time_is_not_available(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await connected(around)

    async def organisation(_books: BooksOf, _purpose: Purpose) -> Organisation:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    monkeypatch.setattr(probe, "PATIENCE", 0.01)
    monkeypatch.setattr(BooksOf, "organisation", organisation)
    checked = await around.connections.check(link.id)
    assert checked.link.reason
    assert checked.link.reason.code is ReasonCode.XERO_UNAVAILABLE


# Refreshes whose answer is lost


async def test_a_refresh_whose_answer_was_lost_is_repeated_while_the_old_token_is_good(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(around)
    link = await connected(around, "other", "code-2")
    lose_refreshes(monkeypatch, around)
    around.clock.time += timedelta(days=7)
    for _ in range(14):
        again_at = await do(around, LOOK_AFTER, link.id)
        assert again_at
        assert again_at - around.clock.now() < GRACE


async def test_it_is_repeated_for_a_broken_connection_too(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await connected(around)
    await around.connections.access_lost(link.id, shut_out(around))
    lose_refreshes(monkeypatch, around)
    for _ in range(3):
        again_at = await do(around, LOOK_AFTER, link.id)
        assert again_at
        assert again_at - around.clock.now() < GRACE


async def test_it_is_repeated_when_whoever_asked_has_gone(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await connected(around)
    asked = asyncio.Event()

    async def refresh(_token: str) -> TokenSet:
        asked.set()
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    monkeypatch.setattr(around.xero, "refresh", refresh)
    check = asyncio.create_task(around.connections.check(link.id))
    await asked.wait()
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert await due_at(around, LOOK_AFTER, link.id) == around.clock.now() + timedelta(minutes=1)


async def test_a_consent_that_was_taken_back_is_named_as_such_by_the_daily_look(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    real = BooksOf.organisation

    async def organisation(books: BooksOf, purpose: Purpose) -> Organisation:
        await around.connections._means.tokens.access_token("user-1")  # expired by then: refreshed within the call
        return await real(books, purpose)

    async def refresh(_token: str) -> TokenSet:
        raise CredentialsExpiredError("Gone.", error="invalid_grant")

    monkeypatch.setattr(BooksOf, "organisation", organisation)
    monkeypatch.setattr(around.xero, "refresh", refresh)
    await do(around, LOOK_AFTER, link.id)
    lost = await now(around, link)
    assert lost.state == "RECONNECT_REQUIRED"
    assert lost.reason
    assert (lost.reason.code, lost.reason.owner) == (ReasonCode.CREDENTIALS_EXPIRED, Owner.MERCHANT)
    assert lost.reason.evidence[0].subject == "token refresh"
    assert [change.to_state for change in await history(around, link)][-2:] == ["CONNECTED", lost.state]


async def test_tokens_that_were_no_good_prove_nothing_of_those_that_came_by_another_consent_meanwhile(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one")

    async def refresh(_token: str) -> TokenSet:
        around.xero.organisations = ["Two"]
        await connected(around, "two", around.xero.code)
        raise CredentialsExpiredError("Gone.", error="invalid_grant")

    monkeypatch.setattr(around.xero, "refresh", refresh)
    checked = await around.connections.check(one.id)
    assert (checked.link.state, checked.link.reason) == ("CONNECTED", None)
    assert await due_at(around, LOOK_AFTER, one.id) == around.clock.now() + timedelta(minutes=1)


# Refusals that prove nothing


async def test_a_listing_that_is_refused_although_all_is_in_order_is_told_once_and_asked_for_ever_less_often(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    with monkeypatch.context() as patch:

        async def read(_books: BooksOf, _query: Query, _purpose: Purpose) -> Page:
            raise AccessRevokedError("Refused.", words="AuthenticationUnsuccessful")

        patch.setattr(BooksOf, "read", read)
        await do(around, AFTER_CONSENT, link.id)
        begun_at, slices = around.clock.now(), 0
        while around.clock.now() - begun_at < timedelta(days=1):
            await do(around, SYNCING, link.id)
            slices += 1
        refused = await now(around, link)
        assert slices < 40, "each costs a call and an examination"
        assert (refused.state, refused.health) == ("CONNECTED", "DEGRADED")
        assert refused.reason
        assert (refused.reason.code, refused.reason.owner) == (ReasonCode.XERO_UNAVAILABLE, Owner.XERO)
        assert refused.reason.evidence[-1].finding == "403 AuthenticationUnsuccessful"
        await do(around, LOOK_AFTER, link.id)
        assert (await now(around, link)).reason == refused.reason, "only reading can tell that it has passed"
        assert [event.health for event in await history(around, link)].count("DEGRADED") == 1
    while await do(around, SYNCING, link.id):
        pass
    assert (await now(around, link)).health == "OK"


async def test_an_answer_that_nobody_documented_is_an_operators_matter(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)

    async def organisation(_books: BooksOf, _purpose: Purpose) -> Organisation:
        raise UnexpectedAnswerError("Xero answered 400: nope", status="400", words="nope")

    monkeypatch.setattr(BooksOf, "organisation", organisation)
    reason = (await around.connections.check(link.id)).link.reason
    assert reason
    assert (reason.code, reason.owner) == (ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR)


# Warnings behind troubles


async def test_a_warning_that_only_a_look_finds_outlives_a_trouble_and_keeps_its_date(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)
    close(monkeypatch)
    warned = (await around.connections.check(link.id)).link
    assert warned.reason
    assert warned.reason.code is ReasonCode.ORGANISATION_UNAVAILABLE
    around.clock.time += timedelta(hours=1)
    await around.connections.health(link.id, reasons.unavailable(reasons.Case(warned, around.clock.now())))
    covered = await now(around, link)
    assert covered.reason
    assert covered.reason.code is ReasonCode.XERO_UNAVAILABLE
    await around.connections.health(link.id, None)
    assert (await now(around, link)).reason == warned.reason


async def test_a_right_that_was_taken_away_is_warned_about_after_a_trouble_too(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await connected(around)

    async def actions(_books: BooksOf, _purpose: Purpose) -> Mapping[str, bool]:
        return {"CreateInvoicePayment": False}

    with monkeypatch.context() as patch:
        patch.setattr(BooksOf, "actions", actions)
        warned = (await around.connections.check(link.id)).link
        around.xero.refusal = XeroUnavailableError("Down.")
        await around.connections.check(link.id)
        around.xero.refusal = None
        around.clock.time += timedelta(hours=1)
        assert (await around.connections.check(link.id)).link.reason == warned.reason
    assert (await around.connections.check(link.id)).link.reason is None, "it was given back"


async def test_a_warning_that_is_read_off_the_record_keeps_its_date_behind_a_trouble(around: World) -> None:
    around.xero.role = "STANDARD"
    link = await connected(around)
    around.xero.role = "READONLY"
    warned = (await around.connections.check(link.id)).link
    around.clock.time += timedelta(hours=1)
    await around.connections.health(link.id, reasons.unavailable(reasons.Case(warned, around.clock.now())))
    await around.connections.health(link.id, None)
    assert (await now(around, link)).reason == warned.reason
