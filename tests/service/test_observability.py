"""What operators see of a running server: traces from a call to Xero, figures, and health that knows the database."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from grpc import aio
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from servers import Browser, Service, client_of, server_process, service, settings_of
from tieout import Client
from tieout.v1 import payment_export_service_pb2 as export_pb
from tieout.v1 import sync_service_pb2
from tieout.v1.payment_export_service_pb2_grpc import PaymentExportServiceStub
from tieout.v1.sync_service_pb2_grpc import SyncServiceStub
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox
from tieout_server import traces
from tieout_server.app import serve
from tieout_server.settings import Settings

pytestmark = pytest.mark.timeout(90)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START = "tieout.v1.SyncService/StartSync"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span that has ended."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces.send_to(provider)
    yield kept
    traces.send_to(None)


@pytest.fixture
async def running(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Service]:
    async with service(sandbox, sqlite_url) as made:
        yield made


async def start_sync(running: Service, connection_id: str, *metadata: tuple[str, str]) -> str:
    async with aio.insecure_channel(running.target) as channel:
        syncs: Any = SyncServiceStub(channel)
        answer = await syncs.StartSync(
            sync_service_pb2.StartSyncRequest(connection_id=connection_id), metadata=metadata
        )
    return str(answer.sync.id)


def named(spans: InMemorySpanExporter, pattern: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if re.fullmatch(pattern, span.name)]


def of_the_trace(call: ReadableSpan) -> ReadableSpan:
    """The span of this call, which has to be within the trace of the one who made it."""
    assert call.context is not None
    assert f"{call.context.trace_id:032x}" == TRACE
    return call


async def caused_by(call: ReadableSpan, spans: InMemorySpanExporter, work: str) -> ReadableSpan:
    """The slice of this work that the call has woken; it ends a moment after it has told of its end."""
    assert call.context is not None
    async with asyncio.timeout(30):
        while True:
            for task in named(spans, work):
                if call.context.span_id in {link.context.span_id for link in task.links}:
                    return task
            await asyncio.sleep(0.01)


def within(task: ReadableSpan, spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """What was asked of Xero by this slice."""
    assert task.context is not None
    own = task.context.span_id
    return [span for span in named(spans, "(GET|PUT|POST) .*") if span.parent and span.parent.span_id == own]


async def test_a_trace_leads_from_the_call_to_what_is_asked_of_xero(
    running: Service, spans: InMemorySpanExporter
) -> None:
    connection = await running.connected()
    spans.clear()
    sync_id = await start_sync(running, connection.id, ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))
    async for _ in running.client.syncs.watch(sync_id):
        pass
    [call] = map(of_the_trace, named(spans, START))
    assert (call.kind, dict(call.attributes or {})["tieout.connection_id"]) == (SpanKind.SERVER, connection.id)
    task = await caused_by(call, spans, "work sync")
    assert task.kind == SpanKind.CONSUMER
    asked = within(task, spans)
    assert "GET Invoices" in {span.name for span in asked}
    told = dict(asked[0].attributes or {})
    assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
    assert {"url.template", "tieout.waited_ms", "tieout.wire_bytes", "tieout.purpose"} <= told.keys()


async def test_a_trace_leads_from_a_payment_to_its_record_in_xero(
    running: Service, spans: InMemorySpanExporter, sandbox: Sandbox
) -> None:
    connection, exports = await running.connected(), running.client.payment_exports
    customer = next(it for it in sandbox.books.contacts.values() if it.is_customer)
    invoice = sandbox.books.create_invoice(customer.id, Decimal("10.50"))
    accounts = [it async for it in exports.list_accounts(connection.id, currency_code=invoice.currency)]
    await exports.update_settings(connection.id, {invoice.currency: accounts[0].xero_account_id})
    spans.clear()
    amount = Money(currency_code=invoice.currency, amount="10.50")
    payment = export_pb.PlatformPayment(
        payment_id="pay-1",
        paid_on=sandbox.organisations[0].books.today().isoformat(),
        amount=amount,
        lines=[export_pb.PaymentLine(xero_invoice_id=invoice.id, amount=amount)],
    )
    async with aio.insecure_channel(running.target) as channel:
        calls: Any = PaymentExportServiceStub(channel)
        asked = export_pb.ExportPaymentRequest(connection_id=connection.id, payment=payment)
        await calls.ExportPayment(asked, metadata=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),))
    [call] = map(of_the_trace, named(spans, "tieout.v1.PaymentExportService/ExportPayment"))
    task = await caused_by(call, spans, "work export")
    assert task.kind == SpanKind.CONSUMER
    [written] = [span for span in within(task, spans) if span.name.startswith("PUT")]
    told = dict(written.attributes or {})
    assert (written.name, told["http.response.status_code"]) == ("PUT Payments", 200)
    assert told["tieout.purpose"] == "payment_export"
    assert invoice.amount_due == 0


async def test_a_watch_has_no_span_because_it_may_last_for_days(running: Service, spans: InMemorySpanExporter) -> None:
    await running.connected()
    assert not named(spans, ".*/Watch.*")
    assert named(spans, ".*/Connect")


async def test_spans_hold_no_ids_of_documents_and_nothing_of_persons(
    running: Service, spans: InMemorySpanExporter, sandbox: Sandbox
) -> None:
    await running.connected()
    told = json.dumps([[span.name, dict(span.attributes or {})] for span in spans.get_finished_spans()])
    books = sandbox.books
    for secret in (*books.contacts, *(contact.name for contact in books.contacts.values()), "acme", "@", "http:"):
        assert secret not in told


async def figures(port: int) -> dict[str, float]:
    """What is told at /metrics, by name and labels."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    return {name: float(number) for name, _, number in (li.rpartition(" ") for li in lines if not li.startswith("#"))}


