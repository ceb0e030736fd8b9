"""The client makes each call as the API wants it."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

import tieout
from tieout import Client, errors
from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout.v1.connection_service_pb2 import (
    Connection,
    GetConnectionRequest,
    GetConnectionResponse,
    ListConnectionsRequest,
    ListConnectionsResponse,
)
from tieout.v1.payment_export_service_pb2 import (
    ListPaymentExportsResponse,
    PaymentExport,
    PaymentLine,
    PlatformPayment,
)
from tieout.v1.receivables_service_pb2 import ListInvoicesRequest, ListInvoicesResponse
from tieout.v1.types_pb2 import Money

Context = grpc.aio.ServicerContext[Message, Message]
ClientOf = Callable[..., Awaitable[Client]]
GROUPS = {
    "connections": connection_service_pb2,
    "syncs": sync_service_pb2,
    "receivables": receivables_service_pb2,
    "reconciliations": reconciliation_service_pb2,
    "payment_exports": payment_export_service_pb2,
}


class Three:
    """Three connections in pages of two, and a memory of what was sent."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.failures = 0
        self.deadline = 0.0
        self.pages: list[str] = []
        self.calls = {
            "ConnectionService/ListConnections": self.list,
            "ConnectionService/GetConnection": self.get,
            "ConnectionService/Disconnect": self.disconnect,
        }

    async def list(self, request: ListConnectionsRequest, _context: Context) -> ListConnectionsResponse:
        self.pages.append(request.page_token)
        if request.page_token:
            return ListConnectionsResponse(connections=[Connection(id="c")])
        return ListConnectionsResponse(connections=[Connection(id="a"), Connection(id="b")], next_page_token="2")

    async def get(self, request: GetConnectionRequest, context: Context) -> GetConnectionResponse:
        self.metadata = dict(context.invocation_metadata() or ())
        self.deadline = context.time_remaining() or 0.0
        if request.connection_id == "slow":
            await asyncio.Event().wait()
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return GetConnectionResponse(connection=Connection(id=request.connection_id))

    async def disconnect(self, _request: Message, context: Context) -> None:
        self.failures += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


async def test_iterating_a_list_reads_page_after_page(client_of: ClientOf) -> None:
    service = Three()
    client = await client_of(service.calls)
    assert [it.id async for it in client.connections.list()] == ["a", "b", "c"]
    assert service.pages == ["", "2"]


async def test_awaiting_a_list_reads_one_page(client_of: ClientOf) -> None:
    service = Three()
    client = await client_of(service.calls)
    page = await client.connections.list()
    rest = await client.connections.list(page_token=page.next_page_token)
    assert [it.id for it in page.connections] + [it.id for it in rest.connections] == ["a", "b", "c"]
    assert rest.next_page_token == ""


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (2, 1), (3, 2), (0, 2), (9, 2)])
async def test_no_page_is_read_that_is_not_needed(client_of: ClientOf, count: int, pages: int) -> None:
    service = Three()
    client = await client_of(service.calls)
    assert len(await client.connections.list().first(count)) == min(count or 3, 3)
    assert len(service.pages) == pages


async def test_the_token_goes_with_each_call(client_of: ClientOf) -> None:
    service = Three()
    client = await client_of(service.calls, token="s3cret")
    await client.connections.get("a")
    assert service.metadata["authorization"] == "Bearer s3cret"


async def test_a_token_that_expires_is_asked_for_at_each_call(client_of: ClientOf) -> None:
    service, tokens = Three(), iter(("monday", "tuesday"))
    client = await client_of(service.calls, token=lambda: next(tokens))
    for day in ("monday", "tuesday"):
        await client.connections.get("a")
        assert service.metadata["authorization"] == f"Bearer {day}"


async def test_the_token_shows_in_no_repr(client_of: ClientOf) -> None:
    client = await client_of(Three().calls, token="s3cret")
    group = client.connections
    assert "s3cret" not in repr(client) + repr(group) + repr(group._calls) + repr(vars(group))


async def test_a_call_has_a_deadline(client_of: ClientOf) -> None:
    service = Three()
    client = await client_of(service.calls)
    await client.connections.get("a")
    assert 20 < service.deadline <= 30.1


async def test_no_answer_in_time_is_an_error_of_its_own(client_of: ClientOf) -> None:
    client = await client_of(Three().calls, timeout=timedelta(milliseconds=100))
    with pytest.raises(errors.DeadlineError):
        await client.connections.get("slow")


