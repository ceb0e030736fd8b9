"""Running servers for the end-to-end rings: ours in this process or in one of its own, with a sandbox behind it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
from sqlalchemy import Table, delete, func, or_, select

import tieout
from tieout.syncs import ENDED
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED, Connection
from tieout.v1.sync_service_pb2 import SYNC_STATE_SUCCEEDED, SyncProgress
from tieout_sandbox import InvoiceType, Sandbox, SandboxSettings
from tieout_sandbox.books.documents import Contact, ContactStatus, Phone
from tieout_sandbox.books.ledger import Ledger
from tieout_sandbox.limits import Quota
from tieout_server.app import serve
from tieout_server.clock import to_micros
from tieout_server.ledger.money import to_units
from tieout_server.settings import Settings
from tieout_server.storage import replica_tables, tables
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.rows import ContactDetails
from tieout_server.syncs import plan

SMALL = SandboxSettings(contacts=40, invoices=300)
CLIENT_ID, CLIENT_SECRET = "tieout-sandbox-app", "sandbox-secret"
VAULT_KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
"""32 bytes in base64."""
ROOMY = Quota(minute=1_000_000)
"""For tests in which the limits are not the point: the sandbox then refuses nothing, whatever came before."""


def settings_of(sandbox_url: str, database_url: str) -> dict[str, Any]:
    """Our server's settings beside this sandbox, on free ports."""
    hosts = dict.fromkeys(("xero_login_url", "xero_identity_url", "xero_api_url"), sandbox_url)
    addresses = dict.fromkeys(("listen", "web_listen"), "127.0.0.1:0")
    return {
        **hosts,
        **addresses,
        "database_url": database_url,
        "xero_client_id": CLIENT_ID,
        "xero_client_secret": CLIENT_SECRET,
        "vault_keys": f"test:{VAULT_KEY}",
    }


@dataclass
class Browser:
    """A merchant's browser at the sandbox's consent page."""

    sandbox_url: str
    http: aiohttp.ClientSession

    async def consent(self, authorization_url: str, **choices: object) -> str:
        """Consent (or not: `decision="deny"`); answers the address to which Xero sends the browser back."""
        asked = {"authorization_url": authorization_url, **choices}
        async with self.http.post(f"{self.sandbox_url}/sandbox/consent", json=asked) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return str(body["redirect_to"])

    async def returned(self, authorization_url: str, **choices: object) -> dict[str, str]:
        """What Xero appends to the redirect address after this consent."""
        back = parse_qs(urlsplit(await self.consent(authorization_url, **choices)).query)
        return {name: back[name][0] for name in ("state", "code", "error") if name in back}


@dataclass
class Service:
    """A client of our server, and the merchant who consents."""

    client: tieout.Client
    browser: Browser
    target: str = ""
    web_port: int = 0

    async def connect(self, merchant_id: str = "acme", **choices: object) -> Connection:
        """A connection after its consent."""
        started = await self.client.connections.connect(merchant_id)
        back = await self.browser.returned(started.authorization_url, **choices)
        return (await self.client.connections.complete_authorization(**back)).connection

    async def reconnect(self, connection_id: str, **choices: object) -> Connection:
        """The connection after another consent."""
        started = await self.client.connections.reconnect(connection_id)
        back = await self.browser.returned(started.authorization_url, **choices)
        return (await self.client.connections.complete_authorization(**back)).connection

    async def first_sync(self, connection_id: str) -> list[SyncProgress]:
        """Everything told of the connection's newest sync until it has ended."""
        told = []
        async with contextlib.aclosing(self.client.syncs.watch_connection(connection_id)) as messages:
            async for message in messages:
                if message.HasField("progress"):
                    told.append(message.progress)
                    if message.progress.sync.state in ENDED:
                        break
        return told

    async def sync(self, connection_id: str, **asked: Any) -> list[SyncProgress]:  # noqa: ANN401 - what StartSync takes
        """Everything told of a sync that is started now (or joined) until it has ended."""
        answer = await self.client.syncs.start(connection_id, **asked)
        return [m.progress async for m in self.client.syncs.watch(answer.sync.id) if m.HasField("progress")]

    async def connected(self, merchant_id: str = "acme", **choices: object) -> Connection:
        """A connection whose first sync has succeeded."""
        connection = await self.connect(merchant_id, **choices)
        assert connection.state == CONNECTION_STATE_CONNECTED, connection
        last = (await self.first_sync(connection.id))[-1]
        assert last.sync.state == SYNC_STATE_SUCCEEDED, last
        return await self.client.connections.get(connection.id)


@contextlib.asynccontextmanager
async def service(sandbox: Sandbox, database_url: str, **settings: object) -> AsyncIterator[Service]:
    """Our server in this process, as it is put together for operators, with a client of it."""
    asked = Settings(**(settings_of(sandbox.url, database_url) | settings))
    async with serve(asked) as app, aiohttp.ClientSession() as http:
        target = f"127.0.0.1:{app.port}"
        async with tieout.Client(target, token=asked.token.get_secret_value()) as client:
            yield Service(client, Browser(sandbox.url, http), target, app.web_port)


