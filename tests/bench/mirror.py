"""CPU per record of writing the reference organisation's documents, against a bare executemany of the same facts.

Run it with `python tests/bench/mirror.py [--scale 10] [--postgres URL]`.
"""

import argparse
import asyncio
import gc
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec

from tieout_server.clock import to_micros
from tieout_server.ledger.documents import (
    Account,
    Allocation,
    Contact,
    Credit,
    Document,
    Entity,
    Invoice,
    Payment,
    Phone,
)
from tieout_server.storage import migrate, mirror
from tieout_server.storage.database import Database
from tieout_server.storage.tables import connections

PAGE = 1_000
AT = datetime(2026, 11, 1, tzinfo=UTC)
CONNECTION = "con_0193b2f4c7e87a6e9d0c5b1a"
DAY = date(2026, 10, 1)

Page = Sequence[Document]


def reference_pages(scale: float) -> list[Page]:
    """The reference organisation's 42,905 records (times `scale`), in pages as Xero serves them: ordered by id."""
    random = Random(7)

    def ids(count: int) -> list[str]:
        return sorted(str(uuid.UUID(int=random.getrandbits(128))) for _ in range(int(count * scale)))

    contacts, invoices = ids(2_000), ids(20_000)
    kinds: list[list[Document]] = [
        [_contact(name, number) for number, name in enumerate(contacts)],
        [_invoice(name, random.choice(contacts), number) for number, name in enumerate(invoices)],
        [_payment(name, random.choice(invoices), random.choice(contacts)) for name in ids(20_000)],
    ]
    for entity, count in ((Entity.CREDIT_NOTES, 500), (Entity.OVERPAYMENTS, 200), (Entity.PREPAYMENTS, 200)):
        kinds.append([_credit(entity, name, random.choice(contacts), random.choice(invoices)) for name in ids(count)])
    kinds.append([_account(name) for name in ids(5)])
    return [kind[start : start + PAGE] for kind in kinds for start in range(0, len(kind), PAGE)]


def _contact(name: str, number: int) -> Contact:
    return Contact(
        xero_contact_id=name,
        name=f"Customer {number} Limited",
        status="ACTIVE",
        updated_at=AT + timedelta(seconds=number),
        first_name="Ada",
        last_name="Lovelace",
        email=f"accounts{number}@example.com",
        account_number=f"C{number}",
        is_customer=True,
        phones=(Phone("DEFAULT", "5550000", "9", "64"), Phone("MOBILE", "5551234", "21", "64")),
        stated_outstanding=Decimal("230.50"),
        stated_overdue=Decimal("115.25"),
    )


def _invoice(name: str, contact: str, number: int) -> Invoice:
    return Invoice(
        xero_invoice_id=name,
        xero_contact_id=contact,
        status="PAID" if number % 4 else "AUTHORISED",
        currency="NZD",
        rate=Decimal("1.0000000000"),
        total=Decimal("230.50"),
        due=Decimal("0.00") if number % 4 else Decimal("230.50"),
        paid=Decimal("230.50") if number % 4 else Decimal("0.00"),
        credited=Decimal("0.00"),
        updated_at=AT + timedelta(seconds=number),
        number=f"INV-{number:06}",
        reference="PO 4711",
        issued_on=DAY,
        due_on=DAY + timedelta(days=number % 60),
        subtotal=Decimal("200.43"),
        tax=Decimal("30.07"),
        sent_to_contact=True,
    )


def _payment(name: str, invoice: str, contact: str) -> Payment:
    return Payment(
        xero_payment_id=name,
        kind="ACCRECPAYMENT",
        status="AUTHORISED",
        xero_document_id=invoice,
        xero_contact_id=contact,
        amount=Decimal("100.00"),
        bank_amount=Decimal("100.00"),
        currency="NZD",
        rate=Decimal("1.0000000000"),
        updated_at=AT,
        paid_on=DAY,
        reference="Transfer",
        xero_account_id=contact,
    )


def _account(name: str) -> Account:
    return Account(xero_account_id=name, name="Bank", kind="BANK", status="ACTIVE", updated_at=AT)


def _credit(entity: Entity, name: str, contact: str, invoice: str) -> Credit:
    return Credit(
        entity=entity,
        xero_credit_id=name,
        xero_contact_id=contact,
        status="AUTHORISED",
        currency="NZD",
        rate=Decimal("1.0000000000"),
        total=Decimal("50.00"),
        remaining=Decimal("20.00"),
        updated_at=AT,
        number="CN-1",
        issued_on=DAY,
        allocations=(Allocation(xero_invoice_id=invoice, amount=Decimal("30.00"), allocated_on=DAY),),
    )


