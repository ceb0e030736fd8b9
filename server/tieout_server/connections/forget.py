"""What may still be told of a connection once what was read through it is erased, and who authorised it."""

from decimal import Decimal

import msgspec

from tieout_server.events.feed import CONNECTION, DISCREPANCY, EXPORT, RECONCILIATION
from tieout_server.ledger.exports import ExportChange
from tieout_server.ledger.links import CALLER, TIEOUT, AuthorisedBy, Link, LinkChange, Reason, ReasonCode
from tieout_server.storage.discrepancies import Change, Discrepancy
from tieout_server.storage.events import Event
from tieout_server.storage.reconciliations import ReconciliationRecord

ERASED = "What was said here was erased with the data of the connection."
TOPICS = (CONNECTION, DISCREPANCY, EXPORT, RECONCILIATION)
"""The topics whose events name a person, a balance or a payment."""


def payload(event: Event, *, ended_at: int, up_to: int) -> bytes:
    """What this event may tell still: that something happened, when and to what.

    Of the connection, events up to the position `ended_at` are forgotten; of reconciliations, those up to the ordinal
    `up_to`; of discrepancies and payment exports every one, as all of them are erased.
    """
    if event.topic == CONNECTION and event.position <= ended_at:
        return _change_of_link(event.payload)
    if event.topic == DISCREPANCY:
        return change_of_discrepancy(event.payload, ERASED)
    if event.topic == EXPORT:
        return _change_of_export(event.payload)
    if event.topic == RECONCILIATION:
        return _reconciliation(event.payload, up_to)
    return event.payload


def actor(name: str) -> str:
    """Who acted, unless it was a person."""
    return name if name in (CALLER, TIEOUT) else ""


def without_person(link: Link) -> Link:
    """The connection without the name and address of who authorised it."""
    user = link.authorised_by
    nobody = AuthorisedBy(xero_user_id=user.xero_user_id) if user else None
    return msgspec.structs.replace(link, authorised_by=nobody, reason=without_words(link.reason))


def without_words(reason: Reason | None) -> Reason | None:
    """The reason without its words, in which a person may be named."""
    if reason is None or reason.code is ReasonCode.MANUALLY_DISCONNECTED:
        return reason
    return msgspec.structs.replace(reason, sentence=ERASED, covers=None)


def _change_of_link(told: bytes) -> bytes:
    change = msgspec.json.decode(told, type=LinkChange)
    forgotten = msgspec.structs.replace(
        change, actor=actor(change.actor), reason=without_words(change.reason), link=without_person(change.link)
    )
    return msgspec.json.encode(forgotten)


def change_of_discrepancy(told: bytes, words: str) -> bytes:
    """What happened to a discrepancy, without whose it is and what it is about; `words` stand in for what was said."""
    change = msgspec.json.decode(told, type=Change)
    event = msgspec.structs.replace(
        change.event, actor=actor(change.event.actor), sentence=words, difference=Decimal(0)
    )
    return msgspec.json.encode(Change(event, without_contents(change.discrepancy, words)))


def without_contents(discrepancy: Discrepancy, words: str) -> Discrepancy:
    """That there was a discrepancy, in which state, and no more."""
    nothing = Decimal(0)
    return msgspec.structs.replace(
        discrepancy, customer_name="", ours=nothing, xero=nothing, causes=(), documents=(), more_documents=0,
        ruled_out=(), sentence=words, note="", history=(),
    )  # fmt: skip


def _change_of_export(told: bytes) -> bytes:
    change = msgspec.json.decode(told, type=ExportChange)
    event = msgspec.structs.replace(change.event, actor=actor(change.event.actor), sentence=ERASED, error=None)
    payment = msgspec.structs.replace(change.export.payment, amount=Decimal(0), lines=(), reference="", method="")
    forgotten = msgspec.structs.replace(
        change.export, payment=payment, error=None, records=(), reversals=(), history=(), dismissal_note="",
        dismissed_by=actor(change.export.dismissed_by),
    )  # fmt: skip
    return msgspec.json.encode(ExportChange(event=event, export=forgotten))


def _reconciliation(told: bytes, up_to: int) -> bytes:
    run = msgspec.json.decode(told, type=ReconciliationRecord)
    if run.ordinal > up_to:
        return told
    words = ERASED if run.error_sentence else ""
    return msgspec.json.encode(msgspec.structs.replace(run, totals=(), error_sentence=words))
