"""Idempotency-Key: done once, answered as often as asked, for six minutes (Xero, idempotent requests)."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import aiohttp
import pytest

from sandbox_writer import Writer
from tieout_sandbox import FaultKind, FaultRule


def paid(writer: Writer) -> int:
    return len(writer.books.payments)


async def test_a_replay_gets_the_first_answer_and_does_nothing(writer: Writer) -> None:
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    first = await writer.put("Payments", payment, Idempotency_Key="one")
    again = await writer.put("Payments", payment, idempotency_key="one")
    assert (again.status, again.text) == (200, first.text)
    assert again.headers["Xero-Correlation-Id"] == first.headers["Xero-Correlation-Id"]
    assert paid(writer) == before + 1


async def test_a_replay_uses_up_the_limits(writer: Writer) -> None:
    payment = writer.payment(writer.owed(), "1.00")
    first = await writer.put("Payments", payment, Idempotency_Key="one")
    again = await writer.put("Payments", payment, Idempotency_Key="one")
    for header in ("X-MinLimit-Remaining", "X-DayLimit-Remaining", "X-AppMinLimit-Remaining"):
        assert int(again.headers[header]) == int(first.headers[header]) - 1


async def test_errors_are_kept_too(writer: Writer) -> None:
    invoice = writer.owed()
    payment = writer.payment(invoice)
    writer.books.pay(invoice.id)
    refused = await writer.put("Payments", payment, Idempotency_Key="one")
    writer.books.delete_payment(invoice.payments[-1].id)
    again = await writer.put("Payments", payment, Idempotency_Key="one")
    assert (refused.status, again.status, again.text) == (400, 400, refused.text)
    assert (await writer.put("Payments", payment, Idempotency_Key="two")).status == 200


@pytest.mark.parametrize("change", ["body", "verb", "address", "parameter"])
async def test_another_request_with_the_same_key_is_refused(writer: Writer, change: str) -> None:
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    await writer.put("Payments", payment, Idempotency_Key="one")
    method = "POST" if change == "verb" else "PUT"
    path = "BatchPayments" if change == "address" else "Payments"
    body = payment | {"Amount": 2} if change == "body" else payment
    query = "?summarizeErrors=false" if change == "parameter" else ""
    answer = await writer.send(method, path, body, query=query, Idempotency_Key="one")
    assert answer.status == 400
    assert answer.body["Message"] == "Idempotency Key: one is used with a different request."
    assert paid(writer) == before + 1


async def test_a_key_counts_as_new_after_six_minutes(writer: Writer) -> None:
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    clock = writer.caller.sandbox.clock
    await writer.put("Payments", payment, Idempotency_Key="one")
    clock.advance(timedelta(minutes=5, seconds=59))
    await writer.put("Payments", payment, Idempotency_Key="one")
    assert paid(writer) == before + 1
    clock.advance(timedelta(seconds=1))  # counted from the first call, not from the replay
    await writer.put("Payments", payment, Idempotency_Key="one")
    assert paid(writer) == before + 2


async def test_a_key_has_at_most_128_characters(writer: Writer) -> None:
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    assert (await writer.put("Payments", payment, Idempotency_Key="k" * 129)).status == 400
    assert paid(writer) == before
    assert (await writer.put("Payments", payment, Idempotency_Key="k" * 128)).status == 200


async def test_reads_and_deletes_take_no_key(writer: Writer) -> None:
    first = await writer.send("GET", "Payments", query="?page=1", Idempotency_Key="one")
    await writer.put("Payments", writer.payment(writer.owed(), "1.00"))
    again = await writer.send("GET", "Payments", query="?page=1", Idempotency_Key="one")
    assert first.text != again.text


async def test_keys_belong_to_the_app_not_to_the_organisation(writer: Writer) -> None:
    first = await writer.put("Contacts", {"Name": "Same Everywhere Ltd"}, Idempotency_Key="one")
    caller = writer.caller
    there = caller.sandbox.organisations[1]
    await caller.connect(scope="accounting.contacts", organisations=[there.name])
    caller.tenant_id = there.id
    again = await writer.put("Contacts", {"Name": "Same Everywhere Ltd"}, Idempotency_Key="one")
    assert again.text == first.text  # the trap: put the organisation into the key
    assert all(contact.name != "Same Everywhere Ltd" for contact in there.books.contacts.values())


async def test_a_lost_answer_can_be_asked_for_again(writer: Writer) -> None:
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    writer.caller.sandbox.faults.add(FaultRule(FaultKind.DROP_AFTER, "/Payments"))
    with pytest.raises(aiohttp.ClientError):  # by POST: a PUT is sent again by aiohttp itself, unasked
        await writer.post("Payments", payment, Idempotency_Key="one")
    answer = await writer.post("Payments", payment, Idempotency_Key="one")
    assert (answer.status, paid(writer)) == (200, before + 1)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_duplicate_in_flight_is_refused_or_waits_by_switch(writer: Writer, waits: bool) -> None:  # noqa: FBT001 a parametrised case
    writer.books.switches.idempotent_call_in_flight_waits = waits
    writer.caller.sandbox.accounting.latency_ms = 150
    payment, before = writer.payment(writer.owed(), "1.00"), paid(writer)
    answers = await asyncio.gather(*(writer.put("Payments", payment, Idempotency_Key="one") for _ in range(3)))
    assert sorted(answer.status for answer in answers) == ([200] * 3 if waits else [200, 409, 409])
    assert paid(writer) == before + 1


async def test_amounts_survive_a_replay_exactly(writer: Writer) -> None:
    payment = writer.payment(writer.owed(), "1.10")
    await writer.put("Payments", payment, Idempotency_Key="one")
    again = await writer.put("Payments", payment, Idempotency_Key="one", Accept_Encoding="gzip")
    assert again.body["Payments"][0]["Amount"] == Decimal("1.10")
