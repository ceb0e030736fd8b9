"""Promise: one refresh at a time per Xero user, and no trouble on the way costs anybody their tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest

from servers import VAULT_KEY, Browser, Service, service, settings_of
from tieout.v1.connection_service_pb2 import CONNECTION_STATE_CONNECTED, CONNECTION_STATE_RECONNECT_REQUIRED
from tieout.v1.sync_service_pb2 import SYNC_STATE_FAILED, SYNC_STATE_SUCCEEDED
from tieout_sandbox import FaultKind, FaultRule, Sandbox
from tieout_server.clock import SystemClock
from tieout_server.connections.tokens import Tokens
from tieout_server.errors import CredentialsExpiredError, XeroUnavailableError
from tieout_server.settings import Settings
from tieout_server.storage import tables
from tieout_server.storage import tokens as stored_tokens
from tieout_server.storage.database import Database
from tieout_server.storage.vault import Vault
from tieout_server.xero.oauth import XeroIdentity

pytestmark = pytest.mark.timeout(60)

TOKEN_ENDPOINT = "/connect/token$"
QUICK = 60.0
"""How many times as fast as ours the time of these servers passes: no test waits for an outage to pass."""


@dataclass
class Holder:
    """A user's tokens as the server keeps them, after their consent and past their expiry."""

    tokens: Tokens
    database: Database
    user: str
    first: str

    async def generation(self) -> int:
        """How many token sets of this user were stored."""
        async with self.database.read() as tx:
            stored = await stored_tokens.get(tx, self.user)
        assert stored is not None
        return stored.generation


@contextlib.asynccontextmanager
async def expired_tokens(sandbox: Sandbox, database_url: str) -> AsyncIterator[Holder]:
    """Tokens from a real consent, whose half hour has passed; the refreshes so far are forgotten."""
    settings = Settings(**settings_of(sandbox.url, database_url))
    database, vault = Database(database_url), Vault.from_settings(f"test:{VAULT_KEY}", database_url)
    clock = SystemClock()
    try:
        async with aiohttp.ClientSession() as http:
            identity = XeroIdentity(http, settings, clock)
            back = await Browser(sandbox.url, http).returned(
                identity.authorization_url(state="s", code_verifier="v" * 64)
            )
            given = await identity.exchange(code=back["code"], code_verifier="v" * 64)
            tokens = Tokens(database, vault, identity, clock)
            async with database.write() as tx:
                await tokens.keep(tx, given)
                await tx.execute(tables.xero_users.update().values(access_expires_at=0))
            sandbox.clock.advance(timedelta(minutes=31))
            sandbox.requests.clear()
            yield Holder(tokens, database, given.xero_user_id, given.access_token)
    finally:
        await database.close()


async def test_a_hundred_callers_with_an_expired_token_refresh_it_once(sandbox: Sandbox, database_url: str) -> None:
    async with expired_tokens(sandbox, database_url) as holder:
        got = await asyncio.gather(*(holder.tokens.access_token(holder.user) for _ in range(100)))
        assert len(set(got)) == 1
        assert got[0] != holder.first
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1
        assert await holder.generation() == 2


async def test_a_hundred_callers_whose_token_was_refused_refresh_it_once(sandbox: Sandbox, database_url: str) -> None:
    async with expired_tokens(sandbox, database_url) as holder:
        good = await holder.tokens.access_token(holder.user)
        sandbox.requests.clear()
        refused = [holder.tokens.access_token(holder.user, refused=good) for _ in range(100)]
        got = set(await asyncio.gather(*refused))
        assert len(got) == 1
        assert good not in got
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1


@contextlib.asynccontextmanager
async def second_process(sandbox: Sandbox, holder: Holder, database_url: str) -> AsyncIterator[Holder]:
    """The same user's tokens, as another process on the same database has them."""
    settings = Settings(**settings_of(sandbox.url, database_url))
    database, vault = Database(database_url), Vault.from_settings(f"test:{VAULT_KEY}", database_url)
    clock = SystemClock()
    try:
        async with aiohttp.ClientSession() as http:
            tokens = Tokens(database, vault, XeroIdentity(http, settings, clock), clock)
            yield Holder(tokens, database, holder.user, holder.first)
    finally:
        await database.close()


