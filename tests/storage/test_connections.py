"""Connections, consents and tokens as they are kept, also when two write at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import (
    AuthorisedBy,
    Granted,
    Link,
    Observation,
    OrganisationChoice,
    Owner,
    Reason,
    ReasonCode,
)
from tieout_server.storage import connections, leavings, tables, tokens
from tieout_server.storage.connections import Authorisation, Scope
from tieout_server.storage.database import Database
from tieout_server.storage.leavings import Leaving, Left
from tieout_server.storage.tokens import Claim, StoredTokens

AT = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
RUTH = AuthorisedBy(
    xero_user_id="user-1", email="ruth@southern-hops.example", name="Ruth", organisation_role="STANDARD"
)


def _link(link_id: str = "con1", **stated: Any) -> Link:  # noqa: ANN401 - any field of a connection
    fields: dict[str, Any] = {
        "merchant_id": "acme",
        "state": "PENDING_AUTHORISATION",
        "created_at": AT,
        "updated_at": AT,
    }
    return Link(**(fields | {"id": link_id} | stated))


def _connected(link_id: str, tenant: str = "tenant-1") -> Link:
    return _link(link_id, state="CONNECTED", xero_tenant_id=tenant)


async def _insert(database: Database, *links: Link) -> None:
    async with database.write() as tx:
        for link in links:
            await connections.insert(tx, link)


async def test_a_connection_comes_back_as_it_was(database: Database) -> None:
    whole = _link(
        state="RECONNECT_REQUIRED", health="DEGRADED",
        reason=Reason(
            code=ReasonCode.SCOPE_MISSING, sentence="", owner=Owner.MERCHANT, observed_at=AT, retry_at=AT,
            evidence=(Observation("GET /connections", "200, listed", AT),),
        ),
        xero_tenant_id="tenant-1", membership_id="membership-1",
        organisation=Organisation(xero_tenant_id="tenant-1", name="Southern Hops Ltd", base_currency="NZD"),
        authorised_by=RUTH, scopes=("a", "b"), last_synced_at=AT, consented_at=AT, gap_from_at=AT,
        choices=(OrganisationChoice(xero_tenant_id="t", name="n", membership_id="m"),),
    )  # fmt: skip
    await _insert(database, whole, _link("con2"))
    async with database.write() as tx:
        assert await connections.get(tx, "con1") == await connections.get(tx, "con1", lock=True) == whole
        assert await connections.get(tx, "con2") == _link("con2")
        assert await connections.get(tx, "another") is None


# An organisation has one connection


async def test_an_organisation_cannot_have_two_connections_that_are_connected(database: Database) -> None:
    await _insert(database, _connected("con1"), _connected("con2", "tenant-2"), _link("con3"))
    with pytest.raises(IntegrityError):
        async with database.write() as tx:
            await connections.save(tx, _connected("con3"))
    async with database.read() as tx:
        assert await connections.holder_of(tx, "tenant-1") == "con1"
        assert await connections.get(tx, "con3") == _link("con3")


async def test_any_number_that_are_not_connected_may_have_belonged_to_an_organisation(database: Database) -> None:
    for number, state in enumerate(("RECONNECT_REQUIRED", "DISCONNECTED", "RECONNECT_REQUIRED", "CONNECTED")):
        await _insert(database, _link(f"con{number}", state=state, xero_tenant_id="tenant-1"))
    async with database.read() as tx:
        assert await connections.holder_of(tx, "tenant-1") == "con3"
        assert await connections.holder_of(tx, "tenant-2") == ""
        assert await connections.holders_of(tx, ["tenant-1", "tenant-2"]) == {"tenant-1": "con3"}


async def test_of_two_that_connect_an_organisation_at_once_one_is_refused(database: Database) -> None:
    await _insert(database, _link("con1"), _link("con2"))

    async def connect(link_id: str) -> None:
        async with database.write() as tx:
            await connections.save(tx, _connected(link_id))

    outcomes = await asyncio.gather(connect("con1"), connect("con2"), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["IntegrityError", "NoneType"]


async def test_who_holds_an_organisation_or_a_membership_is_found(database: Database) -> None:
    held = msgspec.structs.replace(_connected("con1"), membership_id="membership-1", authorised_by=RUTH)
    broken = _link("con2", state="RECONNECT_REQUIRED", membership_id="membership-2", authorised_by=RUTH)
    await _insert(database, held, broken)
    async with database.read() as tx:
        assert await connections.holders_of(tx, {"tenant-1", "tenant-2"}) == {"tenant-1": "con1"}
        strangers = [f"stranger {number}" for number in range(70_000)]  # more than a statement takes values
        assert await connections.holders_of(tx, [*strangers, "tenant-1"]) == {"tenant-1": "con1"}
        assert await connections.is_used(tx, "another", "membership-2")
        assert not await connections.is_used(tx, "user-1", "membership-3")
        assert list(await connections.broken_of(tx, "user-1")) == ["con2"]


async def test_an_open_consent_is_known_until_it_is_used_or_over(database: Database) -> None:
    begun = Authorisation(
        state_hash="hash", connection_id="con1", code_verifier=b"sealed", return_url="", expires_at=AT, created_at=AT
    )
    await _insert(database, _link())
    before = AT - timedelta(seconds=1)
    longer = timedelta(minutes=2)

    async def open_until(now: datetime) -> datetime | None:
        return await connections.consent_open_until(tx, "con1", now, in_hand=longer)

    async with database.write() as tx:
        assert await open_until(before) is None
        await connections.start_authorisation(tx, begun)
        assert await open_until(before) == AT
        assert await open_until(AT) is None
        await connections.mark_authorisation(tx, "hash", before)
        assert await open_until(AT) == AT + longer, "somebody has it in hand"
        assert await open_until(AT + longer) is None
        assert await connections.end_authorisation(tx, "hash", AT)
        assert await open_until(before) is None
        assert not await connections.end_authorisation(tx, "hash", AT), "once"
        await connections.mark_authorisation(tx, "hash", None)
        ended = await connections.find_authorisation(tx, "hash")
        assert ended
        assert ended.used_at == AT, "what has ended is not given back"


async def test_what_a_consent_under_way_offers_is_in_use(database: Database) -> None:
    choices = tuple(OrganisationChoice(xero_tenant_id=t, name=t, membership_id=f"membership-{t}") for t in "ab")
    await _insert(database, _link(state="PENDING_ORGANISATION", authorised_by=RUTH, choices=choices))
    async with database.read() as tx:
        assert await connections.is_used(tx, "user-1", "membership-b")
        assert not await connections.is_used(tx, "another", "membership-b")


# Tokens


def _tokens(name: str) -> StoredTokens:
    return StoredTokens(
        xero_user_id="user-1", access_token=name.encode(), refresh_token=name.encode(), access_expires_at=AT,
        refresh_expires_at=AT + timedelta(days=60), scopes=("offline_access", name),
    )  # fmt: skip


async def _kept(database: Database) -> StoredTokens:
    async with database.read() as tx:
        kept = await tokens.get(tx, "user-1")
    assert kept
    return kept


async def _keep(database: Database, name: str) -> None:
    async with database.write() as tx:
        await tokens.keep(tx, _tokens(name), AT)


async def test_tokens_kept_at_once_never_fail_and_each_is_a_generation(database: Database) -> None:
    await asyncio.gather(*(_keep(database, f"consent-{number}") for number in range(6)))
    kept = await _kept(database)
    assert kept.generation == 6
    name = kept.access_token.decode()
    assert kept == msgspec.structs.replace(_tokens(name), generation=6), "one consent's whole, not a mixture"


async def test_tokens_of_a_generation_that_is_over_are_not_replaced(database: Database) -> None:
    await _keep(database, "first")
    await _keep(database, "second")
    async with database.write() as tx:
        assert not await tokens.replace(tx, 1, _tokens("refreshed from first"), AT)
    assert (await _kept(database)).access_token == b"second"
    async with database.write() as tx:
        assert await tokens.replace(tx, 2, _tokens("refreshed"), AT)
    assert await _kept(database) == msgspec.structs.replace(_tokens("refreshed"), generation=3)


async def test_of_many_who_replace_a_generation_at_once_one_does(database: Database) -> None:
    await _keep(database, "first")

    async def replace(name: str) -> bool:
        async with database.write() as tx:
            return await tokens.replace(tx, 1, _tokens(name), AT)

    assert (await asyncio.gather(*(replace(str(number)) for number in range(6)))).count(True) == 1
    assert (await _kept(database)).generation == 2


async def _claim(database: Database, claim: Claim, *, now: datetime = AT) -> bool:
    async with database.write() as tx:
        return await tokens.claim_refresh(tx, claim, now=now, until=now + timedelta(seconds=75))


async def test_of_many_who_claim_the_refresh_at_once_one_has_it_until_it_is_given_back(database: Database) -> None:
    await _keep(database, "first")
    claims = [Claim("user-1", 1, f"process-{number}") for number in range(6)]
    got = await asyncio.gather(*(_claim(database, claim) for claim in claims))
    assert got.count(True) == 1
    holder = claims[got.index(True)]
    assert (await _kept(database)).claimed_until == AT + timedelta(seconds=75)
    async with database.write() as tx:
        await tokens.release_refresh(tx, Claim("user-1", 1, "another"))
    assert not await _claim(database, claims[0])
    async with database.write() as tx:
        await tokens.release_refresh(tx, holder)
    assert await _claim(database, claims[0])


async def test_a_claim_whose_owner_died_runs_out(database: Database) -> None:
    await _keep(database, "first")
    assert await _claim(database, Claim("user-1", 1, "killed"))
    assert not await _claim(database, Claim("user-1", 1, "next"), now=AT + timedelta(seconds=74))
    assert await _claim(database, Claim("user-1", 1, "next"), now=AT + timedelta(seconds=75))


async def test_a_new_token_set_ends_the_claim_and_nobody_claims_what_is_over(database: Database) -> None:
    await _keep(database, "first")
    assert await _claim(database, Claim("user-1", 1, "one"))
    async with database.write() as tx:
        assert await tokens.replace(tx, 1, _tokens("refreshed"), AT)
    assert (await _kept(database)).claimed_until is None
    assert not await _claim(database, Claim("user-1", 1, "other"))
    assert await _claim(database, Claim("user-1", 2, "other"))
    await _keep(database, "consent")
    assert (await _kept(database)).claimed_until is None
    assert await _claim(database, Claim("user-1", 3, "one"))
    async with database.write() as tx:
        await tokens.release_all(tx)
    assert await _claim(database, Claim("user-1", 3, "other"))


async def test_tokens_that_nothing_stands_on_are_forgotten_after_a_while(database: Database) -> None:
    await _keep(database, "first")
    left = Leaving(xero_user_id="user-1", membership_id="membership-1")
    async with database.write() as tx:
        assert await tokens.prune(tx, AT) == 0, "they may have been given just now"
        await connections.insert(tx, _link(authorised_by=RUTH, membership_id="membership-1", state="CONNECTED"))
        assert await tokens.prune(tx, AT + timedelta(days=1)) == 0, "a connection stands on them"
        assert await tokens.is_stood_on(tx, "user-1")
        await connections.save(tx, _link(authorised_by=RUTH, state="DISCONNECTED"))
        assert not await tokens.is_stood_on(tx, "user-1")
        await leavings.add(tx, "con1", [left], AT)
        assert await tokens.prune(tx, AT + timedelta(days=1)) == 0, "something is to be removed at Xero with them"
        await leavings.done(tx, "con1", [left])
        assert await tokens.prune(tx, AT + timedelta(days=1)) == 1
        assert await tokens.get(tx, "user-1") is None


async def test_tokens_are_dropped_only_when_no_connection_stands_on_them(database: Database) -> None:
    await _insert(database, _link(authorised_by=RUTH, membership_id="membership-1"))
    await _keep(database, "first")
    async with database.write() as tx:
        await tokens.drop_unused(tx, "user-1")
    assert (await _kept(database)).generation == 1
    async with database.write() as tx:
        await connections.save(tx, _link())
        await tokens.drop_unused(tx, "user-1")
        assert await tokens.get(tx, "user-1") is None
        assert await tokens.expiries(tx, {"user-1"}) == {}


# Consents


async def test_a_consent_remembers_that_its_code_has_become_tokens(database: Database) -> None:
    begun = Authorisation(
        state_hash="hash", connection_id="con1", code_verifier=b"sealed", return_url="", expires_at=AT, created_at=AT
    )
    granted = Granted(user=RUTH, scopes=("a",), authentication_event_id="event-1")
    await _insert(database, _link())
    async with database.write() as tx:
        await connections.start_authorisation(tx, begun)
        assert await connections.find_authorisation(tx, "hash") == begun
        await connections.mark_authorisation(tx, "hash", AT)
        await connections.mark_granted(tx, "hash", granted)
        assert await connections.withdraw_authorisations(tx, "con1", in_hand=False) == []
        used = msgspec.structs.replace(begun, used_at=AT, granted=granted)
        assert await connections.find_authorisation(tx, "hash") == used
        await connections.mark_authorisation(tx, "hash", None)
        assert await connections.find_authorisation(tx, "hash") == msgspec.structs.replace(used, used_at=None)
        assert await connections.withdraw_authorisations(tx, "con1", in_hand=False) == [granted]
        assert await connections.find_authorisation(tx, "hash") is None


async def test_a_consent_that_somebody_has_in_hand_can_be_withdrawn_and_one_that_has_ended_stays(
    database: Database,
) -> None:
    await _insert(database, _link())
    async with database.write() as tx:
        for state_hash in ("in hand", "ended"):
            begun = Authorisation(
                state_hash=state_hash, connection_id="con1", code_verifier=b"", return_url="", expires_at=AT,
                created_at=AT,
            )  # fmt: skip
            await connections.start_authorisation(tx, begun)
            await connections.mark_authorisation(tx, state_hash, AT)
        await connections.end_authorisation(tx, "ended", AT)
        await connections.withdraw_authorisations(tx, "con1", in_hand=True)
        assert await connections.find_authorisation(tx, "in hand") is None
        assert await connections.find_authorisation(tx, "ended") is not None, (
            "who opens it again is told that it was used"
        )


async def test_a_consent_stands_on_its_users_tokens_until_it_ends_and_names_nobody_then(database: Database) -> None:
    begun = Authorisation(
        state_hash="hash", connection_id="con1", code_verifier=b"sealed", return_url="", expires_at=AT, created_at=AT
    )
    granted = Granted(user=RUTH, scopes=("a",), authentication_event_id="event-1")
    await _insert(database, _link())
    await _keep(database, "first")
    async with database.write() as tx:
        await connections.start_authorisation(tx, begun)
        await connections.mark_authorisation(tx, "hash", AT)
        assert not await tokens.is_consenting(tx, "user-1")
        await connections.mark_granted(tx, "hash", granted)
        assert await tokens.is_consenting(tx, "user-1")
        assert await tokens.is_stood_on(tx, "user-1")
        assert await tokens.prune(tx, AT + timedelta(days=1)) == 0
        assert await connections.end_authorisation(tx, "hash", AT)
        assert not await tokens.is_stood_on(tx, "user-1")
        rows = (await tx.execute(tables.authorisations.select())).all()
        assert "ruth" not in str(rows).lower()
        assert await tokens.prune(tx, AT + timedelta(days=1)) == 1


async def test_consents_that_were_given_and_never_settled_are_given_up_once_they_have_expired(
    database: Database,
) -> None:
    granted = Granted(user=RUTH, scopes=("a",), authentication_event_id="event-1")
    await _insert(database, _link())
    async with database.write() as tx:
        for name in ("given", "only begun"):
            begun = Authorisation(
                state_hash=name, connection_id="con1", code_verifier=b"", return_url="", expires_at=AT, created_at=AT
            )
            await connections.start_authorisation(tx, begun)
        await connections.mark_granted(tx, "given", granted)
        assert await connections.abandon_authorisations(tx, "con1", AT - timedelta(seconds=1)) == []
        assert await connections.abandon_authorisations(tx, "con1", AT) == [granted]
        assert await connections.find_authorisation(tx, "given") is None
        assert await connections.find_authorisation(tx, "only begun"), "its link still says that it has expired"


# What is to be removed at Xero


async def test_what_is_left_at_xero_is_kept_once_until_it_is_removed(database: Database) -> None:
    await _insert(database, _link(), _link("con2"))
    link = Leaving(xero_user_id="user-1", membership_id="membership-1")
    consent = Leaving(xero_user_id="user-1", event_id="event-1")
    async with database.write() as tx:
        assert await leavings.of(tx, "con1") is None
        await leavings.add(tx, "con1", [link, consent], AT)
        await leavings.add(tx, "con1", [link], AT + timedelta(hours=1))
        assert await leavings.of(tx, "con1") == Left([consent, link], AT)
        assert not await leavings.others_leave(tx, "user-1", "con1")
        assert await leavings.others_leave(tx, "user-1", "con2")
        await leavings.done(tx, "con1", [link])
        assert await leavings.of(tx, "con1") == Left([consent], AT)


async def test_connections_are_listed_oldest_first_by_pages_and_within_their_scope(database: Database) -> None:
    links = [_link(f"con{n}", merchant_id=f"m{n % 2}", created_at=AT + timedelta(seconds=n // 2)) for n in range(5)]
    await _insert(database, *reversed(links))
    async with database.read() as tx:
        assert await connections.page(tx, Scope(), limit=9) == links
        assert await connections.page(tx, Scope(), after=(links[2].created_at, "con2"), limit=1) == [links[3]]
        assert await connections.page(tx, Scope(merchant_id="m1"), limit=9) == links[1::2]
        assert await connections.page(tx, Scope(states=("CONNECTED",)), limit=9) == []
        assert await connections.page(tx, Scope(ids=("con4", "con0")), limit=9) == [links[0], links[4]]
