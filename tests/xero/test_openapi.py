"""Everything that is said between our client and the sandbox, judged by Xero's official OpenAPI file.

The file is Xero's and not part of the project: `XERO_OPENAPI_DIR` names a folder with `xero_accounting.yaml`
(github.com/XeroAPI/Xero-OpenAPI).
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from official_spec import Spec
from sandbox_caller import Caller
from sandbox_writer import WRITING_SCOPES, Writer
from tieout_sandbox import FaultKind, FaultRule, Quota, Sandbox
from tieout_server.clock import SystemClock
from tieout_server.ledger.books import Order, Purpose, Query
from tieout_server.ledger.calls import CallsInMemory
from tieout_server.ledger.documents import Entity
from tieout_server.settings import Settings
from tieout_server.xero import transport
from tieout_server.xero.answers import Answer
from tieout_server.xero.books import XeroLibrary
from tieout_server.xero.limits import Limits
from tieout_server.xero.receiving import received
from tieout_server.xero.time_zones import time_zone
from tieout_server.xero.transport import open_session
from wire_recorder import Exchange, recorder

COLLECTIONS = (
    "Contacts", "Invoices", "CreditNotes", "Payments", "Overpayments", "Prepayments", "Accounts", "Users", "Currencies",
    "BankTransactions",
)  # fmt: skip
EVERYTHING = {"page": "1", "pageSize": "1000", "includeArchived": "true"}


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The official file."""
    folder = os.environ.get("XERO_OPENAPI_DIR")
    if not folder:
        pytest.skip("XERO_OPENAPI_DIR is not set: there is no official file to judge by")
    return Spec.load(Path(folder))


@dataclass
class Recorded:
    """A caller whose exchanges are written down."""

    caller: Caller
    exchanges: list[Exchange]


@pytest.fixture
async def recorded(sandbox: Sandbox) -> AsyncIterator[Recorded]:
    """An app that may read and write everything."""
    trace, exchanges = recorder()
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        caller = Caller(sandbox, http)
        await caller.connect(scope=WRITING_SCOPES)
        exchanges.clear()
        yield Recorded(caller, exchanges)


def complaints(spec: Spec, exchanges: list[Exchange]) -> list[str]:
    """All complaints about these exchanges; there must be some to judge."""
    assert exchanges
    return [text for exchange in exchanges for text in spec.response_complaints(exchange)]


def test_what_the_file_gets_wrong_is_mended_on_load(spec: Spec) -> None:
    assert (spec.mended_defaults, spec.mended_examples) == (23, 3)


def test_every_time_zone_of_the_file_is_known(spec: Spec) -> None:
    stated = spec.schema("TimeZone")["enum"]
    assert len(stated) > 100
    assert [name for name in stated if not time_zone(name)] == []


def test_the_judge_accepts_xeros_own_examples(spec: Spec) -> None:
    ours = (
        "Invoices",
        "CreditNotes",
        "Payments",
        "Overpayments",
        "Prepayments",
        "BankTransactions",
        "Accounts",
        "Users",
    )
    judged = dict(spec.examples())
    wanted = {name: found for name, found in judged.items() if name.split("/")[1] in ours}
    assert len(wanted) > 50
    assert {name: found for name, found in wanted.items() if found} == {}


async def test_the_judge_sees_what_is_wrong(spec: Spec, recorded: Recorded) -> None:
    await recorded.caller.get("Invoices", {"page": "1"})
    (exchange,) = recorded.exchanges
    assert spec.response_complaints(exchange) == []
    for before, after, complaint in (
        (b'"Type": "ACCREC"', b'"Type": "ACCREK"', "none of its values"),
        (b'"AmountDue": ', b'"AmountDew": ', "AmountDew is not in the file"),
        (b'"AmountDue": ', b'"AmountDew": ', "AmountDue is missing"),
        (b'"IsDiscounted": false', b'"IsDiscounted": "false"', "not of the type boolean"),
        (b'"IsDiscounted": false', b'"IsDiscounted": 0', "not of the type boolean"),
        (b"+0000)", b")", "no date of Xero"),
        (b"T00:00:00", b"", "DateString is"),
        (b'"InvoiceID": "', b'"InvoiceID": "x', "no UUID"),
        (b'"Status": "OK"', b'"State": "OK"', "no envelope"),
    ):
        assert before in exchange.answer, before
        wrong = replace(exchange, answer=exchange.answer.replace(before, after))
        assert complaint in " ".join(spec.response_complaints(wrong)), complaint


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_lists_and_single_reads_are_as_the_file_says(spec: Spec, recorded: Recorded, collection: str) -> None:
    caller = recorded.caller
    for params in ({}, EVERYTHING, {"summaryOnly": "true"}, {"unitdp": "4", "page": "1"}, {"order": "UpdatedDateUTC"}):
        if collection != "Currencies" or "order" not in params:
            await caller.get(collection, params)
    rows = await caller.rows(collection, EVERYTHING)
    for row in rows[:25] if collection != "Currencies" else []:
        await caller.get(f"{collection}/{next(row[key] for key in row if key.endswith('ID') and key != 'ID')}")
    assert complaints(spec, recorded.exchanges) == []


