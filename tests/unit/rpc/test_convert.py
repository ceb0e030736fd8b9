"""Values as messages, where no call over a socket brings them about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tieout.v1 import connection_service_pb2 as connection
from tieout.v1 import payment_export_service_pb2 as exports
from tieout.v1 import sync_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.connections.messages import Return
from tieout_server.connections.state import ConnectionHealth, ConnectionState
from tieout_server.exports.state import ExportReason, OverpaymentPolicy, ReversalKind, XeroStatus
from tieout_server.ledger.books import Purpose, WaitingFor
from tieout_server.ledger.documents import Entity
from tieout_server.ledger.links import LinkChangeKind, Owner, ReasonCode
from tieout_server.ledger.money import Money
from tieout_server.ledger.writes import RecordKind
from tieout_server.rpc import convert, convert_syncs
from tieout_server.storage.syncs import SyncFault, SyncRecord
from tieout_server.syncs import skips
from tieout_server.syncs.progress import LineProgress, Progress
from tieout_server.syncs.state import Milestone, SyncMode, SyncPhase, SyncState

AT = datetime(2026, 11, 22, 12, 30, 15, 250_000, tzinfo=UTC)


def a_sync(**fields: object) -> SyncRecord:
    stated: dict[str, object] = {"mode": SyncMode.FULL, "state": SyncState.RUNNING, "created_at": AT, "updated_at": AT}
    return SyncRecord(**({"id": "syn_1", "connection_id": "con_1", "ordinal": 1} | stated | fields))  # type: ignore[arg-type] # a bag of fields


def test_an_instant_keeps_its_microseconds() -> None:
    message = convert.timestamp(AT)
    assert message is not None
    assert message.ToDatetime(UTC) == AT
    assert convert.timestamp(None) is None


@pytest.mark.parametrize(
    ("amount", "text"), [("0.00", "0.00"), ("-12.00", "-12.00"), ("1E+3", "1000"), ("0.0001", "0.0001")]
)
def test_money_is_written_out_and_never_in_powers_of_ten(amount: str, text: str) -> None:
    assert convert.money(Money("NZD", Decimal(amount))) == types_pb2.Money(currency_code="NZD", amount=text)


@pytest.mark.parametrize("entity", Entity)
def test_every_entity_is_named_in_the_api_and_found_again(entity: Entity) -> None:
    assert convert.entity_of(convert.entity(entity)) is entity


def test_a_sync_that_failed_says_why_and_who_must_act() -> None:
    record = a_sync(
        state=SyncState.FAILED, ended_at=AT, fault=SyncFault("RECONNECT_REQUIRED", "Reconnect.", "MERCHANT")
    )
    error = convert_syncs.sync(record).error
    assert (error.reason, error.sentence, error.owner) == ("RECONNECT_REQUIRED", "Reconnect.", types_pb2.OWNER_MERCHANT)


def test_milestones_come_in_the_order_in_which_they_were_reached() -> None:
    reached = {Milestone.HISTORY_COMPLETE: AT + timedelta(minutes=1), Milestone.COLLECTIBLE_READY: AT}
    message = convert_syncs.sync(a_sync(milestones=reached))
    assert [one.milestone for one in message.milestones] == [
        pb.MILESTONE_COLLECTIBLE_READY,
        pb.MILESTONE_HISTORY_COMPLETE,
    ]


def test_what_a_sync_waits_for_is_told_with_its_end() -> None:
    record = a_sync(state=SyncState.WAITING, waiting_by="DAY_LIMIT", waiting_until=AT)
    waiting = convert_syncs.progress(Progress(sync=record), "token").waiting_on
    assert waiting.what == pb.WAIT_REASON_DAY_LIMIT
    assert waiting.until.ToDatetime(UTC) == AT
    assert not convert_syncs.progress(Progress(sync=a_sync()), "token").HasField("waiting_on")


@pytest.mark.parametrize(
    ("enum", "prefix", "words"),
    [
        (pb.SyncMode, "SYNC_MODE", list(SyncMode)),
        (pb.SyncState, "SYNC_STATE", list(SyncState)),
        (pb.SyncPhase, "SYNC_PHASE", list(SyncPhase)),
        (pb.Milestone, "MILESTONE", list(Milestone)),
        (pb.WaitReason, "WAIT_REASON", list(WaitingFor)),
        (pb.CallPurpose, "CALL_PURPOSE", [purpose.upper() for purpose in Purpose]),
        (
            pb.SkipReason,
            "SKIP_REASON",
            [word for word in vars(skips).values() if isinstance(word, str) and word.isupper()],
        ),
        (types_pb2.Owner, "OWNER", list(Owner)),
        (connection.ConnectionReasonCode, "CONNECTION_REASON_CODE", list(ReasonCode)),
        (connection.ConnectionEventKind, "CONNECTION_EVENT_KIND", list(LinkChangeKind)),
        (connection.ConnectionState, "CONNECTION_STATE", list(ConnectionState)),
        (connection.ConnectionHealth, "CONNECTION_HEALTH", list(ConnectionHealth)),
        (exports.XeroStatus, "XERO_STATUS", list(XeroStatus)),
        (exports.ExportErrorReason, "EXPORT_ERROR_REASON", list(ExportReason)),
        (exports.XeroRecordKind, "XERO_RECORD_KIND", list(RecordKind)),
        (exports.ReversalKind, "REVERSAL_KIND", list(ReversalKind)),
        (exports.OverpaymentPolicy, "OVERPAYMENT_POLICY", list(OverpaymentPolicy)),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_every_word_of_ours_is_a_word_of_the_api(enum: object, prefix: str, words: list[str]) -> None:
    names = enum.DESCRIPTOR.values_by_name  # type: ignore[attr-defined] # an enum of the stubs
    assert [word for word in words if f"{prefix}_{word}" not in names] == []


def test_what_xero_sends_back_is_shown_without_its_secrets() -> None:
    assert repr(Return("a-state", "a-code", "", "r-1")) == "Return(error='', request_id='r-1')"


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_line_says_whether_it_reads_again_what_changed(catch_up: bool) -> None:  # noqa: FBT001 - a table
    line = LineProgress(entity=Entity.INVOICES, state="READING", catch_up=catch_up)
    message = convert_syncs.progress(Progress(sync=a_sync(), lines=(line,)), "token")
    assert [told.catch_up for told in message.entities] == [catch_up]
