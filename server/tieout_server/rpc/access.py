"""What each RPC needs: a role of its caller, and the right to see whatever its request names. One table of all.

A role is for what is done; which merchants a caller may see is a matter of its own, and limits every role alike.
Choosing the accounts that payments are booked to is OPERATOR's: whoever sends payments does not choose where they go.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec
from google.protobuf.message import Message

from tieout_server.callers.caller import Role


class Kind(StrEnum):
    """What an id names; the words are those of NotFoundError."""

    MERCHANT = "merchant"
    CONNECTION = "connection"
    SYNC = "sync"
    RECONCILIATION = "reconciliation"
    DISCREPANCY = "discrepancy"
    CASE = "case"
    EXPORT = "payment export"
    CONSENT = "consent"


class Need(msgspec.Struct, frozen=True):
    """What a caller needs for an RPC; which fields of the request name what it is about."""

    role: Role
    about: Mapping[str, Kind]
    """By field; a dot leads into a message. An empty field is about nothing, or about all that the caller may see."""
    acts: bool = False
    """Whether it changes something, and so goes on record."""
    of_all: bool = False
    """Whether it is about all merchants at once: nobody who is limited to some may make it."""

    def acts_by(self, request: Message) -> bool:
        """Whether this request changes something; one that only asks what it would change does not."""
        return self.acts and not getattr(request, "dry_run", False)

    def named(self, request: Message) -> Iterator[tuple[Kind, str]]:
        """What this request is about, each with its kind."""
        for path, kind in self.about.items():
            value: object = request
            for name in path.split("."):
                value = getattr(value, name)
            for one in (value,) if isinstance(value, str) else sorted(value):  # type: ignore[call-overload] # texts
                if one:
                    yield kind, one


def _reads(**about: Kind) -> Need:
    return Need(Role.READER, about)


def _operates(**about: Kind) -> Need:
    return Need(Role.OPERATOR, about, acts=True)


def _exports(**about: Kind) -> Need:
    return Need(Role.EXPORTER, about, acts=True)


_MERCHANT = {"merchant_id": Kind.MERCHANT}
_CONNECTION = {"connection_id": Kind.CONNECTION}
_SYNC = {"sync_id": Kind.SYNC}
_EXPORT = {"export_id": Kind.EXPORT}
_DISCREPANCY = {"discrepancy_id": Kind.DISCREPANCY}
_RECONCILIATION = {"reconciliation_id": Kind.RECONCILIATION}

_SERVICES: Mapping[str, Mapping[str, Need]] = {
    "ConnectionService": {
        "Connect": _operates(**_MERCHANT),
        "Reconnect": _operates(**_CONNECTION),
        "CompleteAuthorization": _operates(state=Kind.CONSENT),
        "ChooseOrganisation": _operates(**_CONNECTION),
        "Disconnect": _operates(**_CONNECTION),
        "PurgeMerchant": _operates(**_MERCHANT),
        "EraseCustomer": _operates(**_CONNECTION),
        "GetConnection": _reads(**_CONNECTION),
        "ListConnections": _reads(**_MERCHANT),
        "CheckConnection": _operates(**_CONNECTION),  # it calls Xero, and moves the state to what it finds
        "ListConnectionEvents": _reads(**_CONNECTION),
        "WatchConnections": _reads(**_MERCHANT, connection_ids=Kind.CONNECTION),
        "ListAuditEvents": Need(Role.OPERATOR, {**_CONNECTION, **_MERCHANT}),
        "PruneExpired": Need(Role.OPERATOR, {}, acts=True, of_all=True),
    },
    "SyncService": {
        "StartSync": _operates(**_CONNECTION),
        "GetSync": _reads(**_SYNC),
        "ListSyncs": _reads(**_CONNECTION),
        "CancelSync": _operates(**_SYNC),
        "ResolveHeldSync": _operates(**_SYNC),
        "WatchSync": _reads(**_SYNC, **_CONNECTION),
        "GetFreshness": _reads(**_CONNECTION),
        "ExplainContact": _reads(**_CONNECTION),
    },
    "ReceivablesService": {
        "GetCustomer": _reads(**_CONNECTION),
        "ListCustomers": _reads(**_CONNECTION),
        "GetInvoice": _reads(**_CONNECTION),
        "ListInvoices": _reads(**_CONNECTION),
        "ListCreditNotes": _reads(**_CONNECTION),
        "ListPayments": _reads(**_CONNECTION),
        "ListUnappliedCredits": _reads(**_CONNECTION),
        "WatchChanges": _reads(**_CONNECTION),
    },
    "ReconciliationService": {
        "ReconcileCustomer": _operates(**_CONNECTION),  # it repairs what is stale here
        "StartReconciliation": _operates(**_CONNECTION),
        "GetReconciliation": _reads(**_RECONCILIATION),
        "WatchReconciliation": _reads(**_RECONCILIATION),
        "ListDiscrepancies": _reads(**_CONNECTION),
        "GetDiscrepancy": _reads(**_DISCREPANCY),
        "WatchDiscrepancies": _reads(**_CONNECTION),
        "AcknowledgeDiscrepancy": _operates(**_DISCREPANCY),
        "ReportDiscrepancy": _operates(**_CONNECTION),
        "ExportEvidence": _reads(**_DISCREPANCY, case_id=Kind.CASE),
        "SubmitPlatformBalances": _operates(**_CONNECTION),
        "CheckChase": _reads(**_CONNECTION),
    },
    "PaymentExportService": {
        "ListExportAccounts": _reads(**_CONNECTION),
        "GetExportSettings": _reads(**_CONNECTION),
        "UpdateExportSettings": _operates(**_CONNECTION),
        "CheckPayment": _reads(**_CONNECTION),
        "ExportPayment": _exports(**_CONNECTION),
        "GetPaymentExport": Need(Role.READER, {**_EXPORT, "payment.connection_id": Kind.CONNECTION}),
        "ListPaymentExports": _reads(**_CONNECTION),
        "ReexportPayment": _exports(**_EXPORT),
        "ReexportPayments": _exports(**_CONNECTION),
        "DismissPaymentExport": _exports(**_EXPORT),
        "ReversePayment": _exports(**_EXPORT),
        "WatchPaymentExports": _reads(**_CONNECTION),
    },
}

NEEDS: Mapping[str, Need] = {
    f"/tieout.v1.{service}/{method}": need for service, methods in _SERVICES.items() for method, need in methods.items()
}
"""The need of each RPC of this API by its full method."""

REFLECTION = Need(Role.READER, {})
DIAGNOSIS = Need(Role.OPERATOR, {}, of_all=True)
"""Of what tells of all callers at once (channelz)."""


def need_of(method: str) -> Need | None:
    """What this method needs; None of one that is in no table: it is nobody's."""
    if method.startswith("/grpc.reflection."):
        return REFLECTION
    if method.startswith("/grpc.channelz."):
        return DIAGNOSIS
    return NEEDS.get(method)
