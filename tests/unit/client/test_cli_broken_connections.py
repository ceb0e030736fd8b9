"""The commands for connections that break, are examined, watched and ended: what a person reads, and the exit codes."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import grpc
import pytest
from typer.testing import CliRunner, Result

from tieout.cli import connection as views
from tieout.cli.app import app
from tieout.v1.connection_service_pb2 import (
    CheckConnectionRequest,
    CheckConnectionResponse,
    Connection,
    ConnectionChange,
    ConnectionEvent,
    ConnectionEventKind,
    ConnectionHealth,
    ConnectionReason,
    ConnectionReasonCode,
    ConnectionState,
    DisconnectRequest,
    DisconnectResponse,
    Gap,
    GetConnectionResponse,
    ListConnectionEventsRequest,
    ListConnectionEventsResponse,
    Organisation,
    OrganisationChoice,
)
from tieout.v1.types_pb2 import Observation, Owner

Context = grpc.ServicerContext
Cli = Callable[..., Result]
Serve = Callable[[Mapping[str, Callable[..., object]]], str]
CONNECTED = ConnectionState.CONNECTION_STATE_CONNECTED
BROKEN = ConnectionState.CONNECTION_STATE_RECONNECT_REQUIRED
ENDED = ConnectionState.CONNECTION_STATE_DISCONNECTED
PENDING = ConnectionState.CONNECTION_STATE_PENDING_AUTHORISATION
CHOOSING = ConnectionState.CONNECTION_STATE_PENDING_ORGANISATION
DEGRADED = ConnectionHealth.CONNECTION_HEALTH_DEGRADED
OK = ConnectionHealth.CONNECTION_HEALTH_OK
MERCHANT, OPERATOR, XERO, NOBODY = (
    Owner.OWNER_MERCHANT,
    Owner.OWNER_OPERATOR,
    Owner.OWNER_XERO,
    Owner.OWNER_NOBODY,
)
STARTED = ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED
REFUSED = ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED
MOVED = ConnectionEventKind.CONNECTION_EVENT_KIND_STATE_CHANGED
DETAILS = ConnectionEventKind.CONNECTION_EVENT_KIND_DETAILS_CHANGED
CAUGHT_UP = ConnectionEventKind.CONNECTION_EVENT_KIND_GAP_CLOSED
AT = datetime(2026, 11, 22, 14, 2, 31, tzinfo=UTC)
REMOVED = ConnectionReason(sentence="Xero no longer lets Ada into Acme Ltd.", owner=MERCHANT)


def acme(
    state: ConnectionState.ValueType = CONNECTED,
    health: ConnectionHealth.ValueType = OK,
    reason: ConnectionReason | None = None,
) -> Connection:
    made = Connection(
        id="c1", merchant_id="acme", state=state, reason=reason, organisation=Organisation(name="Acme Ltd")
    )
    if state == CONNECTED:
        made.health = health
    made.updated_at.FromDatetime(AT)
    return made


def event(
    kind: ConnectionEventKind.ValueType, to_state: ConnectionState.ValueType = CONNECTED, actor: str = "tieout"
) -> ConnectionEvent:
    made = ConnectionEvent(id="evt_1", kind=kind, to_state=to_state, actor=actor)
    made.occurred_at.FromDatetime(AT)
    return made


def owned_by(owner: Owner.ValueType, *, retry: bool = False) -> ConnectionReason:
    reason = ConnectionReason(sentence="Something is wrong.", owner=owner)
    if retry:
        reason.retry_at.FromDatetime(datetime(2026, 11, 23, tzinfo=UTC))
    return reason


class Ending:
    """A service that ends the connection and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[DisconnectRequest] = []

    def disconnect(self, request: DisconnectRequest, _context: Context) -> DisconnectResponse:
        self.requests.append(request)
        return DisconnectResponse(connection=acme(ENDED))

    @property
    def calls(self) -> Mapping[str, Callable[..., object]]:
        return {"ConnectionService/Disconnect": self.disconnect}


