"""Whose tokens are handed out when consents, refreshes and refusals meet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from fakes import World, world
from tieout_server.connections.tokens import Tokens
from tieout_server.errors import StorageUnavailableError
from tieout_server.ledger.books import TokenSet
from tieout_server.storage import tokens
from tieout_server.storage.database import Database, Transaction
from tieout_server.storage.tokens import StoredTokens

pytestmark = pytest.mark.timeout(60)

USER = "user-1"


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await consent(made, "first")
        yield made


def tokens_of(around: World) -> Tokens:
    return around.connections._means.tokens


async def token_set(around: World, name: str) -> TokenSet:
    given = await around.xero.exchange(code="code", code_verifier="verifier")
    return msgspec.structs.replace(given, access_token=f"{name}-access", refresh_token=f"{name}-refresh")


async def consent(around: World, name: str) -> None:
    """Somebody consents, and this token set is what it gives."""
    given = await token_set(around, name)
    async with around.database.write() as tx:
        await tokens_of(around).keep(tx, given)


async def kept_refresh_token(around: World) -> str:
    ours = tokens_of(around)
    return ours._vault.open((await ours._stored(USER)).refresh_token, context=f"refresh/{USER}")


class RefreshInFlight:
    """A refresh at Xero that is answered when the test says so."""

    def __init__(self, around: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked_with: list[str] = []
        self.is_asked, self.go = asyncio.Event(), asyncio.Event()
        self._around = around
        monkeypatch.setattr(around.xero, "refresh", self._refresh)

    async def _refresh(self, refresh_token: str) -> TokenSet:
        self.asked_with.append(refresh_token)
        self.is_asked.set()
        await self.go.wait()
        return await token_set(self._around, "refreshed")


@pytest.fixture
def refresh(around: World, monkeypatch: pytest.MonkeyPatch) -> RefreshInFlight:
    return RefreshInFlight(around, monkeypatch)


async def test_after_a_new_consent_the_token_of_the_old_one_is_not_handed_out_any_more(around: World) -> None:
    assert await tokens_of(around).access_token(USER) == "first-access"
    await consent(around, "second")
    assert await tokens_of(around).access_token(USER) == "second-access"


async def test_a_consent_that_was_rolled_back_leaves_the_token_in_use(around: World) -> None:
    assert await tokens_of(around).access_token(USER) == "first-access"
    given = await token_set(around, "second")
    with contextlib.suppress(ZeroDivisionError):
        async with around.database.write() as tx:
            await tokens_of(around).keep(tx, given)
            raise ZeroDivisionError
    assert await tokens_of(around).access_token(USER) == "first-access"


async def test_a_refresh_in_flight_does_not_overwrite_the_tokens_of_a_consent_in_between(
    around: World, refresh: RefreshInFlight
) -> None:
    around.clock.time += timedelta(hours=1)
    asking = asyncio.create_task(tokens_of(around).access_token(USER))
    await refresh.is_asked.wait()
    await consent(around, "second")
    refresh.go.set()
    assert await asking == "second-access"
    assert await kept_refresh_token(around) == "second-refresh"
    assert await tokens_of(around).access_token(USER) == "second-access"
    assert refresh.asked_with == ["first-refresh"]


async def test_a_refresh_of_which_another_process_was_faster_is_not_kept(
    around: World, refresh: RefreshInFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.clock.time += timedelta(hours=1)
    asking = asyncio.create_task(tokens_of(around).access_token(USER))
    await refresh.is_asked.wait()
    theirs = Tokens(around.database, tokens_of(around)._vault, around.xero, around.clock)
    faster = RefreshInFlight(around, monkeypatch)
    faster.go.set()
    await theirs.access_token(USER)
    before = (await theirs._stored(USER)).generation
    refresh.go.set()
    await asking
    assert (await theirs._stored(USER)).generation == before


async def test_who_is_cancelled_while_the_claim_is_committed_leaves_the_refresh_to_the_next(
    around: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.clock.time += timedelta(hours=1)
    real = Database.write

    @contextlib.asynccontextmanager
    async def cancelled_as_it_commits(database: Database) -> AsyncIterator[Transaction]:
        async with real(database) as tx:
            yield tx
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", cancelled_as_it_commits)
        with pytest.raises(asyncio.CancelledError):
            await tokens_of(around).access_token(USER)
    assert (await tokens_of(around)._stored(USER)).claimed_until is None


async def test_a_refresh_is_kept_and_handed_out_from_then_on(around: World, refresh: RefreshInFlight) -> None:
    around.clock.time += timedelta(hours=1)
    refresh.go.set()
    assert await tokens_of(around).access_token(USER) == "refreshed-access"
    assert await tokens_of(around).access_token(USER) == "refreshed-access"
    assert await kept_refresh_token(around) == "refreshed-refresh"
    assert len(refresh.asked_with) == 1


async def test_new_tokens_are_kept_once_the_database_is_back_for_the_old_ones_are_soon_good_no_more(
    around: World, refresh: RefreshInFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    around.clock.time += timedelta(hours=1)
    asking = asyncio.create_task(tokens_of(around).access_token(USER))
    await refresh.is_asked.wait()
    back_at, real = around.clock.time + timedelta(seconds=40), tokens.replace

    async def replace(tx: Transaction, generation: int, given: StoredTokens, at: datetime) -> bool:
        if around.clock.now() < back_at:
            raise StorageUnavailableError("The database cannot be used at the moment.", "connection refused")
        return await real(tx, generation, given, at)

    monkeypatch.setattr(tokens, "replace", replace)
    refresh.go.set()
    assert await asking == "refreshed-access"
    assert await kept_refresh_token(around) == "refreshed-refresh"
    assert refresh.asked_with == ["first-refresh"]


@pytest.mark.parametrize("seconds", [60, 300])
async def test_nobody_else_refreshes_for_as_long_as_a_call_to_xero_may_take(
    around: World, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    own = tokens_of(around)
    slow = Tokens(around.database, own._vault, around.xero, around.clock, call_takes=timedelta(seconds=seconds))
    around.clock.time += timedelta(hours=1)
    refresh = RefreshInFlight(around, monkeypatch)
    asking = asyncio.create_task(slow.access_token(USER))
    await refresh.is_asked.wait()
    claimed_until = (await own._stored(USER)).claimed_until
    refresh.go.set()
    assert await asking == "refreshed-access"
    assert claimed_until == around.clock.now() + timedelta(seconds=seconds + 15)


async def test_a_token_in_use_is_not_shown(around: World) -> None:
    await tokens_of(around).access_token(USER)
    assert "first-access" not in repr(tokens_of(around)._in_use)
