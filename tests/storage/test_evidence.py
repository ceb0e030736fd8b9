"""What evidence packs are gathered from: the mirror, discrepancies, comparisons, cases."""

import csv
import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from databases import add_connection
from documents import contact, credit, invoice, payment
from tieout_server.clock import SystemClock
from tieout_server.errors import NotFoundError
from tieout_server.ledger.documents import Document, Entity, Organisation
from tieout_server.reconciliations.arithmetic import CHANGED_SINCE
from tieout_server.reconciliations.evidence import Evidence
from tieout_server.reconciliations.pack import Pack
from tieout_server.storage import cases, comparisons, connections, discrepancies, mirror, syncs
from tieout_server.storage.cases import Case
from tieout_server.storage.comparisons import Compared
from tieout_server.storage.database import Database
from tieout_server.storage.discrepancies import Discrepancy, Happened, Involved, Share, Values
from tieout_server.storage.syncs import SyncRecord

HERE = datetime(2026, 11, 20, 12, tzinfo=UTC)
HALF = Decimal("0.5")


class Noon(SystemClock):
    """A clock that stands still."""

    def now(self) -> datetime:
        return HERE


def values(due: str, status: str = "AUTHORISED") -> Values:
    return Values(
        status=status, total=Decimal(due), due=Decimal(due), xero_contact_id="c1", xero_updated_at=HERE, read_at=HERE
    )


def involved(name: str, difference: str, ours: str | None, xero: str | None, cause: str = "STALE_DOCUMENT") -> Involved:
    return Involved(
        entity=Entity.INVOICES, xero_id=name, number=name.upper(), currency="NZD", cause=cause,
        difference=Decimal(difference), ours=values(ours) if ours else None, xero=values(xero) if xero else None,
    )  # fmt: skip


def discrepancy(*documents: Involved, ours: str, xero: str, **more: Any) -> Discrepancy:  # noqa: ANN401 - any field
    share = Share(cause="STALE_DOCUMENT", amount=Decimal(ours) - Decimal(xero), sentence="It was older.")
    happened = Happened(state="OPENED", sentence="They differ.", actor="tieout", at=HERE, difference=share.amount)
    stated = {"causes": (share,), "state": "NEEDS_ATTENTION", "currency": "NZD", "owner": "MERCHANT"} | more
    return Discrepancy(
        id="dis_1", connection_id="con1", xero_contact_id="c1", customer_name="Kauri", documents=documents,
        ours=Decimal(ours), xero=Decimal(xero), opened_at=HERE, updated_at=HERE, history=(happened,), **stated,
    )  # fmt: skip


@pytest.fixture
async def evidence(database: Database) -> Evidence:
    """Kauri owes 230.50 + 100.00 NZD less 20.00 of credit, and 80.00 EUR at 0.5; Bolt, merged into it, 7.00 NZD."""
    await add_connection(database, "con1")
    async with database.write() as tx:
        link = await connections.get(tx, "con1")
        assert link is not None
        named = Organisation(xero_tenant_id="t1", name="Harbour", base_currency="NZD", short_code="!abc")
        await connections.save(tx, msgspec.structs.replace(link, organisation=named))
        eur = invoice("eur", currency="EUR", rate=HALF, total=Decimal(80), due=Decimal(80), number="EUR-1")
        rest: list[Document] = [
            contact("c1", name="Kauri"), contact("c2", name="Bolt", merged_into="c1", status="ARCHIVED"),
            invoice("i1", number="I1"),
            invoice("i2", number="I2", total=Decimal(150), due=Decimal(100), paid=Decimal(50)),
            invoice("i3", number="I3", xero_contact_id="c2", total=Decimal(7), due=Decimal(7)),
            invoice("i4", status="PAID", due=Decimal(0), number="I4"), credit("k1", number="K1"),
            payment("p1", xero_document_id="i2", amount=Decimal(50), paid_on=date(2026, 11, 2), reference="thanks"),
        ]  # fmt: skip
        for document in [eur, *rest]:
            await mirror.save(tx, "con1", [document], seen_in=1, at=HERE)
    return Evidence(database, Noon())


OURS = "317.50"


async def keep(database: Database, found: Discrepancy) -> None:
    async with database.write() as tx:
        await discrepancies.put(tx, found)
        await discrepancies.add(tx, found.id, found.history)


