"""Comparisons, discrepancies, cases and chase checks, as messages."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from tieout.v1 import reconciliation_service_pb2 as pb
from tieout.v1 import types_pb2
from tieout_server.ledger import deep_links
from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.chase import ChaseCheck
from tieout_server.reconciliations.messages import Comparison, Repair
from tieout_server.reconciliations.platform import PlatformDifference, PlatformVerdict
from tieout_server.reconciliations.platform_balances import Submitted
from tieout_server.reconciliations.record import TOLD_DOCUMENTS, TOLD_HISTORY
from tieout_server.rpc.convert import entity, iso, money, money_of, timestamp
from tieout_server.storage.cases import Case
from tieout_server.storage.discrepancies import Change, Discrepancy, Happened, Involved, Share, Values
from tieout_server.storage.reconciliations import ReconciliationRecord


def comparison(found: Comparison, platform: Mapping[str, Decimal]) -> pb.BalanceComparison:
    """Both sides of one currency, and what the caller's books say by currency, where they say anything at all."""
    return pb.BalanceComparison(
        customer_id=found.xero_contact_id,
        **_sides(found.currency, found.ours, found.xero),
        platform=money_of(found.currency, platform.get(found.currency, Decimal(0))) if platform else None,
        xero_source=pb.BalanceSource.Value(f"BALANCE_SOURCE_{found.source}"),
        as_of=timestamp(found.as_of),
    )


def reconciliation(record: ReconciliationRecord) -> pb.Reconciliation:
    """A reconciliation of a whole organisation as it stands."""
    return pb.Reconciliation(
        id=record.id,
        connection_id=record.connection_id,
        state=pb.ReconciliationState.Value(f"RECONCILIATION_STATE_{record.state}"),
        max_calls=record.max_calls,
        calls_used=record.calls,
        customers=record.customers,
        compared=record.compared,
        agreeing=record.agreeing,
        off_balance=record.off_balance,
        self_healed=record.self_healed,
        left_over=record.left_over,
        percent=record.percent,
        created_at=timestamp(record.created_at),
        started_at=timestamp(record.started_at),
        ended_at=timestamp(record.ended_at),
        error_sentence=record.error_sentence,
        totals=[
            pb.BalanceComparison(**_sides(total.currency, total.ours, total.xero), as_of=timestamp(record.updated_at))
            for total in record.totals
        ],
    )


def discrepancy(found: Discrepancy, documents: int = TOLD_DOCUMENTS, history: int = TOLD_HISTORY) -> pb.Discrepancy:
    """A discrepancy, with history where it has been read; so much of both at most that clients take the message."""
    found = found.brief(documents, history)
    return pb.Discrepancy(
        id=found.id,
        connection_id=found.connection_id,
        customer_id=found.xero_contact_id,
        customer_name=found.customer_name,
        xero_contact_id=found.xero_contact_id,
        **_sides(found.currency, found.ours, found.xero),
        cause=_cause(found.cause),
        causes=[_share(share, found.currency) for share in found.causes],
        documents=[_document(document, found) for document in found.documents],
        document_count=len(found.documents) + found.more_documents,
        state=_state(found.state),
        sentence=found.sentence,
        owner=types_pb2.Owner.Value(f"OWNER_{found.owner or 'UNSPECIFIED'}"),
        opened_at=timestamp(found.opened_at),
        updated_at=timestamp(found.updated_at),
        resolved_at=timestamp(found.resolved_at),
        history=[_event(happened, found.currency) for happened in found.history],
        ruled_out=[_cause(cause) for cause in found.ruled_out],
        note=found.note,
        xero_url=deep_links.customer(found.short_code, found.xero_contact_id),
    )


def change(told: Change) -> pb.DiscrepancyChange:
    """What happened to a discrepancy, and what it was right after."""
    return pb.DiscrepancyChange(
        event=_event(told.event, told.discrepancy.currency), discrepancy=discrepancy(told.discrepancy)
    )


def repair(made: Repair) -> pb.Repair:
    """Something that was put right here."""
    return pb.Repair(
        entity=entity(made.entity),
        id=made.xero_id,
        xero_id=made.xero_id,
        number=made.number,
        cause=_cause(made.cause),
        before=_values(made.before, made.entity, made.currency),
        after=_values(made.after, made.entity, made.currency),
    )


def case(reported: Case) -> pb.Case:
    """A case with what was found at once."""
    return pb.Case(
        id=reported.id,
        connection_id=reported.connection_id,
        description=reported.description,
        customer_ids=reported.customer_ids,
        discrepancy_ids=reported.discrepancy_ids,
        sentence=reported.sentence,
        created_at=timestamp(reported.created_at),
    )


