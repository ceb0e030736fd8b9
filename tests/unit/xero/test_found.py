"""Records are read as they are looked for after an answer was lost: none that may be ours is left out."""

import json
from typing import Any

import pytest

from tieout_server.ledger.writes import RecordKind
from tieout_server.xero.found import PLACES


def received(**fields: Any) -> bytes:  # noqa: ANN401 - whatever Xero says
    """A listing with the bank's side of an overpayment."""
    row = {
        "BankTransactionID": "b1",
        "Type": "RECEIVE-OVERPAYMENT",
        "Status": "AUTHORISED",
        "LineItems": [{"Description": "TIE0123456789 Overpayment 4711"}],
    }
    return json.dumps({"DateTimeUTC": "/Date(1795348800000)/", "BankTransactions": [row | fields]}).encode()


@pytest.mark.parametrize(
    ("named", "found_as", "is_sure"),
    [({"OverpaymentID": "o1"}, "o1", True), ({}, "b1", False), ({"OverpaymentID": None}, "b1", False)],
)
def test_an_overpayment_is_found_though_its_bank_transaction_does_not_name_it(
    named: dict[str, Any], found_as: str, *, is_sure: bool
) -> None:
    (found,) = PLACES[RecordKind.OVERPAYMENT].read(received(**named)).found
    assert (found.xero_id, found.is_sure, found.is_there) == (found_as, is_sure, True)
    assert found.texts == ("TIE0123456789 Overpayment 4711",)
