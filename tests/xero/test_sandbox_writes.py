"""Payments and batch payments through the sandbox's API, in Xero's words."""

from datetime import date
from decimal import Decimal

import pytest

from sandbox_caller import Caller
from sandbox_writer import Writer
from tieout_sandbox import CreditKind, FaultKind, FaultRule, Status
from tieout_sandbox.books.documents import InvoiceType
from tieout_sandbox.books.truth import compact_truth

EXCEEDS = "Payment amount exceeds the amount outstanding on this document"
NOT_AUTHORISED = "Payments can only be made against Authorised documents"


async def test_a_payment_moves_its_invoice_and_tells_both(writer: Writer) -> None:
    invoice = writer.owed()
    due = invoice.amount_due
    answer = await writer.put("Payments", {"Payments": [writer.payment(invoice, "20.50", Reference="TIE-1")]})
    assert answer.status == 200, answer.text
    (payment,) = answer.body["Payments"]
    assert list(answer.body) == ["Id", "Status", "ProviderName", "DateTimeUTC", "Payments"]
    assert (payment["Amount"], payment["BankAmount"], payment["Status"]) == (
        Decimal("20.50"),
        Decimal("20.50"),
        "AUTHORISED",
    )
    assert (payment["PaymentType"], payment["Reference"]) == ("ACCRECPAYMENT", "TIE-1")
    assert (payment["HasAccount"], payment["IsReconciled"], payment["HasValidationErrors"]) == (True, False, False)
    assert payment["Account"]["Name"] == "Business Account"
    assert payment["Invoice"]["AmountDue"] == due - Decimal("20.50")
    assert payment["Invoice"]["UpdatedDateUTC"] == payment["UpdatedDateUTC"]
    assert "StatusAttributeString" not in payment
    assert await writer.one(f"Payments/{payment['PaymentID']}") == payment
    writer.books.check()


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("shape", ["wrapped", "bare", "array", "camel", "xml", "xml list", "form"])
async def test_every_shape_of_body_is_understood(writer: Writer, method: str, shape: str) -> None:
    invoice = writer.owed()
    payment = writer.payment(invoice, "12.34")
    xml = (
        f"<Payment><Invoice><InvoiceNumber>{invoice.number}</InvoiceNumber></Invoice><Account><Code>090</Code></Account>"
        "<Date>2026-11-20T00:00:00</Date><Amount>12.34</Amount></Payment>"
    )
    if shape.startswith("xml") or shape == "form":
        text = f"<Payments>{xml}</Payments>" if shape == "xml list" else xml
        data, kind = text.encode(), "application/xml"
        if shape == "form":
            data, kind = b"xml=" + text.replace("<", "%3C").encode(), "application/x-www-form-urlencoded"
        answer = await writer.send(method, "Payments", data=data, Content_Type=kind)
    else:
        camel = {
            "invoice": {"invoiceID": invoice.id},
            "account": {"accountID": writer.bank_id},
            "date": "/Date(1795132800000+0000)/",
            "amount": "12.34",
        }
        bodies = {
            "wrapped": {"Payments": [payment]},
            "bare": payment,
            "array": [payment],
            "camel": {"payments": [camel]},
        }
        answer = await writer.send(method, "payments", bodies[shape])
    assert answer.status == 200, answer.text
    assert answer.body["Payments"][0]["Date"] == "/Date(1795132800000+0000)/"
    assert (invoice.amount_paid, invoice.payments[-1].on) == (Decimal("12.34"), date(2026, 11, 20))


async def test_too_much_is_refused_with_the_element_given_back(writer: Writer) -> None:
    invoice = writer.owed()
    before = compact_truth(writer.books)
    answer = await writer.put("Payments", {"Payments": [writer.payment(invoice, "999999.00")]})
    assert answer.status == 400
    assert answer.text.startswith('{\r\n  "ErrorNumber": 10,\r\n  "Type": "ValidationException",\r\n')
    body = answer.body
    assert list(body) == ["ErrorNumber", "Type", "Message", "Elements"]
    assert body["Message"] == "A validation exception occurred"
    (element,) = body["Elements"]
    assert element["ValidationErrors"] == [{"Message": EXCEEDS}]
    assert (element["HasValidationErrors"], element["Amount"]) == (True, Decimal("999999.00"))
    assert (element["Date"], element["Invoice"]) == ("/Date(1795132800000+0000)/", {"InvoiceID": invoice.id})
    assert compact_truth(writer.books) == before