def checked(answer: CheckConnectionResponse) -> Mapping[str, Callable[..., object]]:
    def check(request: CheckConnectionRequest, _context: Context) -> CheckConnectionResponse:
        assert request.connection_id == "c1"
        return answer

    return {"ConnectionService/CheckConnection": check}


def test_a_connection_is_ended_and_what_stays_is_said(cli: Cli) -> None:
    service = Ending()
    result = cli(service.calls, "disconnect", "acme")
    assert result.exit_code == 0
    assert result.stdout == (
        "Acme Ltd (acme) is disconnected.\n"
        "What was read of it, its settings and its history stay; `tieout reconnect c1` leads back.\n"
    )
    (request,) = service.requests
    assert (request.connection_id, request.purge_data) == ("c1", False)
    assert request.request_id


def test_what_was_read_is_erased_only_after_a_yes(cli: Cli, serve: Serve) -> None:
    service = Ending()
    refused = cli(service.calls, "disconnect", "acme", "--purge")  # nobody answers
    assert (refused.exit_code, service.requests) == (2, [])
    assert "Erase all that was read of" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    target = serve({**known(), **service.calls})
    for answer, code in (("n\n", 2), ("y\n", 0)):
        asked = CliRunner().invoke(app, ["--target", target, "disconnect", "acme", "--purge"], input=answer)
        assert asked.exit_code == code
    (request,) = service.requests
    assert request.purge_data


def known() -> Mapping[str, Callable[..., object]]:
    return {"ConnectionService/GetConnection": lambda *_: GetConnectionResponse(connection=acme())}


def test_scripts_say_yes_beforehand(cli: Cli) -> None:
    service = Ending()
    result = cli(service.calls, "disconnect", "acme", "--purge", "--yes")
    assert result.exit_code == 0
    assert "What was read of it is being erased" in result.stdout
    assert service.requests[0].purge_data
    documents = cli(service.calls, "disconnect", "acme", "--purge", "--yes", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in documents] == ["CONNECTION_STATE_DISCONNECTED"]


def test_an_examination_shows_what_was_seen_the_verdict_and_who_acts(cli: Cli) -> None:
    seen = [
        Observation(subject="token refresh", finding="200"),
        Observation(subject="GET /connections", finding="200, Acme Ltd is listed"),
        Observation(subject="GET /Organisation", finding="403 AuthenticationUnsuccessful", is_trouble=True),
    ]
    result = cli(
        checked(CheckConnectionResponse(connection=acme(BROKEN, reason=REMOVED), evidence=seen)), "check", "acme"
    )
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        "looked at                   seen",
        "token refresh     ✓ fine    200",
        "GET /connections  ✓ fine    200, Acme Ltd is listed",
        "GET /Organisation ✗ trouble 403 AuthenticationUnsuccessful",
        "Acme Ltd (acme): reconnect required",
        "Xero no longer lets Ada into Acme Ltd.",
        "The merchant acts: `tieout reconnect c1` gives the address.",
    ]