async def test_the_organisation_and_its_actions_are_as_the_file_says(spec: Spec, recorded: Recorded) -> None:
    await recorded.caller.control(
        "POST",
        f"organisations/{recorded.caller.tenant_id}/lock-dates",
        {"period": "2026-01-31", "end_of_year": "2025-03-31"},
    )
    await recorded.caller.get("Organisation")
    await recorded.caller.get("Organisation/Actions")
    assert complaints(spec, recorded.exchanges) == []


async def test_every_refusal_is_in_its_dialect(spec: Spec, recorded: Recorded) -> None:
    caller = recorded.caller
    await caller.get("Invoices", {"where": "Colour=="})
    await caller.get("Invoices/00000000-0000-0000-0000-000000000000")
    await caller.get("Invoices", Authorization="Bearer x")
    await caller.get("Nonsense")
    await caller.get("Invoices", None, **{"xero-tenant-id": "00000000-0000-0000-0000-000000000000"})
    for kind in (FaultKind.OFFLINE, FaultKind.LIMIT_MINUTE):
        caller.sandbox.faults.add(FaultRule(kind))
        await caller.get("Invoices")
    caller.sandbox.limits.quota = Quota(records=10)
    await caller.get("Invoices")
    statuses = [exchange.status for exchange in recorded.exchanges]
    assert statuses == [400, 404, 401, 404, 403, 503, 429, 400]
    assert complaints(spec, recorded.exchanges) == []


async def test_writes_of_money_are_answered_as_the_file_says(spec: Spec, recorded: Recorded) -> None:
    writer = Writer(recorded.caller)
    paid = await writer.put("Payments", {"Payments": [writer.payment(writer.owed(), "10.00", Reference="marker")]})
    payment_id = paid.body["Payments"][0]["PaymentID"]
    too_much = {"Payments": [writer.payment(writer.owed(), "999999.00")]}
    assert (await writer.put("Payments", too_much)).status == 400
    assert (await writer.put("Payments", too_much, query="?summarizeErrors=false")).status == 200
    assert (await writer.post(f"Payments/{payment_id}", {"Status": "DELETED"})).status == 200
    await writer.one(f"Payments/{payment_id}")
    invoice = writer.owed()
    batch = {
        "Account": {"AccountID": writer.bank_id},
        "Date": "2026-11-20",
        "Payments": [{"Invoice": {"InvoiceID": invoice.id}, "Amount": "1.00"}],
    }
    made = await writer.put("BatchPayments", {"BatchPayments": [batch]})
    batch_id = made.body["BatchPayments"][0]["BatchPaymentID"]
    await recorded.caller.get("BatchPayments")
    await recorded.caller.get("Payments", EVERYTHING)
    assert (await writer.post(f"BatchPayments/{batch_id}", {"Status": "DELETED"})).status == 200
    await writer.one(f"BatchPayments/{batch_id}")
    assert (await writer.send("PUT", "Payments", data=b"{")).status == 400
    assert complaints(spec, recorded.exchanges) == []