async def test_what_is_paid_already_gets_both_messages(writer: Writer) -> None:
    invoice = writer.owed()
    payment = writer.payment(invoice)
    writer.books.pay(invoice.id)
    answer = await writer.put("Payments", payment)
    assert (answer.status, answer.messages) == (400, [EXCEEDS, NOT_AUTHORISED])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Invoice": {"InvoiceID": "11111111-1111-4111-8111-111111111111"}}, "Invoice could not be found"),
        ({"Account": {"Code": "nope"}}, "Account could not be found"),
        ({"Account": {"Code": "200"}}, "Account type is invalid for making a payment to/from"),
        ({"Amount": 0}, "Payment amount must be greater than zero"),
        ({"Amount": -5}, "Payment amount must be greater than zero"),
        ({"Date": None}, "Payment date must be specified"),
        ({"Invoice": None}, "A payment must be for exactly one"),
        ({"CreditNote": {"CreditNoteNumber": "CN-0001"}}, "A payment must be for exactly one"),
        ({"Reference": "x" * 300}, "Reference must not be longer than 255"),
        ({"CurrencyRate": 0}, "The currency rate must be greater than zero"),
    ],
)
async def test_payments_that_are_not_right_are_refused(writer: Writer, change: dict[str, object], message: str) -> None:
    before = compact_truth(writer.books)
    answer = await writer.put("Payments", writer.payment(writer.owed()) | change)
    assert answer.status == 400
    assert any(text.startswith(message) for text in answer.messages), answer.text
    assert compact_truth(writer.books) == before


@pytest.mark.parametrize("status", [Status.DRAFT, Status.SUBMITTED, Status.VOIDED])
async def test_only_authorised_documents_are_paid(writer: Writer, status: Status) -> None:
    invoice = next(
        found
        for found in writer.books.invoices.values()
        if found.status is status and found.type is InvoiceType.ACCREC and found.currency == "NZD"
    )
    answer = await writer.put("Payments", writer.payment(invoice, "1.00"))
    assert answer.status == 400
    assert NOT_AUTHORISED in answer.messages


async def test_one_bad_element_refuses_the_whole_call_unless_switched(writer: Writer) -> None:
    invoice = writer.owed()
    payments = {"Payments": [writer.payment(invoice, "10.00"), writer.payment(invoice, "999999.00")]}
    before = compact_truth(writer.books)
    answer = await writer.put("Payments", payments)
    assert (answer.status, answer.messages) == (400, [EXCEEDS])
    assert compact_truth(writer.books) == before
    writer.books.switches.failed_calls_commit_nothing = False
    assert (await writer.put("Payments", payments)).status == 400
    assert invoice.amount_paid == Decimal("10.00")


async def test_without_summary_each_element_tells_what_became_of_it(writer: Writer) -> None:
    invoice = writer.owed()
    payments = [writer.payment(invoice, amount) for amount in ("10.00", "999999.00", "5.00")]
    answer = await writer.put("Payments", {"Payments": payments}, query="?summarizeErrors=false")
    assert answer.status == 200
    found = answer.body["Payments"]
    assert [one["StatusAttributeString"] for one in found] == ["OK", "ERROR", "OK"]
    assert [one["HasValidationErrors"] for one in found] == [False, True, False]
    assert found[1]["ValidationErrors"] == [{"Message": EXCEEDS}]
    assert [one["Amount"] for one in found] == [Decimal("10.00"), Decimal("999999.00"), Decimal("5.00")]
    assert invoice.amount_paid == Decimal("15.00")
    writer.books.switches.written_elements_keep_their_order = False
    answer = await writer.put("Payments", {"Payments": payments}, query="?summarizeErrors=false")
    assert [one["Amount"] for one in answer.body["Payments"]] == [Decimal(amount) for amount in ("5", "999999", "10")]


async def test_some_calls_always_summarise(writer: Writer) -> None:
    payment = writer.payment(writer.owed(), "999999.00")
    answer = await writer.post("Payments", payment, query="?summarizeErrors=false")
    assert (answer.status, answer.messages) == (400, [EXCEEDS])


