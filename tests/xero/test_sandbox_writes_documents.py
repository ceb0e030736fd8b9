"""Invoices, credit notes, contacts and notes through the sandbox's API, in Xero's words."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sandbox_writer import Answer, Writer
from tieout_sandbox import CreditKind, Status
from tieout_sandbox.books.documents import ContactStatus, InvoiceType
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.books.truth import compact_truth

NOT_MODIFIABLE = "Invoice not of valid status for modification"
ALLOCATED = "This document cannot be edited as it has a payment or credit note allocated to it."
LINE = {"Description": "Acme Tires", "Quantity": 2, "UnitAmount": 20, "AccountCode": "200", "TaxType": "NONE"}


def invoice_of(writer: Writer, **more: object) -> dict[str, Any]:
    return {
        "Type": "ACCREC",
        "Contact": {"ContactID": writer.customer().id},
        "LineItems": [LINE],
        "Date": "2026-11-11",
        "DueDate": "2026-12-10",
        "Reference": "Website Design",
        "Status": "AUTHORISED",
        **more,
    }


def only(answer: Answer, name: str) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    (found,) = answer.body[name]
    return dict(found)


async def test_an_invoice_is_made_and_told_without_what_lists_add(writer: Writer) -> None:
    made = only(await writer.put("Invoices", {"Invoices": [invoice_of(writer)]}), "Invoices")
    assert (made["Total"], made["AmountDue"], made["Status"]) == (Decimal("40.00"), Decimal("40.00"), "AUTHORISED")
    assert made["Contact"]["ContactStatus"] == "ACTIVE"
    assert not made.keys() & {"Payments", "CreditNotes", "AmountCredited", "HasAttachments", "StatusAttributeString"}
    assert made["InvoiceNumber"].startswith("INV-")
    read = await writer.one(f"Invoices/{made['InvoiceID']}")
    assert {key: read[key] for key in made} == made
    mine = (await writer.send("GET", "Invoices", query="?createdByMyApp=true&page=1")).body["Invoices"]
    assert [found["InvoiceID"] for found in mine] == [made["InvoiceID"]]
    writer.books.check()


@pytest.mark.parametrize(
    ("amounts", "sub_total", "tax", "total"),
    [
        ("Exclusive", "40.00", "6.00", "46.00"),
        ("Inclusive", "34.78", "5.22", "40.00"),
        ("NoTax", "40.00", "0.00", "40.00"),
    ],
)
async def test_tax_is_added_contained_or_none(
    writer: Writer, amounts: str, sub_total: str, tax: str, total: str
) -> None:
    body = invoice_of(writer, LineAmountTypes=amounts, LineItems=[LINE | {"TaxType": "OUTPUT2"}])
    made = only(await writer.put("Invoices", body), "Invoices")
    assert [str(made[key]) for key in ("SubTotal", "TotalTax", "Total")] == [sub_total, tax, total]
    assert made["LineAmountTypes"] == amounts
    writer.books.check()


async def test_lines_come_to_quantity_times_price_less_discount(writer: Writer) -> None:
    line = LINE | {"Quantity": "1.5", "UnitAmount": "33.33", "DiscountRate": 10}
    made = only(await writer.put("Invoices", invoice_of(writer, LineItems=[line])), "Invoices")
    assert (made["LineItems"][0]["LineAmount"], made["LineItems"][0]["Quantity"]) == (
        Decimal("45.00"),
        Decimal("1.5000"),
    )
    wrong = await writer.put("Invoices", invoice_of(writer, LineItems=[LINE | {"LineAmount": 41}]))
    assert wrong.messages == ["The line total 41.00 does not match the expected line total 40.00"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Type": "SALE"}, "Invoice Type must be ACCREC or ACCPAY"),
        ({"Contact": {}}, "The Contact must contain at least 1 of the following elements to identify the contact: "),
        ({"Contact": {"ContactID": "11111111-1111-4111-8111-111111111111"}}, "The specified contact could not be"),
        ({"LineItems": []}, "One or more line items must be specified"),
        ({"LineItems": [LINE | {"AccountCode": "999"}]}, "Account code '999' is not a valid code for this document."),
        ({"LineItems": [LINE | {"AccountCode": None}]}, "Account code '' is not a valid code for this document."),
        (
            {"LineItems": [LINE | {"TaxType": "MAGIC"}]},
            "The TaxType code 'MAGIC' cannot be used with account code '200'",
        ),
        ({"LineItems": [LINE | {"UnitAmount": -20}]}, "The total of this document cannot be negative"),
        ({"CurrencyCode": "CHF"}, "Organisation is not subscribed to currency CHF"),
        ({"InvoiceNumber": "INV-00001"}, "Invoice # must be unique."),
        ({"Status": "PAID"}, "Invoice not of valid status for creation"),
        ({"Reference": "x" * 256}, "Reference must not be longer than 255 characters."),
    ],
)
async def test_invoices_that_are_not_right_are_refused(writer: Writer, change: dict[str, object], message: str) -> None:
    before = compact_truth(writer.books)
    answer = await writer.put("Invoices", invoice_of(writer) | change)
    assert answer.status == 400
    assert any(text.startswith(message) for text in answer.messages), answer.text
    assert (answer.body["Elements"][0]["HasErrors"], answer.body["Elements"][0]["InvoiceID"][:8]) == (True, "00000000")
    assert compact_truth(writer.books) == before


async def test_archived_contacts_get_no_invoices_and_new_names_become_contacts(writer: Writer) -> None:
    archived = next(c for c in writer.books.contacts.values() if c.status is ContactStatus.ARCHIVED)
    answer = await writer.put("Invoices", invoice_of(writer, Contact={"ContactID": archived.id}))
    assert answer.messages[0].startswith("The contact with the specified contact details has been archived.")
    made = only(await writer.put("Invoices", invoice_of(writer, Contact={"Name": "Brand New Ltd"})), "Invoices")
    contact = writer.books.contacts[made["Contact"]["ContactID"]]
    assert (contact.name, contact.is_customer) == ("Brand New Ltd", True)
    both = [invoice_of(writer, Contact={"Name": "Never Kept Ltd"}), invoice_of(writer, Contact={})]
    assert (await writer.put("Invoices", both)).status == 400
    assert all(contact.name != "Never Kept Ltd" for contact in writer.books.contacts.values())
    writer.books.check()


async def test_an_invoice_goes_from_draft_to_void(writer: Writer) -> None:
    made = only(await writer.put("Invoices", invoice_of(writer, Status="DRAFT")), "Invoices")
    path = f"Invoices/{made['InvoiceID']}"
    for status in ("SUBMITTED", "DRAFT", "AUTHORISED", "VOIDED"):
        assert only(await writer.post(path, {"Status": status}), "Invoices")["Status"] == status
    assert (await writer.post(path, {"Status": "AUTHORISED"})).messages == [NOT_MODIFIABLE]
    gone = await writer.one(path)
    assert (gone["AmountDue"], gone["Total"]) == (Decimal("0.00"), Decimal("40.00"))
    other = only(await writer.put("Invoices", invoice_of(writer)), "Invoices")
    assert (await writer.post(f"Invoices/{other['InvoiceID']}", {"Status": "DELETED"})).messages == [NOT_MODIFIABLE]


async def test_what_was_paid_is_neither_voided_nor_changed_in_its_amount(writer: Writer) -> None:
    invoice = writer.owed()
    writer.books.pay(invoice.id, Decimal("1.00"))
    path = f"Invoices/{invoice.id}"
    assert (await writer.post(path, {"Status": "VOIDED"})).messages == [ALLOCATED]
    assert (await writer.post(path, {"LineItems": [LINE]})).messages == [ALLOCATED]
    assert (await writer.post(path, {"Date": "2026-11-01"})).messages == [ALLOCATED]
    writer.books.pay(invoice.id)
    assert (await writer.post(path, {"LineItems": [LINE]})).messages == [NOT_MODIFIABLE]
    changed = only(await writer.post(path, {"Reference": "still", "InvoiceNumber": "NEW-1"}), "Invoices")
    assert (changed["Reference"], changed["InvoiceNumber"], changed["Status"]) == ("still", "NEW-1", "PAID")
    payment = await writer.one(f"Payments/{invoice.payments[0].id}")
    listed = (await writer.send("GET", "Payments", query="?page=1&pageSize=1000")).body["Payments"]
    assert payment["Invoice"]["InvoiceNumber"] == "NEW-1"
    assert [p["Invoice"]["InvoiceNumber"] for p in listed if p["PaymentID"] == payment["PaymentID"]] == ["NEW-1"]
    writer.books.check()


async def test_a_due_date_alone_is_silent_once_something_was_paid(writer: Writer) -> None:
    invoice = writer.owed()
    writer.books.pay(invoice.id, Decimal("1.00"))
    before_at = invoice.updated_at
    await writer.post(f"Invoices/{invoice.id}", {"DueDate": "2027-01-31", "SentToContact": True})
    assert (invoice.due_on, invoice.updated_at) == (date(2027, 1, 31), before_at)
    await writer.post(f"Invoices/{invoice.id}", {"ExpectedPaymentDate": "2027-02-01"})
    assert (invoice.expected_payment_on, invoice.updated_at > before_at) == (date(2027, 2, 1), True)


async def test_post_changes_by_number_and_makes_what_is_not_there(writer: Writer) -> None:
    invoice = writer.owed()
    body = [{"InvoiceNumber": invoice.number, "Reference": "by number"}, invoice_of(writer, InvoiceNumber="FRESH-1")]
    answer = await writer.post("Invoices", {"Invoices": body})
    assert [found["InvoiceNumber"] for found in answer.body["Invoices"]] == [invoice.number, "FRESH-1"]
    assert invoice.reference == "by number"
    unknown = await writer.post("Invoices", {"InvoiceID": "11111111-1111-4111-8111-111111111111", "Type": "ACCREC"})
    assert "Invoice could not be found" in unknown.messages


async def test_numbers_can_be_handed_on_within_one_call(writer: Writer) -> None:
    invoice = writer.owed()
    former = invoice.number
    body = [{"InvoiceID": invoice.id, "InvoiceNumber": "NEW-1"}, invoice_of(writer, InvoiceNumber=former)]
    answer = await writer.post("Invoices", {"Invoices": body})
    assert [found["InvoiceNumber"] for found in answer.body["Invoices"]] == ["NEW-1", former]
    assert answer.body["Invoices"][1]["InvoiceID"] != invoice.id


async def test_what_was_read_can_be_sent_back_even_of_an_archived_contact(writer: Writer) -> None:
    invoice = writer.owed()
    writer.books.pay(invoice.id, Decimal("1.00"))
    writer.books.archive_contact(invoice.contact.id)
    read = await writer.one(f"Invoices/{invoice.id}")
    changed = only(await writer.post("Invoices", read | {"Reference": "sent back"}), "Invoices")
    assert (changed["Reference"], changed["Total"]) == ("sent back", read["Total"])
    writer.books.check()


async def test_a_draft_can_go_to_another_contact(writer: Writer) -> None:
    made = only(await writer.put("Invoices", invoice_of(writer, Contact={"Name": "First Ltd"})), "Invoices")
    path = f"Invoices/{made['InvoiceID']}"
    moved = only(await writer.post(path, {"Contact": {"Name": "Second Ltd"}}), "Invoices")
    assert moved["Contact"]["Name"] == "Second Ltd"
    first = next(contact for contact in writer.books.contacts.values() if contact.name == "First Ltd")
    assert (first.documents, first.is_customer) == ([], False)
    writer.books.check()


async def test_an_early_sent_to_contact_is_a_warning(writer: Writer) -> None:
    made = only(await writer.put("Invoices", invoice_of(writer, Status="DRAFT")), "Invoices")
    body = {"InvoiceID": made["InvoiceID"], "SentToContact": True}
    found = only(await writer.post("Invoices", body, query="?summarizeErrors=false"), "Invoices")
    assert found["StatusAttributeString"] == "WARNING"
    assert found["Warnings"] == [{"Message": "Only AUTHORISED invoices may have SentToContact updated."}]


async def test_documents_in_locked_periods_stay_as_they_are(writer: Writer) -> None:
    organisation = writer.caller.sandbox.organisations[0]
    invoice = writer.owed()
    organisation.end_of_year_lock_on = date(2026, 11, 21)
    told = "The document date cannot be before the end of year lock date, currently set at 21-Nov-2026"
    assert (await writer.put("Invoices", invoice_of(writer))).messages == [told]
    assert (await writer.post(f"Invoices/{invoice.id}", {"Reference": "late"})).messages == [told]
    organisation.end_of_year_lock_on, organisation.period_lock_on = None, date(2026, 11, 21)
    assert (await writer.put("Invoices", invoice_of(writer))).status == 200  # an adviser may
    await writer.caller.connect(scope="accounting.invoices", user="stan.standard@example.com")
    told = "The document date cannot be before the period lock date, currently set at 21-Nov-2026"
    assert (await writer.put("Invoices", invoice_of(writer))).messages == [told]


async def test_an_invoice_over_nothing_is_paid_at_once(writer: Writer) -> None:
    made = only(await writer.put("Invoices", invoice_of(writer, LineItems=[LINE | {"UnitAmount": 0}])), "Invoices")
    assert (made["Status"], made["Total"]) == ("PAID", Decimal("0.00"))
    writer.books.check()


async def test_an_invoice_is_emailed_and_shown_online(writer: Writer) -> None:
    invoice = writer.owed()
    invoice.sent, invoice.contact.email = False, "somebody@example.com"
    assert (await writer.post(f"Invoices/{invoice.id}/Email", {})).status == 204
    assert invoice.sent
    online = await writer.one(f"Invoices/{invoice.id}/OnlineInvoice")
    assert online["OnlineInvoiceUrl"].startswith("https://in.xero.com/")
    draft = writer.books.create_invoice(writer.customer().id, Decimal(5), status=Status.DRAFT)
    assert (await writer.send("GET", f"Invoices/{draft.id}/OnlineInvoice")).status == 404
    assert (await writer.post(f"Invoices/{draft.id}/Email", {})).status == 400


# Credit notes, over- and prepayments


async def test_a_credit_note_is_made_allocated_and_freed(writer: Writer) -> None:
    body = invoice_of(writer) | {"Type": "ACCRECCREDIT"}
    made = only(await writer.put("CreditNotes", {"CreditNotes": [body]}), "CreditNotes")
    assert (made["CreditNoteID"], made["RemainingCredit"]) == (made["ID"], Decimal("40.00"))
    invoice = writer.books.create_invoice(writer.customer().id, Decimal("100.00"), currency="NZD")
    path = f"CreditNotes/{made['CreditNoteID']}"
    allocations = {"Allocations": [{"Invoice": {"InvoiceID": invoice.id}, "Amount": "15.50", "Date": "2026-11-21"}]}
    told = only(await writer.put(f"{path}/Allocations", allocations), "Allocations")
    assert list(told) == ["Amount", "Date", "Invoice", "CreditNote", "ValidationErrors"]
    assert (told["Amount"], told["CreditNote"]["ID"]) == (Decimal("15.50"), made["ID"])
    assert (invoice.amount_credited, invoice.amount_due) == (Decimal("15.50"), Decimal("84.50"))
    (allocation,) = (await writer.one(path))["Allocations"]
    for bare, message in (
        (
            {"Invoice": {"InvoiceID": invoice.id}, "Amount": 30},
            "Credit Note cannot be allocated as amount is greater than amount outstanding",
        ),
        ({"Invoice": {"InvoiceNumber": "?"}, "Amount": 1}, "Invoice could not be found"),
        ({"Invoice": {"InvoiceID": invoice.id}, "Amount": 0}, "Allocation amount must be greater than zero"),
    ):
        assert (await writer.put(f"{path}/Allocations", bare)).messages == [message]
    assert (await writer.post(path, {"Status": "VOIDED"})).messages == [ALLOCATED]
    removed = await writer.send("DELETE", f"{path}/Allocations/{allocation['AllocationID']}")
    assert removed.status == 200
    assert list(removed.body) == ["AllocationId", "Date", "Invoice", "IsDeleted"]
    assert (removed.body["Invoice"], removed.body["IsDeleted"]) == ([{"InvoiceID": invoice.id}], True)
    assert (await writer.send("DELETE", f"{path}/Allocations/{allocation['AllocationID']}")).status == 404
    assert invoice.amount_due == Decimal("100.00")
    assert only(await writer.post(path, {"Status": "VOIDED"}), "CreditNotes")["Status"] == "VOIDED"
    writer.books.check()


async def test_a_removed_allocation_comes_in_an_envelope_by_switch(writer: Writer) -> None:
    writer.books.switches.removed_allocations_have_envelope = True
    credit = next(found for found in writer.books.credit_notes.values() if found.allocations)
    path = f"CreditNotes/{credit.id}/Allocations/{credit.allocations[0].id}/"
    removed = only(await writer.send("DELETE", path), "Allocations")
    assert removed["IsDeleted"] is True


async def test_a_customer_s_credit_pays_no_bill(writer: Writer) -> None:
    contact = writer.customer()
    credit = writer.books.create_credit(CreditKind.CREDIT_NOTE, contact.id, Decimal("50.00"), currency="NZD")
    bill = writer.books.create_invoice(contact.id, Decimal("9.00"), type_=InvoiceType.ACCPAY, currency="NZD")
    allocation = {"Invoice": {"InvoiceID": bill.id}, "Amount": 5}
    answer = await writer.put(f"CreditNotes/{credit.id}/Allocations", allocation)
    assert answer.messages == ["A credit can only be allocated to an invoice of its contact and currency"]


@pytest.mark.parametrize(
    ("kind", "collection", "types"),
    [
        (CreditKind.CREDIT_NOTE, "CreditNotes", ("ACCPAYCREDIT", "ACCPAYCREDIT", "APCREDITPAYMENT")),
        (CreditKind.OVERPAYMENT, "Overpayments", ("SPEND-OVERPAYMENT", "APOVERPAYMENT", "APOVERPAYMENTPAYMENT")),
        (CreditKind.PREPAYMENT, "Prepayments", ("SPEND-PREPAYMENT", "APPREPAYMENT", "APPREPAYMENTPAYMENT")),
    ],
)
async def test_a_credit_with_a_supplier_has_types_of_its_own_and_pays_bills_only(
    writer: Writer, kind: CreditKind, collection: str, types: tuple[str, ...]
) -> None:
    books = writer.books
    supplier = books.create_contact("Supplier Ltd")
    sale, bill = (books.create_invoice(supplier.id, Decimal("100.00"), type_=one) for one in InvoiceType)
    credit = books.create_credit(kind, supplier.id, Decimal("30.00"), of_supplier=True)
    books.allocate(credit.id, bill.id, Decimal("10.00"))
    with pytest.raises(NotAllowedError, match="an invoice of its contact"):
        books.allocate(credit.id, sale.id)
    refund = await writer.one(f"Payments/{books.refund(credit.id, Decimal('5.00')).id}")
    told = await writer.one(f"{collection}/{credit.id}")
    assert (told["Type"], refund["Invoice"]["Type"], refund["PaymentType"]) == types
    balances = (await writer.one(f"Contacts/{supplier.id}"))["Balances"]
    assert balances["AccountsReceivable"]["Outstanding"] == Decimal("100.00")
    assert balances["AccountsPayable"]["Outstanding"] == Decimal("75.00")
    books.check()


async def test_a_credit_note_of_a_supplier_is_made(writer: Writer) -> None:
    made = only(await writer.put("CreditNotes", invoice_of(writer) | {"Type": "ACCPAYCREDIT"}), "CreditNotes")
    assert (made["Type"], writer.books.credit_notes[made["CreditNoteID"]].of_supplier) == ("ACCPAYCREDIT", True)
    wrong = await writer.put("CreditNotes", invoice_of(writer))
    assert wrong.messages == ["Credit Note Type must be ACCRECCREDIT or ACCPAYCREDIT"]
    writer.books.check()


async def test_an_account_is_archived_by_control(writer: Writer) -> None:
    body = {"account_id": writer.bank_id, "status": "ARCHIVED"}
    await writer.caller.control("POST", f"books/{writer.caller.tenant_id}/edit_account", body)
    assert (await writer.one(f"Accounts/{writer.bank_id}"))["Status"] == "ARCHIVED"


async def test_allocations_of_one_call_are_all_made_or_none(writer: Writer) -> None:
    contact = writer.customer()
    credit = writer.books.create_credit(CreditKind.OVERPAYMENT, contact.id, Decimal("50.00"), currency="NZD")
    invoice = writer.books.create_invoice(contact.id, Decimal("100.00"), currency="NZD")
    one = {"Invoice": {"InvoiceID": invoice.id}, "Amount": 30}
    answer = await writer.put(f"Overpayments/{credit.id}/Allocations", [one, one])
    assert (answer.status, credit.remaining_credit) == (400, Decimal("50.00"))
    answer = await writer.put(f"Overpayments/{credit.id}/Allocations", [one, one], query="?summarizeErrors=false")
    assert [found["StatusAttributeString"] for found in answer.body["Allocations"]] == ["OK", "ERROR"]
    assert credit.remaining_credit == Decimal("20.00")
    writer.books.check()


async def test_credit_notes_that_are_not_right_are_refused(writer: Writer) -> None:
    body = invoice_of(writer) | {"Type": "ACCRECCREDIT"}
    wrong = await writer.post("CreditNotes", body | {"CreditNoteID": "11111111-1111-4111-8111-111111111111"})
    assert wrong.messages == ["An existing Credit Note with the specified CreditNoteID could not be found"]
    assert (await writer.put("CreditNotes", body | {"CreditNoteNumber": "CN-0001"})).messages == [
        "Credit Note # must be unique."
    ]
    draft = only(await writer.put("CreditNotes", body | {"Status": "DRAFT"}), "CreditNotes")
    invoice = writer.books.create_invoice(writer.customer().id, Decimal("100.00"), currency="NZD")
    allocation = {"Invoice": {"InvoiceID": invoice.id}, "Amount": 5}
    answer = await writer.put(f"CreditNotes/{draft['CreditNoteID']}/Allocations", allocation)
    assert answer.messages == ["Allocations can only be made from Authorised documents"]
    line = LINE | {"UnitAmount": 7}
    changed = await writer.post(f"CreditNotes/{draft['CreditNoteID']}", {"LineItems": [line], "Status": "AUTHORISED"})
    assert only(changed, "CreditNotes")["RemainingCredit"] == Decimal("14.00")
    writer.books.check()


def received(writer: Writer, type_: str, **more: object) -> dict[str, Any]:
    line = {"Description": "Overpayment", "LineAmount": "20.00"}
    if type_ != "RECEIVE-OVERPAYMENT":
        line = {"Description": "In advance", "UnitAmount": "23.00", "AccountCode": "200"}
    return {
        "Type": type_,
        "Contact": {"ContactID": writer.customer().id},
        "BankAccount": {"AccountID": writer.bank_id},
        "Date": "2026-11-20",
        "LineAmountTypes": "NoTax" if type_ == "RECEIVE-OVERPAYMENT" else "Inclusive",
        "LineItems": [line],
        **more,
    }


async def test_an_overpayment_comes_as_a_bank_transaction_and_is_allocated(writer: Writer) -> None:
    made = only(await writer.put("BankTransactions", received(writer, "RECEIVE-OVERPAYMENT")), "BankTransactions")
    assert (made["Type"], made["Total"], made["Status"]) == ("RECEIVE-OVERPAYMENT", Decimal("20.00"), "AUTHORISED")
    assert "UpdatedDateUTCString" not in made
    credit = await writer.one(f"Overpayments/{made['OverpaymentID']}")
    assert (credit["RemainingCredit"], credit["LineItems"][0]["AccountCode"]) == (Decimal("20.00"), "610")
    invoice = writer.books.create_invoice(writer.customer().id, Decimal("100.00"), currency="NZD")
    path = f"Overpayments/{made['OverpaymentID']}/Allocations"
    told = only(await writer.put(path, {"Invoice": {"InvoiceID": invoice.id}, "Amount": 20}), "Allocations")
    assert told["Overpayment"]["OverpaymentID"] == made["OverpaymentID"]
    assert (await writer.one(f"Overpayments/{made['OverpaymentID']}"))["Status"] == "PAID"
    edited = await writer.post(f"BankTransactions/{made['BankTransactionID']}", {"Status": "DELETED"})
    assert edited.messages == ["Overpayments and prepayments cannot be edited or deleted through the API"]
    writer.books.check()


async def test_a_prepayment_has_coded_lines_with_tax(writer: Writer) -> None:
    made = only(await writer.put("BankTransactions", received(writer, "RECEIVE-PREPAYMENT")), "BankTransactions")
    assert (made["SubTotal"], made["TotalTax"], made["Total"]) == (Decimal("20.00"), Decimal("3.00"), Decimal("23.00"))
    credit = await writer.one(f"Prepayments/{made['PrepaymentID']}")
    assert (credit["Total"], credit["LineAmountTypes"]) == (Decimal("23.00"), "Inclusive")
    writer.books.check()


@pytest.mark.parametrize(
    ("type_", "change", "message"),
    [
        ("RECEIVE-OVERPAYMENT", {"LineAmountTypes": "Inclusive"}, "Overpayments must have LineAmountTypes NoTax"),
        (
            "RECEIVE-OVERPAYMENT",
            {"LineItems": [{"Description": "x", "LineAmount": 1, "AccountCode": "200"}]},
            "Overpayments cannot have an account code on their line item",
        ),
        (
            "RECEIVE-OVERPAYMENT",
            {"LineItems": [{"Description": "x", "LineAmount": 1}] * 2},
            "Overpayments must have exactly one line item",
        ),
        ("RECEIVE", {"BankAccount": {"Code": "200"}}, "BankAccount must be an account of the Type BANK"),
        ("RECEIVE", {"BankAccount": None}, "Account could not be found"),
        ("RECEIVE", {"Contact": None}, "The Contact must contain at least 1"),
        ("SPEND-TRANSFER", {}, "The sandbox keeps bank transactions of the types"),
        ("SPEND", {"LineItems": [{"Description": "x", "UnitAmount": 0, "AccountCode": "200"}]}, "The total of this"),
    ],
)
async def test_bank_transactions_that_are_not_right_are_refused(
    writer: Writer, type_: str, change: dict[str, object], message: str
) -> None:
    before = compact_truth(writer.books)
    answer = await writer.put("BankTransactions", received(writer, type_) | change)
    assert answer.status == 400
    assert any(text.startswith(message) for text in answer.messages), answer.text
    assert compact_truth(writer.books) == before
    writer.books.check()


async def test_plain_bank_transactions_are_listed_changed_and_deleted(writer: Writer) -> None:
    made = only(await writer.put("BankTransactions", received(writer, "SPEND", Reference="Rent")), "BankTransactions")
    path = f"BankTransactions/{made['BankTransactionID']}"
    changed = only(await writer.post(path, {"IsReconciled": True, "Reference": "Rent 11"}), "BankTransactions")
    assert (changed["IsReconciled"], changed["Reference"]) == (True, "Rent 11")
    assert only(await writer.post(path, {"Status": "DELETED"}), "BankTransactions")["Status"] == "DELETED"
    assert (await writer.post(path, {"Status": "DELETED"})).status == 400
    listed = (await writer.send("GET", "BankTransactions", query="?page=1&pageSize=1000")).body
    known = {found["BankTransactionID"]: found for found in listed["BankTransactions"]}
    assert len(known) == len(writer.books.overpayments) + len(writer.books.prepayments) + 1
    assert known[made["BankTransactionID"]]["Status"] == "DELETED"
    assert {found.get("OverpaymentID") for found in known.values()} - {None} == writer.books.overpayments.keys()
    writer.books.check()


# Contacts


async def test_a_contact_is_made_changed_and_archived(writer: Writer) -> None:
    body = {
        "Name": "Bruce Banner",
        "EmailAddress": "hulk@avengers.example.com",
        "ContactNumber": "C-77",
        "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "555-1212", "PhoneAreaCode": "415"}],
        "Addresses": [{"AddressType": "STREET", "AddressLine1": "101 Green St", "City": "Nelson"}],
        "ContactPersons": [{"FirstName": "Betty", "EmailAddress": "betty@example.com", "IncludeInEmails": True}],
    }
    made = only(await writer.put("Contacts", {"Contacts": [body]}), "Contacts")
    assert (made["ContactStatus"], made["IsCustomer"], made["HasValidationErrors"]) == ("ACTIVE", False, False)
    assert [phone["PhoneNumber"] for phone in made["Phones"]] == ["", "", "", "555-1212"]
    assert made["Addresses"][0]["AddressLine1"] == "101 Green St"
    path = f"Contacts/{made['ContactID']}"
    assert (await writer.one("Contacts/C-77"))["ContactPersons"][0]["FirstName"] == "Betty"
    changed = only(await writer.post("Contacts", {"ContactNumber": "C-77", "Name": "Hulk"}), "Contacts")
    assert (changed["ContactID"], changed["Name"], len(changed["ContactPersons"])) == (made["ContactID"], "Hulk", 1)
    emptied = only(await writer.post(path, {"ContactPersons": []}), "Contacts")
    assert emptied["ContactPersons"] == []
    archived = only(await writer.post(path, {"ContactStatus": "ARCHIVED"}), "Contacts")
    assert archived["ContactStatus"] == "ARCHIVED"
    assert only(await writer.post(path, {"ContactStatus": "ACTIVE"}), "Contacts")["ContactStatus"] == "ACTIVE"
    writer.books.erase_contact(made["ContactID"])
    assert (await writer.post(path, {"ContactStatus": "ACTIVE"})).messages == ["An erased contact cannot be changed."]
    writer.books.check()


async def test_a_contact_s_name_is_unique_among_active_ones(writer: Writer) -> None:
    contact = writer.customer()
    told = (
        f"The contact name {contact.name} is already assigned to another contact. "
        "The contact name must be unique across all active contacts."
    )
    answer = await writer.put("Contacts", {"Name": contact.name})
    assert answer.messages == [told]
    assert answer.body["Elements"][0]["HasValidationErrors"] is True
    assert only(await writer.post("Contacts", {"Name": contact.name}), "Contacts")["ContactID"] == contact.id
    assert (await writer.put("Contacts", {"EmailAddress": "a@example.com"})).messages == [
        "The Contact Name must be specified."
    ]
    assert (await writer.put("Contacts", {"Name": "X", "EmailAddress": "none"})).messages == [
        "A valid email address must be specified"
    ]
    unknown = await writer.post("Contacts", {"ContactID": "11111111-1111-4111-8111-111111111111", "Name": "X"})
    assert unknown.messages == ["The specified contact could not be found"]


async def test_a_new_name_shows_in_documents_without_moving_them(writer: Writer) -> None:
    invoice = writer.owed()
    before_at = invoice.updated_at
    await writer.send("GET", "Invoices", query="?page=1")
    await writer.post(f"Contacts/{invoice.contact.id}", {"Name": "Renamed Ltd"})
    listed = (await writer.send("GET", "Invoices", query=f"?IDs={invoice.id}")).body["Invoices"]
    assert (listed[0]["Contact"]["Name"], invoice.updated_at) == ("Renamed Ltd", before_at)


# History


async def test_notes_are_kept_where_xero_takes_them(writer: Writer) -> None:
    invoice = writer.owed()
    note = {"HistoryRecords": [{"Details": "Hello World"}]}
    for method in ("PUT", "POST"):
        made = only(await writer.send(method, f"Invoices/{invoice.id}/History", note), "HistoryRecords")
        assert list(made) == ["DateUTCString", "DateUTC", "Details", "ValidationErrors"]
        writer.caller.sandbox.clock.advance(timedelta(seconds=1))
    found = (await writer.send("GET", f"Invoices/{invoice.id}/History")).body["HistoryRecords"]
    assert [record["Details"] for record in found] == ["Hello World"] * 2
    assert (found[0]["User"], found[0]["Changes"]) == ("System Generated", "Note")
    too_long = {"HistoryRecords": [{"Details": "x" * 2501}]}
    assert (await writer.put(f"Invoices/{invoice.id}/History", too_long)).status == 400


@pytest.mark.parametrize("endpoint", ["Payments", "Overpayments", "Prepayments"])
async def test_notes_on_payments_are_refused_as_documented(writer: Writer, endpoint: str) -> None:
    document_id = next(iter(getattr(writer.books, endpoint.lower())))
    answer = await writer.put(f"{endpoint}/{document_id}/History", {"HistoryRecords": [{"Details": "Hello World"}]})
    assert answer.messages == ["The document with the supplied id was not found for this endpoint."]
    assert answer.body["Elements"][0]["Details"] == "Hello World"
    assert (await writer.send("GET", f"{endpoint}/{document_id}/History")).body["HistoryRecords"] == []


async def test_bills_are_made_too(writer: Writer) -> None:
    body = invoice_of(writer, Type="ACCPAY", InvoiceNumber="ACME 9", PlannedPaymentDate="2026-12-24")
    made = only(await writer.put("Invoices", body), "Invoices")
    assert ("PlannedPaymentDate" in made, "ExpectedPaymentDate" in made) == (True, False)
    bill = writer.books.invoices[made["InvoiceID"]]
    assert (bill.type, bill.number, bill.contact.is_supplier) == (InvoiceType.ACCPAY, "ACME 9", True)
    paid = await writer.put("Payments", writer.payment(bill, "40.00"))
    assert paid.body["Payments"][0]["PaymentType"] == "ACCPAYPAYMENT"
    writer.books.check()


async def test_prices_have_four_places_where_that_is_asked_for(writer: Writer) -> None:
    line = LINE | {"Quantity": 3, "UnitAmount": Decimal("3.3333")}
    exact = only(await writer.put("Invoices", invoice_of(writer, LineItems=[line]), query="?unitdp=4"), "Invoices")
    assert (exact["LineItems"][0]["UnitAmount"], exact["Total"]) == (Decimal("3.3333"), Decimal("10.00"))
    rounded = only(await writer.put("Invoices", invoice_of(writer, LineItems=[line])), "Invoices")
    assert (rounded["LineItems"][0]["UnitAmount"], rounded["Total"]) == (Decimal("3.33"), Decimal("9.99"))


async def test_a_line_may_name_its_account_by_id(writer: Writer) -> None:
    sales = next(account for account in writer.books.accounts.values() if account.code == "200")
    receivable = next(account for account in writer.books.accounts.values() if account.system_account)
    line = {key: value for key, value in LINE.items() if key != "AccountCode"}
    named = invoice_of(writer, LineItems=[line | {"AccountID": sales.id.upper()}])
    assert only(await writer.put("Invoices", named), "Invoices")["LineItems"][0]["AccountCode"] == "200"
    for wrong in (receivable.id, "00000000-0000-4000-8000-000000000000"):
        refused = await writer.put("Invoices", invoice_of(writer, LineItems=[line | {"AccountID": wrong}]))
        assert "is not a valid code for this document" in refused.messages[0]
