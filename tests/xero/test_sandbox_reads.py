"""The sandbox's Accounting API: bytes, pages, filters, limits."""

import asyncio
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sandbox_caller import Caller
from tieout_sandbox import CreditKind, Quota
from tieout_sandbox.books.documents import Status

PAGED = ("Contacts", "Invoices", "CreditNotes", "Payments", "Prepayments", "Overpayments")
DATE = re.compile(r"/Date\((-?\d+)\+0000\)/")


def millis(text: str) -> int:
    match = DATE.fullmatch(text)
    assert match is not None
    return int(match.group(1))


async def test_an_answer_is_pretty_json_with_crlf_escaped_dates_and_two_places(caller: Caller) -> None:
    response, body = await caller.get("Invoices", {"page": "1"})
    assert body.startswith(b'{\r\n  "Id": "')
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert re.search(rb'"DateTimeUTC": "\\/Date\(1795339815250\)\\/",\r\n  "pagination": \{\r\n    "page": 1,', body)
    assert re.search(rb'\r\n      "UpdatedDateUTC": "\\/Date\(\d+\+0000\)\\/",\r\n', body)
    assert re.search(rb'\r\n      "AmountDue": \d+\.\d\d,\r\n', body)
    assert re.search(rb'"Quantity": \d\.0000,', body)
    assert body.endswith(b"\r\n    }\r\n  ]\r\n}")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Cache-Control"] == "max-age=0, no-cache, no-store"
    envelope = json.loads(body)
    assert list(envelope) == ["Id", "Status", "ProviderName", "DateTimeUTC", "pagination", "Invoices"]
    assert envelope["Id"] == response.headers["Xero-Correlation-Id"]
    assert (envelope["Status"], envelope["ProviderName"]) == ("OK", "Tieout")


async def test_the_bytes_are_what_a_plain_json_writer_would_indent(caller: Caller) -> None:
    for path in (*PAGED, "Accounts", "Users", "Currencies", "Organisation", "Organisation/Actions"):
        _, body = await caller.get(path, {"page": "1", "includeArchived": "true"})
        text = body.decode().replace("\r\n", "\n").replace("\\/", "/")
        kept = json.loads(text, parse_float=lambda number: f"@{number}@")
        again = json.dumps(kept, indent=2, ensure_ascii=False)
        assert re.sub(r'"@([\d.-]+)@"', r"\1", again) == text, path


async def test_twin_dates_say_the_same(caller: Caller) -> None:
    for invoice in await caller.rows("Invoices", {"page": "1"}):
        for key in ("Date", "DueDate"):
            on = datetime.fromisoformat(f"{invoice[key + 'String']}+00:00")
            assert millis(invoice[key]) == on.timestamp() * 1000
        updated_at = datetime.fromisoformat(invoice["UpdatedDateUTCString"])
        assert millis(invoice["UpdatedDateUTC"]) // 1000 == updated_at.timestamp()


async def test_single_and_list_show_different_details(caller: Caller) -> None:
    credit = next(c for c in caller.sandbox.books.credit_notes.values() if c.allocations)
    (listed,) = await caller.rows("CreditNotes", {"page": "1", "where": f'CreditNoteID==guid("{credit.id}")'})
    assert "AllocationID" not in listed["Allocations"][0]
    response, body = await caller.get(f"CreditNotes/{credit.number}")
    alone = json.loads(body)["CreditNotes"][0]
    assert response.status == 200
    assert "pagination" not in json.loads(body)
    assert alone["Allocations"][0]["AllocationID"]
    assert list(listed["Contact"]) == [
        "ContactID", "Name", "Addresses", "Phones", "ContactGroups", "ContactPersons", "HasValidationErrors",
    ]  # fmt: skip
    assert alone["Contact"]["Phones"]


async def test_a_document_is_found_by_id_and_by_number_in_any_case_of_the_path(caller: Caller) -> None:
    invoice = next(iter(caller.sandbox.books.invoices.values()))
    for path in (f"Invoices/{invoice.id}", f"invoices/{invoice.id.upper()}", f"INVOICES/{invoice.number}"):
        _, body = await caller.get(path)
        assert json.loads(body)["Invoices"][0]["InvoiceID"] == invoice.id
    response, body = await caller.get("Invoices/00000000-0000-0000-0000-000000000000")
    assert (response.status, body) == (404, b"The resource you're looking for cannot be found")