async def test_a_hundred_callers_in_two_processes_refresh_an_expired_token_once(
    sandbox: Sandbox, postgres_url: str
) -> None:
    async with (
        expired_tokens(sandbox, postgres_url) as one,
        second_process(sandbox, one, postgres_url) as other,
    ):
        sandbox.faults.add(FaultRule(FaultKind.SLOW, TOKEN_ENDPOINT, seconds=0.3))  # both are there long before
        callers = [holder.tokens.access_token(one.user) for holder in (one, other) for _ in range(50)]
        assert len(set(await asyncio.gather(*callers))) == 1
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1
        assert await one.generation() == 2


async def test_a_process_that_failed_to_refresh_leaves_it_to_the_other_at_once(
    sandbox: Sandbox, postgres_url: str
) -> None:
    async with (
        expired_tokens(sandbox, postgres_url) as one,
        second_process(sandbox, one, postgres_url) as other,
    ):
        sandbox.faults.add(FaultRule(FaultKind.SLOW, TOKEN_ENDPOINT, seconds=5))
        given_up = asyncio.create_task(one.tokens.access_token(one.user))
        while not sandbox.requests.count(TOKEN_ENDPOINT) and not await is_claimed(one):  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        async with asyncio.timeout(30):  # the claim of one that is dead lasts 75 seconds
            assert await other.tokens.access_token(one.user) != one.first


async def is_claimed(holder: Holder) -> bool:
    async with holder.database.read() as tx:
        stored = await stored_tokens.get(tx, holder.user)
    return stored is not None and stored.claimed_until is not None


