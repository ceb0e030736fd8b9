"""An evidence pack: opens with anything, adds up to the cent, and its page needs nothing from elsewhere."""

import csv
import hashlib
import io
import json
import re
import zipfile
from decimal import Decimal
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs import AGREEING, CASE, DISCREPANCY, KAURI, PROOF, compared
from tieout_server.reconciliations.arithmetic import CHANGED_SINCE, lines_of
from tieout_server.reconciliations.compare import Cause
from tieout_server.reconciliations.pack import CHUNK_BYTES, Pack, pack
from tieout_server.reconciliations.proof import Account, Proof
from tieout_server.reconciliations.summary import CAUSES, FILES, summary
from tieout_server.storage.discrepancies import Share

EMPTY = {"br", "hr", "meta", "link", "line", "path", "input"}


def opened(proof: Proof) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(pack(proof).content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode("utf-8-sig") for name in archive.namelist()}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


class Page(HTMLParser):
    """Checks that every element is closed where it must be, and keeps what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "srcset", "background", "xlink:href"} or (name == "href" and tag != "a"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            assert not name.startswith("on"), "no script"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f"{data} "


def test_the_pack_is_a_zip_with_a_name_and_a_checksum_and_comes_in_chunks() -> None:
    made = pack(PROOF)
    assert made.file_name == "kauri-co-2026-11-22.zip"
    assert b"".join(made.chunks()) == made.content
    assert made.sha256 == hashlib.sha256(made.content).hexdigest()
    large = Pack("x.zip", b"x" * (2 * CHUNK_BYTES + 1))
    assert [len(chunk) for chunk in large.chunks()] == [CHUNK_BYTES, CHUNK_BYTES, 1]
    assert pack(PROOF) == made, "the same proof makes the same bytes"
    assert list(opened(PROOF)) == ["summary.html", *(name for name, _ in FILES)]


@pytest.mark.parametrize(("title", "name"), [("Pōhutukawa Dental", "pohutukawa-dental"), ("株式会社", "evidence")])
def test_a_name_in_any_script_makes_a_file_name(title: str, name: str) -> None:
    assert pack(msgspec.structs.replace(PROOF, title=title)).file_name == f"{name}-2026-11-22.zip"


def test_the_arithmetic_adds_up_to_both_balances() -> None:
    lines = rows(opened(CASE)["arithmetic.csv"])
    for account in (KAURI, AGREEING):
        own = [line for line in lines if line["currency"] == account.currency]
        *parts, total = own
        assert total["line"] == "Balance"
        for side, balance in (("ours", account.ours), ("xero", account.xero), ("difference", account.difference)):
            assert sum(Decimal(part[side]) for part in parts) == balance == Decimal(total[side])
        assert (Decimal(parts[-1]["ours_so_far"]), Decimal(parts[-1]["xero_so_far"])) == (account.ours, account.xero)


def test_the_documents_of_each_side_add_up_to_its_balance() -> None:
    files = opened(PROOF)
    assert sum(Decimal(row["counts"]) for row in rows(files["ours.csv"])) == KAURI.ours
    assert sum(Decimal(row["counts"]) for row in rows(files["xero.csv"])) == KAURI.xero
    (account,) = json.loads(files["documents.json"])
    assert sum(Decimal(one["difference"]) for one in account["documents"]) == KAURI.difference
    assert (account["ours"], account["difference"]) == ("390.00", "-25.40")
    assert account["discrepancy"]["history"][0]["state"] == "OPENED"
    moments = json.loads(files["timeline.json"])
    assert [moment["at"] for moment in moments] == sorted(moment["at"] for moment in moments)


def test_what_no_document_shows_is_a_line_of_its_own() -> None:
    unseen = Share(cause="UNEXPLAINED", amount=Decimal("-1046.83"), sentence="Nothing that Xero shows explains it.")
    found = msgspec.structs.replace(
        DISCREPANCY, xero=DISCREPANCY.xero + Decimal("1046.83"), causes=(*DISCREPANCY.causes, unseen)
    )
    account = msgspec.structs.replace(KAURI, xero=found.xero, discrepancy=found)
    last = lines_of(account)[-1]
    assert (last.text, last.ours, last.xero) == (unseen.sentence, Decimal(0), Decimal("1046.83"))
    assert (last.ours_so_far, last.xero_so_far) == (account.ours, account.xero)


def test_what_changed_after_the_comparison_is_said_and_not_hidden() -> None:
    account = msgspec.structs.replace(KAURI, documents=KAURI.documents[:2])
    last = lines_of(account)[-1]
    assert (last.text, last.ours, last.xero) == (CHANGED_SINCE, Decimal("-70.00"), Decimal("-70.00"))


amounts = st.integers(0, 10**7).map(lambda units: str(Decimal(units).scaleb(-2)))
pairs = st.lists(st.tuples(amounts, amounts), max_size=6)


@given(pairs, st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_the_lines_of_any_account_add_up(pairs: list[tuple[str, str]], ours: int, xero: int) -> None:
    documents = tuple(compared(f"INV-{n}", *sides) for n, sides in enumerate(pairs))
    account = msgspec.structs.replace(
        KAURI, documents=documents, ours=Decimal(ours).scaleb(-2), xero=Decimal(xero).scaleb(-2)
    )
    lines = lines_of(account)
    assert sum((line.ours for line in lines), Decimal(0)) == account.ours
    assert sum((line.xero for line in lines), Decimal(0)) == account.xero


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "\n=HYPERLINK(1)"])
def test_no_cell_is_a_formula_and_amounts_stay_numbers(name: str) -> None:
    renamed = msgspec.structs.replace(KAURI, customer=name)
    files = opened(msgspec.structs.replace(PROOF, accounts=[renamed]))
    for file in ("ours.csv", "xero.csv", "arithmetic.csv"):
        assert {row["customer"] for row in rows(files[file])} == {f"'{name}"}
    assert Decimal(rows(files["arithmetic.csv"])[0]["difference"]) == Decimal("-25.40")


def agreeing(account: Account) -> Account:
    over = msgspec.structs.replace(DISCREPANCY, xero=DISCREPANCY.ours, state="SELF_HEALED")
    return msgspec.structs.replace(account, xero=account.ours, discrepancy=over)


@pytest.mark.parametrize(
    "proof",
    [PROOF, CASE, *(msgspec.structs.replace(PROOF, accounts=accounts) for accounts in ([agreeing(KAURI)], []))],
    ids=["discrepancy", "case", "over", "nothing"],
)  # fmt: skip
def test_the_page_parses_and_loads_nothing_from_elsewhere(proof: Proof) -> None:
    text = summary(proof)
    page = Page(text)
    assert page.loads == []
    assert "script" not in page.tags
    assert not re.search(r"url\(|@import|//(?!go\.xero\.com)", text.split("</style>")[0])
    assert all(link.startswith("https://go.xero.com/") for link in page.links)
    assert "default-src 'none'" in text


def test_the_page_says_what_differs_why_and_who_must_act() -> None:
    page = Page(summary(PROOF))
    off = "Off balance: ours is 25.40 NZD less than Xero's"
    due = "335.40 NZD due of 335.40 NZD"
    who = "Somebody who works in Xero must act."
    for said in (off, DISCREPANCY.sentence, who, STALE_WORDS, "Examined, and not the cause", "INV-1", due):
        assert said in page.text, said
    assert len(page.links) == len(KAURI.documents) + 2, "the customer, each document, and once more what differs"
    assert page.tags.count("svg") == 1


STALE_WORDS = CAUSES[Cause.STALE_DOCUMENT]


def test_what_people_wrote_is_text_and_nothing_else() -> None:
    text = summary(CASE)
    assert "<b>we paid</b>" not in text
    assert "&lt;b&gt;we paid&lt;/b&gt;" in text
    assert "&lt;seen&gt;" in text


def test_where_xero_was_never_asked_nobody_claims_to_agree() -> None:
    unknown = msgspec.structs.replace(AGREEING, source="")
    page = Page(summary(msgspec.structs.replace(PROOF, accounts=[unknown])))
    assert "The side of Xero is not known" in page.text
    assert "Both sides agree" not in page.text


def test_every_cause_has_words() -> None:
    assert set(CAUSES) == set(Cause)
