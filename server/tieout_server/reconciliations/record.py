"""Keeping what comparing found: the life of each discrepancy, its history, and the events that tell of it.

One row per customer and currency. It opens when the sides are seen to differ, is over when they agree, and opens
again, under the same id, when the difference returns or is another one than a person knew of.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from tieout_server.events.feed import DISCREPANCY, Feed
from tieout_server.ledger.links import TIEOUT, Link
from tieout_server.reconciliations import sentences
from tieout_server.reconciliations.state import DiscrepancyState, Happening, move
from tieout_server.storage import discrepancies, mirror
from tieout_server.storage.database import Transaction
from tieout_server.storage.discrepancies import Change, Discrepancy, Happened, Involved, Share
from tieout_server.storage.events import Event

TOLD_DOCUMENTS = 200
"""Documents of one discrepancy that are told at most, which are some 110 KB."""
TOLD_HISTORY = 50
"""What happened to it lately that is told at most with what happens now."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A difference in one currency, and what it consists of; the shares add up to it."""

    currency: str
    ours: Decimal
    xero: Decimal
    causes: tuple[Share, ...]
    documents: tuple[Involved, ...] = ()
    ruled_out: tuple[str, ...] = ()
    remedy: str = ""
    owner: str = ""
    figure: str = ""
    """How Xero's side is made, in a sentence; empty where `xero` is what Xero states."""

    @property
    def differs(self) -> str:
        """What differs."""
        return f"{sentences.differs(self.ours, self.xero, self.currency)} {self.figure}".strip()

    @property
    def sentence(self) -> str:
        """What differs and why."""
        return " ".join((self.differs, *(share.sentence for share in self.causes)))


class Whose(msgspec.Struct, frozen=True):
    """The customer that something was found of."""

    link: Link
    xero_contact_id: str
    name: str
    members: Collection[str]
    """It and what was merged into it: a discrepancy of one of them is taken over."""


