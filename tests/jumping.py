"""A server and a sandbox whose clocks are jumped ahead together: a day of theirs passes in seconds of ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import func, select

from servers import Service, is_busy, service
from tieout_sandbox import Sandbox
from tieout_server import app, clock
from tieout_server.clock import from_micros
from tieout_server.storage import tables
from tieout_server.storage.database import Database
from tieout_server.work.engine import Engine


class JumpingClock(clock.SystemClock):
    """A clock of some speed, ahead of that by what was jumped."""

    def __init__(self, speed: float = 1.0) -> None:
        super().__init__(speed)
        self.ahead = timedelta()

    ahead: timedelta
    """What was jumped so far."""

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        return super().now() + self.ahead

    def monotonic(self) -> float:
        """Seconds that jump with it."""
        return super().monotonic() + self.ahead.total_seconds()


class SharedClock(JumpingClock):
    """One that processes of ours share (`guarantees/jumping_server.py`): how far it is ahead stands in a file."""

    def __init__(self, speed: float, file: Path) -> None:
        self._file = file
        super().__init__(speed)

    @property
    def ahead(self) -> timedelta:
        """What was jumped so far."""
        return timedelta(seconds=float(self._file.read_text(encoding="ascii")))

    @ahead.setter
    def ahead(self, ahead: timedelta) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(str(ahead.total_seconds()), encoding="ascii")
        written.replace(self._file)  # nobody ever reads half of it

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to share it."""
        return {
            "TIEOUT_TEST_SPEED": str(self._speed),
            "TIEOUT_TEST_ORIGIN": self._started_at.isoformat(),
            "TIEOUT_TEST_AHEAD": str(self._file),
        }


@dataclass
class Days:
    """The time of a running server and its sandbox."""

    sandbox: Sandbox
    running: Service
    database_url: str
    database: Database
    clock: JumpingClock
    engine: Engine | None = None
    """Unless our server is a process of its own."""
    patience: float = 60.0
    """Real seconds within which everything that is due is done."""
    look_every: float = 0.005
    """Real seconds between looks whether it is; how often decides nothing."""

    async def quiet(self) -> None:
        """Wait until nothing is due and nothing is being done."""
        async with asyncio.timeout(self.patience):
            while await is_busy(self.database, self.clock.now()):  # noqa: ASYNC110 - what the database says sets no event
                await asyncio.sleep(self.look_every)

    async def passing(self, duration: timedelta, *, step: timedelta | None = None) -> None:
        """Let time pass: from one thing that is due to the next, or in steps; whatever is due is done."""
        end_at = self.clock.now() + duration
        while self.clock.now() < end_at:
            await self.quiet()
            due_at = self.clock.now() + step if step else await self._next_due_at()
            self.jump_to(min(due_at or end_at, end_at))
        await self.quiet()

    def jump_to(self, at: datetime) -> None:
        """Be at this instant, whatever is being done."""
        ahead = max(at - self.clock.now(), timedelta())
        self.sandbox.clock.advance(ahead)
        self.clock.ahead += ahead
        if self.engine is not None:
            self.engine._due.set()

    async def _next_due_at(self) -> datetime | None:
        async with self.database.read() as tx:
            micros = (await tx.execute(select(func.min(tables.work.c.due_at)))).scalar_one()
        return None if micros is None else from_micros(micros)


@contextlib.asynccontextmanager
async def days(
    sandbox: Sandbox, database_url: str, jumping: JumpingClock | None = None, **settings: object
) -> AsyncIterator[Days]:
    """Our server beside this sandbox, with clocks that can be jumped; a server that follows goes on with its clock."""
    jumping, database, engines = jumping or JumpingClock(), Database(database_url), list[Engine]()

    def engine(*means: Any) -> Engine:  # noqa: ANN401 - what the engine is made of
        engines.append(Engine(*means))
        return engines[-1]

    with patch.object(app, "Engine", engine), patch.object(app, "SystemClock", lambda _speed: jumping):
        async with service(sandbox, database_url, **settings) as running:
            try:
                yield Days(sandbox, running, database_url, database, jumping, engines[0])
            finally:
                await database.close()