async def test_every_list_agrees_with_every_single_read(caller: Caller) -> None:
    for collection in ("Invoices", "CreditNotes", "Overpayments", "Prepayments", "Payments"):
        for row in (await caller.rows(collection, {"page": "1"}))[:15]:
            key = next(name for name in row if name.endswith("ID") and name not in {"ID", "AccountID"})
            _, body = await caller.get(f"{collection}/{row[key]}")
            single = json.loads(body)[collection][0]
            shared = {name for name, value in row.items() if not isinstance(value, dict | list)}
            assert {name: row[name] for name in shared} == {name: single[name] for name in shared}


@pytest.mark.parametrize(
    ("size", "expected"), [("0", 1), ("-3", 1), ("7", 7), ("1000", 102), ("5000", 102), (None, 100), ("many", 100)]
)
async def test_page_sizes_snap_to_what_xero_allows(caller: Caller, size: str | None, expected: int) -> None:
    rows = await caller.rows("Invoices", {"page": "1"} | ({"pageSize": size} if size is not None else {}))
    assert len(rows) == expected


async def test_pages_cover_everything_once_in_the_default_order(caller: Caller) -> None:
    for collection in PAGED:
        rows: list[dict[str, Any]] = []
        pages = 0
        while True:
            pages += 1
            params = {"page": str(pages), "pageSize": "9", "includeArchived": "true"}
            response, body = await caller.get(collection, params)
            envelope = json.loads(body)
            rows.extend(envelope[collection])
            assert response.status == 200
            if pages >= envelope["pagination"]["pageCount"]:
                break
        assert len(rows) == envelope["pagination"]["itemCount"]
        key = next(name for name in rows[0] if name.endswith("ID"))
        keys = [
            (millis(row["UpdatedDateUTC"]), row.get("InvoiceID" if collection == "Invoices" else key)) for row in rows
        ]
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)
    beyond, body = await caller.get("Invoices", {"page": "99"})
    assert (beyond.status, json.loads(body)["Invoices"]) == (200, [])


@pytest.mark.parametrize(
    "order", ["InvoiceID", "InvoiceID ASC", "Date DESC", "UpdatedDateUTC DESC", "DueDate,Total DESC"]
)
async def test_order_is_honoured_with_the_id_last(caller: Caller, order: str) -> None:
    rows = await caller.rows("Invoices", {"page": "1", "pageSize": "1000", "order": order})
    name, _, direction = order.split(",", maxsplit=1)[0].partition(" ")
    values = [row[name] if name == "InvoiceID" else millis(row[name]) for row in rows]
    assert values == sorted(values, reverse=direction == "DESC")


async def test_if_modified_since_is_inclusive_and_cut_to_the_second(caller: Caller) -> None:
    books = caller.sandbox.books
    target = sorted(books.invoices.values(), key=lambda found: found.updated_at)[50]
    since = target.updated_at.replace(tzinfo=None, microsecond=0).isoformat()
    rows = await caller.rows("Invoices", {"page": "1", "pageSize": "1000"}, **{"If-Modified-Since": since})
    expected = {i.id for i in books.invoices.values() if i.updated_at >= target.updated_at.replace(microsecond=0)}
    assert {row["InvoiceID"] for row in rows} == expected
    assert target.id in expected
    assert await caller.rows("Invoices", {"page": "1"}, **{"If-Modified-Since": "2030-01-01T00:00:00"}) == []


async def test_filters_select_what_they_say(caller: Caller) -> None:
    books = caller.sandbox.books
    owed = [i for i in books.invoices.values() if i.status is Status.AUTHORISED and i.type == "ACCREC"]
    params = {"Statuses": "AUTHORISED", "where": 'Type=="ACCREC"', "pageSize": "1000"}
    response, body = await caller.get("Invoices", params)
    assert response.status == 200
    envelope = json.loads(body, parse_float=Decimal)
    assert "pagination" in envelope, "Statuses enforces paging"
    assert {row["InvoiceID"]: row["AmountDue"] for row in envelope["Invoices"]} == {i.id: i.amount_due for i in owed}
    two = [owed[0].id, owed[1].id]
    assert {row["InvoiceID"] for row in await caller.rows("Invoices", {"IDs": ",".join(two)})} == set(two)
    bare = ",".join(found.replace("-", "").upper() for found in two)
    assert {row["InvoiceID"] for row in await caller.rows("Invoices", {"IDs": bare})} == set(two), "pyxero writes so"
    where = {"where": f'InvoiceID==guid("{two[0].replace("-", "")}")', "page": "1"}
    assert [row["InvoiceID"] for row in await caller.rows("Invoices", where)] == two[:1]
    contact = owed[0].contact
    rows = await caller.rows("Invoices", {"ContactIDs": contact.id, "page": "1", "pageSize": "1000"})
    assert {row["InvoiceID"] for row in rows} == {
        document.id for document in contact.documents if document.id in books.invoices
    }
    rows = await caller.rows("Invoices", {"InvoiceNumbers": owed[2].number})
    assert [row["InvoiceID"] for row in rows] == [owed[2].id]
    rows = await caller.rows(
        "Payments", {"where": f'Invoice.InvoiceID==guid("{contact.documents[0].id}")', "page": "1"}
    )
    assert {row["PaymentID"] for row in rows} >= {payment.id for payment in contact.documents[0].payments}