def _bare_row(document: Document) -> tuple[object, ...]:
    """The typed columns that the floor script keeps: no more than 17, the key first."""
    match document:
        case Invoice() as i:
            money = [int(amount * 10_000) for amount in (i.subtotal, i.tax, i.total, i.due, i.paid, i.credited)]
            days = (str(i.issued_on), str(i.due_on), i.currency, str(i.rate))
            head = (i.xero_invoice_id, i.number, i.reference, "ACCREC", i.status, i.xero_contact_id)
            return (*head, *days, *money, to_micros(i.updated_at))
        case Contact() as c:
            names = (c.xero_contact_id, c.contact_number, c.account_number, c.status, c.name, c.first_name)
            flags = (c.last_name, c.email, c.default_currency, c.is_customer, c.is_supplier)
            return (*names, *flags, to_micros(c.updated_at))
        case Payment() as p:
            sums = [int(amount * 10_000) for amount in (p.amount, p.bank_amount or p.amount)]
            links = (p.kind, p.status, p.is_reconciled, p.xero_account_id, p.xero_document_id)
            return (p.xero_payment_id, str(p.paid_on), *sums, p.reference, str(p.rate), *links, to_micros(p.updated_at))
        case Credit() as k:
            what = (k.xero_credit_id, k.entity, k.status, k.xero_contact_id, str(k.issued_on), k.currency)
            return (*what, int(k.total * 10_000), int(k.remaining * 10_000), to_micros(k.updated_at))
        case Account() as a:
            return (a.xero_account_id, a.code, a.name, a.kind, a.status, to_micros(a.updated_at))


def bare(pages: list[Page], path: Path) -> float:
    """CPU seconds of the floor: sqlite3, one executemany and one transaction a page, no index beyond the key."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
    widths = {type(page[0]): len(_bare_row(page[0])) for page in pages}
    for kind, width in widths.items():
        columns = ", ".join(f"c{number}" for number in range(1, width))
        db.execute(f"CREATE TABLE {kind.__name__} (id TEXT PRIMARY KEY, {columns}) WITHOUT ROWID")
    started = time.process_time()
    for page in pages:
        kind = type(page[0])
        places = ",".join("?" * widths[kind])
        db.execute("BEGIN")
        db.executemany(
            f"INSERT INTO {kind.__name__} VALUES ({places}) ON CONFLICT (id) DO UPDATE SET c1 = excluded.c1",  # noqa: S608 - names of ours
            [_bare_row(document) for document in page],
        )
        db.execute("COMMIT")
    spent = time.process_time() - started
    db.close()
    return spent


async def ours(pages: list[Page], url: str) -> dict[str, tuple[float, float]]:
    """CPU seconds and the longest block of the event loop (ms): first write, the same again, every row newer."""
    database = Database(url)
    await migrate.upgrade(database)
    async with database.write() as tx:
        await tx.execute(connections.delete())
        await tx.execute(connections.insert().values(id=CONNECTION))
    newer = [_newer(page) for page in pages]
    gc.freeze()
    figures = {
        "first write": await _timed(database, pages, 1),
        "same again": await _timed(database, pages, 2),
        "all newer": await _timed(database, newer, 3),
    }
    await database.close()
    return figures


def _newer(page: Page) -> Page:
    return [msgspec.structs.replace(document, updated_at=document.updated_at + timedelta(1)) for document in page]


async def _timed(database: Database, pages: list[Page], seen_in: int) -> tuple[float, float]:
    blocks: list[float] = []
    watching = asyncio.create_task(_watch_loop(blocks.append))
    await asyncio.sleep(0)
    started = time.process_time()
    for page in pages:
        async with database.write(durable=False) as tx:
            await mirror.save(tx, CONNECTION, page, seen_in=seen_in, at=AT + timedelta(seconds=seen_in))
    spent = time.process_time() - started
    watching.cancel()
    return spent, max(blocks) * 1_000


async def _watch_loop(note: Callable[[float], None]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.002)
        note(time.perf_counter() - before - 0.002)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--postgres", default="", help="URL of a database that may be overwritten")
    options = parser.parse_args()
    pages = reference_pages(options.scale)
    count = sum(map(len, pages))
    gc.freeze()  # a server does not hold all pages at once: their share in collections is not counted
    with tempfile.TemporaryDirectory() as folder:
        floor = min(bare(pages, Path(folder) / f"bare{run}.db") for run in range(3))
        print(f"{count:,} records{'CPU s':>24}{'µs/record':>12}{'ratio':>8}{'longest block ms':>18}")
        print(f"{'bare executemany':<30}{floor:>10.2f}{floor / count * 1e6:>12.1f}{1:>8.2f}")
        urls = {"sqlite": f"sqlite:///{folder}/ours.db"} | ({"postgres": options.postgres} if options.postgres else {})
        for name, url in urls.items():
            for what, (spent, block) in asyncio.run(ours(pages, url)).items():
                figures = f"{spent:>10.2f}{spent / count * 1e6:>12.1f}{spent / floor:>8.2f}{block:>18.1f}"
                print(f"{name + ', ' + what:<30}{figures}")


if __name__ == "__main__":
    main()