def files(pack: Pack) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(pack.content)) as archive:
        return {name: archive.read(name).decode("utf-8-sig") for name in archive.namelist()}


def arithmetic(pack: Pack) -> tuple[list[dict[str, str]], dict[str, str]]:
    *lines, total = csv.DictReader(io.StringIO(files(pack)["arithmetic.csv"]))
    for side in ("ours", "xero", "difference"):
        assert sum(Decimal(line[side]) for line in lines) == Decimal(total[side])
    return lines, total


async def test_the_pack_of_a_discrepancy_has_every_open_document_of_the_customer(
    database: Database, evidence: Evidence
) -> None:
    await keep(database, discrepancy(involved("i1", "-25.40", "230.50", "255.90"), ours=OURS, xero="342.90"))
    made = await evidence.of_discrepancy("dis_1")
    assert made.file_name == "kauri-2026-11-20.zip"
    lines, total = arithmetic(made)
    assert {line["line"]: (line["ours"], line["xero"]) for line in lines} == {
        "I1": ("230.50", "255.90"), "I2": ("100.00", "100.00"), "I3": ("7.00", "7.00"), "K1": ("-20.00", "-20.00"),
    }  # fmt: skip
    assert (total["ours"], total["xero"]) == (OURS, "342.90")
    (account,) = json.loads(files(made)["documents.json"])
    paid = {one["number"]: one["payments"] for one in account["documents"]}["I2"]
    assert [(one["amount"], one["paid_on"], one["reference"]) for one in paid] == [("50.00", "2026-11-02", "thanks")]
    page = files(made)["summary.html"]
    assert "shortcode=%21abc" in page
    assert "Harbour" in page


async def test_documents_that_are_not_here_are_part_of_it(database: Database, evidence: Evidence) -> None:
    missing = involved("new", "-40.00", None, "40.00", cause="MISSING_DOCUMENT")
    await keep(database, discrepancy(missing, ours=OURS, xero="357.50"))
    lines, _ = arithmetic(await evidence.of_discrepancy("dis_1"))
    sides = [(Decimal(line["ours"]), Decimal(line["xero"])) for line in lines if line["line"] == "NEW"]
    assert sides == [(Decimal(0), Decimal(40))]


async def test_a_figure_of_all_currencies_is_made_of_the_documents_of_all(
    database: Database, evidence: Evidence
) -> None:
    whole = Decimal(OURS) + 160  # 80 EUR at 0.5 EUR for 1 NZD
    share = Share(cause="UNEXPLAINED", amount=Decimal("-5.00"), sentence="Nothing explains it.")
    await keep(database, discrepancy(ours=str(whole), xero=str(whole + 5), causes=(share,)))
    lines, total = arithmetic(await evidence.of_discrepancy("dis_1"))
    assert [line["line"] for line in lines if line["ours"] == "160.00"] == ["EUR-1"]
    assert (lines[-1]["line"], Decimal(lines[-1]["xero"])) == ("Nothing explains it.", Decimal(5))
    assert Decimal(total["xero"]) == whole + 5


async def test_a_discrepancy_that_is_over_counts_no_more_and_is_still_told(
    database: Database, evidence: Evidence
) -> None:
    over = discrepancy(
        involved("i1", "-25.40", "205.10", "230.50"), ours="292.10", xero=OURS, state="SELF_HEALED", resolved_at=HERE
    )
    await keep(database, over)
    async with database.write() as tx:
        at = HERE + timedelta(seconds=1)
        await comparisons.note(tx, "con1", "c1", [Compared("NZD", at, Decimal(OURS), Decimal(OURS), "CONTACT")])
    made = await evidence.of_discrepancy("dis_1")
    lines, total = arithmetic(made)
    assert total["difference"] == "0.00"
    assert {line["difference"] for line in lines} == {"0.00"}
    page = files(made)["summary.html"]
    assert "Both sides agree" in page
    assert "Documents that made the difference" in page
    assert "-25.40 NZD" in page
    told = [moment["sentence"] for moment in json.loads(files(made)["timeline.json"])]
    assert "They differ." in told
    assert "Both sides were compared and agreed: 317.50 NZD." in told


