"""The commands of SyncService."""

import asyncio
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime
from uuid import uuid4

from rich.live import Live
from rich.table import Table

from tieout.cli import progress as display
from tieout.cli.lists import first, listed, page_size
from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.run import PERSON, run
from tieout.cli.show import ago, console, document, documents, moment, note, say, size, table, word
from tieout.client import Client
from tieout.v1.sync_service_pb2 import (
    CallBudget,
    CallPurpose,
    GetFreshnessResponse,
    HeldSyncDecision,
    StartSyncResponse,
    Sync,
    SyncMode,
    SyncProgress,
    SyncState,
    Usage,
    WatchSyncResponse,
)
from tieout.v1.types_pb2 import Entity

GIGABYTE = 10**9
TIERS = (
    ("Starter", 5, 0),
    ("Core", 50, 10 * GIGABYTE),
    ("Plus", 1_000, 50 * GIGABYTE),
    ("Advanced", 10_000, 250 * GIGABYTE),
)
"""Xero's tiers for an app: name, organisations at most, bytes a month that are included, 0 for any number (Xero,
Pricing, since 2 March 2026)."""


def sync(server: Server, name: str, *, full: bool, follow: bool, as_json: bool) -> None:
    """Start a sync or join the one that runs, and follow it to its end if asked to."""

    async def command(client: Client) -> int | None:
        connection = await find_connection(client, name)
        mode = SyncMode.SYNC_MODE_FULL if full else SyncMode.SYNC_MODE_INCREMENTAL
        answer = await client.syncs.start(connection.id, mode=mode, request_id=str(uuid4()))
        if follow:
            try:
                return await _follow(client, answer.sync.id, as_json=as_json)
            except asyncio.CancelledError:
                again, end = f"`tieout sync {name} --follow`", f"`tieout cancel-sync {answer.sync.id}`"
                note(f"The sync runs on; {again} shows it again, {end} ends it.")
                raise
        _started(answer, as_json=as_json)
        return None

    run(server, command, as_json=as_json)


def show(server: Server, name: str, limit: int, *, as_json: bool) -> None:
    """List the syncs of a connection, newest first."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        found, more = await first(client.syncs.list(connection.id, page_size=page_size(limit)), limit)
        if as_json:
            documents(found)
        else:
            listed(_table(found) if found else "There are no syncs yet.", more=more)

    run(server, command, as_json=as_json)


def cancel(server: Server, sync_id: str, *, as_json: bool) -> None:
    """End a sync before its time."""

    async def command(client: Client) -> None:
        cancelled = await client.syncs.cancel(sync_id, request_id=str(uuid4()))
        if as_json:
            document(cancelled)
        else:
            say(f"Sync {sync_id} is {_state(cancelled)}.")

    run(server, command, as_json=as_json)


def resolve(server: Server, sync_id: str, decision: str, note: str, *, as_json: bool) -> None:
    """Decide about a sync that is held."""

    async def command(client: Client) -> None:
        number = HeldSyncDecision.Value(f"HELD_SYNC_DECISION_{decision.upper()}")
        resolved = await client.syncs.resolve_held(sync_id, number, note=note, request_id=str(uuid4()))
        if as_json:
            document(resolved)
        else:
            say(f"Sync {sync_id} is {_state(resolved)}.")

    run(server, command, as_json=as_json)


def freshness(server: Server, name: str, *, as_json: bool) -> None:
    """Show how fresh the copy is, and what it has cost."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        answer = await client.syncs.freshness(connection.id)
        if as_json:
            document(answer)
        else:
            _fresh(answer)

    run(server, command, as_json=as_json)


