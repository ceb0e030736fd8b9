"""What the doctor says of all that the vault has sealed: tokens, consents under way, kept answers."""

import base64
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, update

from databases import add_connection
from tieout_server.doctor import sealed
from tieout_server.doctor.findings import Finding, Level
from tieout_server.settings import Settings
from tieout_server.storage import requests, tables
from tieout_server.storage.database import Database
from tieout_server.storage.requests import Answered
from tieout_server.storage.sealed import access_token_of, answer_to, code_verifier_of, refresh_token_of
from tieout_server.storage.vault import Vault

OLD, NEW = bytes(range(32)), bytes(reversed(range(32)))
AT = datetime(2026, 11, 22, tzinfo=UTC)
ALL = "access tokens (1), refresh tokens (1), code verifiers (1), kept answers (1)"


async def fill(database: Database, vault: Vault) -> None:
    """One secret of each kind."""
    await add_connection(database, "con")
    async with database.write() as tx:
        access, refresh = (vault.seal("t", context=of("u")) for of in (access_token_of, refresh_token_of))
        users = insert(tables.xero_users)
        await tx.execute(users.values(xero_user_id="u", access_token=access, refresh_token=refresh))
        verifier = vault.seal("v", context=code_verifier_of("hash"))
        consents = insert(tables.authorisations)
        await tx.execute(consents.values(state_hash="hash", connection_id="con", code_verifier=verifier))
        answer = vault.seal("a", context=answer_to("Connect", "r-1"))
        await requests.keep(tx, "Connect", "r-1", Answered("digest", answer), AT)


async def examined(database: Database, **keys: bytes) -> Finding:
    told = ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())
    [found] = await sealed.examine(Settings(vault_keys=SecretStr(told), database_url=str(database.url)), database)
    return found


async def test_nothing_is_said_against_a_vault_without_anything_in_it(database: Database) -> None:
    assert (await examined(database, old=OLD)).level is Level.FINE


async def test_all_that_is_sealed_is_counted_and_opened(database: Database) -> None:
    await fill(database, Vault({"old": OLD}))
    found = await examined(database, old=OLD)
    assert found.level is Level.FINE
    assert found.seen.endswith(f": {ALL}.")


async def test_a_key_that_is_gone_is_named_with_all_that_it_has_sealed(database: Database) -> None:
    await fill(database, Vault({"old": OLD}))
    found = await examined(database, new=NEW)
    assert found.level is Level.FAULT
    assert f": {ALL}. The first" in found.seen
    assert "'old'" in found.seen
    assert "TIEOUT_VAULT_KEYS" in found.remedy


async def test_what_an_older_key_has_sealed_is_to_be_rotated(database: Database) -> None:
    await fill(database, Vault({"old": OLD}))
    found = await examined(database, new=NEW, old=OLD)
    assert (found.level, found.remedy) == (Level.WARNING, "Run: tieout-server rotate-keys")
    assert f": {ALL}." in found.seen


async def test_another_key_of_the_same_name_is_a_fault(database: Database) -> None:
    await fill(database, Vault({"old": OLD}))
    found = await examined(database, old=NEW)
    assert found.level is Level.FAULT
    assert "4 of those that were tried" in found.seen


@pytest.mark.parametrize("place", ["code_verifier", "answer"])
async def test_a_single_secret_that_was_changed_is_found_outside_the_tokens_too(database: Database, place: str) -> None:
    await fill(database, Vault({"old": OLD}))
    table = tables.requests if place == "answer" else tables.authorisations
    async with database.write() as tx:
        await tx.execute(update(table).values({place: Vault({"old": OLD}).seal("other", context="elsewhere")}))
    found = await examined(database, old=OLD)
    assert found.level is Level.FAULT
    assert "1 of those that were tried" in found.seen
