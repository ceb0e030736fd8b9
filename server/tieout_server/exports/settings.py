"""Where payments go: the accounts that there are, those that were chosen, and what a better choice sets going again."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from tieout_server.connections.service import Connections
from tieout_server.connections.state import check_can_read
from tieout_server.errors import ChangedMeanwhileError, InvalidRequestError, NotFoundError, PersonMustActError
from tieout_server.exports import accounts as rules
from tieout_server.exports import record
from tieout_server.exports.accounts import ExportAccount, Ground, NewSettings
from tieout_server.exports.means import Means
from tieout_server.exports.messages import SettingsNow, Updated, UpdateSettings
from tieout_server.exports.preflight import Footing, Preflight
from tieout_server.exports.state import ExportReason, XeroStatus, move
from tieout_server.ledger.documents import Account
from tieout_server.ledger.exports import ExportEvent, ExportSettings, PaymentExport, Reversal
from tieout_server.ledger.links import CALLER, TIEOUT, Link
from tieout_server.storage import connections, export_settings, exports, receivables, reversals
from tieout_server.storage.database import Transaction
from tieout_server.storage.receivables import FoundAccount
from tieout_server.work.requests import Requests

MENDED = (
    ExportReason.ACCOUNT_NOT_CHOSEN,
    ExportReason.ACCOUNT_NOT_PAYABLE,
    ExportReason.ACCOUNT_ARCHIVED,
    ExportReason.CURRENCY_MISMATCH,
    ExportReason.AMOUNT_EXCEEDS_DUE,
)
"""The reasons that settings or accounts may put right."""


class Change(msgspec.Struct, frozen=True):
    """What payments went by, and what they go by since."""

    before: Ground
    after: Ground


class SettingsOfExports:
    """The settings of all connections for payment exports."""

    def __init__(self, means: Means, links: Connections, requests: Requests, preflight: Preflight) -> None:
        self._means = means
        self._database = means.database
        self._links = links
        self._requests = requests
        self._preflight = preflight

    async def accounts(self, connection_id: str, currency: str = "") -> Sequence[ExportAccount]:
        """The accounts that payments may go to, or those for one currency, as Xero states them now: usable ones first.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: somebody has to act first.
            XeroUnavailableError, CallLimitError: they cannot be read now.
        """
        link = await self._links.get(connection_id)
        footing = await self._read(link)
        async with self._database.read() as tx:
            settings = await export_settings.get(tx, connection_id)
        ground = _ground(settings, footing.accounts, footing.organisation.base_currency)
        seen = rules.views(ground, self._means.clock.now())
        return [one for one in seen if currency in ("", one.currency)]

    async def get(self, connection_id: str) -> SettingsNow:
        """The settings, and what is wrong with them as far as accounts are known here.

        Raises:
            NotFoundError: there is no such connection.
        """
        async with self._database.read() as tx:
            link = await connections.get(tx, connection_id)
            if link is None:
                raise NotFoundError("connection", connection_id)
            settings = await export_settings.get(tx, connection_id)
            return self._now(await _as_known(tx, link, settings))

    async def update(self, asked: UpdateSettings) -> Updated:
        """Replace the settings, once each account was found good in Xero, and set going again what they unblock.

        What they unblock is set going some at a time: should that break off, the settings are kept, and the rest can
        be exported again by hand.

        Raises:
            NotFoundError: there is no such connection.
            ConnectionNotUsableError: somebody has to act first.
            InvalidRequestError: an account does not fit; every violation is named.
            ChangedMeanwhileError: they changed since this revision.
            RequestIdReusedError: the request_id came before with other content.
            XeroUnavailableError, CallLimitError: accounts cannot be read now.
        """
        async with self._database.write() as tx:
            if earlier := await self._earlier(tx, asked):
                return earlier
        link = await self._links.get(asked.connection_id)
        async with self._database.read() as tx:
            known = await _chosen(tx, await export_settings.get(tx, link.id))
        footing = await self._read(link)
        base = footing.organisation.base_currency
        wanted = NewSettings(
            accounts=asked.accounts,
            refund_xero_account_id=asked.refund_xero_account_id,
            refund_tax_type=asked.refund_tax_type,
        )
        if faults := rules.violations(wanted, footing.accounts, base):
            raise InvalidRequestError(*faults)
        async with self._database.write() as tx:
            if earlier := await self._earlier(tx, asked):
                return earlier  # the same request came twice at the same time
            before, after = await self._replace(tx, asked)
            change = Change(_ground(before, known, base), _ground(after, footing.accounts, base))
            await self._requests.keep(tx, _UPDATE, asked.request_id, asked, asked.connection_id)
        told = (link.id, _CHANGED, CALLER)
        woken = await self._wake_exports(*told, lambda one: rules.unblocks(one, change.before, change.after))
        woken += await self._wake_reversals(
            *told, lambda one: rules.unblocks_reversal(one, change.before, change.after)
        )
        return Updated(self._now(change.after), woken)

    async def revalidate(self, connection_id: str) -> int:
        """Set going again what failed for want of a consent or because of an account, where that is mended since.

        Answers how many exports that were. To be called now and then: it goes by what is known here, without calls.
        """
        async with self._database.read() as tx:
            link = await connections.get(tx, connection_id)
            settings = await export_settings.get(tx, connection_id)
            if link is None or link.organisation is None:
                return 0
            found = await _found(tx, settings)
        after = _ground(settings, _by_id(found), link.organisation.base_currency)
        return await self._go_on_since_consent(link) + await self._go_on_since_mended(found, after)

    async def _go_on_since_consent(self, link: Link) -> int:
        """Set going again what an earlier consent did not cover; answers how many exports that were."""
        consented_at = link.consented_at
        if consented_at is None:
            return 0
        told, reasons = (link.id, "Xero was connected again: it is tried again.", TIEOUT), (ExportReason.SCOPE_MISSING,)
        woken = await self._wake_exports(*told, lambda _: True, reasons=reasons, updated_before=consented_at)
        return woken + await self._wake_reversals(
            *told,
            lambda one: one.updated_at < consented_at and one.error is not None and one.error.reason in reasons,
        )

    async def _go_on_since_mended(self, found: Sequence[FoundAccount], after: Ground) -> int:
        """Set going again what failed because of an account that changed since; answers how many exports that were."""
        last = max((one.updated_at for one in found), default=None)
        if last is None:
            return 0

        def before(failed: PaymentExport | Reversal) -> Ground:
            unchanged = [one for one in found if one.updated_at <= failed.updated_at]
            return _ground(after.settings, _by_id(unchanged), after.base_currency)

        told = (after.settings.connection_id, "The account was mended: it is tried again.", TIEOUT)
        woken = await self._wake_exports(
            *told, lambda one: rules.unblocks(one, before(one), after), updated_before=last
        )
        return woken + await self._wake_reversals(*told, lambda one: rules.unblocks_reversal(one, before(one), after))

    async def _earlier(self, tx: Transaction, asked: UpdateSettings) -> Updated | None:
        if await self._requests.earlier(tx, _UPDATE, asked.request_id, asked, str) is None:
            return None
        link = await connections.get(tx, asked.connection_id)
        if link is None:
            raise NotFoundError("connection", asked.connection_id)
        return Updated(self._now(await _as_known(tx, link, await export_settings.get(tx, link.id))), 0)

    async def _replace(self, tx: Transaction, asked: UpdateSettings) -> tuple[ExportSettings, ExportSettings]:
        """The settings before and after."""
        if await connections.get(tx, asked.connection_id, lock=True) is None:
            raise NotFoundError("connection", asked.connection_id)
        before = await export_settings.get(tx, asked.connection_id, lock=True)
        if asked.revision and asked.revision != str(before.revision):
            raise ChangedMeanwhileError(
                "The settings were changed since they were read. Read them again, and decide anew.",
                connection_id=asked.connection_id,
                revision=str(before.revision),
            )
        after = ExportSettings(
            connection_id=asked.connection_id,
            accounts=dict(asked.accounts),
            overpayment_policy=asked.overpayment_policy,
            refund_xero_account_id=asked.refund_xero_account_id,
            refund_tax_type=asked.refund_tax_type,
            revision=before.revision + 1,
            updated_at=self._means.clock.now(),
        )
        await export_settings.put(tx, after)
        return before, after

    async def _wake_exports(
        self,
        connection_id: str,
        sentence: str,
        actor: str,
        is_unblocked: Callable[[PaymentExport], bool],
        *,
        reasons: Collection[ExportReason] = MENDED,
        updated_before: datetime | None = None,
    ) -> int:
        """Set going again what is unblocked of the exports in ERROR; answers how many that are."""
        woken, behind, more = 0, "", True
        while more:
            async with self._database.read() as tx:
                some = await exports.with_status(
                    tx,
                    connection_id,
                    (XeroStatus.ERROR,),
                    reasons,
                    limit=record.AT_ONCE,
                    after=behind,
                    updated_before=updated_before,
                )
            more, behind = len(some) == record.AT_ONCE, some[-1].id if some else ""
            if wanted := [one.id for one in some if is_unblocked(one)]:
                woken += await self._set_going(connection_id, wanted, sentence, actor)
        return woken

    async def _set_going(self, connection_id: str, wanted: Collection[str], sentence: str, actor: str) -> int:
        async with self._database.write() as tx:
            await self._means.wake(tx, connection_id)
            held, now = await exports.lock_all(tx, wanted), self._means.clock.now()
            stuck = [one for one in held.values() if one.xero_status == XeroStatus.ERROR]
            await record.keep_all(tx, self._means.feed, [record.again(one, now, sentence, actor) for one in stuck])
        return len(stuck)

    async def _wake_reversals(
        self, connection_id: str, sentence: str, actor: str, is_unblocked: Callable[[Reversal], bool]
    ) -> int:
        """Set going again the reversals that are unblocked; answers of how many exports they are."""
        async with self._database.read() as tx:
            failed = await reversals.with_status(tx, connection_id, (XeroStatus.ERROR,))
        wanted = {one.export_id for one in failed if is_unblocked(one)}
        if not wanted:
            return 0
        async with self._database.write() as tx:
            await self._means.wake(tx, connection_id)
            held, now = await exports.lock_all(tx, wanted), self._means.clock.now()
            told = []
            for export in held.values():
                for reversal in filter(is_unblocked, export.reversals):
                    await reversals.put(tx, _again(reversal, now))
                happened = ExportEvent(xero_status=export.xero_status, sentence=sentence, actor=actor, occurred_at=now)
                told.append((msgspec.structs.replace(export, updated_at=now), happened))
            await record.keep_all(tx, self._means.feed, told)
        return len(held)

    async def _read(self, link: Link) -> Footing:
        """What Xero says of the organisation and its accounts now."""
        check_can_read(link)
        try:
            return await self._preflight.asked_footing(link, self._links.books(link))
        except PersonMustActError as refusal:
            await self._links.access_lost(link.id, refusal)
            raise

    def _now(self, ground: Ground) -> SettingsNow:
        """The settings with what is wrong with them; nothing is said where no account is known here."""
        problems = rules.problems(ground, self._means.clock.now()) if ground.accounts else ()
        return SettingsNow(ground.settings, tuple(problems))


_UPDATE = "UpdateExportSettings"
_CHANGED = "The settings were changed: it is tried again."


def _again(reversal: Reversal, now: datetime) -> Reversal:
    status = move(reversal.xero_status, XeroStatus.QUEUED)
    return msgspec.structs.replace(reversal, xero_status=status, error=None, due_at=now, updated_at=now)


def _ground(settings: ExportSettings, accounts: Mapping[str, Account], base_currency: str) -> Ground:
    return Ground(settings=settings, accounts=accounts, base_currency=base_currency)


async def _as_known(tx: Transaction, link: Link, settings: ExportSettings) -> Ground:
    """What payments go by, as far as it is known here."""
    base_currency = link.organisation.base_currency if link.organisation else ""
    return _ground(settings, await _chosen(tx, settings), base_currency)


async def _chosen(tx: Transaction, settings: ExportSettings) -> dict[str, Account]:
    return _by_id(await _found(tx, settings))


async def _found(tx: Transaction, settings: ExportSettings) -> Sequence[FoundAccount]:
    """The accounts that settings name, as they were last read."""
    named = {*settings.accounts.values(), settings.refund_xero_account_id} - {""}
    return await receivables.accounts_named(tx, settings.connection_id, named) if named else ()


def _by_id(found: Sequence[FoundAccount]) -> dict[str, Account]:
    return {one.account.xero_account_id: one.account for one in found}