async def _follow(client: Client, sync_id: str, *, as_json: bool) -> int | None:
    """Show progress until the sync has ended or is held; one that did not succeed needs somebody to look at it."""
    out = console()
    live = Live(console=out, refresh_per_second=8) if out.is_terminal and not as_json else None
    told: tuple[object, ...] = ()
    last = SyncProgress()
    async with aclosing(client.syncs.watch(sync_id)) as messages:
        with live or nullcontext():
            async for message in messages:
                last = message.progress if message.HasField("progress") else last
                if as_json:
                    document(message)
                elif live:
                    live.update(display.view(last))
                else:
                    told = _tell(message, told)
                if last.sync.state == SyncState.SYNC_STATE_HELD:  # it may stay so for days
                    break
    if last.sync.state == SyncState.SYNC_STATE_SUCCEEDED:
        return None
    if not as_json:
        is_held = last.sync.state == SyncState.SYNC_STATE_HELD
        say(f"The sync {'is' if is_held else 'ended as'} {_state(last.sync)}. {last.sync.error.sentence}".rstrip())
        if is_held:
            note(f"If that is true: `tieout resolve-sync {sync_id} confirm`; if not: `… discard`.")
    return PERSON


def _tell(message: WatchSyncResponse, told: tuple[object, ...]) -> tuple[object, ...]:
    if not message.HasField("progress"):
        return told
    news = display.news(message.progress)
    if news != told:
        say(display.line(message.progress))
    return news


def _started(answer: StartSyncResponse, *, as_json: bool) -> None:
    if as_json:
        document(answer)
    else:
        verb = "was there already" if answer.joined else "has been started"
        say(f"Sync {answer.sync.id} {verb} and is {_state(answer.sync)}; --follow shows it.")


def _state(it: Sync) -> str:
    return word(SyncState, it.state, "SYNC_STATE_")


def _table(syncs: list[Sync]) -> Table:
    made = table("started", "ended", "mode", "state", "%", "calls", "bytes", "id", right=("%", "calls", "bytes"))
    for it in syncs:
        mode = word(SyncMode, it.mode, "SYNC_MODE_")
        figures = (f"{it.percent:.0f}", f"{it.calls:,}", size(it.bytes_wire))
        made.add_row(moment(it.started_at), moment(it.ended_at), mode, _state(it), *figures, it.id)
    return made


def _fresh(answer: GetFreshnessResponse) -> None:
    made = table("", "rows", "read", "complete up to", "next read", right=("rows",))
    now = datetime.now(UTC)
    for it in answer.entities:
        entity = word(Entity, it.entity, "ENTITY_")
        next_at = moment(it.next_read_at)
        made.add_row(entity, f"{it.rows:,}", ago(it.last_read_at, now), moment(it.watermark), next_at)
    say(made)
    _calls(answer.calls)
    today, month = list(answer.today), list(answer.this_month)
    if today:
        _used("Today", today)
    if month != today:
        _used("This month", month)
    if answer.HasField("projected_month_bytes"):
        _projected(answer.projected_month_bytes)


def _calls(calls: CallBudget) -> None:
    left = f"{calls.left_today:,} left" if calls.HasField("left_today") else "left: not yet known"
    limit = f" of {calls.day_limit:,}" if calls.HasField("day_limit") else ""
    ends = f"; Xero's day ends by {moment(calls.day_resets_at)}" if calls.HasField("day_resets_at") else ""
    say(f"Calls this minute: {calls.used_this_minute:,} used, {calls.left_this_minute:,} left")
    say(f"Calls today: {calls.used_today:,} used, {left}{limit}{ends}")


def _projected(month_bytes: int) -> None:
    """The month's egress beside what each tier gives one organisation when all its connections are used."""
    say(f"At this rate the month comes to {size(month_bytes)} decompressed, which is the most that Xero may bill.")
    say("Each tier includes for an app:")
    made = table("tier", "organisations", "egress", "each", right=("organisations", "egress", "each"))
    for tier, organisations, included in TIERS:
        each = size(included // organisations) if included else "unlimited"
        made.add_row(tier, f"{organisations:,}", size(included) if included else "unlimited", each)
    say(made)


def _used(when: str, usage: list[Usage]) -> None:
    made = table(when, "calls", "over the wire", "billed", right=("calls", "over the wire", "billed"))
    for it in usage:
        purpose = word(CallPurpose, it.purpose, "CALL_PURPOSE_")
        made.add_row(purpose, f"{it.calls:,}", size(it.bytes_wire), size(it.bytes_body))
    say(made)
