"""The progress of a sync, as a terminal and as a log show it."""

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from tieout.cli import progress as display
from tieout.v1.sync_service_pb2 import (
    EntityProgress,
    EntityState,
    Milestone,
    MilestoneReached,
    SkippedCount,
    SkipReason,
    Sync,
    SyncError,
    SyncPhase,
    SyncProgress,
    SyncState,
    WaitingOn,
    WaitReason,
)
from tieout.v1.types_pb2 import Entity

AT = datetime(2026, 11, 22, 12, 31, 29, tzinfo=UTC)


def half_way() -> SyncProgress:
    progress = SyncProgress(
        sync=Sync(id="s1", state=SyncState.SYNC_STATE_RUNNING),
        phase=SyncPhase.SYNC_PHASE_HISTORY,
        percent=41.5,
        entities=[
            EntityProgress(
                entity=Entity.ENTITY_INVOICES,
                open_only=True,
                state=EntityState.ENTITY_STATE_DONE,
                fetched=1200,
                expected=1200,
                pages_read=2,
                pages_expected=2,
            ),
            EntityProgress(
                entity=Entity.ENTITY_INVOICES,
                state=EntityState.ENTITY_STATE_READING,
                fetched=9000,
                expected=20000,
                upserted=8990,
                skipped=[SkippedCount(reason=SkipReason.SKIP_REASON_NOT_APPROVED, count=10)],
                pages_read=9,
                pages_expected=20,
            ),
            EntityProgress(entity=Entity.ENTITY_PAYMENTS, state=EntityState.ENTITY_STATE_PENDING),
        ],
        milestones=[MilestoneReached(milestone=Milestone.MILESTONE_COLLECTIBLE_READY)],
    )
    progress.milestones[0].reached_at.FromDatetime(AT)
    progress.eta.FromDatetime(AT)
    return progress


def rendered(progress: SyncProgress) -> str:
    console = Console(width=110, record=True, file=StringIO(), force_terminal=True)
    console.print(display.view(progress))
    return console.export_text()


def test_the_display_shows_each_entity_with_its_figures() -> None:
    shown = rendered(half_way())
    rows = {row.partition("━")[0].strip(): row for row in shown.splitlines()}
    assert rows["open invoices"].split()[-5:] == ["1,200/1,200", "2/2", "0", "0", "0"]
    assert rows["invoices"].split()[-5:] == ["9,000/20,000", "9/20", "8,990", "10", "0"]
    assert rows["payments"].split()[-5:] == ["0/?", "0", "0", "0", "0"]


def test_the_display_shows_percent_phase_eta_and_milestones() -> None:
    shown = rendered(half_way())
    assert "41.5 %  history  done about 12:31:29Z" in shown
    assert "✓ COLLECTIBLE_READY at 12:31:29Z" in shown
    assert "waits" not in shown


def test_the_display_says_what_it_waits_for_and_until_when() -> None:
    progress = half_way()
    progress.sync.state = SyncState.SYNC_STATE_WAITING
    progress.waiting_on.CopyFrom(WaitingOn(what=WaitReason.WAIT_REASON_MINUTE_LIMIT))
    assert "waits for minute limit\n" in rendered(progress).replace(" \n", "\n")
    progress.waiting_on.until.FromDatetime(AT)
    shown = rendered(progress)
    assert "waits for minute limit until 12:31:29Z" in shown
    assert "41.5 %  waiting" in shown
    assert "done about" not in shown


def test_the_display_says_why_a_sync_failed() -> None:
    progress = half_way()
    progress.sync.state = SyncState.SYNC_STATE_FAILED
    progress.sync.error.CopyFrom(SyncError(sentence="The merchant must reconnect."))
    assert "The merchant must reconnect." in rendered(progress)


def test_a_line_says_what_is_being_read() -> None:
    assert display.line(half_way()) == " 41.5 %  history  invoices 9,000/20,000"


def test_a_line_tells_a_milestone_when_it_is_reached() -> None:
    progress = half_way()
    progress.milestone = Milestone.MILESTONE_COLLECTIBLE_READY
    assert display.line(progress).endswith("reached COLLECTIBLE_READY")


def test_what_is_read_again_says_so_and_is_left_out_where_nothing_changed() -> None:
    progress = half_way()
    for entity, changed in ((Entity.ENTITY_INVOICES, 3), (Entity.ENTITY_PAYMENTS, 0)):
        reading = EntityState.ENTITY_STATE_READING
        progress.entities.add(entity=entity, catch_up=True, state=reading, fetched=changed, expected=changed)
    assert display.line(progress).endswith("invoices 9,000/20,000  invoices, changed since 3/3")
    rows = [row.partition("━")[0].strip() for row in rendered(progress).splitlines()]
    assert rows[3:7] == ["open invoices", "invoices", "payments", "invoices, changed since"]
    assert not any(row.startswith("payments, changed") for row in rows)


def test_a_sync_that_only_reads_what_changed_shows_each_entity() -> None:
    nothing = EntityProgress(entity=Entity.ENTITY_PAYMENTS, catch_up=True, fetched=0, expected=0)
    assert "payments, changed since" in rendered(SyncProgress(entities=[nothing]))


def test_a_line_is_news_only_when_something_worth_reading_changed() -> None:
    before, after = half_way(), half_way()
    after.percent = 42.4
    after.entities[1].fetched = 9100
    assert display.news(before) == display.news(after)
    after.percent = 45.0
    assert display.news(before) != display.news(after)


def test_a_value_that_is_newer_than_this_version_is_shown_as_its_number() -> None:
    progress = half_way()
    progress.phase = 99  # type: ignore[assignment] # what a newer server could send
    assert display.line(progress).startswith(" 41.5 %  99")