@contextlib.contextmanager
def small_pages(size: int) -> Iterator[None]:
    """Make syncs in this process read pages of so few rows that small books have many."""
    before = plan.PAGE_SIZE, plan.SEAMS
    plan.PAGE_SIZE, plan.SEAMS = size, (size,) * 4
    try:
        yield
    finally:
        plan.PAGE_SIZE, plan.SEAMS = before


@dataclass
class ServerProcess:
    """Our server as a process that can be killed and started again, always on the same ports."""

    sandbox_url: str
    database_url: str
    folder: Path
    command: tuple[str, ...] = ("-m", "tieout_server")
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    web_port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """What all its processes wrote to standard error."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start it, and return when it listens."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *self.command, "serve", env=self._environment(), stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        words = (await self.process.stdout.readline()).decode().replace(".", "").split()
        ports = [int(word) for word in words if word.isdigit()]
        assert len(ports) == 2, self.log.read_text()
        self.port, self.web_port = ports

    async def kill(self) -> None:
        """Kill it with -9: nothing of it gets to say goodbye."""
        await self._end("kill")

    async def replace(self) -> None:
        """Kill it with -9 and start it again. Nobody waits until it is missed, as there was no other one."""
        await self.kill()
        await forget_replicas(self.database_url)
        await self.start()

    def crash(self) -> None:
        """Let it die of a fault of its own, as far as it can tell."""
        os.kill(self.pid, signal.SIGABRT)

    async def stop(self) -> None:
        """Ask it to end, as an operator does."""
        await self._end("terminate")

    async def _end(self, how: str) -> None:
        if self.process is not None and self.process.returncode is None:
            getattr(self.process, how)()
            await self.process.wait()

    def _environment(self) -> dict[str, str]:
        listen = {"listen": f"127.0.0.1:{self.port}", "web_listen": f"127.0.0.1:{self.web_port}"}
        settings = settings_of(self.sandbox_url, self.database_url) | listen
        ours = {f"TIEOUT_{name.upper()}": value for name, value in settings.items()}
        return {**os.environ, **ours, **self.environment}


@contextlib.asynccontextmanager
async def server_process(
    sandbox_url: str, database_url: str, folder: Path, *command: str, **environment: str
) -> AsyncIterator[ServerProcess]:
    """Our server in a process of its own, running from now on; whatever became of it, it is gone afterwards."""
    running = ServerProcess(sandbox_url, database_url, folder, command or ServerProcess.command, environment)
    try:
        await running.start()
        yield running
    finally:
        await running.kill()


@contextlib.asynccontextmanager
async def client_of(running: ServerProcess, token: str = "") -> AsyncIterator[Service]:
    """A client of a server process, and the merchant who consents."""
    patience = tieout.Patience(longest_pause=timedelta(milliseconds=300))  # it is killed often here
    target = f"127.0.0.1:{running.port}"
    async with aiohttp.ClientSession() as http, tieout.Client(target, token=token, patience=patience) as client:
        yield Service(client, Browser(running.sandbox_url, http), client.target, running.web_port)


async def forget_replicas(database_url: str) -> None:
    """Have it known of all processes there have been that they are gone, as others would notice in 20 seconds."""
    database = Database(database_url)
    async with database.write() as tx:
        await tx.execute(delete(replica_tables.replicas))
    await database.close()


async def is_busy(database: Database, at: datetime) -> bool:
    """Whether anything is due at this instant, or being done."""
    busy = or_(tables.work.c.owner != "", tables.work.c.due_at <= to_micros(at))
    async with database.read() as tx:
        return bool((await tx.execute(select(func.count()).where(busy))).scalar_one())


async def until(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait for a condition of this process; how often it is looked at decides nothing."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - any condition, and most of them set no event
            await asyncio.sleep(0.01)


# What is there, as both sides state it: by collection and id.

Truth = dict[str, dict[str, tuple[Any, ...]]]


def truth_of(books: Ledger) -> Truth:
    """What the sandbox's books hold that is a receivable or may become one."""
    invoices = {i.id: i for i in books.invoices.values() if i.type is InvoiceType.ACCREC}
    held = (*books.credit_notes.values(), *books.overpayments.values(), *books.prepayments.values())
    credits_ = {credit.id: credit for credit in held if not credit.of_supplier}
    sales = [p for p in books.payments.values() if p.target.id in invoices.keys() | credits_.keys()]
    return {
        "contacts": {
            c.id: ("", "GDPRREQUEST", (), to_micros(c.updated_at)) if _is_erased(books, c)
            else (c.name, str(c.status), _reached_by(c.phones), to_micros(c.updated_at))
            for c in books.contacts.values()
        },
        "invoices": {
            i.id: (
                str(i.status), i.contact.id, i.currency, i.reference, i.due_on.isoformat(),
                i.expected_payment_on and i.expected_payment_on.isoformat(),
                *map(to_units, (i.total, i.amount_due, i.amount_paid, i.amount_credited)), to_micros(i.updated_at),
            )
            for i in invoices.values()
        },
        "credits": {
            c.id: (str(c.status), c.contact.id, c.currency, *map(to_units, (c.total, c.remaining_credit)),
                   to_micros(c.updated_at))
            for c in credits_.values()
        },
        "allocations": {
            c.id: tuple(sorted((a.invoice.id, to_units(a.amount)) for a in c.allocations))
            for c in credits_.values() if c.allocations
        },
        "payments": {p.id: (str(p.status), to_units(p.amount), to_micros(p.updated_at)) for p in sales},
        "accounts": {a.id: (a.name, a.status) for a in books.accounts.values()},
    }  # fmt: skip


