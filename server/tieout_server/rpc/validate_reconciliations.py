"""What the requests of the ReconciliationService must be."""

from collections.abc import Mapping

from google.protobuf.message import Message

from tieout.v1 import reconciliation_service_pb2 as reconciliation
from tieout_server.rpc.rules import (
    CONNECTION,
    ID,
    OF_CUSTOMER,
    PAGED,
    REPEATABLE,
    SEARCH,
    TOKEN,
    Rule,
    all_known,
    an_amount,
    each,
    instant,
    needed,
    not_both,
    not_negative,
    one_of,
    prose,
    text,
    texts,
)

REMARK = 2000
"""Characters of a note about a discrepancy."""
DESCRIPTION = 10_000
"""Characters of what somebody has to say about a difference."""
REPORTED = 10
"""References of one kind in a report: each of their customers is read from Xero."""
CHASED = 1000
SUBMITTED = 1000
"""Balances in one message."""

_DISCREPANCY = needed("discrepancy_id")
_RECONCILIATION = needed("reconciliation_id")
_INVOICE = (
    one_of("invoice_id", "xero_invoice_id", "invoice_number"),
    text("invoice_id", ID),
    text("xero_invoice_id", ID),
    text("invoice_number", SEARCH),
)
_BALANCE = (
    one_of("customer_id", "xero_contact_id"),
    text("customer_id", ID),
    text("xero_contact_id", ID),
    an_amount("balance"),
)

RULES: Mapping[type[Message], tuple[Rule, ...]] = {
    reconciliation.ReconcileCustomerRequest: (CONNECTION, needed("customer_id")),
    reconciliation.StartReconciliationRequest: (CONNECTION, not_negative("max_calls"), REPEATABLE),
    reconciliation.GetReconciliationRequest: (_RECONCILIATION,),
    reconciliation.WatchReconciliationRequest: (_RECONCILIATION, text("after", TOKEN)),
    reconciliation.ListDiscrepanciesRequest: (
        CONNECTION,
        all_known("states"),
        all_known("causes"),
        OF_CUSTOMER,
        *PAGED,
    ),
    reconciliation.GetDiscrepancyRequest: (_DISCREPANCY,),
    reconciliation.WatchDiscrepanciesRequest: (CONNECTION, text("after", TOKEN), not_both("after", "from_start")),
    reconciliation.AcknowledgeDiscrepancyRequest: (_DISCREPANCY, prose("note", REMARK), REPEATABLE),
    reconciliation.ReportDiscrepancyRequest: (
        CONNECTION,
        one_of("customer_ids", "invoices", "payment_ids"),
        texts("customer_ids", REPORTED),
        each("invoices", REPORTED, *_INVOICE),
        texts("payment_ids", REPORTED),
        prose("description", DESCRIPTION),
        REPEATABLE,
    ),
    reconciliation.ExportEvidenceRequest: (
        one_of("discrepancy_id", "case_id"),
        text("discrepancy_id", ID),
        text("case_id", ID),
    ),
    reconciliation.SubmitPlatformBalancesRequest: (
        text("connection_id", ID),
        instant("as_of"),
        REPEATABLE,
        each("balances", SUBMITTED, *_BALANCE),
    ),
    reconciliation.CheckChaseRequest: (CONNECTION, one_of("invoices"), each("invoices", CHASED, *_INVOICE)),
}
