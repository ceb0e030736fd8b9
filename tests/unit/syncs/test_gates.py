"""The gates close for what looks like a mishap, and for nothing else."""

import pytest

from tieout_server.ledger.documents import Entity
from tieout_server.syncs import gates
from tieout_server.syncs.gates import Gate


@pytest.mark.parametrize(
    ("listed", "live", "closes"), [(0, 20, True), (0, 19, False), (1, 1_000, False), (0, 0, False)]
)
def test_a_listing_is_doubted_when_it_is_empty_where_many_were(listed: int, live: int, *, closes: bool) -> None:
    doubt = gates.of_listing(Entity.INVOICES, listed=listed, live=live)
    assert (doubt is not None) is closes
    assert doubt is None or doubt.gate is Gate.NOTHING_RETURNED


@pytest.mark.parametrize(
    ("removed", "live", "closes"),
    [(20, 20, False), (21, 21, True), (25, 100, False), (26, 100, True), (250, 1_000, False), (251, 1_000, True)],
)
def test_removals_are_doubted_beyond_twenty_and_a_quarter(removed: int, live: int, *, closes: bool) -> None:
    doubt = gates.of_removals(Entity.CREDIT_NOTES, removed=removed, live=live)
    assert (doubt is not None) is closes
    assert doubt is None or doubt.gate is Gate.TOO_MANY_REMOVED


def test_a_doubt_says_what_it_is_about() -> None:
    doubt = gates.of_removals(Entity.CREDIT_NOTES, removed=1_500, live=2_000)
    assert doubt
    assert doubt.sentence == (
        "Xero shows 1,500 of 2,000 credit notes as voided, deleted or gone. They were not committed."
    )
