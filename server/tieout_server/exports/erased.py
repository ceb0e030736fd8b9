"""Payments that come again after their data was erased while Xero's answer was outstanding: looked for, not sent."""

import secrets
from collections.abc import Collection, Sequence

import msgspec

from tieout_server.exports.outcomes import WAITING, tell
from tieout_server.exports.recovery import LOOKED_FOR
from tieout_server.exports.state import StepState, XeroStatus
from tieout_server.exports.turn import Turn
from tieout_server.ledger.exports import PaymentExport
from tieout_server.storage import export_leftovers, export_steps, exports


async def take_up(turn: Turn, due: Sequence[PaymentExport]) -> Collection[str]:
    """Have those of these exports looked for that were sent before they were erased; answers their ids."""
    tenant = turn.link.xero_tenant_id
    async with turn.means.database.read() as tx:
        left = await export_leftovers.of_exports(tx, tenant, [export.id for export in due])
    if not left:
        return ()
    async with turn.commit() as tx:
        held = await exports.lock_all(tx, left)
        now = turn.now()
        for export in [one for one in held.values() if one.xero_status in WAITING]:
            own = left[export.id]
            steps = [one.step(f"stp_{secrets.token_hex(10)}", export.connection_id, StepState.UNKNOWN) for one in own]
            await export_leftovers.forget(tx, tenant, [one.marker for one in own])
            await export_steps.add(tx, steps)
            unknown = msgspec.structs.replace(export, xero_status=XeroStatus.OUTCOME_UNKNOWN, error=None, due_at=now)
            said = (
                "It was on its way when the data of the connection was erased, and nobody knows whether it came. It is "
                f"looked for in Xero first, and sent only if it is not there at {now + LOOKED_FOR:%H:%M:%S} UTC."
            )
            await tell(tx, turn.means, unknown, said)
    return left.keys()
