"""The sandbox's reads in full: what only some clients ask for, and what nobody knows for sure."""

import json
import re
from datetime import timedelta

import pytest

from sandbox_caller import Caller
from sandbox_writer import WRITING_SCOPES, Writer
from tieout_sandbox import Quota

NOBODYS = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-11-22T09:00:00",
        "2026-11-22T09:00:00Z",
        "2026-11-22T09:00:00.000Z",
        "2026-11-22 09:00:00+00:00",
        "2026-11-22T22:00:00+13:00",
        "Sun, 22 Nov 2026 09:00:00 GMT",
        "Sun Nov 22 2026 09:00:00 GMT+0000 (Coordinated Universal Time)",
    ],
)
async def test_if_modified_since_is_read_in_every_spelling_that_clients_send(caller: Caller, spelling: str) -> None:
    invoice = next(found for found in caller.sandbox.books.invoices.values() if found.status == "AUTHORISED")
    caller.sandbox.books.edit_invoice(invoice.id, reference="Changed today")
    rows = await caller.rows("Invoices", {"page": "1"}, **{"If-Modified-Since": spelling})
    assert [row["InvoiceID"] for row in rows] == [invoice.id]


async def test_the_open_questions_of_if_modified_since_can_be_answered_the_other_way(caller: Caller) -> None:
    books, switches = caller.sandbox.books, caller.sandbox.switches
    invoice = max(books.invoices.values(), key=lambda found: found.updated_at)
    second = {"If-Modified-Since": f"{invoice.updated_at:%Y-%m-%dT%H:%M:%S}.999"}
    assert invoice.id in {row["InvoiceID"] for row in await caller.rows("Invoices", {"page": "1"}, **second)}
    switches.modified_since_cut_to_seconds = False
    assert await caller.rows("Invoices", {"page": "1"}, **second) == []
    switches.modified_since_cut_to_seconds, switches.modified_since_inclusive = True, False
    assert await caller.rows("Invoices", {"page": "1"}, **second) == []
    switches.nothing_modified_answers_304 = True
    response, body = await caller.get("Invoices", {"page": "1"}, **second)
    assert (response.status, body) == (304, b"")


async def test_deleted_payments_and_archived_contacts_in_a_delta_are_open_questions(caller: Caller) -> None:
    long_ago = {"If-Modified-Since": "2000-01-01T00:00:00"}
    everything = {"page": "1", "pageSize": "1000"}
    payments = {row["Status"] for row in await caller.rows("Payments", everything, **long_ago)}
    contacts = {row["ContactStatus"] for row in await caller.rows("Contacts", everything, **long_ago)}
    assert ("DELETED" in payments, "ARCHIVED" in contacts) == (True, False)
    await caller.control("POST", "switches", {"deleted_payments_in_delta": False})
    payments = {row["Status"] for row in await caller.rows("Payments", everything, **long_ago)}
    await caller.control("POST", "switches", {"archived_contacts_in_delta": True})
    contacts = {row["ContactStatus"] for row in await caller.rows("Contacts", everything, **long_ago)}
    assert ("DELETED" in payments, "ARCHIVED" in contacts) == (False, True)


async def test_a_search_term_looks_into_names_numbers_and_addresses_in_any_case(caller: Caller) -> None:
    contact = next(found for found in caller.sandbox.books.contacts.values() if found.status == "ACTIVE")
    for term in (contact.name[2:8].upper(), contact.email.split("@")[0]):
        rows = await caller.rows("Contacts", {"searchTerm": term})
        assert contact.id in {row["ContactID"] for row in rows}
        assert len(rows) < len(caller.sandbox.books.contacts)
    assert await caller.rows("Contacts", {"searchTerm": "nobody is called this"}) == []
    number = next(iter(caller.sandbox.books.invoices.values())).number
    assert [row["InvoiceNumber"] for row in await caller.rows("Invoices", {"searchTerm": number})] == [number]


async def test_unit_amounts_have_four_places_when_asked_for_and_nothing_else_changes(caller: Caller) -> None:
    invoice = next(iter(caller.sandbox.books.invoices.values()))
    for path, params in ((f"Invoices/{invoice.id}", {}), ("Invoices", {"page": "1", "pageSize": "3"})):
        _, usual = await caller.get(path, params)
        _, precise = await caller.get(path, {**params, "unitdp": "4"})
        assert re.search(rb'"UnitAmount": \d+\.\d{4},', precise)
        shortened = re.sub(rb'("UnitAmount": \d+\.\d\d)00', rb"\1", precise)
        assert shortened[shortened.index(b"Invoices") :] == usual[usual.index(b"Invoices") :]


async def test_no_invoice_was_created_by_my_app_before_it_created_one(caller: Caller) -> None:
    assert await caller.rows("Invoices", {"createdByMyApp": "true"}) == []
    assert len(await caller.rows("Invoices", {"createdByMyApp": "false"})) == len(caller.sandbox.books.invoices)


