"""What is said of a contact follows from what Xero states of it and from what is here."""

import pytest

from documents import contact
from tieout_server.ledger.documents import Contact
from tieout_server.syncs.explain import Here, Verdict, judge

HERE = Here(
    customers=frozenset({"c1", "w1"}), became={"l1": "w1", "l2": "w2", "l3": "w3"}, names={"w1": "Winner", "w2": "Out"}
)


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (contact("c1"), Verdict.IMPORTED),
        (contact("c1", is_customer=False), Verdict.IMPORTED),
        (contact("c1", status="ARCHIVED"), Verdict.IMPORTED),
        (contact("c1", status="GDPRREQUEST"), Verdict.ERASED),
        (contact("l1", merged_into="w1", status="ARCHIVED"), Verdict.MERGED),
        (contact("x", status="ARCHIVED"), Verdict.ARCHIVED),
        (contact("x", status="ARCHIVED", stated_outstanding=1), Verdict.NOT_SYNCED_YET),
        (contact("x"), Verdict.NOT_SYNCED_YET),
        (contact("x", is_supplier=True), Verdict.NOT_SYNCED_YET),
        (contact("x", is_customer=False, is_supplier=True), Verdict.SUPPLIER_ONLY),
        (contact("x", is_customer=False), Verdict.NO_RECEIVABLES_YET),
        (contact("x", is_customer=False, is_supplier=True, status="ARCHIVED"), Verdict.ARCHIVED),
    ],
)
def test_the_verdict_is_the_first_thing_that_keeps_a_contact_away(stated: Contact, verdict: Verdict) -> None:
    assert judge(stated, HERE)[0] is verdict


@pytest.mark.parametrize(
    ("loser", "said"),
    [
        ("l1", 'merged into "Winner" in Xero. Its invoices and credits are with "Winner" here.'),
        ("l2", 'merged into "Out" in Xero, which is no customer here.'),
        ("l3", "merged into another contact (w3) in Xero, which is no customer here."),
    ],
)
def test_after_a_merge_the_winner_is_named_as_far_as_it_is_known(loser: str, said: str) -> None:
    _, sentence = judge(contact(loser, merged_into="w"), HERE)
    assert sentence.endswith(said)


def test_every_sentence_names_the_contact_but_the_one_about_an_erased_one() -> None:
    assert "ACME" not in judge(contact("c1", name="ACME", status="GDPRREQUEST"), HERE)[1]
    for stated in (contact("c1", name="ACME"), contact("x", name="ACME", is_customer=False)):
        assert judge(stated, HERE)[1].startswith('"ACME" is ')
