"""What becomes of a consent when others overlap it, the organisation is taken, or Xero falls silent half-way."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from fakes import BooksOf, World
from tieout_server.connections.authorisation import IN_HAND
from tieout_server.connections.messages import Choose, Connect, Reconnect, Return, Started
from tieout_server.errors import (
    ConsentStateError,
    InvalidRequestError,
    NotPermittedNowError,
    OrganisationAlreadyConnectedError,
    RequestIdReusedError,
    XeroUnavailableError,
)
from tieout_server.ledger.links import Link
from tieout_server.storage import connections, tables

pytestmark = pytest.mark.timeout(60)


def state_of(started: Started) -> str:
    return parse_qs(urlsplit(started.consent.authorization_url).query)["state"][0]


async def consented(around: World, merchant_id: str = "acme", code: str = "code") -> Link:
    started = await around.connections.connect(Connect(merchant_id))
    return (await around.connections.complete(Return(state_of(started), code))).link


def calls_of(monkeypatch: pytest.MonkeyPatch, of: object, name: str) -> list[Any]:
    """Notes every call of this, from now on."""
    calls, real = [], getattr(of, name)

    async def noted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        calls.append(named or arguments)
        return await real(*arguments, **named)

    monkeypatch.setattr(of, name, noted)
    return calls


def once_unavailable(monkeypatch: pytest.MonkeyPatch, of: object, name: str) -> None:
    """The next call of this finds Xero unavailable; those after it do not."""
    real, troubles = getattr(of, name), [XeroUnavailableError("Xero cannot be reached.")]

    async def answer(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
        if troubles:
            raise troubles.pop()
        return await real(*arguments, **named)

    monkeypatch.setattr(of, name, answer)


class SlowOrganisation:
    """An organisation whose books answer when the test says so."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_asked, self.go = asyncio.Event(), asyncio.Event()
        real = BooksOf.organisation

        async def organisation(books: BooksOf, purpose: Any) -> Any:  # noqa: ANN401 - as the fake has them
            if books.xero_tenant_id.endswith(name):
                self.is_asked.set()
                await self.go.wait()
            return await real(books, purpose)

        monkeypatch.setattr(BooksOf, "organisation", organisation)


# Choosing


