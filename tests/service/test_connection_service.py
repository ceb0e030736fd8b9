"""ConnectionService from a client's side: consent in all the ways in which it can end, over real sockets."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from servers import Service, service
from tieout import errors
from tieout.v1 import connection_service_pb2 as pb
from tieout.v1.types_pb2 import OWNER_MERCHANT
from tieout_sandbox import FaultKind, FaultRule, Sandbox
from tieout_sandbox.books.documents import Role
from tieout_server.connections import authorisation

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

ADA, IVY = "ada.adviser@example.com", "ivy.invoices@example.com"


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url, return_url_allow="https://app.example") as made:
        yield made


async def test_consent_connects_the_merchant_to_the_organisation(running: Service, sandbox: Sandbox) -> None:
    started = await running.client.connections.connect("acme", return_url="https://app.example/done")
    assert started.connection.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION
    assert timedelta() < started.expires_at.ToDatetime(UTC) - datetime.now(UTC) <= timedelta(minutes=30)
    asked = parse_qs(urlsplit(started.authorization_url).query)
    assert asked["code_challenge_method"] == ["S256"]
    back = await running.browser.returned(started.authorization_url)
    completed = await running.client.connections.complete_authorization(**back)
    assert completed.return_url == "https://app.example/done"
    connection = completed.connection
    organisation = sandbox.organisations[0]
    assert connection.id == started.connection.id
    assert connection.state == pb.CONNECTION_STATE_CONNECTED
    assert connection.health == pb.CONNECTION_HEALTH_OK
    assert (connection.organisation.xero_tenant_id, connection.organisation.name) == (
        organisation.id,
        organisation.name,
    )
    assert connection.organisation.base_currency == organisation.base_currency
    assert connection.authorised_by.email == "ada.adviser@example.com"
    assert connection.authorised_by.organisation_role == Role.FINANCIALADVISER
    assert list(connection.missing_scopes) == []
    assert connection.credentials_expire_at.ToDatetime(UTC) - datetime.now(UTC) > timedelta(days=59)
    assert await running.client.connections.get(connection.id) == connection


async def test_a_repeated_connect_is_answered_as_the_first_and_other_content_is_refused(running: Service) -> None:
    connections = running.client.connections
    first = await connections.connect("acme", request_id="r1")
    assert await connections.connect("acme", request_id="r1") == first
    with pytest.raises(errors.RequestIdReusedError) as refusal:
        await connections.connect("other", request_id="r1")
    assert refusal.value.code == "ALREADY_EXISTS"
    assert refusal.value.metadata["request_id"] == "r1"
    assert (await connections.connect("acme")).connection.id != first.connection.id
    assert len(await connections.list().first(0)) == 2


async def test_a_repeated_completion_is_answered_as_the_first_where_it_has_its_request_id(running: Service) -> None:
    connections = running.client.connections
    started = await connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    first = await connections.complete_authorization(**back, request_id="r1")
    assert await connections.complete_authorization(**back, request_id="r1") == first
    with pytest.raises(errors.RequestIdReusedError):
        await connections.complete_authorization(back["state"], code="other", request_id="r1")


async def test_a_replayed_state_is_refused_and_changes_nothing(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    connection = (await running.client.connections.complete_authorization(**back)).connection
    with pytest.raises(errors.ConsentStateError) as refusal:
        await running.client.connections.complete_authorization(**back)
    assert refusal.value.metadata["fault"] == "used"
    now = await running.client.connections.get(connection.id)
    assert (now.state, now.updated_at) == (connection.state, connection.updated_at)


async def test_a_forged_state_is_refused(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    with pytest.raises(errors.ConsentStateError) as refusal:
        await running.client.connections.complete_authorization(back["state"] + "x", code=back["code"])
    assert (refusal.value.code, refusal.value.metadata["fault"]) == ("FAILED_PRECONDITION", "unknown")
    now = await running.client.connections.get(started.connection.id)
    assert now.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION


async def test_an_expired_state_is_refused(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorisation, "CONSENT_LIFE", timedelta())
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    with pytest.raises(errors.ConsentStateError) as refusal:
        await running.client.connections.complete_authorization(**back)
    assert refusal.value.metadata["fault"] == "expired"


async def test_a_code_of_another_consent_is_refused(running: Service) -> None:
    first = await running.client.connections.connect("acme")
    second = await running.client.connections.connect("other")
    code = (await running.browser.returned(first.authorization_url))["code"]
    state = (await running.browser.returned(second.authorization_url))["state"]
    with pytest.raises(errors.ConsentExpiredError):  # PKCE ties the code to the consent that asked for it
        await running.client.connections.complete_authorization(state, code=code)


async def test_consent_denied_is_told_to_the_caller_and_to_watchers(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    async with contextlib.aclosing(running.client.connections.watch(merchant_id="acme")) as changes:
        await anext(changes)
        with pytest.raises(errors.ConsentDeniedError) as refusal:
            await running.client.connections.complete_authorization(
                **await running.browser.returned(started.authorization_url, decision="deny")
            )
        told = (await anext(changes)).change
    assert refusal.value.metadata["connection_id"] == started.connection.id
    assert told.event.kind == pb.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED
    assert told.event.reason.code == pb.CONNECTION_REASON_CODE_CONSENT_DENIED
    assert told.event.reason.owner == OWNER_MERCHANT
    now = await running.client.connections.get(started.connection.id)
    assert now.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION
    assert now.reason.sentence == refusal.value.sentence


async def test_several_organisations_wait_to_be_chosen_from(running: Service, sandbox: Sandbox) -> None:
    names = [organisation.name for organisation in sandbox.organisations]
    assert len(names) == 2
    connection = await running.connect(organisations=names)
    assert connection.state == pb.CONNECTION_STATE_PENDING_ORGANISATION
    assert sorted(choice.name for choice in connection.organisation_choices) == sorted(names)
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.connections.choose_organisation(connection.id, "not-offered")
    assert [violation.field for violation in refusal.value.violations] == ["xero_tenant_id"]
    wanted = sandbox.organisations[1]
    chosen = await running.client.connections.choose_organisation(connection.id, wanted.id)
    assert (chosen.state, chosen.organisation.name) == (pb.CONNECTION_STATE_CONNECTED, wanted.name)
    assert list(chosen.organisation_choices) == []
    again = await running.client.connections.choose_organisation(connection.id, wanted.id)
    assert again.state == pb.CONNECTION_STATE_CONNECTED
    with pytest.raises(errors.NotPermittedNowError) as refused:
        await running.client.connections.choose_organisation(connection.id, sandbox.organisations[0].id)
    assert refused.value.metadata["state"] == "CONNECTED"


async def test_a_user_who_may_not_record_payments_is_refused_before_anything_breaks(
    running: Service, sandbox: Sandbox
) -> None:
    denied = '"Actions": [{"Name": "CreateInvoicePayment", "Status": "NOT-ALLOWED"}]'
    body = '{"DateTimeUTC": "/Date(1795356538000)/", ' + denied + "}"
    sandbox.faults.add(FaultRule(FaultKind.ANSWER, "/Organisation/Actions$", status=200, body=body))
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    with pytest.raises(errors.NotAdministratorError) as refusal:
        await running.client.connections.complete_authorization(**back)
    assert "ada.adviser@example.com" in refusal.value.sentence
    now = await running.client.connections.get(started.connection.id)
    assert now.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION
    assert now.reason.code == pb.CONNECTION_REASON_CODE_NOT_ADMINISTRATOR
    assert sandbox.requests.count("/Invoices") == 0


async def test_a_user_who_was_downgraded_on_the_way_back_is_refused(running: Service, sandbox: Sandbox) -> None:
    organisation, ivy = sandbox.organisations[0], sandbox.authority.user_by_email(IVY)
    assert ivy is not None
    organisation.set_role(ivy.id, Role.STANDARD, sandbox.clock.now())  # Xero lets only such users consent,
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url, user=IVY)
    organisation.set_role(ivy.id, Role.INVOICEONLY, sandbox.clock.now())  # but roles change
    with pytest.raises(errors.PersonMustActError):
        await running.client.connections.complete_authorization(**back)
    now = await running.client.connections.get(started.connection.id)
    assert now.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION
    assert now.reason.sentence
    assert sandbox.requests.count("/Invoices") == 0


async def test_a_reconnect_keeps_id_and_data(running: Service) -> None:
    before = await running.connected()
    customers = [c.id async for c in running.client.receivables.list_customers(before.id)]
    after = await running.reconnect(before.id)
    assert (after.id, after.state, after.organisation) == (
        before.id,
        pb.CONNECTION_STATE_CONNECTED,
        before.organisation,
    )
    assert [c.id async for c in running.client.receivables.list_customers(before.id)] == customers
    assert len([sync async for sync in running.client.syncs.list(before.id)]) >= 1


async def test_a_reconnect_to_another_organisation_is_refused_and_changes_nothing(
    running: Service, sandbox: Sandbox
) -> None:
    before = await running.connected()
    with pytest.raises(errors.WrongOrganisationError) as refusal:
        await running.reconnect(before.id, organisations=[sandbox.organisations[1].name])
    assert refusal.value.metadata["expected"] == sandbox.organisations[0].name
    assert refusal.value.metadata["given"] == sandbox.organisations[1].name
    now = await running.client.connections.get(before.id)
    assert (now.state, now.organisation) == (pb.CONNECTION_STATE_CONNECTED, before.organisation)
    assert now.authorised_by == before.authorised_by


async def test_a_repeated_reconnect_opens_a_new_way_and_closes_the_earlier_one(running: Service) -> None:
    connection = await running.connected()
    first = await running.client.connections.reconnect(connection.id, request_id="r1")
    assert await running.client.connections.reconnect(connection.id, request_id="r1") == first
    second = await running.client.connections.reconnect(connection.id)
    with pytest.raises(errors.ConsentStateError):
        await running.client.connections.complete_authorization(
            **await running.browser.returned(first.authorization_url)
        )
    back = await running.browser.returned(second.authorization_url)
    assert (await running.client.connections.complete_authorization(**back)).connection.id == connection.id


async def test_an_organisation_has_one_connection_and_the_second_is_told_of_it(running: Service) -> None:
    await running.connect("acme")
    with pytest.raises(errors.OrganisationAlreadyConnectedError) as refusal:
        await running.connect("other")
    assert refusal.value.code == "ALREADY_EXISTS"
    (other,) = await running.client.connections.list(merchant_id="other").first(0)
    assert other.state == pb.CONNECTION_STATE_PENDING_AUTHORISATION


async def test_what_was_never_connected_is_not_reconnected(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    with pytest.raises(errors.NotPermittedNowError) as refusal:
        await running.client.connections.reconnect(started.connection.id)
    assert refusal.value.metadata["state"] == "PENDING_AUTHORISATION"


async def test_an_outage_during_consent_is_told_and_the_same_link_is_good_again(
    running: Service, sandbox: Sandbox
) -> None:
    started = await running.client.connections.connect("acme")
    back = await running.browser.returned(started.authorization_url)
    sandbox.faults.add(FaultRule(FaultKind.UNAVAILABLE, "/connect/token$"))
    with pytest.raises(errors.XeroUnavailableError) as refusal:
        await running.client.connections.complete_authorization(**back)
    assert refusal.value.code == "UNAVAILABLE"
    assert refusal.value.retry_after
    connection = (await running.client.connections.complete_authorization(**back)).connection
    assert connection.state == pb.CONNECTION_STATE_CONNECTED


async def test_what_does_not_exist_is_not_found(running: Service) -> None:
    connections = running.client.connections
    for call in (connections.get("con_none"), connections.reconnect("con_none"),
                 connections.choose_organisation("con_none", "t"), connections.disconnect("con_none"),
                 connections.check("con_none"), connections.list_events("con_none").first(1)):  # fmt: skip
        with pytest.raises(errors.NotFoundError) as refusal:
            await call
        assert refusal.value.metadata == {"kind": "connection", "name": "con_none"}
    with pytest.raises(errors.NotFoundError):
        await anext(connections.watch(connection_ids=["con_none"]))


async def test_all_that_is_wrong_with_a_request_is_named_at_once(running: Service) -> None:
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.connections.connect("", return_url="x" * 2001, request_id="r" * 65)
    assert {v.field for v in refusal.value.violations} == {"merchant_id", "return_url", "request_id"}
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.connections.connect("acme", return_url="https://app.example.evil/")
    assert [v.field for v in refusal.value.violations] == ["return_url"]
    with pytest.raises(errors.InvalidRequestError) as refusal:
        await running.client.connections.complete_authorization("")
    assert {v.field for v in refusal.value.violations} == {"state", "code"}
    assert await running.client.connections.list().first(0) == []


async def test_connections_are_listed_oldest_first_over_pages_by_merchant_and_state(running: Service) -> None:
    connections = running.client.connections
    made = [(await connections.connect(f"merchant-{n % 2}")).connection.id for n in range(5)]
    assert [c.id async for c in connections.list(page_size=2)] == made
    assert [c.id async for c in connections.list(merchant_id="merchant-1")] == made[1::2]
    connected = await running.connect("merchant-1")
    found = connections.list(merchant_id="merchant-1", states=[pb.CONNECTION_STATE_CONNECTED])
    assert [c.id async for c in found] == [connected.id]
    assert await connections.list(merchant_id="nobody").first(0) == []


async def test_a_watch_tells_every_step_of_a_connection_in_order(running: Service, sandbox: Sandbox) -> None:
    async with contextlib.aclosing(running.client.connections.watch(merchant_id="acme")) as changes:
        assert (await anext(changes)).HasField("heartbeat")
        await running.connected("other", organisations=[sandbox.organisations[1].name])  # not in its scope
        connection = await running.connected("acme")
        told = [(await anext(changes)).change for _ in range(2)]
    kinds = [(change.event.kind, change.event.to_state) for change in told]
    assert kinds == [
        (pb.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED, pb.CONNECTION_STATE_PENDING_AUTHORISATION),
        (pb.CONNECTION_EVENT_KIND_STATE_CHANGED, pb.CONNECTION_STATE_CONNECTED),
    ]
    assert {change.connection.id for change in told} == {connection.id}


async def test_a_connection_that_is_ended_keeps_what_was_read_and_can_be_led_back(running: Service) -> None:
    connections = running.client.connections
    before = await running.connected()
    customers = [c.id async for c in running.client.receivables.list_customers(before.id)]
    ended = await connections.disconnect(before.id, request_id="r1")
    assert ended.state == pb.CONNECTION_STATE_DISCONNECTED
    assert ended.reason.code == pb.CONNECTION_REASON_CODE_MANUALLY_DISCONNECTED
    assert await connections.disconnect(before.id, request_id="r1") == ended
    assert (await connections.disconnect(before.id)).updated_at == ended.updated_at  # a repeat changes nothing
    with pytest.raises(errors.RequestIdReusedError):
        await connections.disconnect(before.id, purge_data=True, request_id="r1")
    assert [c.id async for c in running.client.receivables.list_customers(before.id)] == customers
    with pytest.raises(errors.ConnectionNotUsableError):
        await running.client.syncs.start(before.id)
    after = await running.reconnect(before.id)
    assert (after.id, after.state) == (before.id, pb.CONNECTION_STATE_CONNECTED)
    assert not after.HasField("reason")


async def test_a_check_tells_what_was_looked_at_and_the_state_that_it_proves(
    running: Service, sandbox: Sandbox
) -> None:
    connection = await running.connected()
    well = await running.client.connections.check(connection.id)
    assert [seen.subject for seen in well.evidence][:4] == [
        "token refresh", "GET /connections", "GET /Organisation", "GET /Users",
    ]  # fmt: skip
    assert not any(seen.is_trouble for seen in well.evidence)
    assert (well.connection.state, well.connection.health) == (pb.CONNECTION_STATE_CONNECTED, pb.CONNECTION_HEALTH_OK)
    ada = sandbox.authority.user_by_email(ADA)
    assert ada is not None
    sandbox.organisations[0].set_role(ada.id, Role.REMOVED, sandbox.clock.now())
    broken = await running.client.connections.check(connection.id)
    assert broken.connection.state == pb.CONNECTION_STATE_RECONNECT_REQUIRED
    assert broken.connection.reason.code == pb.CONNECTION_REASON_CODE_AUTHORISING_USER_REMOVED
    assert list(broken.connection.reason.evidence) == list(broken.evidence)
    assert broken.evidence[-1].is_trouble
    assert "403" in broken.evidence[-1].finding
    sandbox.organisations[0].set_role(ada.id, Role.STANDARD, sandbox.clock.now())
    again = await running.client.connections.check(connection.id)
    assert again.connection.state == pb.CONNECTION_STATE_CONNECTED


async def test_before_a_consent_and_after_the_end_there_is_nothing_to_check(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    assert list((await running.client.connections.check(started.connection.id)).evidence) == []
    connection = await running.connected("other")
    await running.client.connections.disconnect(connection.id)
    checked = await running.client.connections.check(connection.id)
    assert (checked.connection.state, list(checked.evidence)) == (pb.CONNECTION_STATE_DISCONNECTED, [])


async def test_the_history_of_a_connection_is_what_its_watchers_were_told_newest_first_over_pages(
    running: Service,
) -> None:
    connections = running.client.connections
    async with contextlib.aclosing(connections.watch(merchant_id="acme")) as changes:
        assert (await anext(changes)).HasField("heartbeat")
        connection = await running.connected("acme")
        await connections.disconnect(connection.id)
        told = [(await anext(changes)).change.event for _ in range(3)]
    assert [event.actor for event in told] == ["caller", ADA, "caller"]
    kept = [event async for event in connections.list_events(connection.id, page_size=2)]
    assert kept == told[::-1]
    with pytest.raises(errors.InvalidRequestError):
        await connections.list_events(connection.id, page_token="made-up").first(1)


async def test_the_built_in_page_completes_a_consent(running: Service) -> None:
    started = await running.client.connections.connect("acme")
    back = urlsplit(await running.browser.consent(started.authorization_url))
    url = f"http://127.0.0.1:{running.web_port}{back.path}?{back.query}"
    async with running.browser.http.get(url) as page:
        assert page.status == 200
        assert "Harbour" in await page.text()
    now = await running.client.connections.get(started.connection.id)
    assert now.state == pb.CONNECTION_STATE_CONNECTED
