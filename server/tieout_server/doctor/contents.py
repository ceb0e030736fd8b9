"""What the database holds that somebody should see: connections that wait, payments stuck, work that is late."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tieout_server.connections.state import ConnectionState
from tieout_server.doctor.findings import Finding, fine, warning
from tieout_server.exports.state import STUCK, UNDER_WAY
from tieout_server.storage import condition
from tieout_server.storage.database import Database

LATE_AFTER = timedelta(minutes=5)
"""Work that is due and in nobody's hands for longer: somebody should be doing it."""
STUCK_AFTER = timedelta(hours=1)
"""Payments that go on by themselves are seldom under way for longer."""
NAMED = 5
"""Connections of so many payments that are named: enough to begin with."""


async def connections(database: Database) -> Sequence[Finding]:
    """Connections that need somebody."""
    async with database.read() as tx:
        found = await condition.connections_by_state(tx)
    count = {state: sum(n for (own, _), n in found.items() if own == state) for state in ConnectionState}
    degraded = sum(n for (state, health), n in found.items() if state == "CONNECTED" and health == "DEGRADED")
    seen = f"{count[ConnectionState.CONNECTED]} connected, {degraded} of them degraded"
    if broken := count[ConnectionState.RECONNECT_REQUIRED]:
        remedy = "Run: tieout connections --state reconnect-required, and tieout check CONNECTION: it says who acts."
        return [warning("connections", f"{seen}; {broken} wait for their merchant to connect again.", remedy)]
    return [fine("connections", seen + ".")]


async def exports(database: Database) -> Sequence[Finding]:
    """Payments that are not in Xero and should be."""
    now = datetime.now(UTC)
    before = now - STUCK_AFTER
    async with database.read() as tx:
        found = await condition.exports_by_status(tx)
        stuck = await condition.connections_of_exports(tx, STUCK, now, NAMED)
        late = await condition.connections_of_exports(tx, UNDER_WAY, before, NAMED)
    findings = []
    if waiting := sum(found[status][0] for status in STUCK if status in found):
        said = f"{waiting} are not in Xero until somebody decides: {_most(stuck)}."
        remedy = "Run: tieout payments list CONNECTION --status error --status removed-in-xero; it says who acts."
        findings.append(warning("payments", said, remedy))
    if slow := [f"{found[s][0]} {s}" for s in UNDER_WAY if s in found and found[s][1] < before]:
        said = f"Some have been under way for more than an hour: {', '.join(slow)}; {_most(late)}."
        remedy = "Look whether the connection is usable (tieout check CONNECTION) and a server is running."
        findings.append(warning("payments", said, remedy))
    return findings or [fine("payments", "None waits for anybody.")]


def _most(counts: Sequence[tuple[str, int]]) -> str:
    """Who has most of it, most first."""
    return ", ".join(f"{count} of {connection_id}" for connection_id, count in counts)


async def work(database: Database) -> Sequence[Finding]:
    """Who shares the work, and whether what is due is done."""
    async with database.read() as tx:
        alive = await condition.replicas(tx)
        late = await condition.late_work(tx, datetime.now(UTC) - LATE_AFTER)
    names = ", ".join(name or "one" for name, _ in alive)
    seen = f"Servers that are known to run: {names}." if alive else "No server is known to run."
    if alive and late:
        most = max(late, key=lambda one: one.count)
        said = (
            f"{seen} {sum(one.count for one in late)} tasks are more than 5 minutes late, most of them {most.kind!r}."
        )
        return [warning("work", said, "See the log of the servers; add replicas if they are busy.")]
    return [fine("work", seen)]
