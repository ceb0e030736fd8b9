"""Two merchants of one service, everything that a caller may name of each, and calls with all of it.

A request is put together from a line of `REQUESTS`: the fields that are filled in with what is `Known` of a merchant,
each by what its name says that it holds. A field that no name here explains is a fault of the test that finds it.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status

from tieout.v1 import (
    connection_service_pb2,
    payment_export_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    sync_service_pb2,
)
from tieout_server.rpc import paging

APIS = (
    connection_service_pb2,
    sync_service_pb2,
    receivables_service_pb2,
    reconciliation_service_pb2,
    payment_export_service_pb2,
)
METHODS: Mapping[str, MethodDescriptor] = {
    method.name: method
    for api in APIS
    for service in api.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

HOLDS = {
    "merchant_id": "merchant", "connection_id": "connection", "connection_ids": "connection", "sync_id": "sync",
    "reconciliation_id": "reconciliation", "discrepancy_id": "discrepancy", "case_id": "case", "export_id": "export",
    "customer_id": "customer", "customer_ids": "customer", "xero_contact_id": "customer", "name": "customer_name",
    "search": "customer_name", "email": "email", "contact_number": "customer", "invoice_id": "invoice",
    "xero_invoice_id": "invoice", "invoice_number": "invoice_number", "number": "invoice_number",
    "payment_id": "payment", "payment_ids": "received", "reversal_id": "payment", "state": "state",
    "xero_tenant_id": "tenant", "request_id": "request", "page_token": "page_token", "after": "resume_token",
    "xero_account_id": "account", "refund_xero_account_id": "refunds", "revision": "revision", "caller": "caller",
}  # fmt: skip
"""What a field of a request holds, by its name, where that is somebody's."""
ANYBODYS = frozenset({
    "return_url", "code", "error", "note", "description", "due_before", "paid_from", "paid_on", "reversed_on",
    "currency_code", "amount", "reference", "reason", "refund_tax_type",
})  # fmt: skip
"""Fields of text that name nothing of anybody's."""

_PAYMENT = {
    "payment.paid_on": "2026-11-20", "payment.amount.currency_code": "NZD", "payment.amount.amount": "10.00",
    "payment.lines.amount.currency_code": "NZD", "payment.lines.amount.amount": "10.00",
}  # fmt: skip
CONSTANTS: Mapping[str, Mapping[str, object]] = {
    "CompleteAuthorization": {"error": "access_denied"},
    "ResolveHeldSync": {"decision": 1, "note": "Fine."},
    "AcknowledgeDiscrepancy": {"note": "Known."},
    "ReportDiscrepancy": {"description": "Too much."},
    "SubmitPlatformBalances": {
        "as_of.seconds": 1_790_000_000, "balances.balance.currency_code": "NZD", "balances.balance.amount": "1.00",
    },
    "UpdateExportSettings": {"accounts.currency_code": "NZD"},
    "CheckPayment": _PAYMENT,
    "ExportPayment": _PAYMENT,
    "DismissPaymentExport": {"note": "By hand."},
    "ReversePayment": {"kind": 1},
    "ListAuditEvents": {"page_size": 1000},  # all, however much was done before
}  # fmt: skip

_INVOICE = ("xero_invoice_id", "invoice_number")

