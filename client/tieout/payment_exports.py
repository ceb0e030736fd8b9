"""PaymentExportService: from here to Xero, exactly once. The protos say what each call promises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping

from grpc.aio import Channel

from tieout.calls import Calls
from tieout.paging import Pages
from tieout.v1.payment_export_service_pb2 import (
    CheckPaymentRequest,
    CheckPaymentResponse,
    CurrencyAccount,
    DismissPaymentExportRequest,
    ExportAccount,
    ExportErrorReason,
    ExportPaymentRequest,
    ExportPaymentResponse,
    ExportSettings,
    GetExportSettingsRequest,
    GetPaymentExportRequest,
    ListExportAccountsRequest,
    ListExportAccountsResponse,
    ListPaymentExportsRequest,
    ListPaymentExportsResponse,
    OverpaymentPolicy,
    PaymentExport,
    PaymentReference,
    PlatformPayment,
    ReexportPaymentRequest,
    ReexportPaymentsRequest,
    ReversalKind,
    ReversePaymentRequest,
    UpdateExportSettingsRequest,
    UpdateExportSettingsResponse,
    WatchPaymentExportsRequest,
    WatchPaymentExportsResponse,
    XeroStatus,
)
from tieout.v1.payment_export_service_pb2_grpc import PaymentExportServiceStub
from tieout.v1.types_pb2 import Money


class PaymentExports:
    """Records in Xero, once each, the payments that were collected on the caller's platform."""

    def __init__(self, channel: Channel, calls: Calls) -> None:
        self._stub = PaymentExportServiceStub(channel)
        self._calls = calls

    def list_accounts(
        self, connection_id: str, *, currency_code: str = "", page_size: int = 0, page_token: str = ""
    ) -> Pages[ListExportAccountsResponse, ExportAccount]:
        """List the accounts that Xero lets payments go to."""
        request = ListExportAccountsRequest(
            connection_id=connection_id, currency_code=currency_code, page_size=page_size
        )
        return self._calls.pages(self._stub.ListExportAccounts, request, lambda page: page.accounts, page_token)

    async def get_settings(self, connection_id: str) -> ExportSettings:
        """Read which account takes payments in which currency."""
        request = GetExportSettingsRequest(connection_id=connection_id)
        return (await self._calls.unary(self._stub.GetExportSettings, request)).settings

    async def update_settings(
        self,
        connection_id: str,
        accounts: Mapping[str, str],
        *,
        overpayment_policy: OverpaymentPolicy.ValueType = OverpaymentPolicy.OVERPAYMENT_POLICY_UNSPECIFIED,
        refund_xero_account_id: str = "",
        refund_tax_type: str = "",
        revision: str = "",
        request_id: str = "",
    ) -> UpdateExportSettingsResponse:
        """Replace the settings; `accounts` maps a currency code to the `xero_account_id` for it."""
        request = UpdateExportSettingsRequest(
            connection_id=connection_id,
            accounts=[CurrencyAccount(currency_code=code, xero_account_id=id_) for code, id_ in accounts.items()],
            overpayment_policy=overpayment_policy,
            refund_xero_account_id=refund_xero_account_id,
            refund_tax_type=refund_tax_type,
            revision=revision,
            request_id=request_id,
        )
        return await self._calls.unary(self._stub.UpdateExportSettings, request)

    async def check(self, connection_id: str, payment: PlatformPayment) -> CheckPaymentResponse:
        """Find everything that would make Xero refuse a payment, writing nothing."""
        request = CheckPaymentRequest(connection_id=connection_id, payment=payment)
        return await self._calls.unary(self._stub.CheckPayment, request)

    async def export(
        self, connection_id: str, payment: PlatformPayment, *, request_id: str = ""
    ) -> ExportPaymentResponse:
        """Accept a payment for export; durable before this returns, and once only however often it is called."""
        request = ExportPaymentRequest(connection_id=connection_id, payment=payment, request_id=request_id)
        return await self._calls.unary(self._stub.ExportPayment, request)

    async def get(self, export_id: str) -> PaymentExport:
        """Read one export with its history."""
        return (
            await self._calls.unary(self._stub.GetPaymentExport, GetPaymentExportRequest(export_id=export_id))
        ).export

    async def get_by_payment(self, connection_id: str, payment_id: str) -> PaymentExport:
        """Read one export by the caller's own id of the payment."""
        reference = PaymentReference(connection_id=connection_id, payment_id=payment_id)
        request = GetPaymentExportRequest(payment=reference)
        return (await self._calls.unary(self._stub.GetPaymentExport, request)).export

    def list(
        self,
        connection_id: str,
        *,
        xero_statuses: Iterable[XeroStatus.ValueType] = (),
        error_reasons: Iterable[ExportErrorReason.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> Pages[ListPaymentExportsResponse, PaymentExport]:
        """List exports, newest first."""
        request = ListPaymentExportsRequest(
            connection_id=connection_id, xero_statuses=xero_statuses, error_reasons=error_reasons, page_size=page_size
        )
        return self._calls.pages(self._stub.ListPaymentExports, request, lambda page: page.exports, page_token)

    async def reexport(self, export_id: str, *, request_id: str = "") -> PaymentExport:
        """Try one export again, with the settings of now."""
        request = ReexportPaymentRequest(export_id=export_id, request_id=request_id)
        return (await self._calls.unary(self._stub.ReexportPayment, request)).export

    async def reexport_all(
        self, connection_id: str, *, error_reasons: Iterable[ExportErrorReason.ValueType] = (), request_id: str = ""
    ) -> int:
        """Try again all exports in ERROR, or those of certain reasons; says how many."""
        request = ReexportPaymentsRequest(
            connection_id=connection_id, error_reasons=error_reasons, request_id=request_id
        )
        return (await self._calls.unary(self._stub.ReexportPayments, request)).count

    async def dismiss(self, export_id: str, note: str, *, request_id: str = "") -> PaymentExport:
        """Record that an export was handled elsewhere, or that one that waits is not to be recorded."""
        request = DismissPaymentExportRequest(export_id=export_id, note=note, request_id=request_id)
        return (await self._calls.unary(self._stub.DismissPaymentExport, request)).export

    async def reverse(
        self,
        export_id: str,
        kind: ReversalKind.ValueType,
        reversal_id: str,
        *,
        reason: str = "",
        amount: Money | None = None,
        reversed_on: str = "",
        request_id: str = "",
    ) -> PaymentExport:
        """Take an exported payment back in Xero, itself exactly once."""
        request = ReversePaymentRequest(
            export_id=export_id,
            kind=kind,
            reversal_id=reversal_id,
            reason=reason,
            amount=amount,
            reversed_on=reversed_on,
            request_id=request_id,
        )
        return (await self._calls.unary(self._stub.ReversePayment, request)).export

    def watch(
        self, connection_id: str, *, after: str = "", from_start: bool = False
    ) -> AsyncGenerator[WatchPaymentExportsResponse, None]:
        """Follow exports for ever, resuming by itself."""
        request = WatchPaymentExportsRequest(connection_id=connection_id, from_start=from_start)
        return self._calls.watch(self._stub.WatchPaymentExports, request, after)
