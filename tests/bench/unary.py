"""How many reads a second a server answers, beside a bare grpc.aio server that echoes, in the same run.

Both run in a process of their own on uvloop, and 32 callers ask both over one channel each, with the generated stubs.
"""

import argparse
import asyncio
import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import uvloop
from grpc import aio
from stage import Figure, cpu_of, postgres, sandbox, server, told  # type: ignore[import-not-found] # beside this one

from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1 import reconciliation_service_pb2 as reconciliations
from tieout.v1.receivables_service_pb2_grpc import ReceivablesServiceStub
from tieout.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub

BOOKS = ("--contacts", "2000", "--invoices", "20000")
CALLERS = 32
PAGE = 100
ECHO = "/echo.Echo/Echo"
TIMES_THE_ECHO = 2.5
"""GetCustomer takes so many times as long as an echo at most: 40 % of its calls a second."""

Ask = Callable[[], Awaitable[Any]]


async def echo() -> None:
    """Serve, until killed, a method that answers its own request; print the port first."""

    async def handle(request: bytes, _context: object) -> bytes:
        return request

    handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(handle)}
    bare = aio.server()
    bare.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo.Echo", handlers)])
    print(bare.add_insecure_port("127.0.0.1:0"), flush=True)
    await bare.start()
    await bare.wait_for_termination()


@contextlib.contextmanager
def echoing() -> Iterator[tuple[str, psutil.Process]]:
    """Where a server of its own echoes, and its process."""
    with subprocess.Popen([sys.executable, __file__, "--echo"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}", psutil.Process(process.pid)
        finally:
            process.kill()


async def asked(ask: Ask, process: psutil.Process, seconds: float) -> tuple[float, float]:
    """Calls a second of all callers together, and the server's CPU for each in microseconds."""

    async def caller(until: float) -> int:
        calls = 0
        while time.monotonic() < until:
            await ask()
            calls += 1
        return calls

    async def all_for(length: float) -> int:
        until = time.monotonic() + length
        return sum(await asyncio.gather(*(caller(until) for _ in range(CALLERS))))

    await all_for(0.5)  # statements and connections are made
    before, began = cpu_of(process), time.monotonic()
    calls = await all_for(seconds)
    return calls / (time.monotonic() - began), (cpu_of(process) - before) / calls * 1e6


@contextlib.asynccontextmanager
async def reads(base: str, database: str) -> AsyncIterator[tuple[dict[str, Ask], psutil.Process]]:
    """What is asked of a server that has read the reference organisation, by name, and its process."""
    async with server(base, database) as running:
        connection = await running.connect()
        await running.synced(connection)
        async with aio.insecure_channel(running.target) as channel:
            receivables, reconciler = ReceivablesServiceStub(channel), ReconciliationServiceStub(channel)
            listed = await receivables.ListCustomers(pb.ListCustomersRequest(connection_id=connection, page_size=1000))
            customers = itertools.cycle([customer.id for customer in listed.customers])
            owed = await receivables.ListInvoices(pb.ListInvoicesRequest(connection_id=connection, page_size=1000))
            invoices = itertools.cycle([invoice.id for invoice in owed.invoices])

            def get_customer() -> Awaitable[Any]:
                return receivables.GetCustomer(
                    pb.GetCustomerRequest(connection_id=connection, customer_id=next(customers))
                )

            def get_invoice() -> Awaitable[Any]:
                return receivables.GetInvoice(pb.GetInvoiceRequest(connection_id=connection, invoice_id=next(invoices)))

            def check_chase() -> Awaitable[Any]:
                return reconciler.CheckChase(
                    reconciliations.CheckChaseRequest(
                        connection_id=connection,
                        invoices=[reconciliations.InvoiceReference(xero_invoice_id=next(invoices))],
                    )
                )

            def list_invoices() -> Awaitable[Any]:
                return receivables.ListInvoices(pb.ListInvoicesRequest(connection_id=connection, page_size=PAGE))

            yield (
                {
                    "GetCustomer": get_customer,
                    "GetInvoice": get_invoice,
                    "CheckChase": check_chase,
                    f"ListInvoices, a page of {PAGE}": list_invoices,
                },
                running.process,
            )


async def measure(name: str, base: str, database: str, seconds: float) -> list[Figure]:
    """An echo, the reads, and the echo again: the machine is not as fast all the time."""
    figures: list[Figure] = []
    with echoing() as (address, echoes):
        async with aio.insecure_channel(address) as bare, reads(base, database) as (named, process):
            call: Any = bare.unary_unary(ECHO)
            message = b"x" * 300

            def ask_for_an_echo() -> Awaitable[Any]:
                answer: Awaitable[Any] = call(message)
                return answer

            for what, ask in named.items():
                around = [await asked(ask_for_an_echo, echoes, seconds / 2)]
                rate, cpu = await asked(ask, process, seconds)
                around.append(await asked(ask_for_an_echo, echoes, seconds / 2))
                bare_rate = sum(each for each, _ in around) / 2
                limit = TIMES_THE_ECHO if what == "GetCustomer" else None
                figures += [
                    Figure(f"{name}: {what}", "/s", rate),
                    Figure("  an echo beside it", "/s", bare_rate),
                    Figure("  as long as so many echoes", "", bare_rate / rate, limit),
                    Figure("  CPU of the server for each", "µs", cpu),
                ]
    return figures


def main() -> int:
    """Measure on both databases, show, keep; 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--echo", action="store_true", help="be the server that echoes")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=("SQLite", "PostgreSQL"))
    options = parser.parse_args()
    if options.echo:
        uvloop.run(echo())
        return 0
    figures: list[Figure] = []
    for kind in [options.only] if options.only else ["SQLite", "PostgreSQL"]:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = f"sqlite:///{folder}/ours.db" if kind == "SQLite" else stack.enter_context(postgres(folder))
            figures += uvloop.run(measure(kind, stack.enter_context(sandbox(*BOOKS)), url, options.seconds))
    return int(told(f"reads by {CALLERS} callers", figures))


if __name__ == "__main__":
    sys.exit(main())