REQUESTS: Mapping[str, Sequence[str]] = {
    "Connect": ["merchant_id request_id"],
    "Reconnect": ["connection_id request_id"],
    "CompleteAuthorization": ["state request_id"],
    "ChooseOrganisation": ["connection_id xero_tenant_id request_id"],
    "EraseCustomer": ["connection_id customer_id request_id"],
    "GetConnection": ["connection_id"],
    "ListConnections": ["merchant_id page_token", "page_token", "merchant_id", ""],
    "CheckConnection": ["connection_id"],
    "ListConnectionEvents": ["connection_id page_token", "connection_id"],
    "ListAuditEvents": ["connection_id page_token", "merchant_id page_token", "caller", "page_token", ""],
    "PruneExpired": ["request_id"],  # refused: it is about all merchants
    "WatchConnections": ["merchant_id after", "connection_ids after", "after", "merchant_id", "connection_ids", ""],
    "StartSync": ["connection_id request_id"],
    "GetSync": ["sync_id"],
    "ListSyncs": ["connection_id page_token", "connection_id"],
    "CancelSync": ["sync_id request_id"],
    "ResolveHeldSync": ["sync_id request_id"],
    "WatchSync": ["sync_id after", "connection_id after", "sync_id", "connection_id", "sync_id connection_id"],
    "GetFreshness": ["connection_id"],
    "ExplainContact": [f"connection_id {by}" for by in ("xero_contact_id", "name", "contact_number", "email")],
    "GetCustomer": ["connection_id customer_id"],
    "ListCustomers": ["connection_id search page_token", "connection_id page_token", "connection_id"],
    "GetInvoice": ["connection_id invoice_id"],
    "ListInvoices": ["connection_id customer_id page_token", "connection_id number", "connection_id page_token"],
    "ListCreditNotes": ["connection_id customer_id page_token", "connection_id page_token"],
    "ListPayments": ["connection_id customer_id invoice_id page_token", "connection_id page_token"],
    "ListUnappliedCredits": ["connection_id customer_id page_token", "connection_id page_token"],
    "WatchChanges": ["connection_id after", "connection_id"],
    "ReconcileCustomer": ["connection_id customer_id"],
    "StartReconciliation": ["connection_id request_id"],
    "GetReconciliation": ["reconciliation_id"],
    "WatchReconciliation": ["reconciliation_id after", "reconciliation_id"],
    "ListDiscrepancies": ["connection_id customer_id page_token", "connection_id page_token", "connection_id"],
    "GetDiscrepancy": ["discrepancy_id"],
    "WatchDiscrepancies": ["connection_id after", "connection_id"],
    "AcknowledgeDiscrepancy": ["discrepancy_id request_id"],
    "ReportDiscrepancy": [
        "connection_id customer_ids request_id", "connection_id invoices.invoice_id request_id",
        "connection_id invoices.xero_invoice_id request_id", "connection_id invoices.invoice_number request_id",
        "connection_id payment_ids request_id",
    ],
    "ExportEvidence": ["discrepancy_id", "case_id", "discrepancy_id case_id"],
    "SubmitPlatformBalances": [
        "connection_id request_id balances.customer_id", "connection_id request_id balances.xero_contact_id",
    ],
    "CheckChase": [
        f"connection_id invoices.{by}" for by in ("invoice_id", "xero_invoice_id", "invoice_number")
    ],
    "ListExportAccounts": ["connection_id page_token", "connection_id"],
    "GetExportSettings": ["connection_id"],
    "UpdateExportSettings": [
        "connection_id accounts.xero_account_id request_id",
        "connection_id accounts.xero_account_id refund_xero_account_id revision request_id",
    ],
    "CheckPayment": [f"connection_id payment.payment_id payment.lines.{by}" for by in _INVOICE],
    "ExportPayment": [f"connection_id payment.payment_id payment.lines.{by} request_id" for by in _INVOICE],
    "GetPaymentExport": ["export_id", "payment.connection_id payment.payment_id"],
    "ListPaymentExports": ["connection_id page_token", "connection_id"],
    "ReexportPayment": ["export_id request_id"],
    "ReexportPayments": ["connection_id request_id"],
    "DismissPaymentExport": ["export_id request_id"],
    "ReversePayment": ["export_id reversal_id request_id"],
    "WatchPaymentExports": ["connection_id after", "connection_id"],
    "PurgeMerchant": ["merchant_id request_id"],  # refused, as the merchant is connected
    "Disconnect": ["connection_id request_id"],  # of the spare connection, and last
}  # fmt: skip
"""For each call, what its requests name. Tokens are left out of a request until somebody has one."""
TOKENS = ("page_token", "resume_token")


@dataclass
class Known:
    """What may be named of a merchant, by what it is."""

    values: dict[str, str] = field(default_factory=dict)
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    """Page and resume tokens, by the call and the line of `REQUESTS` that gave them."""

    def value_of(self, method: str, line: str, path: str) -> str:
        """What this merchant has for this field; empty where it has nothing."""
        kind = HOLDS[path.rpartition(".")[2]]
        if kind in TOKENS:
            return self.tokens.get((method, line), "")
        return self.values["spare" if method == "Disconnect" and kind == "connection" else kind]


@dataclass(frozen=True)
class Outcome:
    """What came of a call."""

    code: str
    sentence: str = ""
    reason: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    messages: tuple[Message, ...] = ()

    def text(self) -> str:
        """All that it says."""
        said = "\n".join(text_format.MessageToString(message, as_utf8=True) for message in self.messages)
        return f"{self.sentence} {self.facts} {said}"

    def about(self, what: str) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
        """What it says, whatever the thing was called that it says it of, and whatever export of A's own has it."""
        facts = tuple((name, value.replace(what, "…")) for name, value in self.facts if name != "export_id")
        return self.code, self.sentence.replace(what, "…"), self.reason, facts


