"""Where the demo plays: its folder, the settings of its programs, and how those are started, run and waited for."""

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN = 60.0
"""Seconds that a process may take to say that it listens."""
INTERRUPT_WITHIN = 1.0
"""Seconds within which Ctrl-C has reached this process, too, when another one ended by it."""
LOOK_EVERY = "PT10S"
"""How often the connection is looked at: who was removed in the sandbox is missed within seconds, not within a day."""
WEBHOOK_KEY = "the-webhook-key-of-the-demo"


@dataclass(frozen=True)
class Stage:
    """Where one demo plays: the folder of its database and logs, and what its programs find in their environment."""

    folder: Path
    environment: Mapping[str, str]

    def at(self, **environment: str) -> "Stage":
        """The same with these settings."""
        return Stage(self.folder, {**self.environment, **environment})

    def log_of(self, name: str) -> Path:
        """What this process writes to standard error."""
        return self.folder / f"{name}.log"

    async def run(self, *command: str, quiet: bool = False, statuses: Collection[int] = (0,)) -> str:
        """Print a command and run it; quiet ones answer with what they printed.

        Raises:
            SystemExit: the command ended with another status than these.
        """
        say("$ " + shlex.join(command))
        process = await asyncio.create_subprocess_exec(
            path_of(command[0]), *command[1:], env=self.environment, stdout=PIPE if quiet else None
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode not in statuses:
            sys.exit(f"demo: {command[0]} ended with {process.returncode}; see {self.folder}/*.log")
        return out.decode() if out else ""

    @contextlib.asynccontextmanager
    async def started(self, name: str, command: tuple[str, ...], **environment: str) -> AsyncIterator[Process]:
        """A process that runs beside the block, its output in a file, begun once it has said that it listens."""
        say("$ " + shlex.join(command))
        with self.log_of(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                path_of(command[0]), *command[1:], env={**self.environment, **environment}, stdout=PIPE, stderr=log
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(STARTS_WITHIN):
                    line = await process.stdout.readline()
                if not line:
                    sys.exit(f"demo: the {name} did not start:\n{self.log_of(name).read_text()}")
                say(f"  {line.decode().split('  ')[0].strip()}")
                yield process
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()

    async def until_interrupted(self, running: Mapping[str, Process]) -> None:
        """Wait for Ctrl-C.

        Raises:
            SystemExit: one of these processes ended by itself.
        """
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        stopped = asyncio.create_task(stop.wait())
        ended = [asyncio.create_task(process.wait()) for process in running.values()]
        await asyncio.wait((stopped, *ended), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((stopped,), timeout=INTERRUPT_WITHIN)  # Ctrl-C ends the others as well, perhaps before us
        for task in (stopped, *ended):
            task.cancel()
        if not stop.is_set():
            name = next(name for name, process in running.items() if process.returncode is not None)
            sys.exit(f"demo: the {name} has ended; see {self.log_of(name)}")


def environment(folder: Path, sandbox: str, grpc_port: int, web_port: int) -> dict[str, str]:
    """What points the server at the sandbox, and the CLI at the server; settings that this shell has stay out of it."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")},
        **dict.fromkeys(("TIEOUT_XERO_LOGIN_URL", "TIEOUT_XERO_IDENTITY_URL", "TIEOUT_XERO_API_URL"), sandbox),
        "TIEOUT_XERO_CLIENT_ID": "tieout-sandbox-app",
        "TIEOUT_XERO_CLIENT_SECRET": "sandbox-secret",
        "TIEOUT_XERO_WEBHOOK_KEY": WEBHOOK_KEY,
        "TIEOUT_DATABASE_URL": f"sqlite:///{folder / 'tieout.db'}",
        "TIEOUT_LISTEN": f"127.0.0.1:{grpc_port}",
        "TIEOUT_WEB_LISTEN": f"127.0.0.1:{web_port}",
        "TIEOUT_WEB_URL": f"http://localhost:{web_port}",
        "TIEOUT_TARGET": f"127.0.0.1:{grpc_port}",
        "TIEOUT_LOOK_EVERY": LOOK_EVERY,
    }


def path_of(command: str) -> str:
    """The command beside this Python, whatever PATH says."""
    return str(Path(sys.executable).parent / command)


def free(port: int) -> int:
    """This port, or another one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(line: str) -> None:
    """Print a line at once, whoever reads it."""
    print(line, flush=True)  # noqa: T201 - it is a command
