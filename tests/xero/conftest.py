"""A sandbox that really listens, and somebody who has connected to it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from sandbox_caller import Caller
from sandbox_writer import WRITING_SCOPES, Writer
from tieout_sandbox import Quota, Sandbox, SandboxSettings, serve


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Small books whose clock stands still: time passes only when a test says so."""
    starts_at = datetime(2026, 11, 22, 9, 30, 15, 250_000, UTC)
    async with serve(SandboxSettings(contacts=20, invoices=100, speed=0, starts_at=starts_at)) as running:
        running.limits.quota = Quota(minute=1_000)
        yield running


@pytest.fixture
async def caller(sandbox: Sandbox) -> AsyncIterator[Caller]:
    """An app that has been given access to the first organisation."""
    async with aiohttp.ClientSession() as http:
        made = Caller(sandbox, http)
        await made.connect()
        yield made


@pytest.fixture
async def writer(sandbox: Sandbox) -> AsyncIterator[Writer]:
    """An app that may write to the first organisation, in the name of an adviser."""
    async with aiohttp.ClientSession() as http:
        made = Caller(sandbox, http)
        await made.connect(scope=WRITING_SCOPES)
        yield Writer(made)