@pytest.mark.parametrize(
    "params",
    [
        {"where": "Status=="},
        {"where": "Colour==1"},
        {"where": "Date > 1"},
        {"order": "Colour"},
        {"IDs": "no id, surely"},
    ],
)
async def test_a_bad_query_is_a_query_parse_exception(caller: Caller, params: dict[str, str]) -> None:
    response, body = await caller.get("Invoices", params)
    assert (response.status, json.loads(body)["Type"]) == (400, "QueryParseException")


async def test_every_answer_has_a_correlation_id_of_its_own(caller: Caller) -> None:
    answers = [
        (await caller.get("Organisation"))[0],
        (await caller.get("Invoices", {"where": "Colour"}))[0],
        (await caller.get("Organisation", Authorization=""))[0],
        (await caller.get("Organisation", None, **{"xero-tenant-id": ""}))[0],
        (await caller.get("Nothing"))[0],
    ]
    assert [answer.status for answer in answers] == [200, 400, 401, 403, 404]
    assert len({str(UUID(answer.headers["Xero-Correlation-Id"])) for answer in answers}) == len(answers)


async def test_a_listing_without_page_is_everything_without_lines(caller: Caller) -> None:
    _, body = await caller.get("Invoices")
    envelope = json.loads(body)
    assert "pagination" not in envelope
    assert len(envelope["Invoices"]) == len(caller.sandbox.books.invoices)
    assert all(row["LineItems"] == [] for row in envelope["Invoices"])
    assert all(len(row["LineItems"]) == 2 for row in await caller.rows("Invoices", {"page": "1"}))
    assert all("Balances" not in row and row["ContactPersons"] == [] for row in await caller.rows("Contacts"))


async def test_summary_only_leaves_details_out_but_keeps_amounts(caller: Caller) -> None:
    _, body = await caller.get("Invoices", {"summaryOnly": "true"})
    envelope = json.loads(body)
    assert envelope["pagination"]["pageSize"] == 100
    for row in envelope["Invoices"]:
        assert not {"Payments", "LineItems", "HasAttachments"} & row.keys()
        assert {"AmountDue", "AmountPaid", "AmountCredited"} <= row.keys()
    for row in await caller.rows("Contacts", {"summaryOnly": "true"}):
        assert not {"Addresses", "Balances", "ContactPersons", "IsCustomer", "IsSupplier"} & row.keys()


async def test_archived_contacts_show_only_when_asked_for(caller: Caller) -> None:
    books = caller.sandbox.books
    rows = await caller.rows("Contacts", {"page": "1"})
    assert all(row["ContactStatus"] != "ARCHIVED" for row in rows)
    rows = await caller.rows("Contacts", {"page": "1", "includeArchived": "true"})
    assert len(rows) == len(books.contacts) == 20
    merged = [row for row in rows if "MergedToContactID" in row]
    assert merged
    assert all(row["ContactStatus"] == "ARCHIVED" for row in merged)
    assert any(
        row["ContactStatus"] == "ARCHIVED" and row["Balances"]["AccountsReceivable"]["Outstanding"] > 0
        for row in rows
        if "Balances" in row
    )