@pytest.mark.parametrize(
    ("connection", "code"),
    [
        (acme(), 0),
        (acme(health=DEGRADED, reason=owned_by(XERO, retry=True)), 4),
        (acme(health=DEGRADED, reason=owned_by(NOBODY, retry=True)), 4),
        (acme(health=DEGRADED, reason=owned_by(MERCHANT)), 3),
        (acme(health=DEGRADED, reason=owned_by(OPERATOR)), 3),
        (acme(BROKEN, reason=REMOVED), 3),
        (acme(ENDED, reason=owned_by(NOBODY)), 3),
    ],
    ids=["works", "xero", "limit", "warning", "operator", "broken", "ended"],
)
def test_the_exit_code_of_an_examination_says_what_has_to_happen(cli: Cli, connection: Connection, code: int) -> None:
    answer = checked(CheckConnectionResponse(connection=connection))
    assert cli(answer, "check", "acme").exit_code == code
    result = cli(answer, "check", "acme", "--json")
    assert (result.exit_code, json.loads(result.stdout)["connection"]["id"]) == (code, "c1")


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (owned_by(MERCHANT), "The merchant acts: `tieout reconnect c1` gives the address."),
        (
            ConnectionReason(code=ConnectionReasonCode.CONNECTION_REASON_CODE_ORGANISATION_UNAVAILABLE, owner=MERCHANT),
            "The merchant acts, in Xero.",
        ),
        (owned_by(OPERATOR), "Whoever runs the service acts; its log has more."),
        (owned_by(XERO), "Xero has to answer again; nobody else acts."),
        (
            owned_by(XERO, retry=True),
            "Xero has to answer again; nobody else acts. It is tried again at 2026-11-23 00:00:00Z.",
        ),
        (owned_by(NOBODY, retry=True), "Nobody has to act. It is tried again at 2026-11-23 00:00:00Z."),
        (None, ""),
    ],
)
def test_who_acts_is_said_and_how(reason: ConnectionReason | None, sentence: str) -> None:
    assert views.who_acts(acme(BROKEN, reason=reason)) == sentence


def test_a_connection_that_never_had_an_organisation_is_begun_anew() -> None:
    refused = Connection(id="c1", merchant_id="acme", state=PENDING, reason=owned_by(MERCHANT))
    assert views.who_acts(refused) == "The merchant acts: `tieout connect acme` gives the address."
    assert views.named(refused) == "acme (c1)"


def test_a_consent_that_was_given_for_no_organisation_is_begun_anew() -> None:
    code = ConnectionReasonCode.CONNECTION_REASON_CODE_ORGANISATION_UNAVAILABLE
    refused = Connection(id="c1", merchant_id="acme", state=PENDING, reason=ConnectionReason(code=code, owner=MERCHANT))
    assert views.who_acts(refused) == "The merchant acts: `tieout connect acme` gives the address."


@pytest.mark.parametrize(
    ("told", "before", "words"),
    [
        (event(DETAILS, ENDED, "caller"), None, "data being erased"),
        (event(DETAILS, ENDED), None, "data erased"),
        (event(DETAILS), DEGRADED, "well again"),
        (event(DETAILS), OK, "particulars changed"),
        (event(DETAILS), None, "connected"),
        (event(DETAILS, actor="ada@acme.example"), DEGRADED, "consent renewed"),
        (event(MOVED), DEGRADED, "connected"),
    ],
    ids=["erasing", "erased", "well", "renamed", "not known", "consent", "moved"],
)
def test_what_changed_is_said_where_the_state_did_not(
    told: ConnectionEvent, before: "ConnectionHealth.ValueType | None", words: str
) -> None:
    assert views.happened(told, before) == words


def test_a_connection_that_never_was_one_is_ended_and_begun_anew(cli: Cli) -> None:
    ended = Connection(id="c1", merchant_id="acme", state=ENDED)
    calls = {"ConnectionService/Disconnect": lambda *_: DisconnectResponse(connection=ended)}
    assert cli(calls, "disconnect", "acme").stdout == (
        "acme (c1) is disconnected.\nIt was never connected; `tieout connect acme` begins anew.\n"
    )


def gap(start: datetime, end: datetime, changes: int) -> ConnectionEvent:
    made = event(CAUGHT_UP)
    made.gap.CopyFrom(Gap(changes=changes))
    made.gap.from_at.FromDatetime(start)
    made.gap.to_at.FromDatetime(end)
    return made