async def test_writes_of_documents_are_answered_as_the_file_says(spec: Spec, recorded: Recorded) -> None:
    writer = Writer(recorded.caller)
    contact, line = {"ContactID": writer.customer().id}, {"Description": "Work", "Quantity": 1, "UnitAmount": "20.00"}
    document = {
        "Contact": contact,
        "Date": "2026-11-20",
        "Status": "AUTHORISED",
        "LineItems": [line | {"AccountCode": "200"}],
    }
    invoice = document | {"Type": "ACCREC", "DueDate": "2026-12-20"}
    (made,) = (await writer.put("Invoices", {"Invoices": [invoice]})).body["Invoices"]
    assert (await writer.put("Invoices", {"Invoices": [{"Type": "ACCREC"}]})).status == 400
    (credit,) = (await writer.put("CreditNotes", {"CreditNotes": [document | {"Type": "ACCRECCREDIT"}]})).body[
        "CreditNotes"
    ]
    allocation = {"Allocations": [{"Invoice": {"InvoiceID": made["InvoiceID"]}, "Amount": "5.00"}]}
    path = f"CreditNotes/{credit['CreditNoteID']}"
    assert (await writer.put(f"{path}/Allocations", allocation)).status == 200
    (held,) = (await writer.one(path))["Allocations"]
    assert (await writer.send("DELETE", f"{path}/Allocations/{held['AllocationID']}")).status == 200
    overpayment = {
        "Type": "RECEIVE-OVERPAYMENT",
        "Contact": contact,
        "BankAccount": {"AccountID": writer.bank_id},
        "Date": "2026-11-20",
        "LineAmountTypes": "NoTax",
        "LineItems": [{"Description": "Too much", "LineAmount": "20.00"}],
    }
    (banked,) = (await writer.put("BankTransactions", {"BankTransactions": [overpayment]})).body["BankTransactions"]
    assert (await writer.put(f"Overpayments/{banked['OverpaymentID']}/Allocations", allocation)).status == 200
    await recorded.caller.get("BankTransactions", {"page": "1"})
    await writer.one(f"BankTransactions/{banked['BankTransactionID']}")
    below = f"Invoices/{made['InvoiceID']}"
    assert (await writer.put(f"{below}/History", {"HistoryRecords": [{"Details": "Chased"}]})).status == 200
    await recorded.caller.get(f"{below}/History")
    await recorded.caller.get(f"{below}/OnlineInvoice")
    await recorded.caller.get("Reports/AgedReceivablesByContact", {"contactId": contact["ContactID"]})
    for method in ("PUT", "PUT", "POST"):
        await writer.send(
            method, "Contacts", {"Contacts": [{"Name": "Neue Kundin", "EmailAddress": "neu@example.com"}]}
        )
    assert {exchange.status for exchange in recorded.exchanges} == {200, 400}
    assert complaints(spec, recorded.exchanges) == []


class _Tokens:
    """The access token that a caller has."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def access_token(self, *, refused: str | None = None) -> str:
        assert refused is None
        return str(self._caller.tokens["access_token"])


async def test_every_request_of_our_own_client_is_as_the_file_says(
    spec: Spec, recorded: Recorded, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, exchanges = recorder()

    async def noted(response: aiohttp.ClientResponse, largest: int) -> Answer:
        """The same, noted down: aiohttp tells no trace of a body that is read piece by piece."""
        answer = await received(response, largest)
        exchanges[-1].answer = answer.body
        return answer

    monkeypatch.setattr(transport, "received", noted)
    settings = Settings(xero_api_url=sandbox.url)
    since = datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)
    async with open_session(settings) as session:
        trace.freeze()
        session.trace_configs.append(trace)
        clock = SystemClock()
        library = XeroLibrary(session, settings, clock, CallsInMemory(), Limits(clock))
        books = library.open(recorded.caller.tenant_id, _Tokens(recorded.caller))
        for entity in Entity:
            for query in (
                Query(entity=entity),
                Query(entity=entity, since=since),
                Query(entity=entity, order=Order.BY_ID, page=2, page_size=7),
            ):
                await books.read(query, Purpose.FIRST_SYNC)
        await books.read(Query(entity=Entity.INVOICES, open_only=True), Purpose.FIRST_SYNC)
        await books.organisation(Purpose.FIRST_SYNC)
        await books.users(Purpose.FIRST_SYNC)
        await books.actions(Purpose.FIRST_SYNC)
    assert len(exchanges) > 20
    assert [text for exchange in exchanges for text in spec.request_complaints(exchange)] == []
    assert complaints(spec, exchanges) == []