async def test_balances_are_absent_without_documents_and_net_credits(caller: Caller) -> None:
    books = caller.sandbox.books
    fresh = books.create_contact("Fresh Start Ltd")
    (row,) = await caller.rows("Contacts", {"IDs": fresh.id})
    assert "Balances" not in row
    books.create_invoice(fresh.id, Decimal("100.00"), due_on=datetime(2026, 1, 1).date())  # noqa: DTZ001 only its date counts
    books.create_credit(CreditKind.CREDIT_NOTE, fresh.id, Decimal("30.00"))
    (row,) = await caller.rows("Contacts", {"IDs": fresh.id})
    assert row["Balances"]["AccountsReceivable"] == {"Outstanding": 70.0, "Overdue": 100.0}
    await caller.control("POST", "switches", {"balances_net_credits": False})
    (row,) = await caller.rows("Contacts", {"IDs": fresh.id})
    assert row["Balances"]["AccountsReceivable"] == {"Outstanding": 100.0, "Overdue": 100.0}


async def test_a_payment_names_its_document_and_refunds_stand_in_the_same_place(caller: Caller) -> None:
    rows = await caller.rows("Payments", {"page": "1", "pageSize": "1000"})
    assert len(rows) == 100
    refunds = {row["PaymentType"]: row["Invoice"]["Type"] for row in rows if row["PaymentType"] != "ACCRECPAYMENT"}
    assert refunds == {
        "ARCREDITPAYMENT": "ACCRECCREDIT",
        "AROVERPAYMENTPAYMENT": "AROVERPAYMENT",
        "ARPREPAYMENTPAYMENT": "ARPREPAYMENT",
    }
    assert {row["Status"] for row in rows} == {"AUTHORISED", "DELETED"}


async def test_bank_accounts_leave_out_what_others_have(caller: Caller) -> None:
    rows = await caller.rows("Accounts")
    assert len(rows) == 4
    for row in rows:
        assert (row["Type"] == "BANK") == ("SystemAccount" not in row)
    assert sum("Code" not in row for row in rows) == 1


async def test_users_and_actions_tell_what_each_may_do(caller: Caller) -> None:
    roles = {row["OrganisationRole"] for row in await caller.rows("Users")}
    assert roles == {"FINANCIALADVISER", "STANDARD", "INVOICEONLY", "READONLY"}
    _, body = await caller.get("Organisation/Actions")
    assert {"Name": "CreateInvoicePayment", "Status": "ALLOWED"} in json.loads(body)["Actions"]
    for path in ("Organisation", "organisations"):
        _, body = await caller.get(path)
        assert json.loads(body)["Organisations"][0]["OrganisationID"] == caller.tenant_id


async def test_gzip_is_used_when_asked_for_and_costs_fewer_bytes(caller: Caller) -> None:
    zipped, body = await caller.get("Invoices", {"page": "1"}, **{"Accept-Encoding": "gzip"})
    plain, same = await caller.get("Invoices", {"page": "1"}, **{"Accept-Encoding": "identity"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert json.loads(body)["Invoices"] == json.loads(same)["Invoices"]
    sizes = [entry.bytes for entry in caller.sandbox.requests.find(path="/Invoices")]
    assert sizes[0] < sizes[1] / 4
    assert sizes[1] == len(same)


async def test_limits_are_told_and_kept_over_http(caller: Caller) -> None:
    caller.sandbox.limits.quota = Quota(minute=3)
    left = [(await caller.get("Organisation"))[0].headers["X-MinLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    response, body = await caller.get("Organisation")
    assert (response.status, body) == (429, b"")
    assert response.headers["X-Rate-Limit-Problem"] == "minute"
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["X-DayLimit-Remaining"] == "4997"
    caller.sandbox.clock.advance(timedelta(seconds=int(response.headers["Retry-After"])))
    assert (await caller.get("Organisation"))[0].status == 200


async def test_a_sixth_call_at_once_is_refused_as_concurrent(caller: Caller) -> None:
    await caller.control("POST", "latency", {"milliseconds": 100})
    answers = await asyncio.gather(*(caller.get("Organisation") for _ in range(6)))
    statuses = sorted(response.status for response, _ in answers)
    assert statuses == [200] * 5 + [429]
    (refused,) = [response for response, _ in answers if response.status == 429]
    assert refused.headers["X-Rate-Limit-Problem"] == "concurrent"
    assert "Retry-After" not in refused.headers
    assert max(entry.in_flight for entry in caller.sandbox.requests.find(path="/Organisation")) == 6


async def test_connections_are_not_counted(caller: Caller) -> None:
    async with caller.http.get(f"{caller.sandbox.url}/Connections", headers=caller.headers()) as response:
        assert response.status == 200
        assert not [name for name in response.headers if name.endswith("Limit-Remaining")]