async def test_elements_see_what_those_before_them_did(writer: Writer) -> None:
    invoice = writer.owed()
    payments = [writer.payment(invoice), writer.payment(invoice, "0.01")]
    answer = await writer.put("Payments", payments, query="?SummarizeErrors=false")
    assert [one["StatusAttributeString"] for one in answer.body["Payments"]] == ["OK", "ERROR"]
    assert invoice.status is Status.PAID


@pytest.mark.parametrize("body", [{"Status": "DELETED"}, {"Payments": [{"Status": "DELETED"}]}])
async def test_a_payment_is_deleted_by_post_and_cannot_be_changed(writer: Writer, body: dict[str, object]) -> None:
    invoice = writer.owed()
    payment = writer.books.pay(invoice.id)
    changed = await writer.post(f"Payments/{payment.id}", {"Amount": 5})
    assert changed.messages == ["Payments cannot be updated; delete it and make another one."]
    answer = await writer.post(f"Payments/{payment.id}", body)
    (found,) = answer.body["Payments"]
    assert (found["Status"], found["Invoice"]["Status"]) == ("DELETED", "AUTHORISED")
    assert found["Invoice"]["AmountDue"] == invoice.total
    again = await writer.post(f"Payments/{payment.id}", body)
    assert (again.status, again.messages) == (400, ["Payment has already been deleted"])
    assert (await writer.post("Payments/11111111-1111-4111-8111-111111111111", body)).status == 404
    writer.books.check()


async def test_a_reconciled_payment_stays_unless_switched(writer: Writer) -> None:
    answer = await writer.put("Payments", writer.payment(writer.owed(), "9.00", IsReconciled=True))
    payment_id = answer.body["Payments"][0]["PaymentID"]
    assert (await writer.post(f"Payments/{payment_id}", {"Status": "DELETED"})).status == 400
    writer.books.switches.reconciled_payments_can_be_deleted = True
    assert (await writer.post(f"Payments/{payment_id}", {"Status": "DELETED"})).status == 200


@pytest.mark.parametrize("kind", list(CreditKind))
async def test_what_remains_of_a_credit_is_refunded(writer: Writer, kind: CreditKind) -> None:
    credit = writer.books.create_credit(kind, writer.customer().id, Decimal("34.50"))
    name = {"ACCRECCREDIT": "CreditNote", "RECEIVE-OVERPAYMENT": "Overpayment", "RECEIVE-PREPAYMENT": "Prepayment"}[
        kind
    ]
    payment = {
        name: {f"{name}ID": credit.id},
        "Account": {"AccountID": writer.bank_id},
        "Date": "2026-11-20",
        "Amount": 2,
    }
    answer = await writer.put("Payments", payment)
    (found,) = answer.body["Payments"]
    types = {
        "CreditNote": "ARCREDITPAYMENT",
        "Overpayment": "AROVERPAYMENTPAYMENT",
        "Prepayment": "ARPREPAYMENTPAYMENT",
    }
    assert (found["PaymentType"], found["Invoice"]["InvoiceID"]) == (types[name], credit.id)
    assert credit.remaining_credit == Decimal("32.50")
    too_much = await writer.put("Payments", payment | {"Amount": 33})
    assert too_much.messages == [EXCEEDS]


async def test_foreign_payments_follow_the_rate_and_the_account(writer: Writer) -> None:
    invoice = writer.books.create_invoice(writer.customer().id, Decimal("61.00"), currency="USD")
    answer = await writer.put("Payments", writer.payment(invoice, "30.50", CurrencyRate=Decimal("0.5")))
    (found,) = answer.body["Payments"]
    assert (found["BankAmount"], found["CurrencyRate"]) == (Decimal("61.00"), Decimal("0.5"))
    invoice.rate = Decimal("0.5")
    (found,) = (await writer.put("Payments", writer.payment(invoice, "6.10"))).body["Payments"]
    assert (found["BankAmount"], found["CurrencyRate"]) == (Decimal("10.00"), Decimal("0.61")), "that of the day"
    euros = writer.books.bank_account("EUR")
    wrong = await writer.put("Payments", writer.payment(invoice, "1.00") | {"Account": {"AccountID": euros.id}})
    assert wrong.messages == ["The account's currency must be USD or NZD"]
    writer.books.switches.base_currency_pays_foreign_documents = False
    stricter = await writer.put("Payments", writer.payment(invoice, "1.00"))
    assert stricter.messages == ["The account's currency must be USD"]
    writer.books.switches.base_currency_pays_foreign_documents = True
    writer.books.switches.bank_amount_is_writable = True
    answer = await writer.put("Payments", writer.payment(invoice, "10.00", BankAmount=17))
    assert answer.body["Payments"][0]["BankAmount"] == Decimal("17.00")
    writer.books.check()


