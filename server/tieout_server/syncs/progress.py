"""How far a sync has come, in figures that a person can watch: counts, percent, time left. Percent never falls."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from tieout_server.storage.syncs import StoredLine, SyncRecord
from tieout_server.syncs.plan import Line, Plan
from tieout_server.syncs.state import SyncPhase

UNKNOWN_AT_MOST = 5.0
"""Percent shown at most while it is not known how much there is."""
CALLS_A_MINUTE = 55
"""What a backfill may use of the 60 calls a minute (Xero, OAuth 2.0 limits) when others have their reserve."""


class LineProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the reading of one listing has come."""

    entity: str
    open_only: bool = False
    catch_up: bool = False
    """It reads again what changed since."""
    state: str
    """PENDING, READING or DONE."""
    fetched: int = 0
    expected: int | None = None
    upserted: int = 0
    skipped: Mapping[str, int] = {}
    removed: int = 0
    pages_read: int = 0
    pages_expected: int | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A sync with all its lines; what watchers of a sync are told."""

    sync: SyncRecord
    lines: tuple[LineProgress, ...] = ()
    milestone: str = ""
    """The milestone newly reached with this progress."""


def of(sync: SyncRecord, plan: Plan, milestone: str = "") -> Progress:
    """The progress of this sync, its catch-up lines told together with the listings they complete."""
    return Progress(sync=sync, lines=tuple(_line(line) for line in plan.lines), milestone=milestone)


def percent(plan: Plan, before: float) -> float:
    """Share of rows done, 0 to 100; never less than before, and 100 only when all is done.

    It has two decimals, as many as are kept: what was told is never more than what the next owner goes on from.
    """
    if plan.is_done and plan.phase is SyncPhase.SETTLED:
        return max(before, 99.0)
    total = sum(line.expected or 0 for line in plan.lines)
    done = sum(min(line.fetched, line.expected or 0) for line in plan.lines)
    share = 99.0 * done / total if total else 0.0
    known = all(line.expected is not None for line in plan.lines)
    return max(before, math.floor(100 * (share if known else min(share, UNKNOWN_AT_MOST))) / 100)


def eta(plan: Plan, rows_a_second: float, now: datetime) -> datetime | None:
    """When it will probably be done: by the rows that are left, and by the calls that fit into a minute."""
    if rows_a_second <= 0 or any(line.expected is None for line in plan.lines):
        return None
    rows = sum(max(0, (line.expected or 0) - line.fetched) for line in plan.lines if not line.done)
    calls = sum(max(0, (line.pages_expected or 1) - line.pages_read) for line in plan.lines if not line.done)
    by_calls = timedelta(minutes=calls // CALLS_A_MINUTE)
    return now + max(timedelta(seconds=rows / rows_a_second), by_calls)


def dump_line(rank: int, line: Line) -> StoredLine:
    """A line as it is kept."""
    return StoredLine(line.name, rank, msgspec.json.encode(line))


def load_line(stored: StoredLine) -> Line:
    """A line as it was kept."""
    return msgspec.json.decode(stored.body, type=Line)


def _line(line: Line) -> LineProgress:
    state = "DONE" if line.done else "READING" if line.pages_read else "PENDING"
    return LineProgress(
        entity=line.entity,
        open_only=line.open_only,
        catch_up=line.since is not None,
        state=state,
        fetched=line.fetched,
        expected=line.expected,
        upserted=line.upserted,
        skipped=line.skipped,
        removed=line.removed,
        pages_read=line.pages_read,
        pages_expected=line.pages_expected,
    )
