"""How the progress of a sync looks: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tieout.cli.show import table, word
from tieout.v1.sync_service_pb2 import (
    EntityProgress,
    EntityState,
    Milestone,
    SyncPhase,
    SyncProgress,
    SyncState,
    WaitReason,
)
from tieout.v1.types_pb2 import Entity

_BAR = 28


def view(progress: SyncProgress) -> RenderableType:
    """The whole display for one state of a sync."""
    whole = Table.grid()  # a bar alone does not end its line
    whole.add_row(_bar(progress.percent, 100, 2 * _BAR))
    return Group(_head(progress), whole, _lines(progress), *_notes(progress))


def line(progress: SyncProgress) -> str:
    """One line for one state of a sync."""
    parts = [f"{progress.percent:5.1f} %", _phase(progress)]
    parts += [f"{name(it)} {counted(it)}" for it in shown(progress) if it.state == EntityState.ENTITY_STATE_READING]
    parts += [note.plain for note in _notes(progress, reached=False)]
    if progress.milestone:
        parts.append(f"reached {_milestone(progress.milestone)}")
    return "  ".join(part for part in parts if part)


def news(progress: SyncProgress) -> tuple[object, ...]:
    """What makes a line worth printing: two states with the same news need one line only."""
    part = int(progress.percent) // 5
    return (progress.sync.state, progress.phase, part, len(progress.milestones), progress.waiting_on.what)


def shown(progress: SyncProgress) -> Iterator[EntityProgress]:
    """The lines worth showing: of those that read an entity once more, only those that found something."""
    before: set[tuple[int, bool]] = set()
    for it in progress.entities:
        what = (it.entity, it.open_only)
        if what not in before or it.fetched or it.expected:
            yield it
        before.add(what)


def name(entity: EntityProgress) -> str:
    """What a line of the display counts."""
    plain = word(Entity, entity.entity, "ENTITY_")
    plain = f"open {plain}" if entity.open_only else plain
    return f"{plain}, changed since" if entity.catch_up else plain


def counted(entity: EntityProgress) -> str:
    """How many records of how many."""
    expected = f"{entity.expected:,}" if entity.HasField("expected") else "?"
    return f"{entity.fetched:,}/{expected}"


def _head(progress: SyncProgress) -> Text:
    known = progress.HasField("eta") and not _waits(progress)
    eta = progress.eta.ToDatetime(UTC).strftime("  done about %H:%M:%SZ") if known else ""
    return Text.assemble((f"{progress.percent:5.1f} %  ", "bold"), _phase(progress), (eta, "dim"))


def _waits(progress: SyncProgress) -> bool:
    return progress.sync.state == SyncState.SYNC_STATE_WAITING or bool(progress.waiting_on.what)


def _phase(progress: SyncProgress) -> str:
    if progress.sync.state in {SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_UNSPECIFIED}:
        return word(SyncPhase, progress.phase, "SYNC_PHASE_")
    return word(SyncState, progress.sync.state, "SYNC_STATE_")


def _lines(progress: SyncProgress) -> Table:
    figures = ("records", "pages", "changed", "skipped", "removed")
    made = table("", "progress", *figures, right=figures)
    for it in shown(progress):
        pages = f"{it.pages_read:,}/{it.pages_expected:,}" if it.HasField("pages_expected") else f"{it.pages_read:,}"
        skipped = sum(skip.count for skip in it.skipped)
        changes = (f"{it.upserted:,}", f"{skipped:,}", f"{it.removed:,}")
        made.add_row(name(it), _entity_bar(it), counted(it), pages, *changes)
    return made


def _entity_bar(entity: EntityProgress) -> ProgressBar:
    if entity.state == EntityState.ENTITY_STATE_DONE:
        return _bar(1, 1, _BAR)
    if not entity.HasField("expected"):
        # Nothing is known to measure by: it pulses while it is read.
        reading = entity.state == EntityState.ENTITY_STATE_READING
        return ProgressBar(total=None if reading else 1, completed=0, width=_BAR, pulse=reading)
    return _bar(entity.fetched, entity.expected, _BAR)


def _bar(done: float, total: float, width: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done, width=width)


def _notes(progress: SyncProgress, *, reached: bool = True) -> Iterator[Text]:
    for it in progress.milestones if reached else ():
        at = it.reached_at.ToDatetime(UTC).strftime("%H:%M:%SZ")
        yield Text(f"✓ {_milestone(it.milestone)} at {at}", style="green")
    if progress.waiting_on.what:
        until = progress.waiting_on.until
        when = until.ToDatetime(UTC).strftime(" until %H:%M:%SZ") if progress.waiting_on.HasField("until") else ""
        yield Text(f"waits for {word(WaitReason, progress.waiting_on.what, 'WAIT_REASON_')}{when}", style="yellow")
    if progress.sync.HasField("error"):
        yield Text(progress.sync.error.sentence, style="red")


def _milestone(milestone: Milestone.ValueType) -> str:
    return word(Milestone, milestone, "MILESTONE_").upper().replace(" ", "_")
