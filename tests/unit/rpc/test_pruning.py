"""PruneExpired: what is too old is forgotten when an operator of all merchants says so, and only then."""

from datetime import timedelta

import pytest

from fakes import World, serving
from tieout import Client, errors
from tieout_server.callers.caller import Role
from tieout_server.callers.registering import Registration, Wanted
from tieout_server.retention import SETTINGS, Prune
from tieout_server.settings import Settings
from tieout_server.storage import audit
from tieout_server.storage.audit import AuditEvent
from tieout_server.storage.retention import Kind

KEPT = Settings().keep_audit


async def something_old(around: World) -> None:
    """One event of the audit log that is kept no longer."""
    at = around.clock.now() - KEPT - timedelta(days=1)
    async with around.database.write() as tx:
        await audit.insert(tx, [AuditEvent(id="old", at=at, caller="c", authenticated_by="key", method="S.M")])


async def key_of(around: World, *merchants: str) -> str:
    wanted = Wanted(name="console", roles=frozenset({Role.OPERATOR}), merchants=merchants)
    return await Registration(around.database, around.clock).add(wanted)


async def on_record(client: Client) -> list[str]:
    return [it.method async for it in client.connections.list_audit_events()]


async def test_what_would_be_forgotten_is_counted_and_stays(around: World) -> None:
    await something_old(around)
    async with serving(around, token="root") as server, Client(f"127.0.0.1:{server.port}", token="root") as client:
        await client.connections.prune_expired(dry_run=True)
        answer = await client.connections.prune_expired(dry_run=True)
        assert {it.kind: it.rows for it in answer.counts} == dict.fromkeys(SETTINGS, 0) | {"audit_events": 1}
        (kept,) = [it for it in answer.counts if it.kind == "audit_events"]
        assert (kept.kept_for.ToTimedelta(), kept.setting) == (KEPT, "TIEOUT_KEEP_AUDIT")
        assert await on_record(client) == ["S.M"]


async def test_what_is_too_old_is_forgotten_once_and_that_is_on_record(around: World) -> None:
    await something_old(around)
    async with serving(around, token="root") as server, Client(f"127.0.0.1:{server.port}", token="root") as client:
        rows = [
            {it.kind: it.rows for it in (await client.connections.prune_expired()).counts}["audit_events"]
            for _ in range(2)
        ]
        assert rows == [1, 0]
        assert await on_record(client) == ["ConnectionService.PruneExpired"] * 2


async def test_a_repeat_gets_the_first_answer(around: World) -> None:
    await something_old(around)
    async with serving(around, token="root") as server, Client(f"127.0.0.1:{server.port}", token="root") as client:
        answers = [await client.connections.prune_expired(request_id="r1") for _ in range(2)]
        assert answers[0] == answers[1]
        assert "audit_events" in {it.kind for it in answers[0].counts if it.rows}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_who_is_limited_to_merchants_is_refused(around: World, *, dry_run: bool) -> None:
    await something_old(around)
    key = await key_of(around, "m-1")
    async with serving(around) as server, Client(f"127.0.0.1:{server.port}", token=key) as client:
        with pytest.raises(errors.CallerNotPermittedError, match="about all merchants"):
            await client.connections.prune_expired(dry_run=dry_run)
    assert (await around.subjects.prunings.prune(Prune(dry_run=True)))[Kind.AUDIT_EVENTS] == 1
