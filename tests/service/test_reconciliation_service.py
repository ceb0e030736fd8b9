"""ReconciliationService from a client's side, against the sandbox's books: every call, and what each answers."""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from off_balance import Kept, customer_with_everything, documents_of
from servers import ROOMY, service
from tieout import errors
from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1.types_pb2 import Money
from tieout_sandbox import SandboxSettings, serve
from tieout_sandbox.books.causes import UNSEEN, Cause
from tieout_sandbox.books.documents import Invoice
from tieout_server.clock import MICROSECOND
from tieout_server.storage.database import Database
from tieout_server.storage.tables import watermarks

pytestmark = [pytest.mark.timeout(60), pytest.mark.in_turn]

QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: no limit holds up what is compared often."""
BOOKS = SandboxSettings(contacts=12, invoices=60, speed=QUICK)


@pytest.fixture
async def kept(sqlite_url: str) -> AsyncIterator[Kept]:
    """A connection whose first sync has succeeded, with Kauri among its customers."""
    async with serve(BOOKS) as sandbox:
        sandbox.limits.quota = ROOMY
        kauri = customer_with_everything(sandbox.books)
        async with service(sandbox, sqlite_url, clock_speed=QUICK) as running:
            yield Kept(sandbox, running, await running.connected(), kauri)


def invoice_of(kept: Kept, reference: str) -> Invoice:
    """Kauri's invoice with this reference."""
    return next(it for it in kept.kauri.documents if isinstance(it, Invoice) and it.reference == reference)