def submitted(found: Submitted) -> pb.SubmitPlatformBalancesResponse:
    """Who differs from whom."""
    return pb.SubmitPlatformBalancesResponse(
        received=found.received,
        agreeing=found.sides.agreeing,
        differences=[_difference(one, found.as_of) for one in found.sides.differences],
        differing=found.sides.differing,
        not_submitted=found.sides.not_submitted,
        as_of=timestamp(found.as_of),
    )


def chase_check(named: pb.InvoiceReference, found: ChaseCheck) -> pb.ChaseCheck:
    """Whether the invoice that was named so may be chased."""
    return pb.ChaseCheck(
        invoice=named,
        verdict=pb.ChaseVerdict.Value(f"CHASE_VERDICT_{found.verdict}"),
        sentence=found.sentence,
        amount_due=None if found.due is None else money(found.due),
        as_of=timestamp(found.as_of),
        discrepancy_id=found.discrepancy_id,
        payment_export_id=found.payment_export_id,
    )


def _difference(found: PlatformDifference, as_of: datetime) -> pb.PlatformDifference:
    is_unknown = found.verdict is PlatformVerdict.UNKNOWN_CUSTOMER
    here = {"currency_code": found.currency} if is_unknown else _sides(found.currency, found.ours, found.xero)
    return pb.PlatformDifference(
        balances=pb.BalanceComparison(
            customer_id="" if is_unknown else found.customer,
            **here,
            platform=money_of(found.currency, found.platform),
            as_of=timestamp(as_of),
        ),
        unknown_customer=found.customer if is_unknown else "",
        verdict=pb.PlatformVerdict.Value(f"PLATFORM_VERDICT_{found.verdict}"),
    )


def _document(involved: Involved, found: Discrepancy) -> pb.DiscrepancyDocument:
    return pb.DiscrepancyDocument(
        entity=entity(involved.entity),
        id=involved.xero_id if involved.ours else "",
        xero_id=involved.xero_id if involved.xero else "",
        number=involved.number,
        cause=_cause(involved.cause),
        ours=_values(involved.ours, involved.entity, involved.currency),
        xero=_values(involved.xero, involved.entity, involved.currency),
        difference=money_of(found.currency, involved.difference),
        xero_url=deep_links.document(found.short_code, involved.entity, involved.xero_id) if involved.xero else "",
    )


def _values(side: Values | None, kind: Entity, currency: str) -> pb.DocumentValues | None:
    """What one side has of a document: an invoice has what is due, a credit what remains."""
    if side is None:
        return None
    values = pb.DocumentValues(
        status=side.status,
        issued_on=iso(side.issued_on),
        total=money_of(currency, side.total),
        xero_contact_id=side.xero_contact_id,
        xero_updated_at=timestamp(side.xero_updated_at),
        read_at=timestamp(side.read_at),
    )
    if kind is Entity.INVOICES:
        values.amount_due.CopyFrom(money_of(currency, side.due))
        values.amount_paid.CopyFrom(money_of(currency, side.paid))
        values.amount_credited.CopyFrom(money_of(currency, side.credited))
    else:
        values.remaining_credit.CopyFrom(money_of(currency, side.due))
    return values


def _share(share: Share, currency: str) -> pb.CauseShare:
    return pb.CauseShare(cause=_cause(share.cause), amount=money_of(currency, share.amount), sentence=share.sentence)


def _event(happened: Happened, currency: str) -> pb.DiscrepancyEvent:
    return pb.DiscrepancyEvent(
        state=_state(happened.state),
        sentence=happened.sentence,
        actor=happened.actor,
        occurred_at=timestamp(happened.at),
        difference=money_of(currency, happened.difference),
    )


def _sides(currency: str, ours: Decimal, xero: Decimal) -> dict[str, Any]:
    """The fields that every message with two sides has."""
    return {
        "currency_code": currency,
        "ours": money_of(currency, ours),
        "xero": money_of(currency, xero),
        "difference": money_of(currency, ours - xero),
    }


def _cause(cause: str) -> "pb.DiscrepancyCause.ValueType":
    return pb.DiscrepancyCause.Value(f"DISCREPANCY_CAUSE_{cause or 'UNSPECIFIED'}")


def _state(state: str) -> "pb.DiscrepancyState.ValueType":
    return pb.DiscrepancyState.Value(f"DISCREPANCY_STATE_{state}")
