"""A client that nobody here wrote, after it has gone through all its flows against a sandbox."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from third_party import Client, Facts, Ran, drive
from tieout_sandbox import SandboxSettings

STARTS_AT = datetime(2026, 11, 22, 9, 30, 15, 250_000, UTC)


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What became of the client that the module is named after; it starts with small books and a clock at rest."""
    client = Client(request.module.__name__.rpartition(".")[2].removeprefix("test_"))
    client.prepare()
    settings = SandboxSettings(contacts=130, invoices=260, speed=0, starts_at=STARTS_AT)
    return asyncio.run(drive(client, settings, tmp_path_factory.mktemp(client.name)))


@pytest.fixture
def facts(ran: Ran, record_property: Callable[[str, object], None]) -> Facts:
    """What the client saw in a flow; the flow's name goes to the report, for the table of clients and flows."""

    def of(flow: str) -> Any:  # noqa: ANN401 JSON, of the client's own making
        record_property("flow", flow)
        record_property("calls", ran.sandbox.requests.count())
        return ran.facts(flow)

    return of
