"""PaymentExportService: from here to Xero, on the wire."""
# ruff: noqa: ARG002, N802 - grpc names the methods and passes a context to each

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from grpc import aio

from tieout.v1 import payment_export_service_pb2 as pb
from tieout.v1 import payment_export_service_pb2_grpc as pb_grpc
from tieout_server.clock import Clock
from tieout_server.events import token
from tieout_server.exports.accounts import ExportAccount
from tieout_server.exports.messages import Dismiss, ExportPayment, Reexport, ReexportAll, Reverse, UpdateSettings
from tieout_server.exports.service import Exports
from tieout_server.exports.settings import SettingsOfExports
from tieout_server.exports.watch import ExportWatch, Told
from tieout_server.rpc import convert_exports as convert
from tieout_server.rpc import paging
from tieout_server.rpc.convert import day, heartbeat
from tieout_server.storage.exports import ExportQuery
from tieout_server.storage.pages import Key, Span

_Context = aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class ExportSubjects:
    """What PaymentExportService is answered from."""

    exports: Exports
    settings: SettingsOfExports
    watch: ExportWatch


class PaymentExportServicer(pb_grpc.PaymentExportServiceServicer):
    """Answers the calls of PaymentExportService."""

    def __init__(self, subjects: ExportSubjects, clock: Clock) -> None:
        self._exports = subjects.exports
        self._settings = subjects.settings
        self._watch = subjects.watch
        self._clock = clock

    async def ListExportAccounts(
        self, request: pb.ListExportAccountsRequest, context: _Context
    ) -> pb.ListExportAccountsResponse:
        """A page of accounts, usable ones first, then by name."""
        everything = await self._settings.accounts(request.connection_id, request.currency_code)
        found, following = _page_of(everything, paging.span_of(request))
        return pb.ListExportAccountsResponse(
            accounts=[convert.account(one) for one in found], next_page_token=paging.next_token(request, following)
        )

    async def GetExportSettings(
        self, request: pb.GetExportSettingsRequest, context: _Context
    ) -> pb.GetExportSettingsResponse:
        """The settings, and what is wrong with them now."""
        now = await self._settings.get(request.connection_id)
        return pb.GetExportSettingsResponse(settings=convert.settings(now))

    async def UpdateExportSettings(
        self, request: pb.UpdateExportSettingsRequest, context: _Context
    ) -> pb.UpdateExportSettingsResponse:
        """The settings as they are now, and how many exports they woke."""
        policy = request.overpayment_policy or pb.OVERPAYMENT_POLICY_HOLD
        updated = await self._settings.update(
            UpdateSettings(
                connection_id=request.connection_id,
                accounts=tuple((it.currency_code, it.xero_account_id) for it in request.accounts),
                overpayment_policy=pb.OverpaymentPolicy.Name(policy).removeprefix("OVERPAYMENT_POLICY_"),
                refund_xero_account_id=request.refund_xero_account_id,
                refund_tax_type=request.refund_tax_type,
                revision=request.revision,
                request_id=request.request_id,
            )
        )
        return pb.UpdateExportSettingsResponse(settings=convert.settings(updated.now), exports_woken=updated.woken)

    async def CheckPayment(self, request: pb.CheckPaymentRequest, context: _Context) -> pb.CheckPaymentResponse:
        """Everything that Xero would refuse it for, or what it would become."""
        found = await self._exports.check(request.connection_id, convert.payment_of(request.payment))
        return convert.checked(found)

    async def ExportPayment(self, request: pb.ExportPaymentRequest, context: _Context) -> pb.ExportPaymentResponse:
        """The export that was accepted, or that was there."""
        asked = ExportPayment(request.connection_id, convert.payment_of(request.payment), request.request_id)
        accepted = await self._exports.export(asked)
        return pb.ExportPaymentResponse(export=convert.export(accepted.export), existing=accepted.existing)

    async def GetPaymentExport(
        self, request: pb.GetPaymentExportRequest, context: _Context
    ) -> pb.GetPaymentExportResponse:
        """The export with its history."""
        if request.HasField("payment"):
            found = await self._exports.of_payment(request.payment.connection_id, request.payment.payment_id)
        else:
            found = await self._exports.get(request.export_id)
        return pb.GetPaymentExportResponse(export=convert.export(found))

    async def ListPaymentExports(
        self, request: pb.ListPaymentExportsRequest, context: _Context
    ) -> pb.ListPaymentExportsResponse:
        """A page of exports, newest first."""
        statuses = tuple(pb.XeroStatus.Name(it).removeprefix("XERO_STATUS_") for it in request.xero_statuses)
        wanted = ExportQuery(statuses=statuses, reasons=_reasons(request.error_reasons))
        found, following = await self._exports.page(request.connection_id, wanted, paging.span_of(request))
        return pb.ListPaymentExportsResponse(
            exports=[convert.export(one) for one in found], next_page_token=paging.next_token(request, following)
        )

    async def ReexportPayment(
        self, request: pb.ReexportPaymentRequest, context: _Context
    ) -> pb.ReexportPaymentResponse:
        """The export on its way again."""
        found = await self._exports.reexport(Reexport(request.export_id, request.request_id))
        return pb.ReexportPaymentResponse(export=convert.export(found))

    async def ReexportPayments(
        self, request: pb.ReexportPaymentsRequest, context: _Context
    ) -> pb.ReexportPaymentsResponse:
        """How many are on their way again."""
        asked = ReexportAll(request.connection_id, _reasons(request.error_reasons), request.request_id)
        return pb.ReexportPaymentsResponse(count=await self._exports.reexport_all(asked))

    async def DismissPaymentExport(
        self, request: pb.DismissPaymentExportRequest, context: _Context
    ) -> pb.DismissPaymentExportResponse:
        """The export that was handled elsewhere."""
        found = await self._exports.dismiss(Dismiss(request.export_id, request.note, request.request_id))
        return pb.DismissPaymentExportResponse(export=convert.export(found))

    async def ReversePayment(self, request: pb.ReversePaymentRequest, context: _Context) -> pb.ReversePaymentResponse:
        """The export with its new reversal."""
        reversed_ = await self._exports.reverse(
            Reverse(
                export_id=request.export_id,
                kind=pb.ReversalKind.Name(request.kind).removeprefix("REVERSAL_KIND_"),
                reversal_id=request.reversal_id,
                reason=request.reason,
                amount=convert.amount_of(request.amount) if request.HasField("amount") else None,
                reversed_on=day(request.reversed_on),
                request_id=request.request_id,
            )
        )
        return pb.ReversePaymentResponse(export=convert.export(reversed_))

    async def WatchPaymentExports(
        self, request: pb.WatchPaymentExportsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchPaymentExportsResponse]:
        """What the request begins with, and then everything that happens."""
        watched = self._watch.follow(request.connection_id, request.after, from_start=request.from_start)
        async with aclosing(watched) as everything:
            async for told in everything:
                yield self._told(told)

    def _told(self, told: Told) -> pb.WatchPaymentExportsResponse:
        if told.snapshot is not None:  # without a token: a snapshot that was cut off is begun anew
            return pb.WatchPaymentExportsResponse(snapshot=convert.export(told.snapshot))
        resume_token = "" if told.position is None else token.encode(told.position)
        if told.change is not None:
            return pb.WatchPaymentExportsResponse(resume_token=resume_token, change=convert.change(told.change))
        return pb.WatchPaymentExportsResponse(resume_token=resume_token, heartbeat=heartbeat(self._clock))


def _reasons(numbers: Iterable["pb.ExportErrorReason.ValueType"]) -> tuple[str, ...]:
    return tuple(pb.ExportErrorReason.Name(number).removeprefix("EXPORT_ERROR_REASON_") for number in numbers)


def _page_of(found: Iterable[ExportAccount], span: Span) -> tuple[list[ExportAccount], Span | None]:
    """The accounts of this span, and the span of the next page."""
    rest = sorted((it for it in found if span.after is None or _place(it) > _text(span.after)), key=_place)
    page = rest[: span.limit]
    return page, Span(span.limit, _place(page[-1])) if len(rest) > span.limit else None


def _place(it: ExportAccount) -> tuple[str, str]:
    return f"{'0' if it.usable else '1'} {it.account.name.casefold()}", it.account.xero_account_id


def _text(key: Key) -> tuple[str, str]:
    return str(key[0]), key[1]
