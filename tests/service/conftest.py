"""A sandbox that really listens, for the services."""

from collections.abc import AsyncIterator

import pytest

from servers import SMALL
from tieout_sandbox import Sandbox, serve


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with small books, with Xero's own limits."""
    async with serve(SMALL) as running:
        yield running