@pytest.mark.parametrize(
    ("told", "connection", "words"),
    [
        (
            event(MOVED, BROKEN),
            acme(BROKEN, reason=REMOVED),
            f"reconnect required: {REMOVED.sentence} The merchant acts: `tieout reconnect c1` gives the address.",
        ),
        (event(MOVED), acme(), "connected"),
        (
            event(DETAILS),
            acme(health=DEGRADED, reason=owned_by(XERO)),
            "connected, degraded: Something is wrong. Xero has to answer again; nobody else acts.",
        ),
        (event(STARTED), acme(BROKEN, reason=REMOVED), "consent asked for"),
        (event(REFUSED), acme(), "consent refused: The merchant declined."),
        (gap(AT, AT.replace(hour=16, minute=40), 37), acme(), "caught up 14:02 → 16:40, 37 changes"),
        (gap(AT, AT.replace(minute=9), 1), acme(), "caught up 14:02 → 14:09, 1 change"),
        (gap(AT, AT.replace(second=40), 2), acme(), "caught up 14:02:31 → 14:02:40, 2 changes"),
        (
            gap(AT.replace(month=9, day=13), AT, 1234),
            acme(),
            "caught up 2026-09-13 14:02 → 2026-11-22 14:02, 1,234 changes",
        ),
    ],
    ids=["lost", "back", "degraded", "started", "refused", "gap", "one change", "seconds", "gap of days"],
)
def test_each_thing_that_happens_is_one_line_with_when_which_what_why_and_who(
    told: ConnectionEvent, connection: Connection, words: str
) -> None:
    if told.kind == REFUSED:
        told.reason.CopyFrom(ConnectionReason(sentence="The merchant declined.", owner=MERCHANT))
    elif told.kind in {MOVED, DETAILS}:
        told.health = connection.health
        if connection.HasField("reason"):
            told.reason.CopyFrom(connection.reason)
    change = ConnectionChange(event=told, connection=connection)
    assert views.line(change) == f"2026-11-22 14:02:31Z  Acme Ltd (acme)  {words}"


def test_a_connection_as_it_is_has_the_same_form() -> None:
    assert views.line_now(acme()) == "2026-11-22 14:02:31Z  Acme Ltd (acme)  connected"
    assert views.line_now(acme(BROKEN, reason=REMOVED)).endswith("`tieout reconnect c1` gives the address.")


def test_what_happened_is_listed_newest_first_with_who_caused_it(cli: Cli) -> None:
    lost = event(MOVED, BROKEN)
    lost.reason.CopyFrom(REMOVED)

    def listing(request: ListConnectionEventsRequest, _context: Context) -> ListConnectionEventsResponse:
        assert request.connection_id == "c1"
        return ListConnectionEventsResponse(
            events=[lost, event(MOVED, actor="ada@acme.example"), event(STARTED, actor="")]
        )

    calls = {"ConnectionService/ListConnectionEvents": listing}
    assert cli(calls, "events", "acme").stdout.splitlines() == [
        "2026-11-22 14:02:31Z  reconnect required: Xero no longer lets Ada into Acme Ltd.  [tieout]",
        "2026-11-22 14:02:31Z  connected  [ada@acme.example]",
        "2026-11-22 14:02:31Z  consent asked for",
    ]
    assert len(cli(calls, "events", "acme", "--limit", "0").stdout.splitlines()) == 3
    assert cli(calls, "events", "acme", "--limit", "2").stdout.splitlines()[2:] == [
        "There are more; --limit 0 shows all."
    ]
    documents = cli(calls, "events", "acme", "--limit", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["actor"] for line in documents] == ["tieout", "ada@acme.example"]


def test_an_organisation_that_is_taken_is_marked_among_those_offered(cli: Cli) -> None:
    choices = [OrganisationChoice(xero_tenant_id="t1", name="Hops", connected_as="c0")]
    choosing = Connection(id="c1", merchant_id="acme", state=CHOOSING, organisation_choices=choices)
    calls = {"ConnectionService/GetConnection": lambda *_: GetConnectionResponse(connection=choosing)}
    assert "Hops  t1  (connected already)" in cli(calls, "connections", "c1").stdout
