"""Clients of Xero that nobody here wrote, each in an environment of its own, driven against a sandbox.

A client has a folder in `xero/clients/`: its pinned packages, and a script that goes through what the client can do
and prints what it saw. Environments are made on first use, under `.clients/`.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from tieout_sandbox import Sandbox, SandboxSettings, serve
from tieout_sandbox.books.truth import compact_truth
from xero_hosts import xero_hosts

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "xero" / "clients"
ENVIRONMENTS = ROOT / ".clients"
_PATIENCE_SECONDS = 60.0

Truth = dict[str, dict[str, dict[str, Any]]]
Facts = Callable[[str], Any]
"""Gives what a client saw in a flow; see `Ran.facts`."""
LISTED = {
    "contacts": ("status",),
    "invoices": ("status", "total", "amount_due"),
    "credit_notes": ("status", "total", "remaining_credit"),
    "overpayments": ("status", "total", "remaining_credit"),
    "prepayments": ("status", "total", "remaining_credit"),
    "payments": ("status", "amount"),
    "batch_payments": ("status",),
    "bank_transactions": ("status",),
}
"""What is compared of each document beside its instant."""


@dataclass(frozen=True)
class Client:
    """A client, by the name of its folder."""

    name: str
    home: Path = FOLDER
    """Where its folder is."""

    @property
    def folder(self) -> Path:
        """What is pinned and how it is driven; checked in."""
        return self.home / self.name

    @property
    def environment(self) -> Path:
        """Where its packages are; made on first use."""
        return ENVIRONMENTS / self.name

    @property
    def command(self) -> list[str]:
        """Runs the script that drives it."""
        if self._is_node:
            return ["node", str(self.folder / "drive.cjs")]
        return [str(self.environment / "bin" / "python"), "-W", "ignore", str(self.folder / "drive.py")]

    @property
    def _is_node(self) -> bool:
        return (self.folder / "package.json").exists()

    def prepare(self) -> None:
        """Make the environment unless it is there, or skip the test and say why; on CI that fails instead.

        Without npm nothing can be said about a client for Node.js: that skips everywhere.
        """
        if self._is_node and not (shutil.which("npm") and shutil.which("node")):
            pytest.skip("npm is not installed")
        locked = self.folder / ("package-lock.json" if self._is_node else "requirements.lock")
        made = hashlib.sha256(locked.read_bytes() + sys.version.encode()).hexdigest()
        ready = self.environment / ".ready"
        if ready.exists() and ready.read_text() == made:
            return
        shutil.rmtree(self.environment, ignore_errors=True)
        self.environment.mkdir(parents=True)
        install = self._install_node if self._is_node else self._install_python
        try:
            install()
        except subprocess.CalledProcessError as error:
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up(f"the packages of {self.name} could not be had: {error.stderr[-600:]}")
        ready.write_text(made)

    def _install_python(self) -> None:
        uv = str(Path(sysconfig.get_path("scripts"), "uv"))
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(self.environment))
        python = str(self.environment / "bin" / "python")
        locked = str(self.folder / "requirements.lock")
        _run(
            uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "--require-hashes", "-r", locked
        )

    def _install_node(self) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(self.folder / name, self.environment)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--omit-lockfile-registry-resolved")
        _run("npm", "ci", *quiet, cwd=self.environment)


@dataclass
class Ran:
    """What a client did: what it saw flow by flow, and the sandbox as it stands after it."""

    sandbox: Sandbox
    before: Truth
    """The first organisation's books when the client began."""
    flows: dict[str, dict[str, Any]]

    def facts(self, flow: str) -> Any:  # noqa: ANN401 JSON, of the client's own making
        """What the client saw in a flow.

        Raises:
            AssertionError: the flow ended in an error, which it tells.
        """
        seen = self.flows[flow]
        assert "error" not in seen, seen["error"]
        return seen["facts"]

    @property
    def after(self) -> Truth:
        """The first organisation's books now."""
        return compact_truth(self.sandbox.books)


def differences(seen: dict[str, list[Any]], truth: Truth, collection: str) -> list[str]:
    """What a client saw otherwise than the books say; nothing when it saw every document as it is.

    Args:
        seen: by id, the instant and then what `LISTED` names.
        truth: the books at that time.
        collection: which of them.
    """
    documents = truth[collection]
    found = [f"{key} is missing" for key in documents.keys() - seen.keys()]
    found += [f"{key} is too much" for key in seen.keys() - documents.keys()]
    for key in documents.keys() & seen.keys():
        theirs, (instant, *ours) = documents[key], seen[key]
        if datetime.fromisoformat(instant) != datetime.fromisoformat(theirs["updated"]):
            found.append(f"{key}: {instant} is {theirs['updated']}")
        found += [
            f"{key}: {name} {mine} is {theirs[name]}"
            for name, mine in zip(LISTED[collection], ours, strict=True)
            if _plain(mine) != _plain(theirs[name])
        ]
    return found


def _plain(value: object) -> object:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return str(value)


async def drive(client: Client, settings: SandboxSettings, folder: Path) -> Ran:
    """Let a client go through all its flows.

    Raises:
        AssertionError: its script ended in an error of its own, or did not end.
    """
    async with serve(settings) as sandbox, xero_hosts(int(sandbox.url.rpartition(":")[2]), folder) as hosts:
        before = compact_truth(sandbox.books)
        given = {
            **hosts,
            "SANDBOX_URL": sandbox.url,
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parent),
            "NODE_PATH": str(client.environment / "node_modules"),
        }
        process = await asyncio.create_subprocess_exec(
            *client.command, env=given, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert process.returncode == 0, err.decode()[-4_000:]
        return Ran(sandbox, before, json.loads(out.splitlines()[-1]))


def _run(*command: str, cwd: Path | None = None) -> None:
    quiet = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run(command, cwd=cwd, env=quiet, check=True, capture_output=True, text=True)