async def test_the_timeline_is_told_in_the_words_of_who_keeps_the_books(database: Database, evidence: Evidence) -> None:
    found = discrepancy(involved("i1", "-25.40", "230.50", "255.90"), ours=OURS, xero="342.90")
    told = "Acknowledged: a late fee."
    known = Happened(state="ACKNOWLEDGED", sentence=told, actor="caller", at=HERE, difference=Decimal("-25.40"))
    await keep(database, msgspec.structs.replace(found, history=(*found.history, known)))
    full = SyncRecord(
        id="syn_1", connection_id="con1", ordinal=1, mode="FULL", state="FAILED", created_at=HERE, updated_at=HERE,
        ended_at=HERE,
    )  # fmt: skip
    async with database.write() as tx:
        await syncs.insert(tx, full)
    made = files(await evidence.of_discrepancy("dis_1"))
    moments = [moment["sentence"] for moment in json.loads(made["timeline.json"])]
    assert {
        "They differ.",
        f"{told} (through the platform)",
        "Invoice I1 was read from Xero: authorised, 230.50 NZD due of 230.50 NZD.",
        "Invoice I1 was last changed in Xero, by the date that Xero gives.",
        "Invoice I1 was read again from Xero: authorised, 255.90 NZD due of 255.90 NZD.",
        "A full reading from Xero failed.",
    } == set(moments)


async def test_what_changed_since_both_sides_were_compared_is_no_difference(
    database: Database, evidence: Evidence
) -> None:
    part = involved("i1", "-25.40", "205.10", "230.50")
    await keep(database, discrepancy(part, ours="292.10", xero=OURS, state="RESOLVED", resolved_at=HERE))
    at = HERE + timedelta(seconds=1)
    later = invoice("i9", number="I9", total=Decimal(500), due=Decimal(500))
    async with database.write() as tx:
        await comparisons.note(tx, "con1", "c1", [Compared("NZD", at, Decimal(OURS), Decimal(OURS), "CONTACT")])
        await mirror.save(tx, "con1", [later], seen_in=1, at=at + timedelta(days=5))

    made = await evidence.of_discrepancy("dis_1")

    lines, total = arithmetic(made)
    assert (total["ours"], total["xero"]) == (OURS, OURS)
    assert [(line["ours"], line["xero"]) for line in lines if line["line"] == CHANGED_SINCE] == [("-500.00", "-500.00")]
    assert "Both sides agree" in files(made)["summary.html"]


@pytest.mark.parametrize("state", ["NEEDS_ATTENTION", "RESOLVED"])
async def test_the_pack_of_a_contact_that_was_merged_away_has_the_winners_documents(
    database: Database, evidence: Evidence, state: str
) -> None:
    resolved_at = HERE if state == "RESOLVED" else None
    found = discrepancy(ours="7.00", xero="8.00", state=state, resolved_at=resolved_at)
    await keep(database, msgspec.structs.replace(found, xero_contact_id="c2", customer_name="Bolt"))

    lines, _ = arithmetic(await evidence.of_discrepancy("dis_1"))

    assert {"I1", "I2", "I3", "K1"} <= {line["line"] for line in lines}


async def test_the_pack_of_a_case_has_every_currency_of_its_customers(database: Database, evidence: Evidence) -> None:
    case = Case(
        id="cas_1", connection_id="con1", description="They paid twice", customer_ids=("c1",),
        sentence="Both sides agree.", created_at=HERE,
    )  # fmt: skip
    async with database.write() as tx:
        await cases.insert(tx, case)
        noted = [Compared("EUR", HERE, Decimal(80), Decimal(80), "OPEN_ITEMS")]
        await comparisons.note(tx, "con1", "c1", noted)
    made = await evidence.of_case("cas_1")
    accounts = json.loads(files(made)["documents.json"])
    assert [(one["currency"], Decimal(one["ours"]), one["source"]) for one in accounts] == [
        ("EUR", Decimal(80), "OPEN_ITEMS"), ("NZD", Decimal(OURS), ""),
    ]  # fmt: skip
    page = files(made)["summary.html"]
    assert "They paid twice" in page
    assert "The side of Xero is not known" in page, "nobody compared in NZD"


async def test_what_is_not_there_has_no_pack(evidence: Evidence) -> None:
    with pytest.raises(NotFoundError):
        await evidence.of_discrepancy("dis_9")
    with pytest.raises(NotFoundError):
        await evidence.of_case("cas_9")