async def test_figures_tell_of_a_first_sync(sandbox: Sandbox, database_url: str) -> None:
    asked = Settings(**settings_of(sandbox.url, database_url) | {"metrics_listen": "127.0.0.1:0"})
    target = "127.0.0.1:{}"
    async with serve(asked) as app, aiohttp.ClientSession() as http, Client(target.format(app.port)) as client:
        await Service(client, Browser(sandbox.url, http)).connected()
        told = await figures(app.metrics_port)
        for path, body in (("livez", "alive"), ("readyz", "ready")):
            async with http.get(f"http://{target.format(app.metrics_port)}/{path}") as answer:
                assert (answer.status, (await answer.text()).strip()) == (200, body)
    assert told['tieout_connections{health="OK",reason="",state="CONNECTED"}'] == 1
    assert told['tieout_sync_overdue{entity="invoices"}'] == 0
    assert 0 <= told['tieout_sync_oldest_seconds{entity="invoices"}'] < 60
    assert told['tieout_xero_calls_total{purpose="first_sync",result="ok"}'] > 0
    assert told['tieout_xero_bytes_total{measure="body"}'] >= told['tieout_xero_bytes_total{measure="wire"}'] > 0
    assert told["tieout_xero_left_today_count"] > 0
    assert told['tieout_work_total{kind="sync",outcome="done"}'] > 0
    assert (told["tieout_database_up"], told["tieout_replicas"], told["tieout_tokens_lapsing"]) == (1, 1, 0)
    assert told["tieout_organisations_at_home"] == 1
    assert told["process_resident_memory_bytes"] > 0


@pytest.mark.parametrize("is_asked_for", [True, False])
async def test_channelz_is_told_where_it_is_asked_for(sandbox: Sandbox, sqlite_url: str, *, is_asked_for: bool) -> None:
    async with (
        service(sandbox, sqlite_url, channelz=is_asked_for) as running,
        aio.insecure_channel(running.target) as channel,
    ):
        stub: Any = channelz_pb2_grpc.ChannelzStub(channel)  # type: ignore[arg-type] # its stubs know no asyncio
        asked = stub.GetServers(channelz_pb2.GetServersRequest())
        if is_asked_for:
            assert (await asked).server
        else:
            with pytest.raises(aio.AioRpcError, match="UNIMPLEMENTED"):
                await asked


class _Collector:
    """Where spans are sent to, as an OpenTelemetry collector takes them."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.services: set[str] = set()

    async def take(self, request: ExportTraceServiceRequest, _context: object) -> ExportTraceServiceResponse:
        for sent in request.resource_spans:
            told = {attribute.key: attribute.value.string_value for attribute in sent.resource.attributes}
            self.services.add(told["service.name"])
            self.names |= {span.name for scope in sent.scope_spans for span in scope.spans}
        return ExportTraceServiceResponse()


async def test_a_server_sends_its_traces_where_the_standard_variables_say(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    collector, endpoint = _Collector(), aio.server()
    serve_traces: Any = add_TraceServiceServicer_to_server
    serve_traces(SimpleNamespace(Export=collector.take), endpoint)
    port = endpoint.add_insecure_port("127.0.0.1:0")
    await endpoint.start()
    sent_to = f"http://127.0.0.1:{port}"
    try:
        async with (
            server_process(
                sandbox.url, sqlite_url, tmp_path, TIEOUT_TRACES="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=sent_to
            ) as process,
            client_of(process) as running,
        ):
            await running.connected()
            await process.stop()  # what is not sent yet is sent at the end
    finally:
        await endpoint.stop(None)
    assert collector.services == {"tieout"}
    assert {"tieout.v1.ConnectionService/Connect", "work sync", "GET Invoices", "POST connect/token"} <= collector.names