async def test_parameter_names_are_known_in_any_case_unless_switched(caller: Caller) -> None:
    assert len(await caller.rows("Invoices", {"PAGE": "1", "PAGESIZE": "3"})) == 3
    caller.sandbox.switches.parameter_names_ignore_case = False
    assert len(await caller.rows("Invoices", {"PAGE": "1", "PAGESIZE": "3"})) > 3
    assert len(await caller.rows("Invoices", {"page": "1", "pageSize": "3"})) == 3


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 400),
        ({"page": "1"}, 200),
        ({"page": "1", "where": 'Status=="PAID" AND AmountDue>0'}, 200),
        ({"page": "1", "where": "Total>0"}, 400),
        ({"page": "1", "where": 'Status=="PAID" OR Status=="DRAFT"'}, 400),
        ({"page": "1", "where": f'InvoiceID==guid("{NOBODYS}") OR InvoiceID==guid("{NOBODYS}")'}, 200),
        ({"page": "1", "where": 'Reference.Contains("PO")'}, 200),
        ({"page": "1", "order": "Date DESC"}, 200),
        ({"page": "1", "order": "Total"}, 400),
        ({"IDs": NOBODYS}, 200),
        ({"summaryOnly": "true"}, 200),
    ],
)
async def test_very_many_records_can_only_be_asked_for_in_pages_and_by_what_is_optimised(
    caller: Caller, params: dict[str, str], status: int
) -> None:
    await caller.control("POST", "limits", {"records": 50})
    assert (await caller.get("Invoices", params))[0].status == status


async def test_accounts_have_no_high_volume_threshold(caller: Caller) -> None:
    await caller.control("POST", "limits", {"records": 1})
    assert (await caller.get("Accounts"))[0].status == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("text/html, application/json;q=0.9", 200),
        ("application/xml", 406),
        ("application/pdf", 200),
    ],
)
async def test_only_json_is_spoken_and_a_single_invoice_can_be_printed(
    caller: Caller, accept: str, status: int
) -> None:
    invoice = next(iter(caller.sandbox.books.invoices.values()))
    response, body = await caller.get(f"Invoices/{invoice.id}", Accept=accept)
    assert response.status == status
    if accept == "application/pdf":
        assert response.content_type == "application/pdf"
        assert body.startswith(b"%PDF-1.4\n")
        start = int(body.split(b"startxref\n")[1].split(b"\n")[0])
        assert body[start:].startswith(b"xref\n"), "the table is where the trailer says"
        assert invoice.number.encode() in body


async def test_the_ways_in_which_429_may_be_written_are_switches(caller: Caller) -> None:
    caller.sandbox.limits.quota = Quota(app_minute=0)
    response, body = await caller.get("Users")
    assert (response.status, response.headers["X-Rate-Limit-Problem"], body) == (429, "appminute", b"")
    await caller.control(
        "POST",
        "switches",
        {"limit_app_minute_name": "app-minute", "limit_names_capitalised": True, "limit_answers_have_text": True},
    )
    response, body = await caller.get("Users")
    assert (response.headers["X-Rate-Limit-Problem"], body) == ("App-minute", b"Rate Limit Exceeded")


async def test_users_may_have_another_id_than_their_tokens_say_and_vanish_when_removed(caller: Caller) -> None:
    path = f"organisations/{caller.tenant_id}/roles"
    await caller.control("POST", path, {"user": "rex.reader@example.com", "role": "REMOVED"})
    same = await caller.rows("Users")
    assert {row["UserID"] for row in same} == set(caller.sandbox.authority.users)
    assert "REMOVED" in {row["OrganisationRole"] for row in same}
    await caller.control("POST", "switches", {"user_id_is_xero_userid": False, "removed_users_stay_listed": False})
    others = await caller.rows("Users")
    assert not {row["UserID"] for row in others} & set(caller.sandbox.authority.users)
    assert len(others) == 3
    response, body = await caller.get(f"Users/{others[0]['UserID']}")
    assert (response.status, json.loads(body)["Users"][0]["UserID"]) == (200, others[0]["UserID"])


async def test_credits_inside_an_invoice_may_be_brief(caller: Caller) -> None:
    credit = next(found for found in caller.sandbox.books.credit_notes.values() if found.allocations)
    invoice = credit.allocations[0].invoice
    for brief, keys in ((True, {"AppliedAmount"}), (False, {"AppliedAmount", "Date", "Total"})):
        caller.sandbox.switches.nested_credits_are_brief = brief
        for path, params in ((f"Invoices/{invoice.id}", {}), ("Invoices", {"IDs": invoice.id})):
            _, body = await caller.get(path, params)
            (nested, *_) = json.loads(body)["Invoices"][0]["CreditNotes"]
            assert {"AppliedAmount", "Date", "Total"} & nested.keys() == keys