async def test_a_process_killed_between_xeros_answer_and_its_commit_costs_no_tokens(
    sandbox: Sandbox, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xero has rotated, nothing was stored, and the claim of the dead is still there."""
    async with expired_tokens(sandbox, database_url) as holder:

        async def killed(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(stored_tokens, "replace", killed)
            patch.setattr(stored_tokens, "release_refresh", killed)
            with pytest.raises(Killed):
                await holder.tokens.access_token(holder.user)
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1
        assert await is_claimed(holder)
        if holder.database.is_sqlite:
            await holder.tokens.recover()  # as at each start
        else:
            async with holder.database.write() as tx:
                await tx.execute(tables.xero_users.update().values(refreshing_until=1))  # its time has passed
        assert await holder.tokens.access_token(holder.user) != holder.first
        assert await holder.generation() == 2


class Killed(BaseException):
    """The process ends here."""


async def test_whoever_asks_for_a_new_token_gets_one_and_those_who_ask_together_the_same(
    sandbox: Sandbox, database_url: str
) -> None:
    async with expired_tokens(sandbox, database_url) as holder:
        sandbox.faults.add(FaultRule(FaultKind.SLOW, TOKEN_ENDPOINT, seconds=1.0))  # nobody looks after the refresh
        got = await asyncio.gather(*(holder.tokens.renew(holder.user) for _ in range(20)))
        assert len(set(got)) == 1
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1
        assert await holder.tokens.renew(holder.user) not in got


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.DROP_AFTER])
async def test_a_refresh_whose_answer_was_lost_is_asked_for_again_with_the_old_token(
    kind: FaultKind, sandbox: Sandbox, database_url: str
) -> None:
    async with expired_tokens(sandbox, database_url) as holder:
        sandbox.faults.add(FaultRule(kind, TOKEN_ENDPOINT))
        with pytest.raises(XeroUnavailableError):
            await holder.tokens.access_token(holder.user)
        assert await holder.generation() == 1  # what was there is there still
        assert await holder.tokens.access_token(holder.user) != holder.first
        assert await holder.generation() == 2
        sandbox.clock.advance(timedelta(minutes=31))  # the old token's grace is over, and nobody needs it any more
        async with holder.database.write() as tx:
            await tx.execute(tables.xero_users.update().values(access_expires_at=0))
        await holder.tokens.access_token(holder.user)
        assert await holder.generation() == 3


@pytest.mark.parametrize(
    "fault",
    [
        FaultRule(FaultKind.UNAVAILABLE, TOKEN_ENDPOINT, times=3),
        FaultRule(FaultKind.FORBIDDEN_HTML, TOKEN_ENDPOINT, times=3),
        FaultRule(FaultKind.DROP, TOKEN_ENDPOINT, times=3),
        FaultRule(FaultKind.ANSWER, TOKEN_ENDPOINT, times=3, status=429),
        FaultRule(
            FaultKind.ANSWER, TOKEN_ENDPOINT, times=3, status=500, body="<h1>Oops</h1>", content_type="text/html"
        ),
        FaultRule(FaultKind.ANSWER, TOKEN_ENDPOINT, times=3, status=200, body="", content_type="application/json"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_an_outage_of_the_identity_service_costs_no_tokens(
    fault: FaultRule, sandbox: Sandbox, sqlite_url: str
) -> None:
    fault.times = 3
    async with expired_tokens(sandbox, sqlite_url) as holder:
        sandbox.faults.add(fault)
        for _ in range(3):
            with pytest.raises(XeroUnavailableError):
                await holder.tokens.access_token(holder.user)
        assert await holder.generation() == 1
        assert await holder.tokens.access_token(holder.user) != holder.first


async def test_whoever_gives_up_waiting_for_a_refresh_does_not_stop_the_others(
    sandbox: Sandbox, database_url: str
) -> None:
    async with expired_tokens(sandbox, database_url) as holder:
        callers = [asyncio.create_task(holder.tokens.access_token(holder.user)) for _ in range(10)]
        await asyncio.sleep(0)  # all of them have begun
        callers[0].cancel()
        got = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        assert len({str(token) for token in got[1:]}) == 1
        assert await holder.generation() == 2


async def test_only_xero_saying_so_ends_the_credentials(sandbox: Sandbox, sqlite_url: str) -> None:
    async with expired_tokens(sandbox, sqlite_url) as holder:
        sandbox.authority.revoke_user(holder.user)
        with pytest.raises(CredentialsExpiredError):
            await holder.tokens.access_token(holder.user)


@contextlib.asynccontextmanager
async def with_expired_tokens(sandbox: Sandbox, database_url: str) -> AsyncIterator[tuple[Service, str]]:
    """A server that has just started, with a connection whose access token expired meanwhile."""
    sandbox.clock.speed = QUICK
    async with service(sandbox, database_url, clock_speed=QUICK) as running:
        connection = await running.connected()
    database = Database(database_url)
    async with database.write() as tx:
        await tx.execute(tables.xero_users.update().values(access_expires_at=0))
    await database.close()
    sandbox.requests.clear()
    async with service(sandbox, database_url, clock_speed=QUICK) as running:
        yield running, connection.id


async def test_a_sync_with_an_expired_token_refreshes_it_once_for_all_its_reads(
    sandbox: Sandbox, database_url: str
) -> None:
    async with with_expired_tokens(sandbox, database_url) as (running, connection_id):
        last = (await running.sync(connection_id))[-1]
        assert last.sync.state == SYNC_STATE_SUCCEEDED
        assert sandbox.requests.count(TOKEN_ENDPOINT) == 1


async def test_an_identity_outage_during_a_sync_is_waited_out_and_nobody_is_disconnected(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with with_expired_tokens(sandbox, sqlite_url) as (running, connection_id):
        sandbox.faults.add(FaultRule(FaultKind.UNAVAILABLE, TOKEN_ENDPOINT, times=7))
        last = (await running.sync(connection_id))[-1]
        assert last.sync.state == SYNC_STATE_SUCCEEDED
        assert (await running.client.connections.get(connection_id)).state == CONNECTION_STATE_CONNECTED


async def test_a_consent_taken_back_ends_the_sync_and_asks_the_merchant_to_reconnect(
    sandbox: Sandbox, sqlite_url: str
) -> None:
    async with with_expired_tokens(sandbox, sqlite_url) as (running, connection_id):
        connection = await running.client.connections.get(connection_id)
        sandbox.authority.revoke_user(connection.authorised_by.xero_user_id)
        last = (await running.sync(connection_id))[-1]
        assert last.sync.state == SYNC_STATE_FAILED
        async with contextlib.aclosing(
            running.client.connections.watch(connection_ids=[connection_id], from_start=True)
        ) as changes:
            async for change in changes:
                now = change.snapshot if change.HasField("snapshot") else change.change.connection
                if now.state == CONNECTION_STATE_RECONNECT_REQUIRED:
                    break
        await running.reconnect(connection_id)
        assert (await running.sync(connection_id))[-1].sync.state == SYNC_STATE_SUCCEEDED
