"""What callers do with payment exports: hand payments over, look at them, try them again, and give them up."""

import secrets
from collections.abc import AsyncGenerator

import msgspec

from tieout_server.connections.service import Connections
from tieout_server.connections.state import check_can_read
from tieout_server.errors import NotFoundError, PaymentIdReusedError, PersonMustActError
from tieout_server.exports import fingerprint, not_now, record
from tieout_server.exports.means import Means
from tieout_server.exports.messages import (
    Accepted,
    Checked,
    Dismiss,
    ExportPayment,
    Reexport,
    ReexportAll,
    Reverse,
)
from tieout_server.exports.preflight import Preflight
from tieout_server.exports.reversal_rules import is_all_taken_back
from tieout_server.exports.reversing import ReversalRequests
from tieout_server.exports.state import REVERSIBLE, UNDER_WAY, ExportReason, XeroStatus, move
from tieout_server.ledger.exports import ExportEvent, PaymentExport, PlatformPayment, Reversal
from tieout_server.ledger.links import CALLER
from tieout_server.storage import connections, events, exports, reversals
from tieout_server.storage.database import Transaction
from tieout_server.storage.exports import ExportQuery
from tieout_server.storage.pages import Span
from tieout_server.work.requests import Requests

PAGE = 100
"""Exports that are read at a time, and so what a slow reader of a snapshot holds in memory."""
AGAIN = "It is tried again."
ABSENT = (ExportReason.CONNECTION_LOST, ExportReason.SCOPE_MISSING)
"""What exports wait for that a new consent brings."""


