"""Losing access and gaining it: by itself, by another consent, and what is told of it."""

import dataclasses
from datetime import timedelta

import msgspec
import pytest

from connection_steps import connected, do, due_at, history, reconnected, shut_out, told
from fakes import BooksOf, World
from tieout_server.connections.means import AFTER_CONSENT, LOOK_AFTER
from tieout_server.connections.messages import Connect
from tieout_server.errors import AppRejectedError, CredentialsExpiredError, XeroUnavailableError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.documents import Organisation
from tieout_server.ledger.links import TIEOUT, LinkChangeKind, Owner, ReasonCode

pytestmark = pytest.mark.timeout(60)

SUBJECTS = ["token refresh", "GET /connections", "GET /Organisation", "GET /Users", "GET /Organisation/Actions"]


async def test_a_check_of_what_works_says_so_with_all_that_was_seen_and_changes_nothing(around: World) -> None:
    link = await connected(around)
    before = await told(around, link)
    checked = await around.connections.check(link.id)
    assert checked.link == link
    assert [seen.subject for seen in checked.evidence] == SUBJECTS
    assert not any(seen.is_trouble for seen in checked.evidence)
    assert await told(around, link) == before


async def test_a_loss_is_kept_in_the_history_as_it_was_told(around: World) -> None:
    link = await connected(around)
    lost = await around.connections.access_lost(link.id, shut_out(around))
    assert (lost.state, lost.reason and lost.reason.code) == ("RECONNECT_REQUIRED", ReasonCode.AUTHORISING_USER_REMOVED)
    change, kept = (await told(around, link))[-1], (await history(around, link))[-1]
    assert change.link == lost
    assert (kept.kind, kept.from_state, kept.to_state) == (LinkChangeKind.STATE_CHANGED, "CONNECTED", lost.state)
    assert kept.reason
    assert (kept.reason, kept.actor, kept.occurred_at) == (lost.reason, TIEOUT, change.occurred_at)
    assert [seen.finding for seen in kept.reason.evidence if seen.is_trouble] == ["403 AuthenticationUnsuccessful"] * 2


async def test_a_loss_that_is_found_again_is_no_news(around: World) -> None:
    link = await connected(around)
    lost = await around.connections.access_lost(link.id, shut_out(around))
    around.clock.time += timedelta(hours=1)
    assert (await around.connections.check(link.id)).link == lost, "it is known since then"


@pytest.mark.parametrize(
    ("trouble", "code", "owner"),
    [
        (XeroUnavailableError("Down.", status="503"), ReasonCode.XERO_UNAVAILABLE, Owner.XERO),
        (AppRejectedError("No.", error="invalid_client"), ReasonCode.SERVICE_MISCONFIGURED, Owner.OPERATOR),
    ],
)
async def test_an_outage_of_the_identity_service_degrades_asks_no_merchant_and_passes(
    around: World, trouble: XeroUnavailableError, code: ReasonCode, owner: Owner
) -> None:
    link = await connected(around)
    around.xero.trouble = trouble
    degraded = (await around.connections.check(link.id)).link
    assert (degraded.state, degraded.health) == ("CONNECTED", "DEGRADED")
    assert degraded.reason
    assert (degraded.reason.code, degraded.reason.owner) == (code, owner)
    await do(around, LOOK_AFTER, link.id)
    well = await around.connections.get(link.id)
    assert (well.state, well.health, well.reason) == ("CONNECTED", "OK", None)
    assert around.clock.now() - link.updated_at <= timedelta(minutes=1)


async def test_a_trouble_that_lasts_is_looked_at_less_and_less_often(around: World) -> None:
    link = await connected(around)
    around.xero.refusal = XeroUnavailableError("Down.")
    await around.connections.check(link.id)
    waits = []
    for _ in range(12):
        again_at = await do(around, LOOK_AFTER, link.id)
        assert again_at
        waits.append(again_at - around.clock.now())
    assert waits == sorted(waits)
    assert waits[0] >= timedelta(minutes=1)
    assert waits[-1] == timedelta(minutes=10), "a refresh whose answer was lost can be repeated for 30 minutes"
    assert len(await history(around, link)) == 3, "an outage is told once"


async def test_a_broken_connection_that_works_again_is_connected_by_itself_and_catches_up(around: World) -> None:
    link = await connected(around)
    await around.connections.access_lost(link.id, shut_out(around))
    around.xero.refusal = None
    await do(around, AFTER_CONSENT, link.id)
    healed = (await around.connections.check(link.id)).link
    assert (healed.state, healed.health, healed.reason) == ("CONNECTED", "OK", None)
    assert await due_at(around, AFTER_CONSENT, link.id) == around.clock.now()
    assert (await history(around, link))[-1].actor == TIEOUT


async def test_a_broken_connection_does_not_take_its_organisation_back_from_another(around: World) -> None:
    first = await connected(around, "acme")
    await around.connections.access_lost(first.id, shut_out(around))
    around.xero.refusal = None
    second = await connected(around, "rival")
    assert second.xero_tenant_id == first.xero_tenant_id
    assert (await around.connections.check(first.id)).link.state == "RECONNECT_REQUIRED"
    assert (await around.connections.get(second.id)).state == "CONNECTED"


