"""What tests of many subjects start from: a world without a network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes import World, world


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose database is on SQLite, with a feed that runs and an engine that does not."""
    async with world(tmp_path) as made:
        yield made
