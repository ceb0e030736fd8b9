"""The commands of ConnectionService, and how a connection is named."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from typer.testing import Result

from tieout.v1.connection_service_pb2 import (
    AuditEvent,
    ChooseOrganisationRequest,
    ChooseOrganisationResponse,
    Connection,
    ConnectionChange,
    ConnectionEvent,
    ConnectionEventKind,
    ConnectionReason,
    ConnectionReasonCode,
    ConnectionState,
    ConnectRequest,
    ConnectResponse,
    GetConnectionRequest,
    GetConnectionResponse,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    ListConnectionEventsResponse,
    ListConnectionsRequest,
    ListConnectionsResponse,
    Organisation,
    OrganisationChoice,
    ReconnectRequest,
    ReconnectResponse,
    WatchConnectionsRequest,
    WatchConnectionsResponse,
)
from tieout.v1.types_pb2 import Heartbeat

Context = grpc.ServicerContext
Cli = Callable[..., Result]
CONNECTED = ConnectionState.CONNECTION_STATE_CONNECTED
PENDING = ConnectionState.CONNECTION_STATE_PENDING_AUTHORISATION
BROKEN = ConnectionState.CONNECTION_STATE_RECONNECT_REQUIRED
CHOOSING = ConnectionState.CONNECTION_STATE_PENDING_ORGANISATION

LONGEST_ID = 100


class Service:
    """A service with the connections and the updates that a test puts in."""

    def __init__(self, *connections: Connection) -> None:
        self.connections = list(connections) or [connection("c1")]
        self.requests: list[Message] = []
        self.updates: list[WatchConnectionsResponse] = []
        self.happened: list[ConnectionEvent] = []
        """Newest first."""
        self.calls: dict[str, Callable[..., object]] = {
            "ConnectionService/Connect": self.connect,
            "ConnectionService/Reconnect": self.reconnect,
            "ConnectionService/ChooseOrganisation": self.choose,
            "ConnectionService/GetConnection": self.get_connection,
            "ConnectionService/ListConnections": self.list_connections,
            "ConnectionService/WatchConnections": self.watch_connections,
            "ConnectionService/ListConnectionEvents": lambda *_: ListConnectionEventsResponse(events=self.happened),
        }

    def connect(self, request: ConnectRequest, context: Context) -> ConnectResponse:
        self.requests.append(request)
        if request.return_url.startswith("http://evil"):
            wrong = error_details_pb2.BadRequest.FieldViolation(field="return_url", description="is not allowed")
            details = error_details_pb2.BadRequest(field_violations=[wrong])
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "One field is wrong.", details)
        answer = ConnectResponse(
            connection=connection("c1", PENDING), authorization_url="https://xero.test/consent?x=1"
        )
        answer.expires_at.FromDatetime(datetime.now(UTC) + timedelta(minutes=5))
        return answer

    def reconnect(self, request: ReconnectRequest, _context: Context) -> ReconnectResponse:
        self.requests.append(request)
        answer = ReconnectResponse(connection=self.connections[0], authorization_url="https://xero.test/again")
        answer.expires_at.FromDatetime(datetime.now(UTC) + timedelta(minutes=5))
        return answer

    def choose(self, request: ChooseOrganisationRequest, _context: Context) -> ChooseOrganisationResponse:
        self.requests.append(request)
        return ChooseOrganisationResponse(connection=connection("c1"))

    def get_connection(self, request: GetConnectionRequest, context: Context) -> GetConnectionResponse:
        if len(request.connection_id) > LONGEST_ID:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "connection_id is too long")
        found = [it for it in self.connections if it.id == request.connection_id]
        if not found:
            refuse(
                context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"There is no connection {request.connection_id!r}."
            )
        return GetConnectionResponse(connection=found[0])

    def list_connections(self, request: ListConnectionsRequest, _context: Context) -> ListConnectionsResponse:
        found = [it for it in self.connections if request.merchant_id in {"", it.merchant_id}]
        found = [it for it in found if it.state in (request.states or [it.state])]
        return ListConnectionsResponse(connections=found)

    def watch_connections(
        self, request: WatchConnectionsRequest, context: Context
    ) -> Iterator[WatchConnectionsResponse]:
        self.requests.append(request)
        yield from self.updates
        refuse(context, grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD", "That is all.")


def connection(
    id_: str, state: ConnectionState.ValueType = CONNECTED, merchant: str = "acme", **fields: object
) -> Connection:
    made = Connection(id=id_, merchant_id=merchant, state=state, **fields)  # type: ignore[arg-type] # tests know them
    if state == CONNECTED:
        made.organisation.CopyFrom(Organisation(name="Acme Ltd", base_currency="NZD", time_zone="Pacific/Auckland"))
    made.updated_at.FromDatetime(datetime(2026, 11, 22, tzinfo=UTC))
    return made


def refuse(context: Context, code: grpc.StatusCode, reason: str, sentence: str, *details: Message) -> None:
    status = status_pb2.Status(code=code.value[0], message=sentence)
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain="tieout.v1"), *details):
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))


def documents(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_connect_prints_where_to_consent(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "connect", "acme", "--return-url", "http://localhost/back")
    assert result.exit_code == 0
    assert "https://xero.test/consent?x=1" in result.stdout
    (request,) = service.requests
    assert isinstance(request, ConnectRequest)
    assert (request.merchant_id, request.return_url) == ("acme", "http://localhost/back")
    assert request.request_id


def test_a_refused_request_names_every_violation_and_leaves_with_2(cli: Cli) -> None:
    result = cli(Service().calls, "connect", "acme", "--return-url", "http://evil.test")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "One field is wrong." in result.stderr
    assert "return_url: is not allowed" in result.stderr
    assert "Correct what is listed" in result.stderr


def test_what_the_sentence_says_is_not_said_twice(cli: Cli) -> None:
    def refused(_request: ConnectRequest, context: Context) -> None:
        wrong = error_details_pb2.BadRequest.FieldViolation(field="merchant_id", description="is required")
        details = error_details_pb2.BadRequest(field_violations=[wrong])
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "merchant_id is required", details)

    result = cli({"ConnectionService/Connect": refused}, "connect", "")
    assert result.stderr.count("is required") == 1


def test_several_violations_are_told_one_a_line(cli: Cli) -> None:
    rules = {"merchant_id": "is required", "return_url": "is not allowed"}

    def refused(_request: ConnectRequest, context: Context) -> None:
        wrong = [error_details_pb2.BadRequest.FieldViolation(field=of, description=it) for of, it in rules.items()]
        details = error_details_pb2.BadRequest(field_violations=wrong)
        sentence = "; ".join(f"{of} {it}" for of, it in rules.items())
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", sentence, details)

    result = cli({"ConnectionService/Connect": refused}, "connect", "")
    told = ["  merchant_id: is required", "  return_url: is not allowed"]
    assert result.stderr.splitlines()[:3] == ["Error: Several things are wrong with the request:", *told]


def test_an_error_is_json_too_where_json_is_asked_for(cli: Cli) -> None:
    result = cli(Service().calls, "connect", "acme", "--return-url", "http://evil.test", "--json")
    error = json.loads(result.stderr)["error"]
    assert error["reason"] == "INVALID_REQUEST"
    assert error["violations"] == [{"field": "return_url", "rule": "is not allowed"}]


def test_waiting_for_consent_ends_when_it_has_come_back(cli: Cli) -> None:
    service = Service()
    service.updates = [
        WatchConnectionsResponse(resume_token="1", snapshot=connection("c1", PENDING)),
        WatchConnectionsResponse(resume_token="2", heartbeat=Heartbeat()),
        WatchConnectionsResponse(resume_token="3", change=ConnectionChange(connection=connection("c1"))),
    ]
    result = cli(service.calls, "connect", "acme", "--wait", "--json")
    assert result.exit_code == 0
    assert [doc.get("state") for doc in documents(result)] == [None, "CONNECTION_STATE_CONNECTED"]


def test_waiting_for_consent_says_so(cli: Cli) -> None:
    service = Service()
    service.updates = [WatchConnectionsResponse(change=ConnectionChange(connection=connection("c1")))]
    assert "Waiting until then" in cli(service.calls, "connect", "acme", "--wait").stdout
    assert "Waiting" not in cli(service.calls, "connect", "acme").stdout


def test_a_consent_that_was_refused_says_why_and_leaves_with_3(cli: Cli) -> None:
    service = Service()
    event = ConnectionEvent(
        kind=ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_REFUSED,
        reason=ConnectionReason(sentence="The merchant declined."),
    )
    service.updates = [WatchConnectionsResponse(resume_token="1", change=ConnectionChange(event=event))]
    result = cli(service.calls, "connect", "acme", "--wait")
    assert result.exit_code == 3
    assert "The merchant declined." in result.stderr


def change(kind: "ConnectionEventKind.ValueType", actor: str) -> ConnectionChange:
    return ConnectionChange(event=ConnectionEvent(kind=kind, actor=actor), connection=connection("c1"))


def test_what_else_happens_to_a_connection_that_works_is_not_taken_for_a_consent(cli: Cli) -> None:
    service = Service()
    details, started = (
        ConnectionEventKind.CONNECTION_EVENT_KIND_DETAILS_CHANGED,
        ConnectionEventKind.CONNECTION_EVENT_KIND_AUTHORISATION_STARTED,
    )
    service.happened = [
        ConnectionEvent(kind=details, actor="tieout"),
        ConnectionEvent(kind=started, actor="caller"),
        ConnectionEvent(kind=details, actor="ada@acme.example"),
    ]
    service.updates = [
        WatchConnectionsResponse(snapshot=connection("c1")),
        WatchConnectionsResponse(resume_token="1", change=change(details, "tieout")),
    ]
    assert cli(service.calls, "reconnect", "acme", "--wait").exit_code == 2, "it waits to the end of the watch"
    service.updates.append(WatchConnectionsResponse(resume_token="2", change=change(details, "ada@acme.example")))
    assert cli(service.calls, "reconnect", "acme", "--wait").exit_code == 0


def test_a_consent_that_came_back_before_the_watch_began_counts(cli: Cli) -> None:
    service = Service()
    details = ConnectionEventKind.CONNECTION_EVENT_KIND_DETAILS_CHANGED
    service.happened = [ConnectionEvent(kind=details, actor="ada@acme.example")]
    service.updates = [WatchConnectionsResponse(snapshot=connection("c1"))]
    assert cli(service.calls, "reconnect", "acme", "--wait").exit_code == 0


def test_reconnect_takes_the_merchants_name(cli: Cli) -> None:
    service = Service()
    result = cli(service.calls, "reconnect", "acme")
    assert "https://xero.test/again" in result.stdout
    (request,) = service.requests
    assert isinstance(request, ReconnectRequest)
    assert request.connection_id == "c1"


@pytest.mark.parametrize("named", ["t2", "Second Ltd", "second ltd"])
def test_an_organisation_is_chosen_by_id_or_by_name(cli: Cli, named: str) -> None:
    choices = [
        OrganisationChoice(xero_tenant_id=f"t{n}", name=name) for n, name in ((1, "First Ltd"), (2, "Second Ltd"))
    ]
    service = Service(connection("c1", CHOOSING, organisation_choices=choices))
    result = cli(service.calls, "choose", "c1", named)
    assert result.exit_code == 0
    (request,) = service.requests
    assert isinstance(request, ChooseOrganisationRequest)
    assert request.xero_tenant_id == "t2"


def test_an_organisation_that_is_not_offered_is_refused_with_those_that_are(cli: Cli) -> None:
    choices = [OrganisationChoice(xero_tenant_id="t1", name="First Ltd")]
    service = Service(connection("c1", CHOOSING, organisation_choices=choices))
    result = cli(service.calls, "choose", "c1", "Third")
    assert result.exit_code == 2
    assert "First Ltd (t1)" in result.stderr


@pytest.mark.parametrize("named", ["t1", "acme ltd"])
def test_the_organisation_that_was_chosen_before_may_be_chosen_again(cli: Cli, named: str) -> None:
    chosen = connection("c1")
    chosen.organisation.xero_tenant_id = "t1"
    service = Service(chosen)
    result = cli(service.calls, "choose", "acme", named)
    assert result.exit_code == 0
    assert re.search(r"organisation +Acme Ltd NZD", result.stdout)
    assert re.search(r"time zone +Pacific/Auckland", result.stdout)
    assert service.requests == []


@pytest.mark.parametrize(("state", "now"), [(CONNECTED, "connected to Acme Ltd"), (PENDING, "pending authorisation")])
def test_where_there_is_nothing_to_choose_the_refusal_says_what_is(
    cli: Cli, state: ConnectionState.ValueType, now: str
) -> None:
    result = cli(Service(connection("c1", state)).calls, "choose", "acme", "Other Ltd")
    assert result.exit_code == 2
    assert f"This connection does not wait for a choice; it is {now}." in result.stderr


def test_a_choice_means_the_connection_that_waits_for_one(cli: Cli) -> None:
    choices = [OrganisationChoice(xero_tenant_id="t1", name="First Ltd")]
    service = Service(connection("c1"), connection("c2", CHOOSING, organisation_choices=choices))
    assert cli(service.calls, "choose", "acme", "First Ltd").exit_code == 0
    (request,) = service.requests
    assert isinstance(request, ChooseOrganisationRequest)
    assert request.connection_id == "c2"


def test_connections_are_listed(cli: Cli) -> None:
    service = Service(connection("c1"), connection("c2", PENDING, "zeta"))
    result = cli(service.calls, "connections")
    assert re.search(r"acme +Acme Ltd +connected +never +c1", result.stdout)
    assert re.search(r"zeta +pending authorisation +never +c2", result.stdout)


def test_connections_are_listed_by_their_state_and_with_why_they_are_so(cli: Cli) -> None:
    reason = ConnectionReason(code=ConnectionReasonCode.CONNECTION_REASON_CODE_AUTHORISING_USER_REMOVED)
    service = Service(connection("c1"), connection("c2", BROKEN, reason=reason))
    listed = cli(service.calls, "connections", "--state", "reconnect-required").stdout.splitlines()
    assert len(listed) == 2
    assert re.search(r"reconnect required +authorising user removed +never +c2", listed[1])
    of_acme = cli(service.calls, "connections", "acme", "--state", "connected").stdout
    assert ("c1" in of_acme, "c2" in of_acme) == (True, False)
    assert cli(service.calls, "connections", "--state", "disconnected").stdout == "There are none.\n"


def test_a_merchants_id_may_be_longer_than_that_of_a_connection(cli: Cli) -> None:
    merchant = "m" * (LONGEST_ID + 1)
    assert "c7" in cli(Service(connection("c7", merchant=merchant)).calls, "connections", merchant).stdout


def test_what_is_piped_on_has_no_spaces_at_the_end_of_a_line(cli: Cli) -> None:
    shown = cli(Service(connection("c1"), connection("longer than c1")).calls, "connections").stdout
    assert [line for line in shown.split("\n") if line != line.rstrip()] == []


def test_names_are_printed_as_they_are(cli: Cli) -> None:
    shown = cli(Service(connection("c1", merchant="[bold]:key:[/]"), connection("c2")).calls, "connections").stdout
    assert "[bold]:key:[/]" in shown


def test_all_connections_of_a_merchant_are_listed_by_its_name(cli: Cli) -> None:
    service = Service(connection("c1"), connection("c2", PENDING), connection("c3", merchant="zeta"))
    lines = documents(cli(service.calls, "connections", "acme", "--json"))
    assert [line["id"] for line in lines] == ["c1", "c2"]
    assert re.search(r"acme +pending authorisation +never +c2", cli(service.calls, "connections", "acme").stdout)


def test_one_connection_is_shown_with_why_it_broke(cli: Cli) -> None:
    reason = ConnectionReason(sentence="The user was removed in Xero.")
    broken = connection("c1", BROKEN, reason=reason)
    result = cli(Service(broken).calls, "connections", "acme")
    assert "reconnect required" in result.stdout
    assert "The user was removed in Xero." in result.stdout


def test_json_has_the_names_of_the_protos_and_a_document_a_line(cli: Cli) -> None:
    service = Service(connection("c1"), connection("c2"))
    lines = documents(cli(service.calls, "connections", "--json"))
    assert [line["id"] for line in lines] == ["c1", "c2"]
    assert lines[0]["merchant_id"] == "acme"
    assert lines[0]["missing_scopes"] == []


def test_a_merchant_with_several_working_connections_must_be_named_more_exactly(cli: Cli) -> None:
    service = Service(connection("c1"), connection("c2"), connection("c3", PENDING))
    result = cli(service.calls, "freshness", "acme")
    assert result.exit_code == 2
    assert "several such connections: c1, c2. Name" in result.stderr


@pytest.mark.parametrize(
    ("states", "meant"),
    [
        ([PENDING, CONNECTED, BROKEN, PENDING], "c1"),
        ([BROKEN, BROKEN], "c1"),
        ([BROKEN, PENDING], "c0"),
        ([PENDING, PENDING], "c1"),
        ([PENDING, CHOOSING], "c1"),
    ],
    ids=["the one that works", "the newest", "the one that had consent", "the newest pending", "the one to choose for"],
)
def test_a_merchants_name_means(cli: Cli, states: list[ConnectionState.ValueType], meant: str) -> None:
    service = Service(*(connection(f"c{n}", state) for n, state in enumerate(states)))
    cli(service.calls, "reconnect", "acme")
    (request,) = service.requests
    assert isinstance(request, ReconnectRequest)
    assert request.connection_id == meant


def test_a_connection_that_is_not_there_leaves_with_2(cli: Cli) -> None:
    result = cli(Service().calls, "freshness", "nobody")
    assert result.exit_code == 2
    assert "nobody" in result.stderr
    assert "tieout connections" in result.stderr


def test_what_the_command_line_does_not_find_has_the_code_and_reason_of_the_service(cli: Cli) -> None:
    error = json.loads(cli(Service().calls, "freshness", "nobody", "--json").stderr)["error"]
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "NOT_FOUND")
    assert error["metadata"] == {"kind": "connection", "name": "nobody"}


def test_watching_connections_prints_what_they_are_and_what_happens(cli: Cli) -> None:
    service = Service()
    event = ConnectionEvent(kind=ConnectionEventKind.CONNECTION_EVENT_KIND_STATE_CHANGED, to_state=CONNECTED)
    service.updates = [
        WatchConnectionsResponse(resume_token="1", snapshot=connection("c1", PENDING)),
        WatchConnectionsResponse(resume_token="2", heartbeat=Heartbeat()),
        WatchConnectionsResponse(resume_token="3", change=ConnectionChange(event=event, connection=connection("c1"))),
    ]
    result = cli(service.calls, "watch", "connections")
    lines = result.stdout.splitlines()
    assert lines[0] == "2026-11-22 00:00:00Z  acme (c1)  pending authorisation"
    assert lines[1].endswith("Acme Ltd (acme)  connected")
    assert len(lines) == 2
    (request,) = service.requests
    assert isinstance(request, WatchConnectionsRequest)
    assert request.from_start


def test_a_token_that_is_too_old_ends_a_watch_with_2(cli: Cli) -> None:
    result = cli(Service().calls, "watch", "connections", "--after", "old")
    assert result.exit_code == 2
    assert "That is all." in result.stderr


def test_audit_lists_what_callers_did_and_says_where_the_outcome_is_unknown(cli: Cli) -> None:
    service, asked = Service(), []
    done = AuditEvent(
        caller="console", authenticated_by="key", method="SyncService.StartSync", merchant_id="acme",
        connection_id="c1", peer="10.0.0.7", status="OK",
    )  # fmt: skip
    cut_off = AuditEvent(caller="jwt:7", authenticated_by="jwt", method="ConnectionService.Disconnect")
    for event in (done, cut_off):
        event.at.FromDatetime(datetime(2026, 11, 22, tzinfo=UTC))

    def listed(request: ListAuditEventsRequest, _context: Context) -> ListAuditEventsResponse:
        asked.append((request.connection_id, request.merchant_id, request.caller))
        return ListAuditEventsResponse(events=[done, cut_off])

    calls = {**service.calls, "ConnectionService/ListAuditEvents": listed}
    everything = cli(calls, "audit")
    assert "console (key)" in everything.stdout
    assert "unknown: under way, or cut off" in everything.stdout
    assert cli(calls, "audit", "c1", "--caller", "console").exit_code == 0
    assert len(documents(cli(calls, "audit", "acme", "--json"))) == 2
    assert asked == [("", "", ""), ("c1", "", "console"), ("", "acme", "")]