class Record:
    """What one transaction finds of one customer: `seen` and `settled` as it goes on, `tell` last of all."""

    def __init__(self, tx: Transaction, whose: Whose, known: Sequence[Discrepancy], at: datetime) -> None:
        self._tx = tx
        self._whose = whose
        self._at = at
        self._known = {one.currency: one for one in known if one.xero_contact_id == whose.xero_contact_id}
        self._others = [one for one in known if one.xero_contact_id != whose.xero_contact_id and not one.is_over]
        self._told: list[Change] = []
        self.healed = 0
        """How many were over because of a repair."""

    @classmethod
    async def of(cls, tx: Transaction, whose: Whose, at: datetime) -> "Record":
        """The record of a customer, for a transaction that holds its connection."""
        return cls(tx, whose, await discrepancies.of_customer(tx, whose.link.id, whose.members), at)

    @property
    def open(self) -> list[Discrepancy]:
        """What is off balance now, with history."""
        return [one for one in self._known.values() if not one.is_over]

    async def seen(self, finding: Finding) -> None:
        """Note a difference whose repair is in this transaction."""
        await self._opened(finding)

    async def settled(self, findings: Mapping[str, Finding]) -> None:
        """Note what is still off after all repairs, by currency; whatever else was off is over."""
        for finding in findings.values():
            await self._stays(finding)
        for one in self.open:
            if one.currency not in findings:
                await self._is_over(one)
        for other in self._others:  # its contact was merged away
            await self._is_over(other)

    async def tell(self, feed: Feed) -> None:
        """Append the events of all that was noted; nothing but events may come after it."""
        for change in self._told:
            await _tell(self._tx, feed, change)

    async def _opened(self, finding: Finding) -> None:
        known = self._known.get(finding.currency)
        steps = [(Happening.EXPLAINED, " ".join(share.sentence for share in finding.causes))]
        if known is None or known.is_over or known.state == DiscrepancyState.ACKNOWLEDGED:
            steps.insert(0, (Happening.SEEN, finding.differs))
        await self._go(_with(known or self._new(finding), finding), steps, was=known)

    async def _stays(self, finding: Finding) -> None:
        known = self._known.get(finding.currency)
        is_known = known is not None and known.state in (
            DiscrepancyState.NEEDS_ATTENTION,
            DiscrepancyState.ACKNOWLEDGED,
        )
        if known is not None and is_known and known.difference == finding.ours - finding.xero:
            if (known.ours, known.causes) != (finding.ours, finding.causes):  # other balances, or better explained
                await self._go(_with(known, finding), [], was=known)
            return
        if known is None or known.is_over or known.state == DiscrepancyState.ACKNOWLEDGED:
            await self._opened(finding)
            known = self._known[finding.currency]
        if _knew(known) == finding.ours - finding.xero:
            step = (Happening.ACKNOWLEDGED, sentences.KNOWN)
        else:
            step = (Happening.LEFT_TO_A_PERSON, f"{finding.sentence} {finding.remedy}".strip())
        await self._go(_with(known, finding), [step], was=known)

    async def _is_over(self, one: Discrepancy) -> None:
        if one.state == DiscrepancyState.CAUSE_FOUND:
            self.healed += 1
            await self._go(one, [(Happening.REPAIRED, sentences.HEALED)], was=one)
        else:
            await self._go(one, [(Happening.GONE, sentences.AGREE)], was=one)

    async def _go(
        self, changed: Discrepancy, steps: Sequence[tuple[Happening, str]], *, was: Discrepancy | None
    ) -> None:
        """Take a discrepancy through these steps and keep it."""
        happened: list[Happened] = []
        state = None if was is None else DiscrepancyState(was.state)
        changed = msgspec.structs.replace(changed, updated_at=self._at, **self._called(changed))
        for happening, sentence in steps:
            state = move(state, happening)
            is_over = state in discrepancies.OVER
            difference = Decimal(0) if is_over else changed.difference
            one = Happened(state=state, sentence=sentence, actor=TIEOUT, at=self._at, difference=difference)
            happened.append(one)
            changed = msgspec.structs.replace(
                changed,
                state=state,
                sentence=sentence if is_over or happening is Happening.LEFT_TO_A_PERSON else changed.sentence,
                resolved_at=self._at if is_over else None,
                history=(*changed.history, one),
            )
            self._told.append(Change(one, changed))
        if _said(was) != _said(changed):  # the customer that readers know says so
            await mirror.mark_contact(self._tx, changed.connection_id, changed.xero_contact_id, self._at)
        await discrepancies.put(self._tx, changed)
        await discrepancies.add(self._tx, changed.id, happened)
        if changed.xero_contact_id == self._whose.xero_contact_id:
            self._known[changed.currency] = changed

    def _new(self, finding: Finding) -> Discrepancy:
        return Discrepancy(
            id=f"dis_{secrets.token_hex(10)}",
            connection_id=self._whose.link.id,
            xero_contact_id=self._whose.xero_contact_id,
            customer_name="",
            currency=finding.currency,
            ours=finding.ours,
            xero=finding.xero,
            state=DiscrepancyState.OPENED,
            opened_at=self._at,
            updated_at=self._at,
        )

    def _called(self, one: Discrepancy) -> Mapping[str, str]:
        """What the customer is called now, and the organisation: both may have been renamed."""
        organisation = self._whose.link.organisation
        short_code = organisation.short_code if organisation else one.short_code
        is_its = one.xero_contact_id == self._whose.xero_contact_id and self._whose.name
        return {"customer_name": self._whose.name if is_its else one.customer_name, "short_code": short_code}


async def keep(tx: Transaction, feed: Feed, changed: Discrepancy, happened: Happened) -> None:
    """Keep a discrepancy to which this happened, and tell of it; the last statement of the transaction."""
    await discrepancies.put(tx, changed)
    await discrepancies.add(tx, changed.id, [happened])
    await _tell(tx, feed, Change(happened, changed))


def _said(one: Discrepancy | None) -> str:
    """What a customer says of it; nothing once it is over."""
    return "" if one is None or one.is_over else one.sentence


def _knew(one: Discrepancy) -> Decimal | None:
    """The difference that a person acknowledged before something was repaired on the way; None if it was none."""
    on_the_way = (DiscrepancyState.OPENED, DiscrepancyState.CAUSE_FOUND)
    before = next((event for event in reversed(one.history) if event.state not in on_the_way), None)
    return before.difference if before and before.state == DiscrepancyState.ACKNOWLEDGED else None


def _with(known: Discrepancy, finding: Finding) -> Discrepancy:
    return msgspec.structs.replace(
        known,
        ours=finding.ours,
        xero=finding.xero,
        causes=finding.causes,
        documents=finding.documents,
        ruled_out=finding.ruled_out,
        owner=finding.owner,
        sentence=f"{finding.sentence} {finding.remedy}".strip(),
    )


async def _tell(tx: Transaction, feed: Feed, change: Change) -> None:
    one = change.discrepancy.brief(TOLD_DOCUMENTS, TOLD_HISTORY)
    payload = msgspec.json.encode(Change(change.event, one))
    await feed.append(tx, Event(0, one.connection_id, DISCREPANCY, one.id, change.event.at, payload))
