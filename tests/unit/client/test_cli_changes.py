"""The commands that follow changes, show a customer and explain contacts."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from typer.testing import Result

from tieout.cli.changes import line_of
from tieout.v1 import receivables_service_pb2 as pb
from tieout.v1 import sync_service_pb2 as sync
from tieout.v1.types_pb2 import (
    ENTITY_ACCOUNTS,
    ENTITY_CONTACTS,
    ENTITY_CREDIT_NOTES,
    ENTITY_INVOICES,
    ENTITY_OVERPAYMENTS,
    ENTITY_PAYMENTS,
    Heartbeat,
    Money,
)

Context = grpc.ServicerContext
Cli = Callable[..., Result]

OWED = Money(currency_code="NZD", amount="1230.50")
ACME = pb.Customer(id="k2", name="ACME", mobile_phone="+64 21 555", outstanding=[OWED])
BILLED = pb.Invoice(
    id="i1",
    number="INV-1",
    status=pb.INVOICE_STATUS_AUTHORISED,
    amount_due=OWED,
    due_on="2026-12-01",
    expected_payment_date="2026-12-24",
)
UPSERTED, REMOVED, MERGED = pb.CHANGE_KIND_UPSERTED, pb.CHANGE_KIND_REMOVED, pb.CHANGE_KIND_MERGED


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (pb.Change(entity=ENTITY_CONTACTS, customer=ACME), "customer  ACME  +64 21 555  owes  1,230.50 NZD"),
        (pb.Change(entity=ENTITY_CONTACTS, customer=pb.Customer(name="Paid")), "customer  Paid  owes  nothing"),
        (
            pb.Change(entity=ENTITY_CONTACTS, kind=MERGED, id="k1", customer=ACME),
            "customer  k1  merged into ACME (k2)",
        ),
        (
            pb.Change(entity=ENTITY_INVOICES, invoice=BILLED),
            "invoice  INV-1  authorised  due  1,230.50 NZD  due on 2026-12-01  expected on 2026-12-24",
        ),
        (
            pb.Change(
                entity=ENTITY_CREDIT_NOTES,
                kind=REMOVED,
                credit_note=pb.CreditNote(
                    number="CN-1",
                    status=pb.INVOICE_STATUS_VOIDED,
                    remaining_credit=Money(currency_code="NZD", amount="0.00"),
                ),
            ),
            "credit note  CN-1  voided  remaining  0.00 NZD  left",
        ),
        (
            pb.Change(entity=ENTITY_OVERPAYMENTS, credit=pb.UnappliedCredit(id="o1", remaining_credit=OWED)),
            "overpayment  o1  remaining  1,230.50 NZD",
        ),
        (
            pb.Change(
                entity=ENTITY_PAYMENTS,
                payment=pb.Payment(id="p1", status=pb.PAYMENT_STATUS_AUTHORISED, amount=OWED, invoice_number="INV-1"),
            ),
            "payment  p1  authorised  1,230.50 NZD  of INV-1",
        ),
        (
            pb.Change(entity=ENTITY_ACCOUNTS, account=pb.Account(code="090", name="Bank", status="ACTIVE")),
            "account  090  Bank  active",
        ),
        (pb.Change(entity=ENTITY_ACCOUNTS, id="from a later version"), "account  from a later version"),
    ],
)
def test_a_change_is_one_line_in_words(change: pb.Change, line: str) -> None:
    assert line_of(change) == line


class Changes:
    """A service whose watch tells a snapshot and a change, and then turns its caller away."""

    def __init__(self) -> None:
        self.requests: list[pb.WatchChangesRequest] = []

    def watch(self, request: pb.WatchChangesRequest, context: Context) -> Iterator[pb.WatchChangesResponse]:
        self.requests.append(request)
        yield pb.WatchChangesResponse(
            resume_token="t1", snapshot=pb.Change(entity=ENTITY_CONTACTS, kind=UPSERTED, customer=ACME)
        )
        yield pb.WatchChangesResponse(resume_token="t2", heartbeat=Heartbeat())
        yield pb.WatchChangesResponse(
            resume_token="t3", change=pb.Change(entity=ENTITY_INVOICES, kind=UPSERTED, invoice=BILLED)
        )
        context.abort(grpc.StatusCode.NOT_FOUND, "The connection is gone.")


def test_watch_changes_prints_what_is_told_and_leaves_heartbeats_out(cli: Cli) -> None:
    service = Changes()
    answers = {"ReceivablesService/WatchChanges": service.watch}
    result = cli(
        answers, "watch", "changes", "acme", "--entity", "credit-notes", "--entity", "contacts", "--from-start"
    )
    assert result.exit_code == 2
    first, second = [line for line in result.stdout.split("\n") if line]
    assert first.endswith("customer  ACME  +64 21 555  owes  1,230.50 NZD")
    assert "INV-1" in second
    (asked,) = service.requests
    assert (asked.connection_id, asked.from_start) == ("c1", True)
    assert list(asked.entities) == [ENTITY_CREDIT_NOTES, ENTITY_CONTACTS]


def test_watch_changes_prints_every_message_as_json_for_scripts(cli: Cli) -> None:
    service = Changes()
    result = cli(
        {"ReceivablesService/WatchChanges": service.watch}, "watch", "changes", "c1", "--after", "t0", "--json"
    )
    assert len([line for line in result.stdout.split("\n") if line]) == 3
    assert '"resume_token": "t3"' in result.stdout
    assert service.requests[0].after == "t0"


def test_a_customer_is_shown_with_all_phones_and_people(cli: Cli) -> None:
    person = pb.ContactPerson(first_name="Ana", last_name="Tui", email="ana@acme.example", include_in_emails=True)
    phones = [pb.Phone(type=pb.PHONE_TYPE_MOBILE, number="+64 21 555"), pb.Phone(type=pb.PHONE_TYPE_FAX, number="9")]
    customer = pb.Customer(id="k2", name="ACME", mobile_phone="+64 21 555", phones=phones, contact_persons=[person])
    answers = {"ReceivablesService/GetCustomer": lambda *_: pb.GetCustomerResponse(customer=customer)}
    shown = cli(answers, "customer", "acme", "k2").stdout
    for words in ("phone      +64 21 555\n", "+64 21 555  mobile", "9  fax", "Ana Tui  ana@acme.example  gets"):
        assert words in shown
    assert '"contact_persons"' in cli(answers, "customer", "acme", "k2", "--json").stdout


class Explained:
    """A service that knows one contact, by its number."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def explain(self, request: sync.ExplainContactRequest, _context: Context) -> sync.ExplainContactResponse:
        named = str(request.WhichOneof("contact"))
        self.asked.append(named)
        if named == "contact_number":
            found = sync.ContactExplanation(
                verdict=sync.CONTACT_VERDICT_SUPPLIER_ONLY,
                sentence='"ACME" is only a supplier.',
                xero=sync.XeroContact(xero_contact_id="x1"),
                asked_xero=True,
            )
        else:
            found = sync.ContactExplanation(
                verdict=sync.CONTACT_VERDICT_NOT_FOUND_IN_XERO, sentence="Xero has no such contact."
            )
        return sync.ExplainContactResponse(explanations=[found])


