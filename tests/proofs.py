"""A proof for tests: Kauri & Co is off balance for a late fee, and agrees in euros."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from tieout_server.ledger import deep_links
from tieout_server.ledger.documents import Entity
from tieout_server.reconciliations.proof import Account, Compared, Moment, Point, Proof
from tieout_server.storage.discrepancies import Discrepancy, Happened, Share, Values

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
SHORT_CODE = "!7b960"


def values(due: str, *, total: str = "", status: str = "AUTHORISED") -> Values:
    whole = Decimal(total or due)
    return Values(
        status=status, issued_on=date(2026, 10, 1), total=whole, due=Decimal(due), paid=whole - Decimal(due),
        xero_contact_id="kauri", xero_updated_at=AT - timedelta(days=3), read_at=AT,
    )  # fmt: skip


def compared(number: str, ours: str, xero: str = "", entity: Entity = Entity.INVOICES, cause: str = "") -> Compared:
    """A document that is open by these amounts on either side; a cause makes it part of the difference."""
    sign = 1 if entity is Entity.INVOICES else -1
    mine, theirs = Decimal(ours) * sign, Decimal(xero or ours) * sign
    return Compared(
        entity=entity,
        xero_id=f"id-{number}",
        number=number,
        currency="NZD",
        due_on=date(2026, 11, 1),
        ours=values(ours),
        xero=values(xero or ours),
        ours_counts=mine,
        xero_counts=theirs,
        part=mine - theirs,
        xero_url=deep_links.document(SHORT_CODE, entity, f"id-{number}"),
        cause=cause,
    )


STALE = "Invoice INV-1 was changed in Xero, and no list of changes showed it."
DISCREPANCY = Discrepancy(
    id="dis_1",
    connection_id="con_1",
    xero_contact_id="kauri",
    customer_name="Kauri & Co",
    currency="NZD",
    ours=Decimal("390.00"),
    xero=Decimal("415.40"),
    causes=(Share(cause="STALE_DOCUMENT", amount=Decimal("-25.40"), sentence=STALE),),
    ruled_out=("DRAFT_COUNTED", "ROUNDING"),
    state="NEEDS_ATTENTION",
    sentence="We have 25.40 NZD less than Xero: an invoice was changed there. Read it again.",
    owner="MERCHANT",
    opened_at=AT - timedelta(hours=2),
    updated_at=AT,
    short_code=SHORT_CODE,
    history=(
        Happened(state="OPENED", sentence="It was seen.", actor="tieout", at=AT, difference=Decimal("-25.40")),
    ),
)  # fmt: skip
KAURI = Account(
    xero_contact_id="kauri",
    customer="Kauri & Co",
    currency="NZD",
    ours=Decimal("390.00"),
    xero=Decimal("415.40"),
    source="CONTACT",
    as_of=AT,
    discrepancy=DISCREPANCY,
    documents=(
        compared("INV-1", "310.00", "335.40", cause="STALE_DOCUMENT"),
        compared("INV-2", "150.00"),
        compared("CN-1", "70.00", entity=Entity.CREDIT_NOTES),
    ),
    over_time=(
        Point(at=AT - timedelta(days=9), ours=Decimal("240.00"), xero=Decimal("240.00")),
        Point(at=AT - timedelta(days=4), ours=Decimal("390.00"), xero=Decimal("390.00")),
        Point(at=AT - timedelta(days=2), ours=Decimal("390.00"), xero=Decimal("415.40")),
    ),
    xero_url=deep_links.customer(SHORT_CODE, "kauri"),
)
AGREEING = msgspec.structs.replace(
    KAURI, currency="EUR", ours=Decimal("80.00"), xero=Decimal("80.00"), discrepancy=None, over_time=(),
    documents=(msgspec.structs.replace(compared("INV-3", "80.00"), currency="EUR"),),
)  # fmt: skip
PROOF = Proof(
    title="Kauri & Co",
    organisation="Harbour & Vine Ltd",
    accounts=[KAURI],
    timeline=[
        Moment(at=AT - timedelta(days=2), what="compared", about="kauri", sentence="Compared: ours 390.00."),
        Moment(at=AT, what="discrepancy", about="kauri", sentence="It was <seen>."),
    ],
    made_at=AT + timedelta(minutes=5),
)
CASE = msgspec.structs.replace(
    PROOF, title="Harbour & Vine Ltd", description="=They say\n<b>we paid</b>", finding="It is off balance.",
    accounts=[KAURI, AGREEING],
)  # fmt: skip