async def test_nobody_pays_into_an_archived_account(writer: Writer) -> None:
    writer.books.edit_account(writer.bank_id, status="ARCHIVED")
    answer = await writer.put("Payments", writer.payment(writer.owed()))
    assert answer.messages == ["Account code '090' has been archived or has been deleted."]
    writer.books.check()


async def test_an_account_that_takes_payments_need_not_be_a_bank(writer: Writer) -> None:
    sales = next(account for account in writer.books.accounts.values() if account.code == "200")
    writer.books.edit_account(sales.id, takes_payments=True)
    answer = await writer.put("Payments", writer.payment(writer.owed()) | {"Account": {"Code": "200"}})
    assert answer.status == 200, answer.text
    writer.books.check()


# Lock dates


@pytest.mark.parametrize(("email", "status"), [("ada.adviser@example.com", 200), ("stan.standard@example.com", 400)])
async def test_the_period_lock_stops_standard_users_only(caller: Caller, email: str, status: int) -> None:
    from sandbox_writer import WRITING_SCOPES  # noqa: PLC0415 only here

    await caller.connect(scope=WRITING_SCOPES, user=email)
    writer = Writer(caller)
    organisation = caller.sandbox.organisations[0]
    organisation.period_lock_on = date(2026, 11, 20)
    answer = await writer.put("Payments", writer.payment(writer.owed(), "1.00"))
    assert answer.status == status
    if status == 400:
        assert answer.messages == ["Organisation accounts are locked on the specified payment date"]
    organisation.end_of_year_lock_on = date(2026, 11, 20)
    answer = await writer.put("Payments", writer.payment(writer.owed(), "1.00"))
    assert answer.status == 400
    assert (await writer.put("Payments", writer.payment(writer.owed(), "1.00", Date="2026-11-21"))).status == 200


# Scopes, roles, bodies, paths


async def test_reading_scopes_do_not_write(caller: Caller) -> None:
    writer = Writer(caller)  # it was granted accounting.payments, but accounting.contacts.read and so on only
    assert (await writer.put("Payments", writer.payment(writer.owed(), "1.00"))).status == 200
    for path in ("Contacts", "Invoices", "CreditNotes", "BankTransactions"):
        answer = await writer.put(path, {})
        assert (answer.status, answer.body["Detail"]) == (401, "AuthorizationUnsuccessful")


async def test_a_downgraded_user_writes_nothing(writer: Writer) -> None:
    await writer.caller.control(
        "POST",
        f"organisations/{writer.caller.tenant_id}/roles",
        {"user": "ada.adviser@example.com", "role": "INVOICEONLY"},
    )
    answer = await writer.put("Payments", writer.payment(writer.owed()))
    assert (answer.status, answer.body["Detail"]) == (403, "AuthenticationUnsuccessful")