@pytest.mark.parametrize(
    ("contact", "asked", "said"),
    [
        ("C-1", ["name", "contact_number"], 'supplier only: "ACME" is only a supplier.'),
        ("a@b.example", ["email"], "not found in Xero: Xero has no such contact."),
        ("12345678-1234-4000-8000-123456789ABC", ["xero_contact_id"], "not found in Xero: Xero has no such contact."),
    ],
)
def test_a_contact_is_explained_by_whatever_it_is_named(cli: Cli, contact: str, asked: list[str], said: str) -> None:
    service = Explained()
    result = cli({"SyncService/ExplainContact": service.explain}, "explain", "contact", "acme", contact)
    assert result.exit_code == 0
    assert result.stdout.split("\n")[0] == said
    assert service.asked == asked
    assert (
        "explanations"
        in cli({"SyncService/ExplainContact": service.explain}, "explain", "contact", "acme", contact, "--json").stdout
    )


def test_where_neither_name_nor_number_is_known_the_name_is_spoken_of(cli: Cli) -> None:
    nobody = sync.ContactExplanation(
        verdict=sync.CONTACT_VERDICT_NOT_FOUND_IN_XERO, sentence="No contact with that name."
    )
    numberless = sync.ContactExplanation(
        verdict=sync.CONTACT_VERDICT_NOT_FOUND_IN_XERO, sentence="No contact with that number."
    )

    def explain(request: sync.ExplainContactRequest, _context: Context) -> sync.ExplainContactResponse:
        return sync.ExplainContactResponse(explanations=[nobody if request.name else numberless])

    assert "that name" in cli({"SyncService/ExplainContact": explain}, "explain", "contact", "acme", "X").stdout
