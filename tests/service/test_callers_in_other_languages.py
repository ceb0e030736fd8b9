"""The code in `client/typescript` and `client/go` is built with stubs made on the spot, and does what is said of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import other_languages
from servers import Service, client_of, server_process, service
from tieout.v1.receivables_service_pb2 import CHANGE_KIND_REMOVED
from tieout_sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TOKEN = "a-secret-token-for-callers"
BUILD = {"typescript": other_languages.typescript, "go": other_languages.go}


@pytest.fixture(scope="module", params=BUILD)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return BUILD[request.param](tmp_path_factory.mktemp(request.param))


@contextlib.asynccontextmanager
async def running(program: list[str], *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """What the program prints; it is ended afterwards if it has not."""
    process = await asyncio.create_subprocess_exec(*program, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def all_told(program: list[str], *arguments: str) -> list[dict[str, Any]]:
    async with running(program, *arguments) as lines:
        return [json.loads(line) async for line in lines]


async def until(lines: asyncio.StreamReader, **sought: object) -> list[dict[str, Any]]:
    """What is told up to what is sought."""
    told: list[dict[str, Any]] = []
    async for line in lines:
        told.append(json.loads(line))
        if told[-1] == sought:
            return told
    raise AssertionError(f"{sought} was not told: {told[-3:]}")


@pytest.fixture
async def connected(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[tuple[Service, str]]:
    async with service(sandbox, sqlite_url, token=TOKEN) as made:
        yield made, (await made.connected()).id


async def test_customers_are_listed_to_the_last_page(program: list[str], connected: tuple[Service, str]) -> None:
    made, connection_id = connected
    told = await all_told(program, "customers", made.target, connection_id, TOKEN)
    assert told == [
        {"name": it.name, "outstanding": [f"{owed.currency_code} {owed.amount}" for owed in it.outstanding]}
        async for it in made.client.receivables.list_customers(connection_id)
    ]
    assert any(it["outstanding"] for it in told)


async def test_refusals_are_read_from_their_details(program: list[str], connected: tuple[Service, str]) -> None:
    made, connection_id = connected
    assert await all_told(program, "refusals", made.target, connection_id, TOKEN) == [
        {"reason": "INVALID_REQUEST", "fields": ["connection_id"], "kind": "", "passes": False},
        {"reason": "NOT_FOUND", "fields": [], "kind": "connection", "passes": False},
        {"reason": "INVALID_REQUEST", "fields": ["page_token"], "kind": "", "passes": False},
    ]
    strangers = await all_told(program, "refusals", made.target, connection_id, "wrong")
    assert {it["reason"] for it in strangers} == {"CALLER_UNAUTHENTICATED"}


async def test_a_watch_goes_on_over_a_kill_of_the_server(
    program: list[str], sandbox: Sandbox, sqlite_url: str, tmp_path: Path
) -> None:
    async with server_process(sandbox.url, sqlite_url, tmp_path) as server, client_of(server) as ours:
        connection_id = (await ours.connected()).id
        invoice = sandbox.books.create_invoice(next(iter(sandbox.books.contacts)), Decimal("12.00"))
        await ours.sync(connection_id)
        async with running(program, "watch", ours.target, connection_id) as lines:
            snapshot = await until(lines, told="heartbeat")
            assert {it["told"] for it in snapshot} == {"snapshot", "heartbeat"}
            await server.replace()
            sandbox.books.void(invoice.id)
            await ours.sync(connection_id)
            later = await until(lines, told="change", id=invoice.id, kind=CHANGE_KIND_REMOVED)
            assert {it["told"] for it in later} <= {"change", "heartbeat"}, "a watch that is resumed tells no snapshot"