async def test_a_downgraded_user_is_warned_about_while_calls_succeed_and_forgotten_when_it_is_mended(
    around: World,
) -> None:
    link = await connected(around)
    around.xero.role = "READONLY"
    warned = (await around.connections.check(link.id)).link
    assert (warned.state, warned.health) == ("CONNECTED", "DEGRADED")
    assert warned.reason
    assert warned.reason.code is ReasonCode.AUTHORISING_USER_DOWNGRADED
    assert warned.authorised_by
    assert warned.authorised_by.organisation_role == "READONLY"
    await around.connections.health(link.id, None)
    assert await around.connections.get(link.id) == warned, "no trouble that passes"
    around.xero.role = "STANDARD"
    assert (await around.connections.check(link.id)).link.reason is None


async def test_a_trouble_covers_a_warning_only_while_it_lasts(around: World) -> None:
    link = await connected(around)
    around.xero.role = "READONLY"
    await around.connections.check(link.id)
    around.xero.refusal = XeroUnavailableError("Down.")
    covered = (await around.connections.check(link.id)).link
    assert covered.reason
    assert covered.reason.code is ReasonCode.XERO_UNAVAILABLE
    await around.connections.health(link.id, None)
    uncovered = await around.connections.get(link.id)
    assert uncovered.reason
    assert uncovered.reason.code is ReasonCode.AUTHORISING_USER_DOWNGRADED


async def test_what_was_seen_of_an_older_consent_proves_nothing_of_a_newer_one(around: World) -> None:
    link = await connected(around)
    around.clock.time += timedelta(minutes=1)
    renewed = await reconnected(around, link)
    access = around.connections._access
    seen = await access._probe.examine(link)
    gone = dataclasses.replace(seen, refresh=CredentialsExpiredError("Gone."))
    assert (await access._note(link, gone, 0)).link == renewed


async def test_a_connection_that_was_never_made_is_not_looked_at(around: World) -> None:
    started = await around.connections.connect(Connect("acme"))
    checked = await around.connections.check(started.link.id)
    assert (checked.link, checked.evidence) == (started.link, ())


# Looking after


async def test_a_connection_is_looked_at_about_daily_and_its_tokens_are_refreshed_weekly(around: World) -> None:
    link = await connected(around)
    tokens = around.connections._means.tokens
    generations = []
    for _ in range(30):
        await do(around, LOOK_AFTER, link.id)
        generations.append((await tokens._stored("user-1")).generation)
    days = (around.clock.now() - link.created_at) / timedelta(days=1)
    assert 22 <= days <= 30
    assert days / 7 <= generations[-1] <= days / 6 + 1, "each week at least, and no more"
    assert await around.connections.get(link.id) == link


async def test_a_new_name_of_the_organisation_is_noticed(around: World, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await connected(around)
    real = BooksOf.organisation

    async def renamed(books: BooksOf, purpose: Purpose) -> Organisation:
        return msgspec.structs.replace(await real(books, purpose), name="Northern Hops Ltd")

    monkeypatch.setattr(BooksOf, "organisation", renamed)
    await do(around, LOOK_AFTER, link.id)
    now = await around.connections.get(link.id)
    assert now.organisation
    assert now.organisation.name == "Northern Hops Ltd"
    assert (await history(around, link))[-1].kind is LinkChangeKind.DETAILS_CHANGED


async def test_where_an_organisation_is_gets_known_by_the_daily_look_if_it_was_not_asked_for_before(
    around: World,
) -> None:
    link = await connected(around)
    assert link.organisation
    assert link.organisation.time_zone == ""
    around.xero.time_zone = "Pacific/Auckland"
    await do(around, LOOK_AFTER, link.id)
    now = await around.connections.get(link.id)
    assert now.organisation == msgspec.structs.replace(link.organisation, time_zone="Pacific/Auckland")


async def test_a_loss_is_found_by_the_daily_look_with_all_the_evidence(around: World) -> None:
    link = await connected(around)
    shut_out(around)
    again_at = await do(around, LOOK_AFTER, link.id)
    lost = await around.connections.get(link.id)
    assert lost.state == "RECONNECT_REQUIRED"
    assert lost.reason
    assert [seen.subject for seen in lost.reason.evidence] == SUBJECTS[:3]
    assert again_at == around.clock.now() + timedelta(days=7), "it may heal"


async def test_nobody_looks_any_more_at_a_connection_whose_credentials_are_gone(around: World) -> None:
    link = await connected(around)
    around.xero.trouble = CredentialsExpiredError("Gone.", error="invalid_grant")
    await around.connections.check(link.id)
    around.xero.trouble = CredentialsExpiredError("Gone.", error="invalid_grant")
    assert await do(around, LOOK_AFTER, link.id) is None
    assert (await around.connections.get(link.id)).state == "RECONNECT_REQUIRED"


async def test_a_consent_for_one_organisation_mends_the_users_others(around: World) -> None:
    around.xero.organisations = ["One"]
    one = await connected(around, "one")
    around.xero.code = "code"
    around.xero.organisations = ["Two"]
    two = await connected(around, "two")
    around.xero.organisations = ["One", "Two"]
    for link in (one, two):
        around.xero.trouble = CredentialsExpiredError("Gone.", error="invalid_grant")
        assert (await around.connections.check(link.id)).link.state == "RECONNECT_REQUIRED"
    await reconnected(around, one)
    await do(around, LOOK_AFTER, two.id)
    assert (await around.connections.get(two.id)).state == "CONNECTED"