async def test_of_two_choices_that_overlap_the_first_settles_the_connection_and_the_other_cannot_move_it(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.xero.organisations = ["One", "Two"]
    link = await consented(around)
    slow = SlowOrganisation("Two", monkeypatch)
    two = asyncio.create_task(around.connections.choose(Choose(link.id, "tenant-code/Two")))
    await slow.is_asked.wait()
    settled = await around.connections.choose(Choose(link.id, "tenant-code/One"))
    assert (settled.state, settled.xero_tenant_id) == ("CONNECTED", "tenant-code/One")
    slow.go.set()
    with pytest.raises(NotPermittedNowError):
        await two
    assert await around.connections.get(link.id) == settled


async def test_two_equal_choices_that_overlap_settle_the_connection_once(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.xero.organisations = ["One", "Two"]
    link = await consented(around)
    slow = SlowOrganisation("One", monkeypatch)
    both = [asyncio.create_task(around.connections.choose(Choose(link.id, "tenant-code/One"))) for _ in range(2)]
    await slow.is_asked.wait()
    slow.go.set()
    assert {answer.xero_tenant_id for answer in await asyncio.gather(*both)} == {"tenant-code/One"}


async def test_a_choice_that_was_not_offered_is_refused_with_those_that_were(around: World) -> None:
    around.xero.organisations = ["One", "Two"]
    link = await consented(around)
    with pytest.raises(InvalidRequestError, match=r"tenant-code/One \(One\), tenant-code/Two \(Two\)"):
        await around.connections.choose(Choose(link.id, "tenant-code/Three"))


async def test_a_repeated_choice_is_answered_as_the_first_and_other_content_is_refused(around: World) -> None:
    around.xero.organisations = ["One", "Two"]
    link = await consented(around)
    asked = Choose(link.id, "tenant-code/One", "request-1")
    first = await around.connections.choose(asked)
    assert await around.connections.choose(asked) == first
    with pytest.raises(RequestIdReusedError):
        await around.connections.choose(Choose(link.id, "tenant-code/Two", "request-1"))


# An organisation has one connection


async def test_a_second_connection_to_an_organisation_is_told_which_one_has_it(around: World) -> None:
    first = await consented(around, "acme")
    started = await around.connections.connect(Connect("rival"))
    with pytest.raises(OrganisationAlreadyConnectedError) as refusal:
        await around.connections.complete(Return(state_of(started), "code"))
    assert refusal.value.reason == "ORGANISATION_ALREADY_CONNECTED"
    assert refusal.value.facts["connection_id"] == first.id
    second = await around.connections.get(started.link.id)
    assert (second.state, second.xero_tenant_id) == ("PENDING_AUTHORISATION", "")


async def test_a_refusal_leaves_the_tokens_on_which_the_other_connection_stands(around: World) -> None:
    await consented(around, "acme")
    with pytest.raises(OrganisationAlreadyConnectedError):
        await consented(around, "rival")
    assert await around.connections._means.tokens.access_token("user-1")


async def test_a_connected_connection_may_be_consented_to_anew(around: World) -> None:
    link = await consented(around)
    started = await around.connections.reconnect(Reconnect(link.id))
    again = (await around.connections.complete(Return(state_of(started), "code"))).link
    assert (again.id, again.state, again.xero_tenant_id) == (link.id, "CONNECTED", link.xero_tenant_id)


# Trouble half-way


async def trouble_with_memberships(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    once_unavailable(monkeypatch, around.xero, "memberships")


async def trouble_with_the_organisation(_around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    once_unavailable(monkeypatch, BooksOf, "organisation")


async def trouble_with_its_users(_around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    once_unavailable(monkeypatch, BooksOf, "users")


@pytest.mark.parametrize("trouble", [trouble_with_memberships, trouble_with_the_organisation, trouble_with_its_users])
async def test_trouble_after_the_code_was_exchanged_lets_the_same_state_go_on_without_exchanging_again(
    around: World, monkeypatch: pytest.MonkeyPatch, trouble: Callable[..., Any]
) -> None:
    exchanged = calls_of(monkeypatch, around.xero, "exchange")
    await trouble(around, monkeypatch)
    started = await around.connections.connect(Connect("acme", "https://app.example/back"))
    back = Return(state_of(started), "code")
    with pytest.raises(XeroUnavailableError) as told:
        await around.connections.complete(back)
    assert told.value.facts["connection_id"] == started.link.id
    assert told.value.facts["return_url"] == "https://app.example/back"
    completed = await around.connections.complete(back)
    assert (completed.link.state, completed.return_url) == ("CONNECTED", "https://app.example/back")
    assert len(exchanged) == 1, "a code is good once"
    with pytest.raises(ConsentStateError) as refusal:
        await around.connections.complete(back)
    assert refusal.value.facts["fault"] == "used"
    assert len(exchanged) == 1


async def test_trouble_with_the_exchange_itself_lets_the_same_state_exchange_again(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged = calls_of(monkeypatch, around.xero, "exchange")
    around.xero.trouble = XeroUnavailableError("Xero cannot be reached.")
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code")
    with pytest.raises(XeroUnavailableError):
        await around.connections.complete(back)
    assert (await around.connections.complete(back)).link.state == "CONNECTED"
    assert len(exchanged) == 2


async def test_a_completion_that_was_in_trouble_has_no_answer_kept_under_its_request_id(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_unavailable(monkeypatch, around.xero, "memberships")
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code", request_id="request-1")
    with pytest.raises(XeroUnavailableError):
        await around.connections.complete(back)
    first = await around.connections.complete(back)
    assert await around.connections.complete(back) == first
    async with around.database.read() as tx:
        kept = (await tx.execute(select(tables.requests.c.request_id))).scalars().all()
    assert kept == ["request-1"]


class Hanging:
    """Books that do not answer the first time; they do when they are asked again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_asked = asyncio.Event()
        real = BooksOf.organisation

        async def organisation(books: BooksOf, purpose: Any) -> Any:  # noqa: ANN401 - as the fake has them
            if not self.is_asked.is_set():
                self.is_asked.set()
                await asyncio.Event().wait()
            return await real(books, purpose)

        monkeypatch.setattr(BooksOf, "organisation", organisation)


async def test_a_completion_that_its_caller_gave_up_goes_on_when_it_is_repeated(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged = calls_of(monkeypatch, around.xero, "exchange")
    hanging = Hanging(monkeypatch)
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code", request_id="request-1")
    first = asyncio.create_task(around.connections.complete(back))
    await hanging.is_asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await around.connections.complete(back)).link.state == "CONNECTED"
    assert len(exchanged) == 1, "a code is good once"


async def test_a_completion_that_the_database_broke_goes_on_when_it_is_repeated(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code", request_id="request-1")
    with monkeypatch.context() as patch:

        async def broken(*_: object) -> None:
            raise OperationalError("INSERT", {}, OSError("disk full"))

        patch.setattr(connections, "end_authorisation", broken)
        with pytest.raises(OperationalError):
            await around.connections.complete(back)
    assert (await around.connections.get(started.link.id)).state == "PENDING_AUTHORISATION"
    assert (await around.connections.complete(back)).link.state == "CONNECTED"


async def test_who_brings_a_state_that_somebody_has_in_hand_waits_for_what_becomes_of_it(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around.clock, "sleep", lambda _: asyncio.sleep(0.01))
    exchanged = calls_of(monkeypatch, around.xero, "exchange")
    slow = SlowOrganisation("Southern Hops Ltd", monkeypatch)
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code", request_id="request-1")
    both = [asyncio.create_task(around.connections.complete(back)) for _ in range(2)]
    await slow.is_asked.wait()
    slow.go.set()
    first, second = await asyncio.gather(*both)
    assert (first.link.state, first) == ("CONNECTED", second)
    assert len(exchanged) == 1


@pytest.mark.parametrize("restarted", [True, False])
async def test_a_state_that_a_killed_process_had_in_hand_can_be_brought_again(
    around: World, *, restarted: bool
) -> None:
    started = await around.connections.connect(Connect("acme"))
    back = Return(state_of(started), "code", request_id="request-1")
    authorisations = around.connections._means.authorisations
    async with around.database.write() as tx:
        assert await authorisations.redeem(tx, back.state)
    killed_at = around.clock.now()
    if restarted:
        await around.connections.recover()
    assert (await around.connections.complete(back)).link.state == "CONNECTED"
    waited = around.clock.now() - killed_at
    assert waited == timedelta() if restarted else IN_HAND <= waited < IN_HAND + timedelta(seconds=1)


async def test_a_consent_that_is_over_names_nobody(around: World) -> None:
    await consented(around)
    async with around.database.read() as tx:
        (kept,) = (await tx.execute(select(tables.authorisations))).all()
    assert (kept.granted, kept.xero_user_id) == ("", "")
    assert kept.ended_at
