"""How a customer is shown."""

import pytest

from tieout_server.ledger.documents import Phone
from tieout_server.receivables.views import dialled


@pytest.mark.parametrize(
    ("phone", "number"),
    [
        (Phone("MOBILE", "1234567", "21", "64"), "+64 21 1234567"),
        (Phone("MOBILE", "1234567", "", "+64"), "+64 1234567"),
        (Phone("MOBILE", "1234567", "021"), "021 1234567"),
        (Phone("MOBILE", "1234567", "21", "0064"), "0064 21 1234567"),
        (Phone("MOBILE", "", "21", "64"), ""),
    ],
)
def test_a_phone_is_shown_as_it_is_dialled(phone: Phone, number: str) -> None:
    assert dialled(phone) == number