async def test_a_read_is_repeated_when_the_server_was_away(client_of: ClientOf) -> None:
    service = Three()
    service.failures = 2
    client = await client_of(service.calls)
    assert (await client.connections.get("a")).id == "a"


async def test_what_changes_something_is_never_repeated_by_itself(client_of: ClientOf) -> None:
    service = Three()
    client = await client_of(service.calls)
    with pytest.raises(errors.UnreachableError):
        await client.connections.disconnect("a")
    assert service.failures == 1


async def test_what_costs_calls_to_xero_is_not_repeated_by_itself(client_of: ClientOf) -> None:
    asked: list[Message] = []

    async def away(request: Message, context: Context) -> None:
        asked.append(request)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Xero is away.")

    client = await client_of({"PaymentExportService/ListExportAccounts": away})
    with pytest.raises(errors.TryAgainError):
        await client.payment_exports.list_accounts("c")
    assert len(asked) == 1


async def test_an_address_of_the_web_is_no_target() -> None:
    with pytest.raises(ValueError, match=r"without https://: tieout\.example:443"):
        Client("https://tieout.example:443/")


async def test_a_message_that_is_too_large_is_the_callers_to_correct(client_of: ClientOf) -> None:
    client = await client_of(Three().calls)
    with pytest.raises(errors.CallerError, match="larger than max"):
        await client.connections.get("a" * (5 << 20))


async def test_a_page_of_many_lines_arrives_whole(client_of: ClientOf) -> None:
    line = PaymentLine(invoice_number="INV-00001", amount=Money(currency_code="NZD", amount="100.00"))
    export = PaymentExport(payment=PlatformPayment(payment_id="p", lines=[line] * 200))

    async def full(_request: Message, _context: Context) -> ListPaymentExportsResponse:
        return ListPaymentExportsResponse(exports=[export] * 1_000)

    client = await client_of({"PaymentExportService/ListPaymentExports": full})
    page = await client.payment_exports.list("c", page_size=1_000)
    assert len(page.exports) == 1_000


async def test_nobody_listening_is_an_error_of_its_own() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(errors.UnreachableError):
            await client.connections.disconnect("a")


async def test_a_call_that_the_server_does_not_have_is_an_error_of_its_own(client_of: ClientOf) -> None:
    client = await client_of(Three().calls)
    with pytest.raises(errors.NotServedYetError):
        await client.syncs.get("s")


class Asked:
    """Remembers how invoices were asked for."""

    def __init__(self) -> None:
        self.request = ListInvoicesRequest()
        self.calls = {"ReceivablesService/ListInvoices": self.list}

    async def list(self, request: ListInvoicesRequest, _context: Context) -> ListInvoicesResponse:
        self.request = request
        return ListInvoicesResponse()


async def test_an_instant_travels_exactly(client_of: ClientOf) -> None:
    service = Asked()
    client = await client_of(service.calls)
    at = datetime(2026, 11, 22, 12, 31, 29, 123456, UTC)
    await client.receivables.list_invoices("c", updated_after=at, due_before="2026-11-22")
    assert service.request.updated_after.ToDatetime(UTC) == at
    assert service.request.due_before == "2026-11-22"


async def test_an_instant_without_a_time_zone_is_refused(client_of: ClientOf) -> None:
    client = await client_of(Asked().calls)
    with pytest.raises(ValueError, match="time zone"):
        client.receivables.list_invoices("c", updated_after=datetime(2026, 11, 22))  # noqa: DTZ001


@pytest.mark.parametrize("group", GROUPS)
async def test_there_is_a_method_for_every_call(group: str) -> None:
    async with Client("127.0.0.1:1") as client:
        source = inspect.getsource(type(getattr(client, group)))
    (service,) = GROUPS[group].DESCRIPTOR.services_by_name.values()
    missing = [method.name for method in service.methods if f"self._stub.{method.name}" not in source]
    assert missing == []


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="private key"):
        tieout.Tls(cert_file=tmp_path / "cert.pem").credentials()


def test_importing_tieout_imports_nothing_heavy() -> None:
    code = "import tieout, tieout.v1, sys; assert not {'grpc', 'google.protobuf', 'typer', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_tieout_names_is_there() -> None:
    assert all(getattr(tieout, name) for name in tieout.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        tieout.nothing_such  # noqa: B018 - the access is the test