def request(method: str, line: str, known: Known, **instead: str) -> Any:  # noqa: ANN401 - a message of any class
    """The request of this line, with what is known of a merchant, and something else for some fields."""
    made: Any = GetMessageClass(METHODS[method].input_type)()
    for path in line.split():
        if value := instead.get(path.replace(".", "__"), known.value_of(method, line, path)):
            put(made, path, value)
    for path, constant in CONSTANTS.get(method, {}).items():
        put(made, path, constant)
    if method.startswith("Watch") and "from_start" in made.DESCRIPTOR.fields_by_name and not made.after:
        made.from_start = True
    return made


def put(message: Any, path: str, value: object) -> None:  # noqa: ANN401 - a message of any class
    """Set a field; of messages in a list, that of the first."""
    *parents, leaf = path.split(".")
    for name in parents:
        inner = getattr(message, name)
        if message.DESCRIPTOR.fields_by_name[name].is_repeated:
            inner = inner[0] if inner else inner.add()
        message = inner
    if message.DESCRIPTOR.fields_by_name[leaf].is_repeated:
        getattr(message, leaf).append(value)
    else:
        setattr(message, leaf, value)


def texts_of(of: Descriptor, before: str = "") -> Iterator[str]:
    """The fields of text of a message, and of the messages in it."""
    for one in of.fields:
        if one.message_type is not None and not one.message_type.full_name.startswith("google."):
            yield from texts_of(one.message_type, f"{before}{one.name}.")
        elif one.type == FieldDescriptor.TYPE_STRING:
            yield before + one.name


async def call(channel: aio.Channel, token: str, method: str, made: Message) -> Outcome:
    """Make a call; of a watch, read until a heartbeat says that this was all."""
    described = METHODS[method]
    streams = described.server_streaming
    make: Any = channel.unary_stream if streams else channel.unary_unary
    if described.client_streaming:
        make = channel.stream_unary
    callable_: Any = make(
        f"/{described.containing_service.full_name}/{method}",
        request_serializer=type(made).SerializeToString,
        response_deserializer=GetMessageClass(described.output_type).FromString,
    )
    metadata = (("authorization", f"Bearer {token}"),)
    try:
        if streams:
            return Outcome(
                "OK", messages=tuple([one async for one in _until_quiet(callable_(made, metadata=metadata))])
            )
        sent = iter([made]) if described.client_streaming else made
        return Outcome("OK", messages=(await callable_(sent, metadata=metadata),))
    except aio.AioRpcError as error:
        return _refused(error)


async def _until_quiet(stream: Any) -> Any:  # noqa: ANN401 - a call of grpc, and its messages
    try:
        async for message in stream:
            yield message
            if "heartbeat" in message.DESCRIPTOR.fields_by_name and message.HasField("heartbeat"):
                return
    finally:
        stream.cancel()


def _refused(error: aio.AioRpcError) -> Outcome:
    status = rpc_status.from_call(error)  # type: ignore[arg-type] # it takes the error of a call as well
    info = error_details_pb2.ErrorInfo()
    found = status is not None and any(part.Unpack(info) for part in status.details)
    facts = tuple(sorted(info.metadata.items())) if found else ()
    return Outcome(error.code().name, error.details() or "", info.reason, facts)


def unknown(kind: str, value: str, *, of: Message | None = None) -> str:
    """Something of the same form that nobody has; of a page token of everything: behind what nobody has (`of`)."""
    if kind == "page_token":
        digest, key = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        place = key["after"] if isinstance(key, dict) else key
        if of is not None:
            place[-1] = "nobody"
            return paging.token_after(of, key)
        other = json.dumps(["0" * len(digest), key])
        return base64.urlsafe_b64encode(other.encode()).decode().rstrip("=")
    last = "1" if value.endswith("0") else "0"
    return value[:-1] + last


async def learn_tokens(channel: aio.Channel, token: str, known: Known) -> None:
    """Have every page and resume token that the calls give for this merchant."""
    for method, lines in REQUESTS.items():
        for line in lines:
            made = request(method, line, known)
            if "page_token" in line.split():
                made.page_size = 1
            answer = (
                await call(channel, token, method, made) if "page_token" in line or "after" in line else Outcome("")
            )
            for message in answer.messages:
                given = getattr(message, "next_page_token", "") or getattr(message, "resume_token", "")
                if given:
                    known.tokens.setdefault((method, line), given)