async def test_a_contacts_new_name_may_move_its_documents(caller: Caller) -> None:
    books = caller.sandbox.books
    invoice = next(found for found in books.invoices.values() if found.contact.status == "ACTIVE")
    before = invoice.updated_at
    books.rename_contact(invoice.contact.id, "Another Name Ltd")
    assert invoice.updated_at == before
    caller.sandbox.switches.contact_edits_move_documents = True
    books.rename_contact(invoice.contact.id, "Yet Another Name Ltd")
    assert invoice.updated_at > before


async def test_the_request_log_answers_who_was_limited_since_when_and_what_it_cost(caller: Caller) -> None:
    await caller.get("Organisation")
    caller.sandbox.clock.advance(timedelta(minutes=1))
    caller.sandbox.limits.quota = Quota(minute=1)
    await caller.get("Contacts")
    await caller.get("Contacts")
    since = caller.sandbox.clock.now().isoformat().replace("+00:00", "Z")
    recent = await caller.control("GET", f"requests?since={since}")
    assert [entry["status"] for entry in recent["requests"]] == [200, 429]
    limited = await caller.control("GET", "requests?limit_problem=minute&client_id=tieout-sandbox-app")
    assert [entry["number"] for entry in limited["requests"]] == [recent["requests"][1]["number"]]
    assert len((await caller.control("GET", "requests?last=1"))["requests"]) == 1
    assert (await caller.control("GET", "requests?client_id=nobody"))["count"] == 0
    egress = await caller.control("GET", "egress")
    assert egress == {"tieout-sandbox-app": recent["requests"][0]["bytes"]}, "Organisation is free"
    caller.sandbox.switches.egress_counts_compressed = False
    assert (await caller.control("GET", "egress"))["tieout-sandbox-app"] > egress["tieout-sandbox-app"] * 3


async def test_a_contact_is_found_whatever_the_case_and_the_accents(caller: Caller) -> None:
    books = caller.sandbox.books
    made = books.create_contact("Pōhutukawa Dental (Tāmaki)", "Kia.Ora@example.com")
    for where in (
        'Name=="pohutukawa dental (tamaki)"',
        'EmailAddress=="KIA.ORA@EXAMPLE.COM"',
        'Name=="PŌHUTUKAWA DENTAL (TĀMAKI)" AND Name != "somebody else"',
    ):
        assert [row["ContactID"] for row in await caller.rows("Contacts", {"where": where})] == [made.id], where
    assert (
        await caller.rows("Contacts", {"where": f'Name!="{made.name.upper()}" AND ContactID==guid("{made.id}")'}) == []
    )


async def test_invoices_that_my_app_created_can_be_asked_for(caller: Caller) -> None:
    await caller.connect(scope=WRITING_SCOPES)
    writer = Writer(caller)
    line = {"Description": "Work", "Quantity": 1, "UnitAmount": "20.00", "AccountCode": "200"}
    invoice = {"Type": "ACCREC", "Contact": {"ContactID": writer.customer().id}, "LineItems": [line]}
    made = await writer.put("Invoices", {"Invoices": [invoice]})
    (row,) = await caller.rows("Invoices", {"createdByMyApp": "true"})
    assert row["InvoiceID"] == made.body["Invoices"][0]["InvoiceID"]


async def test_the_pdf_of_a_document_has_a_path_of_its_own(caller: Caller) -> None:
    for collection, documents in (
        ("Invoices", caller.sandbox.books.invoices),
        ("CreditNotes", caller.sandbox.books.credit_notes),
    ):
        response, body = await caller.get(f"{collection}/{next(iter(documents))}/pdf", Accept="application/pdf")
        assert (response.status, response.content_type, body[:5]) == (200, "application/pdf", b"%PDF-")
    payment = next(iter(caller.sandbox.books.payments))
    assert (await caller.get(f"Payments/{payment}/pdf"))[0].status == 404


async def test_what_the_tier_does_not_include_is_403_without_a_body(caller: Caller) -> None:
    await caller.connect(scope="openid accounting.journals.read")
    response, body = await caller.get("Journals")
    assert (response.status, body) == (403, b"")


@pytest.mark.parametrize("accept", ["*/*", "application/*", "", "text/html"])
async def test_who_does_not_ask_for_json_is_refused_by_switch_because_xero_would_answer_in_xml(
    caller: Caller, accept: str
) -> None:
    assert (await caller.get("Organisation", Accept=accept))[0].status == (406 if accept == "text/html" else 200)
    caller.sandbox.switches.json_must_be_asked_for = True
    assert (await caller.get("Organisation", Accept=accept))[0].status == 406
    assert (await caller.get("Organisation", Accept="text/html, application/json;q=0.9"))[0].status == 200