@pytest.mark.parametrize(
    ("data", "number", "kind"),
    [
        (b"{not json", 14, "PostDataInvalidException"),
        (b"<Payments><Payment>", 14, "PostDataInvalidException"),
        (b'<!DOCTYPE x [<!ENTITY e "e">]><Payments/>', 14, "PostDataInvalidException"),
        (b'{"Payments": [1]}', 14, "PostDataInvalidException"),
        (b'{"Payments": [{"Amount": "plenty"}]}', 14, "PostDataInvalidException"),
        (b'{"Payments": [{"Amount": 1e400}]}', 14, "PostDataInvalidException"),
        (b'{"Payments": [{"Date": "soon"}]}', 14, "PostDataInvalidException"),
        (b'{"Payments": [{"Invoice": {"InvoiceID": "no id, surely"}}]}', 14, "PostDataInvalidException"),
        (b"<Payment><Account><AccountID></AccountID></Account></Payment>", 14, "PostDataInvalidException"),
        (b'"Payments"', 14, "PostDataInvalidException"),
        (b"", 17, "NoDataProcessedException"),
        (b'{"Payments": []}', 17, "NoDataProcessedException"),
    ],
)
async def test_bodies_that_say_nothing_or_nonsense(writer: Writer, data: bytes, number: int, kind: str) -> None:
    answer = await writer.send("PUT", "Payments", data=data)
    assert (answer.status, answer.body["ErrorNumber"], answer.body["Type"]) == (400, number, kind)
    assert list(answer.body) == ["ErrorNumber", "Type", "Message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "Payments", 405),
        ("PUT", "Payments/{payment}", 405),
        ("PATCH", "Invoices", 405),
        ("POST", "Overpayments", 405),
        ("POST", "Reports/AgedReceivablesByContact", 405),
        ("PUT", "Payments/{payment}/Allocations", 405),
        ("POST", "Organisation", 501),
        ("PUT", "Users", 501),
        ("PUT", "Nothing", 404),
        ("PUT", "Invoices/11111111-1111-4111-8111-111111111111/History", 404),
    ],
)
async def test_there_is_no_other_way_to_write(caller: Caller, method: str, path: str, status: int) -> None:
    await caller.connect(scope="accounting.payments accounting.invoices accounting.settings accounting.contacts")
    payment = next(iter(caller.sandbox.books.payments))
    answer = await Writer(caller).send(method, path.format(payment=payment), {"Status": "DELETED"})
    assert answer.status == status


async def test_a_demanded_element_error_is_a_200_that_did_nothing(writer: Writer) -> None:
    before = compact_truth(writer.books)
    writer.caller.sandbox.faults.add(FaultRule(FaultKind.ELEMENT_ERROR, "/Payments", body="Try later"))
    answer = await writer.put("Payments", writer.payment(writer.owed()))
    (found,) = answer.body["Payments"]
    assert (answer.status, found["StatusAttributeString"], found["HasValidationErrors"]) == (200, "ERROR", True)
    assert found["ValidationErrors"] == [{"Message": "Try later"}]
    assert compact_truth(writer.books) == before


async def test_watchers_hear_only_of_what_stands(writer: Writer) -> None:
    heard: list[str] = []
    writer.books.observers.append(lambda document, change, at: heard.append(document.id))  # noqa: ARG005 an observer takes three
    invoice = writer.owed()
    await writer.put("Payments", [writer.payment(invoice, "1.00"), writer.payment(invoice, "999999.00")])
    assert heard == []
    answer = await writer.put("Payments", writer.payment(invoice, "1.00"))
    assert heard == [answer.body["Payments"][0]["PaymentID"], invoice.id]


# Batches


async def test_a_batch_reaches_the_bank_as_one_sum_and_is_deleted_whole(writer: Writer) -> None:
    first = writer.owed()
    second = writer.books.create_invoice(writer.customer().id, Decimal("80.00"), currency="NZD")
    batch = {
        "Account": {"AccountID": writer.bank_id},
        "Date": "2026-11-20",
        "Reference": "Deposit 7",
        "Payments": [
            {"Invoice": {"InvoiceID": first.id}, "Amount": "10.00", "Reference": "a"},
            {"Invoice": {"InvoiceNumber": second.number}, "Amount": 80},
        ],
    }
    answer = await writer.put("BatchPayments", {"BatchPayments": [batch]})
    assert answer.status == 200, answer.text
    (made,) = answer.body["BatchPayments"]
    assert (made["Type"], made["Status"], made["TotalAmount"]) == ("RECBATCH", "AUTHORISED", Decimal("90.00"))
    assert [part["Amount"] for part in made["Payments"]] == [Decimal("10.00"), Decimal("80.00")]
    assert (first.amount_paid, second.status) == (Decimal("10.00"), Status.PAID)
    part_id = made["Payments"][0]["PaymentID"]
    part = await writer.one(f"Payments/{part_id}")
    assert part["BatchPaymentID"] == part["BatchPayment"]["BatchPaymentID"] == made["BatchPaymentID"]
    assert (part["BatchPayment"]["TotalAmount"], part["BatchPayment"]["IsReconciled"]) == (Decimal("90.00"), False)
    writer.books.switches.batches_in_payments_have_texts = True
    texts = (await writer.one(f"Payments/{part_id}"))["BatchPayment"]
    assert (texts["TotalAmount"], texts["IsReconciled"]) == ("90.00", "false")
    nested = (await writer.one(f"Invoices/{first.id}"))["Payments"]
    assert [found["BatchPaymentID"] for found in nested] == [made["BatchPaymentID"]]
    alone = await writer.post(f"Payments/{part_id}", {"Status": "DELETED"})
    assert alone.messages == ["This payment is part of a batch payment and cannot be deleted by itself."]
    assert await writer.one(f"BatchPayments/{made['BatchPaymentID']}") == made
    gone = await writer.post("BatchPayments", {"BatchPaymentID": made["BatchPaymentID"], "Status": "DELETED"})
    (found,) = gone.body["BatchPayments"]
    assert (found["Status"], found["Payments"], found["TotalAmount"]) == ("DELETED", [], Decimal("90.00"))
    assert (first.amount_paid, second.status) == (Decimal("0.00"), Status.AUTHORISED)
    again = await writer.post(f"BatchPayments/{made['BatchPaymentID']}", {"Status": "DELETED"})
    assert again.messages == ["Batch payment has already been deleted"]
    listed = (await writer.send("GET", "BatchPayments", query='?where=Status=="DELETED"')).body
    assert [found["BatchPaymentID"] for found in listed["BatchPayments"]] == [made["BatchPaymentID"]]
    assert "pagination" not in listed
    writer.books.check()


