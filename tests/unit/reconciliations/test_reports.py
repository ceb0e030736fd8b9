"""A report is kept before anything is compared: whoever asked may be gone before Xero has answered."""

import asyncio

import pytest

from open_organisation import OFF, Around
from tieout_server.reconciliations.messages import Report


async def test_a_case_stays_with_what_was_found_when_its_caller_goes(around: Around) -> None:
    around.books.stated["c1"] = OFF
    asked = Report(connection_id=around.connection_id, customer_ids=("c1", "c2"), request_id="r1")
    is_at_c2, read = asyncio.Event(), around.books.by_ids

    async def read_one(*query: object) -> object:
        if "c2" in query[1]:  # type: ignore[operator] # the ids
            is_at_c2.set()
            await asyncio.Event().wait()
        return await read(*query)  # type: ignore[arg-type] # what was asked

    around.books.by_ids = read_one  # type: ignore[method-assign, assignment] # hangs at c2
    reporting = asyncio.create_task(around.service.report(asked))
    await is_at_c2.wait()
    reporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reporting

    case = await around.service.report(asked)

    assert case.customer_ids == ("c1", "c2")
    assert len(case.discrepancy_ids) == 1
    assert case.sentence == "1 of 2 customers were read afresh from Xero; it went no further."
