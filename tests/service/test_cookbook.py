"""The grpcurl commands of the README: each is one, asks for what there is, and is answered by a server.

They are run by grpcurl where it is installed, or else by `buf curl`, which takes the same requests.
"""

import asyncio
import contextlib
import importlib
import pkgutil
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor

import tieout.v1
from servers import Service, service
from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1.types_pb2 import Money
from tieout_sandbox import Sandbox

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"^\$ (grpcurl .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
HOST = "127.0.0.1:7440"
BUF = Path(sys.executable).parent / "buf"

for module in pkgutil.iter_modules(tieout.v1.__path__):
    importlib.import_module(f"tieout.v1.{module.name}")
POOL = descriptor_pool.Default()


@dataclass(frozen=True)
class Recipe:
    """A command, taken apart."""

    asked: str
    data: str = "{}"
    describes: str = ""

    @property
    def method(self) -> MethodDescriptor:
        service_name, _, name = self.asked.partition("/")
        found: MethodDescriptor = POOL.FindServiceByName(service_name).methods_by_name[name]
        return found

    @property
    def is_watch(self) -> bool:
        return "/" in self.asked and bool(self.method.server_streaming)

    def command(self, target: str, data: str) -> list[str]:
        """It, to be run with these ids at this server."""
        if grpcurl := shutil.which("grpcurl"):
            told = [*self.asked.split(), *([self.describes] if self.describes else [])]
            return [grpcurl, "-plaintext", *(["-d", data] if "/" in self.asked else []), target, *told]
        if "/" in self.asked:
            return [str(BUF), "curl", "--protocol", "grpc", "-d", data, f"http://{target}/{self.asked}"]
        which = "--list-services" if self.asked == "list" else "--list-methods"
        return [str(BUF), "curl", "--protocol", "grpc", which, f"http://{target}"]


def recipe(line: str) -> Recipe:
    taken = re.fullmatch(rf"grpcurl -plaintext (?:-d '(.*)' )?{re.escape(HOST)} (\S+)(?: (\S+))?", line)
    assert taken, line
    return Recipe(taken[2], taken[1] or "{}", taken[3] or "")


RECIPES = [recipe(line) for line in LINES]
NAMED = [it for it in RECIPES if it.asked.startswith("tieout.")]
each = pytest.mark.parametrize("told", NAMED, ids=lambda it: it.asked.rpartition("/")[2])


def test_there_is_a_recipe_for_every_service() -> None:
    services = {it.asked.partition("/")[0] for it in NAMED}
    assert services == {
        f"tieout.v1.{it}Service" for it in ("Connection", "Sync", "Receivables", "Reconciliation", "PaymentExport")
    }
    assert len({it.asked for it in RECIPES}) == len(RECIPES)


@each
def test_a_recipe_asks_with_fields_and_values_that_there_are(told: Recipe) -> None:
    request = message_factory.GetMessageClass(told.method.input_type)()
    json_format.Parse(told.data, request)
    assert request.ListFields() != [] or told.data == "{}"


def test_what_a_recipe_has_described_is_there() -> None:
    (described,) = [it.describes for it in RECIPES if it.asked == "describe"]
    service_name, _, method = described.rpartition(".")
    assert method in POOL.FindServiceByName(service_name).methods_by_name


@dataclass
class Kitchen:
    """A server with a connection, a customer, and two payments that did not get into Xero."""

    running: Service
    ids: dict[str, str]

    def filled(self, data: str) -> str:
        """The request with ids that there are."""
        return re.sub(r"(\w+_)…", lambda found: self.ids[found[1]], data)


@pytest.fixture
async def kitchen(sandbox: Sandbox, sqlite_url: str) -> AsyncIterator[Kitchen]:
    async with service(sandbox, sqlite_url) as running:
        connection = await running.connected()
        customers = await running.client.receivables.list_customers(connection.id).first(1)
        invoices = await running.client.receivables.list_invoices(connection.id).first(1)
        await _export(running, connection.id, "pay-1", invoices[0].number)
        by_hand = await _export(running, connection.id, "pay-2", "NO-SUCH-INVOICE")
        yield Kitchen(running, {"con_": connection.id, "cus_": customers[0].id, "exp_": by_hand})


async def _export(running: Service, connection_id: str, payment_id: str, number: str) -> str:
    """An export that has failed."""
    money = Money(currency_code="NZD", amount="1.00")
    lines = [pb.PaymentLine(invoice_number=number, amount=money)]
    payment = pb.PlatformPayment(payment_id=payment_id, paid_on="2026-11-01", amount=money, lines=lines)
    export = (await running.client.payment_exports.export(connection_id, payment)).export
    await _failed(running, export.id)
    return export.id


async def _failed(running: Service, export_id: str) -> None:
    """Return when it is known why the export is not in Xero, for the first time or again."""
    async with asyncio.timeout(30):
        while (await running.client.payment_exports.get(export_id)).xero_status != pb.XERO_STATUS_ERROR:  # noqa: ASYNC110 - the server's state
            await asyncio.sleep(0.05)


async def test_every_recipe_is_answered(kitchen: Kitchen) -> None:
    for told in RECIPES:
        await _failed(kitchen.running, kitchen.ids["exp_"])  # one of the recipes has it tried again
        data = kitchen.filled(told.data)
        answer = await _answer(told.command(kitchen.running.target, data), is_watch=told.is_watch)
        assert answer, told.asked
        if told in NAMED and not told.is_watch:
            json_format.Parse(answer, message_factory.GetMessageClass(told.method.output_type)())


async def _answer(command: list[str], *, is_watch: bool) -> str:
    """What it prints; of a watch, which does not end, the first message."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    if is_watch:
        first = await process.stdout.readline()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        return first.decode()
    out, errors = await process.communicate()
    assert process.returncode == 0, f"{command}: {errors.decode()}"
    return out.decode()
