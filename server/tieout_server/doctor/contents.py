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


async def connections(database: Database) -> Sequence[Finding]:
    """Connections that need somebody."""
    async with database.read() as tx:
        found = await condition.connections_by_state(tx)
    count = {state: sum(n for (own, _), n in found.items() if own == state) for state in ConnectionState}
    degraded = sum(n for (state, health), n in found.items() if state == "CONNECTED" and health == "DEGRADED")
    seen = f"{count[ConnectionState.CONNECTED]} connected, {degraded} of them degraded"
    if broken := count[ConnectionState.RECONNECT_REQUIRED]:
        remedy = "Run: tieout connections; each says why, and who acts."
        return [warning("connections", f"{seen}; {broken} wait for their merchant to connect again.", remedy)]
    return [fine("connections", seen + ".")]


async def exports(database: Database) -> Sequence[Finding]:
    """Payments that are not in Xero and should be."""
    async with database.read() as tx:
        found = await condition.exports_by_status(tx)
    before = datetime.now(UTC) - STUCK_AFTER
    findings = []
    if waiting := sum(found[status][0] for status in STUCK if status in found):
        remedy = "Run: tieout payments list CONNECTION --status error; each says why, and who acts."
        findings.append(warning("payments", f"{waiting} are not in Xero until somebody decides.", remedy))
    if slow := [f"{found[s][0]} {s}" for s in UNDER_WAY if s in found and found[s][1] < before]:
        said = f"Some have been under way for more than an hour: {', '.join(slow)}."
        remedy = "Look whether their connections are usable (tieout connections) and a server is running."
        findings.append(warning("payments", said, remedy))
    return findings or [fine("payments", "None waits for anybody.")]


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
