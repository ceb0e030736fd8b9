"""The floor: what reading everything costs at the very least, with no promises kept.

asyncio, aiohttp, uvloop, five calls at once, pages of 1,000, orjson, a tuple a row and one executemany and one
transaction a page into SQLite (WAL, synchronous NORMAL). First pages at once, the rest by pageCount. No order that
edits cannot change, no resuming, no progress, no limits.

Usage: floor.py BASE_URL ACCESS_TOKEN TENANT_ID DATABASE [--summary]
"""

import asyncio
import json
import sqlite3
import sys
import time
from typing import Any

import aiohttp
import orjson
import uvloop

Row = dict[str, Any]


def instant(text: str | None) -> int | None:
    return int(text[6 : text.index("+") if "+" in text else -2]) if text else None


def contact(r: Row) -> tuple[Any, ...]:
    return (
        r["ContactID"], r.get("ContactNumber"), r.get("AccountNumber"), r["ContactStatus"], r["Name"],
        r.get("FirstName"), r.get("LastName"), r.get("EmailAddress"), r.get("DefaultCurrency"), r.get("IsCustomer"),
        r.get("IsSupplier"), instant(r["UpdatedDateUTC"]),
    )  # fmt: skip


def invoice(r: Row) -> tuple[Any, ...]:
    return (
        r["InvoiceID"], r["InvoiceNumber"], r.get("Reference"), r["Type"], r["Status"], r["Contact"]["ContactID"],
        instant(r["Date"]), instant(r.get("DueDate")), r["CurrencyCode"], r.get("CurrencyRate"), r["SubTotal"],
        r["TotalTax"], r["Total"], r["AmountDue"], r["AmountPaid"], r["AmountCredited"], instant(r["UpdatedDateUTC"]),
    )  # fmt: skip


def payment(r: Row) -> tuple[Any, ...]:
    return (
        r["PaymentID"], instant(r["Date"]), r["Amount"], r.get("BankAmount"), r.get("Reference"), r["CurrencyRate"],
        r["PaymentType"], r["Status"], r["IsReconciled"], r["Account"]["AccountID"], r["Invoice"]["InvoiceID"],
        instant(r["UpdatedDateUTC"]),
    )  # fmt: skip


def credit(key: str) -> Any:  # noqa: ANN401 - a row maker
    return lambda r: (
        r[key], r["Type"], r["Status"], r["Contact"]["ContactID"], instant(r["Date"]), r["CurrencyCode"], r["Total"],
        r["RemainingCredit"], instant(r["UpdatedDateUTC"]),
    )  # fmt: skip


def account(r: Row) -> tuple[Any, ...]:
    return (r["AccountID"], r.get("Code"), r["Name"], r["Type"], r["Status"], instant(r["UpdatedDateUTC"]))


def organisation(r: Row) -> tuple[Any, ...]:
    return (r["OrganisationID"], r["Name"], r["BaseCurrency"], r.get("Timezone"))


RESOURCES = {
    "Contacts": (contact, 12, True),
    "Invoices": (invoice, 17, True),
    "Payments": (payment, 12, True),
    "CreditNotes": (credit("CreditNoteID"), 9, True),
    "Prepayments": (credit("PrepaymentID"), 9, True),
    "Overpayments": (credit("OverpaymentID"), 9, True),
    "Accounts": (account, 6, False),
    "Organisation": (organisation, 4, False),
}


async def main(base: str, token: str, tenant: str, path: str, *options: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    for name, (_, width, _) in RESOURCES.items():
        columns = ", ".join(f"c{i}" for i in range(1, width))
        db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, {columns}) WITHOUT ROWID")
    at_once, calls, records = asyncio.Semaphore(5), 0, 0
    headers = {
        "Authorization": f"Bearer {token}",
        "xero-tenant-id": tenant,
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
    }
    async with aiohttp.ClientSession(headers=headers) as session:

        async def get(name: str, page: int) -> int:
            nonlocal calls, records
            to_row, width, paged = RESOURCES[name]
            params = {"page": str(page), "pageSize": "1000"} if paged else {}
            if name == "Contacts":
                params["includeArchived"] = "true"
            if name == "Invoices":
                params["where"] = 'Type=="ACCREC"'
                params |= {"summaryOnly": "true"} if "--summary" in options else {}
            async with at_once, session.get(f"{base}/api.xro/2.0/{name}", params=params) as response:
                response.raise_for_status()
                body = await response.read()
            calls += 1
            answer = orjson.loads(body)
            rows = answer["Organisations" if name == "Organisation" else name]
            records += len(rows)
            db.execute("BEGIN")
            db.executemany(
                f"INSERT INTO {name} VALUES ({','.join('?' * width)}) ON CONFLICT (id) DO UPDATE SET c1 = excluded.c1",  # noqa: S608
                [to_row(row) for row in rows],
            )
            db.execute("COMMIT")
            return int(answer.get("pagination", {}).get("pageCount", 1))

        async def read(name: str) -> None:
            pages = await get(name, 1)
            await asyncio.gather(*(get(name, page) for page in range(2, pages + 1)))

        began = time.perf_counter()
        await asyncio.gather(*(read(name) for name in RESOURCES))
        wall = time.perf_counter() - began
    print(json.dumps({"records": records, "calls": calls, "wall": wall}))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