def _is_erased(books: Ledger, contact: Contact) -> bool:
    """Whether nothing of the person may be here: they are erased, or were merged into one who is."""
    while contact.merged_to_id and contact.status is not ContactStatus.GDPRREQUEST:
        contact = books.contacts[contact.merged_to_id]
    return contact.status is ContactStatus.GDPRREQUEST


def _reached_by(phones: Iterable[Phone]) -> tuple[str, ...]:
    """The numbers that are filled in, in order."""
    return tuple(sorted(f"{p.kind} {p.country} {p.area} {p.number}" for p in phones if p.number))


_STATED: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "contacts": (tables.contacts, ("xero_contact_id", "name", "status", "details", "xero_updated_at")),
    "invoices": (
        tables.invoices,
        (
            "xero_invoice_id", "status", "xero_contact_id", "currency", "reference", "due_on",
            "expected_payment_on", "total", "due", "paid", "credited", "xero_updated_at",
        ),
    ),
    "credits": (
        tables.credits,
        ("xero_credit_id", "status", "xero_contact_id", "currency", "total", "remaining", "xero_updated_at"),
    ),
    "payments": (tables.payments, ("xero_payment_id", "status", "amount", "xero_updated_at")),
    "accounts": (tables.accounts, ("xero_account_id", "name", "status")),
}  # fmt: skip


async def mirror_of(database_url: str, connection_id: str) -> Truth:
    """What our database holds of a connection, in the same words."""
    database = Database(database_url)
    mirrored: Truth = {}
    try:
        async with database.read() as tx:
            for name, (table, columns) in _STATED.items():
                query = select(*(table.c[column] for column in columns))
                rows = (await tx.execute(query.where(table.c.connection_id == connection_id))).all()
                mirrored[name] = {row[0]: tuple(row[1:]) for row in rows}
                assert len(mirrored[name]) == len(rows), f"{name} are doubled"
            mirrored["allocations"] = await _allocations_of(tx, connection_id)
    finally:
        await database.close()
    for name, (*stated, details, version) in mirrored["contacts"].items():
        mirrored["contacts"][name] = (*stated, _numbers_in(details), version)
    return mirrored


async def _allocations_of(tx: Transaction, connection_id: str) -> dict[str, tuple[Any, ...]]:
    c, found = tables.allocations.c, defaultdict[str, list[tuple[str, int]]](list)
    query = select(c.xero_credit_id, c.xero_invoice_id, c.amount).where(c.connection_id == connection_id)
    for credit_id, invoice_id, amount in await tx.execute(query):
        found[credit_id].append((invoice_id, amount))
    return {credit_id: tuple(sorted(parts)) for credit_id, parts in found.items()}


def _numbers_in(details: str) -> tuple[str, ...]:
    phones = msgspec.json.decode(details, type=ContactDetails).phones
    return _reached_by(Phone(p.kind, p.number, p.area_code, p.country_code) for p in phones)


def differences(truth: Truth, mirror: Truth) -> list[str]:
    """What is missing, too much or different here, in words; empty when both agree."""
    found = []
    for name, theirs in truth.items():
        ours = mirror[name]
        found += [f"{name} {key} is missing" for key in theirs.keys() - ours.keys()]
        found += [f"{name} {key} is too much" for key in ours.keys() - theirs.keys()]
        found += [f"{name} {key}: {ours[key]} is {theirs[key]}" for key in ours.keys() & theirs.keys()
                  if ours[key] != theirs[key]]  # fmt: skip
    return found


def limits_kept(sandbox: Sandbox) -> Iterator[str]:
    """Whatever in the sandbox's log went over a limit, or came too near to be told from it; nothing is good."""
    calls = [entry for entry in sandbox.requests.find(path="/api.xro/") if entry.organisation_id]
    for entry in calls:
        if entry.status == 429:
            yield f"{entry.method} {entry.path} was refused: {entry.limit_problem}"
        if entry.in_flight > 5:
            yield f"{entry.in_flight} calls were in flight"