class Exports:
    """The payment exports of all connections."""

    def __init__(self, means: Means, links: Connections, requests: Requests, preflight: Preflight) -> None:
        self._means = means
        self._database = means.database
        self._links = links
        self._requests = requests
        self._preflight = preflight
        self._reversals = ReversalRequests(means, requests)
        links.at_start(self._go_on)

    async def export(self, asked: ExportPayment) -> Accepted:
        """Accept a payment, whatever state the connection is in; the same payment again gets the export that is there.

        Raises:
            NotFoundError: there is no such connection.
            PaymentIdReusedError: the payment_id came before on this connection, for a payment with other content.
            RequestIdReusedError: the request_id came before with other content.
        """
        method, print_ = "ExportPayment", fingerprint.of_payment(asked.payment)
        digested = (asked.connection_id, print_)
        async with self._database.write() as tx:
            if earlier := await self._requests.earlier(tx, method, asked.request_id, digested, _First):
                return Accepted(await _get(tx, earlier.export_id), earlier.existing)
            if await connections.get(tx, asked.connection_id, lock=True) is None:  # a purge comes before or after
                raise NotFoundError("connection", asked.connection_id)
            there = await exports.of_payment(tx, asked.connection_id, asked.payment.payment_id)
            accepted = None if there else await self._accept(tx, asked, print_)
            if accepted is None:  # it was there, or came at the same time
                accepted = await _existing(tx, asked, print_)
            answer = _First(accepted.export.id, accepted.existing)
            await self._requests.keep(tx, method, asked.request_id, digested, answer)
        return accepted

    async def _accept(self, tx: Transaction, asked: ExportPayment, print_: str) -> Accepted | None:
        """A new export; None if the same payment came at the same time and was first."""
        now = self._means.clock.now()
        export = PaymentExport(
            id=f"exp_{secrets.token_hex(10)}",
            connection_id=asked.connection_id,
            payment=asked.payment,
            xero_status=XeroStatus.QUEUED,
            due_at=now,
            created_at=now,
            updated_at=now,
        )
        await self._means.wake(tx, asked.connection_id)
        accepted_in = await connections.sync_ordinal(tx, asked.connection_id)
        if not await exports.insert(tx, export, print_, accepted_in):
            return None
        happened = ExportEvent(
            xero_status=export.xero_status, sentence="Accepted for export.", actor=CALLER, occurred_at=now
        )
        await record.keep(tx, self._means.feed, export, happened)
        return Accepted(await _get(tx, export.id), existing=False)

    async def check(self, connection_id: str, payment: PlatformPayment) -> Checked:
        """Find everything for which Xero would refuse a payment now. Takes calls to Xero; nothing is kept of it.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: somebody has to act first.
            XeroUnavailableError, CallLimitError: it cannot be examined now.
        """
        link = await self._links.get(connection_id)
        check_can_read(link)
        try:
            found, as_of = await self._preflight.check(link, self._links.books(link), payment)
        except PersonMustActError as refusal:
            await self._links.access_lost(link.id, refusal)
            raise
        short_code = link.organisation.short_code if link.organisation else ""
        return Checked(
            findings=found.findings, plan=found.records, twins=found.twins, as_of=as_of, short_code=short_code
        )

    async def get(self, export_id: str) -> PaymentExport:
        """The export with this id and its history.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            return await _get(tx, export_id, history=True)

    async def of_payment(self, connection_id: str, payment_id: str) -> PaymentExport:
        """The export of the payment with this id of the caller's, and its history.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as tx:
            found = await exports.of_payment(tx, connection_id, payment_id)
            if found is None:
                raise NotFoundError("payment", payment_id)
            return await _get(tx, found[0].id, history=True)

    async def page(
        self, connection_id: str, wanted: ExportQuery, span: Span
    ) -> tuple[list[PaymentExport], Span | None]:
        """Exports of a connection without history, newest first; and the span of the next page.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            return await exports.page(tx, connection_id, wanted, span)

    async def position(self, connection_id: str) -> int:
        """The position from which events tell what happens to those of a connection that are read from now on.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            if await connections.get(tx, connection_id) is None:
                raise NotFoundError("connection", connection_id)
            return (await events.bounds(tx)).last

    async def every_not_over(self, connection_id: str) -> AsyncGenerator[PaymentExport]:
        """Those with which something is still to be done, newest first; what happens meanwhile is told by events.

        Raises:
            NotFoundError: there is no such connection.
        """
        span: Span | None = Span(PAGE)
        while span:
            found, span = await self.page(connection_id, ExportQuery(statuses=exports.UNSEEN), span)
            for export in found:
                yield export

    async def reexport(self, asked: Reexport) -> PaymentExport:
        """Try an export again that nobody would try by itself, or a reversal of it that is in ERROR.

        One that is on its way is answered as it is.

        Raises:
            NotFoundError: there is none.
            NotPermittedNowError: it is in Xero, or over, or on its way back.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "ReexportPayment"
        async with self._database.write() as tx:
            earlier = await self._requests.earlier(tx, method, asked.request_id, asked, str)
            export = await _get(tx, asked.export_id)
            if earlier:
                return export
            await self._means.wake(tx, export.connection_id)
            export = await _get(tx, asked.export_id, lock=True)
            await self._requests.keep(tx, method, asked.request_id, asked, export.id)
            if export.xero_status in UNDER_WAY:
                return export
            failed = [one for one in export.reversals if one.xero_status == XeroStatus.ERROR]
            if export.xero_status in REVERSIBLE and failed:
                return await self._reverse_again(tx, export, failed)
            if going := [one for one in export.reversals if one.xero_status in UNDER_WAY]:
                raise not_now.until_its_end(export, going[0])
            not_now.check(export, not_now.AGAIN)
            _check_is_not_taken_back(export)
            again, happened = record.again(export, self._means.clock.now(), AGAIN, CALLER)
            await record.keep(tx, self._means.feed, again, happened)
        return again

    async def _reverse_again(self, tx: Transaction, export: PaymentExport, failed: list[Reversal]) -> PaymentExport:
        now = self._means.clock.now()
        for reversal in failed:
            status = move(reversal.xero_status, XeroStatus.QUEUED)
            queued = msgspec.structs.replace(reversal, xero_status=status, error=None, due_at=now, updated_at=now)
            await reversals.put(tx, queued)
        export = msgspec.structs.replace(export, updated_at=now)
        sentence = "It is tried again to take it back."
        happened = ExportEvent(xero_status=export.xero_status, sentence=sentence, actor=CALLER, occurred_at=now)
        told = await record.keep(tx, self._means.feed, export, happened)
        return msgspec.structs.replace(told, history=())

    async def reexport_all(self, asked: ReexportAll) -> int:
        """Try again what is in ERROR, or what is for one of these reasons; answers how many that are.

        They are set going some at a time: should it break off, a repeat goes on with the rest.

        Raises:
            NotFoundError: there is no such connection.
            RequestIdReusedError: the request_id came before with other content.
        """
        method, count, after = "ReexportPayments", 0, ""
        async with self._database.write() as tx:
            earlier = await self._requests.earlier(tx, method, asked.request_id, asked, int)
            if await connections.get(tx, asked.connection_id) is None:
                raise NotFoundError("connection", asked.connection_id)
        if earlier is not None:
            return earlier
        while True:
            async with self._database.write() as tx:
                if (earlier := await self._requests.earlier(tx, method, asked.request_id, asked, int)) is not None:
                    return earlier  # the same request came twice at the same time
                await self._means.wake(tx, asked.connection_id)
                some = await exports.with_status(
                    tx, asked.connection_id, (XeroStatus.ERROR,), asked.reasons, limit=record.AT_ONCE, after=after
                )
                held, now = await exports.lock_all(tx, [one.id for one in some]), self._means.clock.now()
                stuck = [one for one in held.values() if one.xero_status == XeroStatus.ERROR]
                count, is_last = count + len(stuck), len(some) < record.AT_ONCE
                if is_last:
                    await self._requests.keep(tx, method, asked.request_id, asked, count)
                queued = [record.again(one, now, AGAIN, CALLER) for one in stuck]
                await record.keep_all(tx, self._means.feed, queued)
            if is_last:
                return count
            after = some[-1].id

    async def dismiss(self, asked: Dismiss) -> PaymentExport:
        """Note that a payment is handled elsewhere, or not to be recorded; it is not tried again.

        One that waits is never sent from then on. A repeat replaces the note.

        Raises:
            NotFoundError: there is none.
            NotPermittedNowError: it is on its way into Xero, or there.
            RequestIdReusedError: the request_id came before with other content.
        """
        method = "DismissPaymentExport"
        async with self._database.write() as tx:
            earlier = await self._requests.earlier(tx, method, asked.request_id, asked, str)
            export = await _get(tx, asked.export_id, lock=not earlier)
            if earlier:
                return export
            not_now.check(export, not_now.DISMISSED)
            now = self._means.clock.now()
            dismissed = msgspec.structs.replace(
                export,
                xero_status=move(export.xero_status, XeroStatus.DISMISSED),
                error=None,
                due_at=None,
                dismissal_note=asked.note,
                dismissed_by=CALLER,
                updated_at=now,
            )
            sentence = f"Dismissed: {asked.note}"
            happened = ExportEvent(xero_status=dismissed.xero_status, sentence=sentence, actor=CALLER, occurred_at=now)
            await self._requests.keep(tx, method, asked.request_id, asked, export.id)
            await record.keep(tx, self._means.feed, dismissed, happened)
        return dismissed

    async def reverse(self, asked: Reverse) -> PaymentExport:
        """Have a payment taken back, or part of it; see `exports.reversing`."""
        return await self._reversals.reverse(asked)

    async def _go_on(self, tx: Transaction, connection_id: str) -> None:
        """Have what waits for a consent tried now that there is one."""
        now = self._means.clock.now()
        await self._means.wake(tx, connection_id)
        await self._means.wake_upkeep(tx, connection_id)
        await exports.make_due(tx, connection_id, ABSENT, now)
        await reversals.make_due(tx, connection_id, now)


class _First(msgspec.Struct, frozen=True):
    """What the first of equal requests was answered."""

    export_id: str
    existing: bool


async def _get(tx: Transaction, export_id: str, *, lock: bool = False, history: bool = False) -> PaymentExport:
    export = await exports.get(tx, export_id, lock=lock, history=history)
    if export is None:
        raise NotFoundError("payment export", export_id)
    return export


def _check_is_not_taken_back(export: PaymentExport) -> None:
    """See that not all of it was refunded: exported again it would stand for money that nobody has."""
    if is_all_taken_back(export):
        sentence = (
            "All of the payment was refunded, and somebody removed the payment itself in Xero. Remove the refund there "
            "as well, or record the payment there; then dismiss the export."
        )
        raise not_now.refusal(export, sentence)


async def _existing(tx: Transaction, asked: ExportPayment, print_: str) -> Accepted:
    there = await exports.of_payment(tx, asked.connection_id, asked.payment.payment_id)
    assert there is not None, "it kept the new one out"
    export, known = there
    if known != print_:
        raise PaymentIdReusedError(
            f"payment_id {asked.payment.payment_id!r} came before on this connection, for another payment. "
            "Use a new one, or reverse what was exported.",
            payment_id=asked.payment.payment_id,
            export_id=export.id,
        )
    return Accepted(export, existing=True)