async def age(database_url: str, by: timedelta) -> None:
    """Let the mirror be as old as if nothing had been read for so long."""
    database = Database(database_url)
    async with database.write() as tx:
        await tx.execute(update(watermarks).values(last_read_at=watermarks.c.last_read_at - by // MICROSECOND))
    await database.close()


async def unexplained(kept: Kept) -> pb.Discrepancy:
    """A difference that nothing explains and nobody but a person can mend."""
    kept.bring_about(Cause.UNEXPLAINED)
    await kept.reconcile()
    (found,) = await kept.discrepancies()
    return found


async def test_a_customer_is_compared_with_what_the_books_hold(kept: Kept) -> None:
    answer = await kept.reconcile()
    assert answer.customer.id == kept.kauri.id
    assert not answer.customer.off_balance
    assert {one.currency_code: Decimal(one.ours.amount) for one in answer.balances} == kept.truth()
    assert all(one.ours == one.xero and Decimal(one.difference.amount) == 0 for one in answer.balances)
    assert (list(answer.repairs), list(answer.discrepancies), answer.calls_used > 0) == ([], [], True)


async def test_what_was_missed_is_repaired_and_named(kept: Kept) -> None:
    kept.bring_about(Cause.STALE_DOCUMENT)
    answer = await kept.reconcile()
    (repair,) = answer.repairs
    assert repair.cause == pb.DISCREPANCY_CAUSE_STALE_DOCUMENT
    assert repair.before.amount_due != repair.after.amount_due
    assert {one.currency_code: Decimal(one.ours.amount) for one in answer.balances} == kept.truth()
    assert not answer.discrepancies


async def test_what_lasts_makes_the_customer_off_balance_until_it_is_over(kept: Kept) -> None:
    found = await unexplained(kept)
    assert Decimal(found.difference.amount) == -UNSEEN
    (customer,) = await kept.off_balance()
    assert (customer.id, customer.off_balance) == (kept.kauri.id, True)
    assert found.sentence in customer.off_balance_sentence
    read = await kept.running.client.receivables.get_customer(kept.connection.id, kept.kauri.id)
    assert read == customer
    kept.kauri.stated_otherwise_by = Decimal(0)
    assert not (await kept.reconcile()).customer.off_balance
    assert await kept.off_balance() == []


async def test_a_discrepancy_is_acknowledged_and_watched(kept: Kept) -> None:
    found = await unexplained(kept)
    calls = kept.running.client.reconciliations
    async with aclosing(calls.watch_discrepancies(kept.connection.id, from_start=True)) as watching:
        assert (await anext(watching)).snapshot == found
        bookmark = (await anext(watching)).resume_token
        known = await calls.acknowledge_discrepancy(found.id, note="The accountant knows.", request_id="r-1")
        assert (await anext(watching)).change.discrepancy == known
    assert known.state == pb.DISCREPANCY_STATE_ACKNOWLEDGED
    assert await calls.acknowledge_discrepancy(found.id, note="The accountant knows.", request_id="r-1") == known
    async with aclosing(calls.watch_discrepancies(kept.connection.id, after=bookmark)) as resumed:
        assert (await anext(resumed)).change.event.sentence == "Acknowledged: The accountant knows."
    with pytest.raises(errors.RequestIdReusedError):
        await calls.acknowledge_discrepancy(found.id, note="Somebody else.", request_id="r-1")


async def test_an_organisation_is_compared_and_followed_to_the_end(kept: Kept) -> None:
    kept.bring_about(Cause.UNEXPLAINED)
    calls = kept.running.client.reconciliations
    started = await calls.start(kept.connection.id, request_id="r-1")
    told = [m.reconciliation async for m in calls.watch(started.reconciliation.id) if m.HasField("reconciliation")]
    assert [one.percent for one in told] == sorted(one.percent for one in told)
    last = told[-1]
    assert (last.state, last.percent, last.off_balance) == (pb.RECONCILIATION_STATE_SUCCEEDED, 100, 1)
    assert last == await calls.get(started.reconciliation.id)
    assert last.agreeing == last.compared - 1 == last.customers - 1
    off = {one.currency_code: Decimal(one.difference.amount) for one in last.totals if Decimal(one.difference.amount)}
    assert off == {"NZD": -UNSEEN}
    assert (await calls.start(kept.connection.id, request_id="r-1")).reconciliation.id == last.id


async def test_evidence_arrives_whole(kept: Kept) -> None:
    found = await unexplained(kept)
    messages = kept.running.client.reconciliations.export_evidence(discrepancy_id=found.id)
    parts = [part async for part in messages]
    content = b"".join(part.chunk for part in parts)
    assert (parts[0].header.size_bytes, parts[-1].sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert "summary.html" in zipfile.ZipFile(io.BytesIO(content)).namelist()


async def test_a_report_opens_a_case_with_evidence(kept: Kept) -> None:
    kept.bring_about(Cause.UNEXPLAINED)
    invoice = invoice_of(kept, "plain")
    calls = kept.running.client.reconciliations
    named = [pb.InvoiceReference(invoice_number=invoice.number)]
    case = await calls.report_discrepancy(kept.connection.id, "It is too little.", invoices=named, request_id="r")
    (found,) = await kept.discrepancies()
    assert (list(case.customer_ids), list(case.discrepancy_ids)) == ([kept.kauri.id], [found.id])
    again = await calls.report_discrepancy(kept.connection.id, "It is too little.", invoices=named, request_id="r")
    assert again == case
    parts = [part async for part in calls.export_evidence(case_id=case.id)]
    assert parts[-1].sha256


async def test_the_callers_books_are_the_third_side(kept: Kept) -> None:
    await unexplained(kept)
    contacts = [one for one in kept.sandbox.books.contacts.values() if not one.merged_to_id]
    balances = [
        pb.PlatformBalance(xero_contact_id=one.id, balance=Money(currency_code=currency, amount=f"{amount}"))
        for one in contacts
        for currency, amount in documents_of(one).items()
    ]
    other = next(one for one in balances if one.xero_contact_id != kept.kauri.id)
    other.balance.amount = f"{Decimal(other.balance.amount) + 1}"

    async def requests() -> AsyncIterator[pb.SubmitPlatformBalancesRequest]:
        first = pb.SubmitPlatformBalancesRequest(connection_id=kept.connection.id, balances=balances[:5])
        first.as_of.FromDatetime(datetime.now(UTC))
        yield first
        yield pb.SubmitPlatformBalancesRequest(balances=balances[5:])

    answer = await kept.running.client.reconciliations.submit_platform_balances(requests())
    assert (answer.received, answer.agreeing, answer.not_submitted) == (len(balances), len(balances) - 2, 0)
    assert [(one.balances.customer_id, one.verdict) for one in answer.differences] == [
        (kept.kauri.id, pb.PLATFORM_VERDICT_XERO_DIFFERS),
        (other.xero_contact_id, pb.PLATFORM_VERDICT_PLATFORM_DIFFERS),
    ]
    (compared,) = [one for one in (await kept.reconcile()).balances if one.currency_code == "EUR"]
    assert compared.platform == compared.ours


async def test_invoices_are_checked_before_they_are_chased(kept: Kept) -> None:
    paid = next(one for one in kept.kauri.documents if isinstance(one, Invoice) and not one.amount_due)
    named = [
        pb.InvoiceReference(invoice_id=invoice_of(kept, "plain").id),
        pb.InvoiceReference(xero_invoice_id=paid.id),
        pb.InvoiceReference(invoice_number="no such number"),
    ]
    calls = kept.running.client.reconciliations
    first = await calls.check_chase(kept.connection.id, named)
    assert [one.verdict for one in first.checks] == [
        pb.CHASE_VERDICT_SAFE,
        pb.CHASE_VERDICT_PAID,
        pb.CHASE_VERDICT_UNKNOWN_INVOICE,
    ]
    found = await unexplained(kept)
    (off,) = (await calls.check_chase(kept.connection.id, named[:1])).checks
    assert (off.verdict, off.discrepancy_id) == (pb.CHASE_VERDICT_OFF_BALANCE, found.id)


async def test_an_invoice_that_is_too_old_to_tell_is_read_from_xero(kept: Kept, sqlite_url: str) -> None:
    plain = invoice_of(kept, "plain")
    await age(sqlite_url, timedelta(hours=1))
    kept.sandbox.books.pay(plain.id)
    named = [pb.InvoiceReference(invoice_id=plain.id)]
    answer = await kept.running.client.reconciliations.check_chase(kept.connection.id, named)
    assert answer.checks[0].verdict == pb.CHASE_VERDICT_PAID
