"""The Python in `client/README.md` and in the guides runs, and says what is true."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from tieout import Client, errors
from tieout.cli.app import app
from tieout.v1.connection_service_pb2 import (
    Connection,
    ConnectionChange,
    ConnectionState,
    ListConnectionsRequest,
    ListConnectionsResponse,
    WatchConnectionsRequest,
    WatchConnectionsResponse,
)
from tieout.v1.payment_export_service_pb2 import ExportPaymentRequest, ExportPaymentResponse, PaymentExport
from tieout.v1.receivables_service_pb2 import Customer, ListCustomersRequest, ListCustomersResponse
from tieout.v1.sync_service_pb2 import StartSyncRequest, StartSyncResponse, Sync
from tieout.v1.types_pb2 import Heartbeat, Money

PAGES = Path(__file__).resolve().parents[3] / "client"
README = (PAGES / "README.md").read_text()
PAYMENTS = (PAGES / "guides" / "payments.md").read_text()
Serve = Callable[[Mapping[str, Callable[..., object]]], str]


def snippet(name: str, page: str = README) -> Any:  # noqa: ANN401 - whatever the page defines
    """The function of this name, from the snippet of the page that defines it."""
    (source,) = [it for it in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"def {name}(" in it]
    namespace: dict[str, Any] = {}
    exec(compile(source, "a page", "exec"), namespace)  # noqa: S102 - our own text
    return namespace[name]


@pytest.mark.parametrize("name", re.findall(r"def (test_\w+)\(", README))
async def test_the_tests_in_the_readme_pass(name: str) -> None:
    test = snippet(name)
    done = test()
    if inspect.isawaitable(done):
        await done


async def list_connections(request: ListConnectionsRequest, _context: object) -> ListConnectionsResponse:
    connected, pending = (
        ConnectionState.CONNECTION_STATE_CONNECTED,
        ConnectionState.CONNECTION_STATE_PENDING_AUTHORISATION,
    )
    both = [Connection(id="c1", state=pending), Connection(id="c2", state=connected)]
    return ListConnectionsResponse(connections=[it for it in both if it.state in (request.states or [it.state])])


async def list_customers(_request: ListCustomersRequest, _context: object) -> ListCustomersResponse:
    owes = Money(currency_code="NZD", amount="230.50")
    return ListCustomersResponse(customers=[Customer(name="Beans", outstanding=[owes])])


async def test_the_first_snippet_reads_balances(client_of: Callable[..., Awaitable[Client]]) -> None:
    calls = {"ConnectionService/ListConnections": list_connections, "ReceivablesService/ListCustomers": list_customers}
    client = await client_of(calls)
    assert await snippet("balances")(client.target, "acme") == {"Beans": ["230.50 NZD"]}


async def start_sync(_request: StartSyncRequest, _context: object) -> StartSyncResponse:
    return StartSyncResponse(sync=Sync(id="s1"))


async def test_the_snippet_about_errors_starts_a_sync(client_of: Callable[..., Awaitable[Client]]) -> None:
    client = await client_of({"SyncService/StartSync": start_sync})
    assert await snippet("start")(client, "c1", "r1") == "s1"


async def test_the_snippet_about_errors_says_what_comes_next(client_of: Callable[..., Awaitable[Client]]) -> None:
    client = await client_of({})
    assert "Method not found" in await snippet("start")(client, "c1", "r1")


async def test_the_snippet_about_errors_says_when_to_come_back(client_of: Callable[..., Awaitable[Client]]) -> None:
    async def away(_request: StartSyncRequest, context: Any) -> None:  # noqa: ANN401 - a stranger's
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Nobody is here.")

    client = await client_of({"SyncService/StartSync": away})
    assert await snippet("start")(client, "c1", "r1") == "again in 1 s"


async def test_the_snippet_of_the_guide_hands_over_a_payment(client_of: Callable[..., Awaitable[Client]]) -> None:
    async def export(request: ExportPaymentRequest, _context: object) -> ExportPaymentResponse:
        return ExportPaymentResponse(export=PaymentExport(id="e1", payment=request.payment))

    client = await client_of({"PaymentExportService/ExportPayment": export})
    paid = Money(currency_code="NZD", amount="230.50")
    accepted = await snippet("collected", PAYMENTS)(client, "c1", "pay-1", "INV-1", paid, date(2026, 11, 22))
    assert (accepted.id, accepted.payment.payment_id, accepted.payment.amount) == ("e1", "pay-1", paid)
    assert accepted.payment.paid_on == "2026-11-22"
    assert [(it.invoice_number, it.amount) for it in accepted.payment.lines] == [("INV-1", paid)]


@pytest.mark.parametrize("call", sorted(set(re.findall(r"`([a-z_]+\.[a-z_]+)\(", README + PAYMENTS))))
async def test_every_call_that_is_named_is_there(call: str) -> None:
    async with Client("127.0.0.1:1") as client:
        assert callable(attrgetter(call)(client))


async def watch(_request: WatchConnectionsRequest, context: Any) -> AsyncIterator[WatchConnectionsResponse]:  # noqa: ANN401
    yield WatchConnectionsResponse(snapshot=Connection(id="c1"))
    yield WatchConnectionsResponse(resume_token="2", heartbeat=Heartbeat())
    yield WatchConnectionsResponse(resume_token="3", change=ConnectionChange(connection=Connection(id="c2")))
    await context.abort(grpc.StatusCode.NOT_FOUND, "That is all.")


async def test_the_snippet_about_watches_hands_over_what_happened(client_of: Callable[..., Awaitable[Client]]) -> None:
    told: list[str] = []

    async def deal_with(connection: Connection) -> None:
        told.append(connection.id)

    async def store(token: str) -> None:
        told.append(token)

    client = await client_of({"ConnectionService/WatchConnections": watch})
    with pytest.raises(errors.NotFoundError, match="That is all"):
        await snippet("follow")(client, "", deal_with, store)
    assert told == ["c1", "2", "c2", "3"]


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^tieout ((?:explain |payments |watch )?[a-z-]+)", README, re.MULTILINE)))
)
def test_every_command_of_the_readme_is_there_with_its_options(command: str) -> None:
    (line, *_) = re.findall(rf"^tieout {command}(?![\w-]).*", README, re.MULTILINE)
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    missing = [option for option in re.findall(r"--[a-z-]+", line.split("  ")[0]) if option not in done.stdout]
    assert missing == []


def commands(group: TyperGroup) -> Iterator[str]:
    """What can be called, by all its words."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from (f"{name} {within}" for within in commands(command))
        else:
            yield name


def test_every_command_is_in_the_readme() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert [name for name in commands(group) if not re.search(rf"\btieout {name}(?![\w-])", README)] == []


@pytest.mark.parametrize("option", re.findall(r"^\| `(--[^|]+)", README, re.MULTILINE))
def test_every_option_of_the_readme_is_there_with_its_variable(option: str) -> None:
    (row,) = [it for it in README.splitlines() if it.startswith(f"| `{option}")]
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    named = re.findall(r"`(--[a-z-]+|TIEOUT_[A-Z_]+)`", row)
    assert [it for it in named if it not in shown] == []