async def test_a_batch_keeps_the_texts_of_its_country_only(writer: Writer) -> None:
    texts = {"Reference": "a", "Particulars": "b", "Code": "c", "Details": "d", "Narrative": "e"}

    async def kept(country: str) -> set[str]:
        writer.caller.sandbox.organisations[0].country_code = country
        part = {"Invoice": {"InvoiceID": writer.owed().id}, "Amount": 1}
        batch = {"Account": {"AccountID": writer.bank_id}, "Date": "2026-11-20", "Payments": [part]}
        (made,) = (await writer.put("BatchPayments", batch | texts)).body["BatchPayments"]
        return {key for key in texts if key in made}

    assert await kept("NZ") == {"Reference", "Particulars", "Code"}
    assert await kept("AU") == {"Details"}
    assert await kept("GB") == {"Details", "Narrative"}
    writer.books.switches.batches_keep_all_texts = True
    assert await kept("GB") == texts.keys()


async def test_batches_are_for_invoices_of_one_side_in_base_currency(writer: Writer) -> None:
    bill = next(found for found in writer.books.invoices.values() if found.type is InvoiceType.ACCPAY)
    invoice = writer.owed()
    dollars = writer.books.create_invoice(writer.customer().id, Decimal("61.00"), currency="USD")
    before = compact_truth(writer.books)

    async def refused(*parts: dict[str, object], **more: object) -> list[str]:
        batch = {"Account": {"AccountID": writer.bank_id}, "Date": "2026-11-20", "Payments": list(parts), **more}
        answer = await writer.put("BatchPayments", batch)
        assert answer.status == 400, answer.text
        return answer.messages

    one = {"Invoice": {"InvoiceID": invoice.id}, "Amount": 1}
    mixed = await refused(one, {"Invoice": {"InvoiceID": bill.id}, "Amount": 1})
    assert "Batch payments cannot contain both sales and purchase documents" in mixed
    foreign = await refused(one, {"Invoice": {"InvoiceID": dollars.id}, "Amount": 1})
    assert foreign == ["Batch payments can only be made in the organisation's base currency"]
    twice = await refused(one, {"Invoice": {"InvoiceID": invoice.id}, "Amount": str(invoice.amount_due)})
    assert twice == [EXCEEDS]
    credit = await refused({"CreditNote": {"CreditNoteNumber": "CN-0001"}, "Amount": 1})
    assert credit == ["Batch payments can only be made against invoices and bills"]
    assert await refused() == ["A batch payment must have at least one payment"]
    assert await refused(one, Account={"Code": "200"}) == ["Account type is invalid for making a payment to/from"]
    assert await refused(one, Narrative="x" * 19) == ["Narrative must not be longer than 18 characters."]
    assert compact_truth(writer.books) == before
