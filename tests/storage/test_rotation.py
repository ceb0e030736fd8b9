"""Rotating the vault's keys: everything is sealed anew, nothing that is newer is lost, and what is left is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import LargeBinary, delete, func, insert, select, update

from databases import METADATA, add_connection
from tieout_server.storage import requests, rotation
from tieout_server.storage.database import Database
from tieout_server.storage.requests import Answered
from tieout_server.storage.rotation import Rotated
from tieout_server.storage.sealed import SEALED
from tieout_server.storage.tables import authorisations, xero_users
from tieout_server.storage.vault import Vault, VaultError

OLD, NEW = bytes(range(32)), bytes(reversed(range(32)))
BEFORE, BETWEEN, AFTER = Vault({"old": OLD}), Vault({"new": NEW, "old": OLD}), Vault({"new": NEW})
NOT_SECRET = {
    "caller_keys.digest",
    "events.payload",
    "homes.windows",
    "reconciliations.work",
    "sync_lines.body",
    "webhook_arrivals.notices",
}


async def add_user(database: Database, user: str, vault: Vault = BEFORE) -> None:
    async with database.write() as tx:
        await tx.execute(delete(xero_users).where(xero_users.c.xero_user_id == user))
        await tx.execute(
            insert(xero_users).values(
                xero_user_id=user,
                access_token=vault.seal(f"access of {user}", context=f"access/{user}"),
                refresh_token=vault.seal(f"refresh of {user}", context=f"refresh/{user}"),
            )
        )


async def refresh_token(database: Database, user: str, vault: Vault) -> str:
    async with database.read() as tx:
        sealed = (await tx.execute(select(xero_users.c.refresh_token).filter_by(xero_user_id=user))).scalar_one()
    return vault.open(bytes(sealed), context=f"refresh/{user}")


def test_every_column_of_bytes_is_known_to_be_sealed_or_no_secret() -> None:
    binary = {str(c) for table in METADATA.tables.values() for c in table.columns if isinstance(c.type, LargeBinary)}
    assert binary == NOT_SECRET | {str(sealed.column) for sealed in SEALED}


async def test_whatever_was_sealed_opens_with_the_new_key_alone(database: Database) -> None:
    await add_connection(database, "con")
    await add_user(database, "u-1")
    async with database.write() as tx:
        verifier = BEFORE.seal("verifier", context="authorisation/hash")
        await tx.execute(insert(authorisations).values(state_hash="hash", connection_id="con", code_verifier=verifier))
        answer = BEFORE.seal("answer", context="Connect/r-1")
        await requests.keep(tx, "Connect", "r-1", Answered("digest", answer), datetime(2026, 11, 22, tzinfo=UTC))
    assert await rotation.rotate(database, BETWEEN) == {sealed.kind: Rotated(1, 0) for sealed in SEALED}
    assert await refresh_token(database, "u-1", AFTER) == "refresh of u-1"
    async with database.read() as tx:
        for sealed in SEALED:
            *key, secret = (await tx.execute(select(*sealed.key, sealed.column))).one()
            assert AFTER.open(bytes(secret), context=sealed.context(*key))
    assert (await rotation.standing(database, AFTER)).is_done
    assert await rotation.rotate(database, BETWEEN) == {sealed.kind: Rotated(0, 0) for sealed in SEALED}


async def test_more_than_a_batch_is_rotated(database: Database) -> None:
    users = [f"u-{number}" for number in range(2 * rotation.BATCH + 1)]
    async with database.write() as tx:
        sealed = [BEFORE.seal("t", context=f"access/{user}") for user in users]
        rows = [
            {"xero_user_id": user, "access_token": token, "refresh_token": AFTER.seal("t", context=f"refresh/{user}")}
            for user, token in zip(users, sealed, strict=True)
        ]
        await tx.execute(insert(xero_users), rows)
    rotated = await rotation.rotate(database, BETWEEN)
    assert rotated["access tokens"] == Rotated(len(users), 0)
    assert rotated["refresh tokens"] == Rotated(0, 0)


@contextlib.asynccontextmanager
async def refreshing(database: Database, user: str) -> AsyncIterator[asyncio.Event]:
    """Another server that is storing a token set just now; it commits when the event is set, or the block ends."""
    started, commit = asyncio.Event(), asyncio.Event()

    async def store() -> None:
        other = Database(database.url)
        async with other.write() as tx:
            newer = BEFORE.seal("newer", context=f"refresh/{user}")
            await tx.execute(update(xero_users).filter_by(xero_user_id=user).values(refresh_token=newer))
            started.set()
            await commit.wait()
        await other.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(store())
        await started.wait()
        yield commit
        commit.set()


async def test_a_token_that_is_refreshed_meanwhile_is_not_replaced_by_the_older_one(database: Database) -> None:
    await add_user(database, "u-1")
    await add_user(database, "u-2")
    async with refreshing(database, "u-1") as commit:
        rotating = asyncio.create_task(rotation.rotate(database, BETWEEN))
        if database.is_sqlite:  # it waits; PostgreSQL goes on to the others
            await asyncio.wait([rotating], timeout=0.5)
            assert not rotating.done()
            commit.set()
        await rotating
    assert await refresh_token(database, "u-1", BETWEEN) == "newer"
    await rotation.rotate(database, BETWEEN)
    assert await refresh_token(database, "u-1", AFTER) == "newer"
    assert await refresh_token(database, "u-2", AFTER) == "refresh of u-2"


async def test_what_does_not_open_stays_and_holds_up_nothing(database: Database) -> None:
    await add_user(database, "u-1")
    await add_user(database, "u-2")
    async with database.write() as tx:  # copied from one row to another
        copied = select(xero_users.c.refresh_token).filter_by(xero_user_id="u-1").scalar_subquery()
        await tx.execute(update(xero_users).filter_by(xero_user_id="u-2").values(refresh_token=copied))
    rotated = await rotation.rotate(database, BETWEEN)
    assert rotated["refresh tokens"] == Rotated(1, 1)
    standing = await rotation.standing(database, BETWEEN)
    assert not standing.is_done
    assert "Still sealed with old: 1 refresh tokens." in list(standing.sentences())
    with pytest.raises(VaultError):
        await refresh_token(database, "u-2", BETWEEN)


async def test_what_is_still_sealed_with_which_key_is_told(database: Database) -> None:
    await add_user(database, "u-1")
    await add_user(database, "u-2", Vault({"lost": OLD}))
    standing = await rotation.standing(database, BETWEEN)
    assert not standing.is_done
    assert list(standing.sentences()) == [
        "Still sealed with old: 1 access tokens, 1 refresh tokens.",
        "Still sealed with keys that TIEOUT_VAULT_KEYS does not hold: 1 access tokens, 1 refresh tokens.",
        "Keep every key, see that all servers have new as their first one, and rotate again.",
    ]
    await add_user(database, "u-2")
    await rotation.rotate(database, BETWEEN)
    done = await rotation.standing(database, BETWEEN)
    assert done.is_done
    assert list(done.sentences()) == ["Everything is sealed with new: old may be removed from TIEOUT_VAULT_KEYS."]
    alone = await rotation.standing(database, AFTER)
    assert list(alone.sentences()) == ["Everything is sealed with new, the only key there is."]


async def test_an_empty_database_has_nothing_to_rotate(database: Database) -> None:
    assert await rotation.rotate(database, BETWEEN) == {sealed.kind: Rotated(0, 0) for sealed in SEALED}
    assert (await rotation.standing(database, BETWEEN)).is_done
    async with database.read() as tx:
        assert (await tx.execute(select(func.count()).select_from(xero_users))).scalar_one() == 0
