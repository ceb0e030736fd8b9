"""What is kept of every slice of work: fields of its lines in the log, its count, and its span in a trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from opentelemetry.trace import Link, SpanKind

from tieout_server import log, measures, traces

CAUSES = 1_000
"""Causes that are remembered at most: of work that another process does, nobody asks for its cause here."""


class Outcome(StrEnum):
    """How a slice ended."""

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"
    """Another process has taken the task over."""
    DATABASE_AWAY = "database_away"
    CANCELLED = "cancelled"
    """It is let go, for the next owner."""


class Slice:
    """One slice while it lasts; whoever does it says what became of it, unless it is cancelled."""

    def __init__(self) -> None:
        self.outcome = Outcome.DONE


@contextmanager
def observed(kind: str, connection_id: str, because_of: Link | None) -> Iterator[Slice]:
    """A slice of work from its beginning to its end; lines of the log that are written within name it."""
    slice_, started, told = Slice(), time.perf_counter(), {"tieout.kind": kind, "tieout.connection_id": connection_id}
    with (
        log.about(kind=kind, connection_id=connection_id),
        traces.span(f"work {kind}", SpanKind.CONSUMER, told, because_of=because_of) as span,
        measures.TASKS_IN_HAND.labels(kind).track_inprogress(),
    ):
        try:
            yield slice_
        except BaseException:
            if slice_.outcome is Outcome.DONE:
                slice_.outcome = Outcome.CANCELLED
            raise
        finally:
            measures.TASKS.labels(kind, slice_.outcome).inc()
            measures.TASK_SECONDS.labels(kind).observe(time.perf_counter() - started)
            if slice_.outcome not in (Outcome.DONE, Outcome.CANCELLED):
                traces.failed(span, slice_.outcome)


class Causes:
    """What woke a task in this process, for its span to point to: of several, the last one."""

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str], Link] = {}

    def note(self, kind: str, connection_id: str, cause: Link) -> None:
        """This woke that task; of too many the first ones are forgotten."""
        self._causes[kind, connection_id] = cause
        if len(self._causes) > CAUSES:
            del self._causes[next(iter(self._causes))]

    def of(self, kind: str, connection_id: str) -> Link | None:
        """What woke this task, if it was anything that is traced; told once."""
        return self._causes.pop((kind, connection_id), None)
