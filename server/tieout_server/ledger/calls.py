"""The ledger of calls and bytes: what was asked of Xero, for which purpose, and what it cost in egress."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from tieout_server.ledger.books import HeldUp, Purpose


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one organisation for one purpose that ended alike."""

    purpose: Purpose
    status: int
    """The HTTP status they got; 0 when no answer came."""
    calls: int
    wire_bytes: int
    """Bytes of the answers' bodies as they travelled, compressed."""
    body_bytes: int
    """Bytes of the same bodies once decompressed: Xero does not say which of the two it charges as egress."""


class CallsInMemory:
    """Where every call is booked the moment it ended, until it is taken; one row per purpose and status."""

    def __init__(self) -> None:
        self._booked: dict[str, dict[tuple[Purpose, int], Calls]] = {}

    def book(self, xero_tenant_id: str, calls: Calls) -> None:
        """Add these calls to what the organisation has used."""
        rows = self._booked.setdefault(xero_tenant_id, {})
        key = (calls.purpose, calls.status)
        before = rows.get(key)
        rows[key] = calls if before is None else _sum(before, calls)

    def take(self, xero_tenant_id: str) -> list[Calls]:
        """What was booked since the last take, summed by purpose and status; it is the taker's now."""
        return list(self._booked.pop(xero_tenant_id, {}).values())

    def organisations(self) -> list[str]:
        """The organisations for which something was booked and not taken yet."""
        return list(self._booked)


def _sum(one: Calls, other: Calls) -> Calls:
    return Calls(
        purpose=one.purpose,
        status=one.status,
        calls=one.calls + other.calls,
        wire_bytes=one.wire_bytes + other.wire_bytes,
        body_bytes=one.body_bytes + other.body_bytes,
    )


class Allowance(msgspec.Struct, frozen=True):
    """What one organisation's limits leave at this moment, as far as is known here."""

    used_this_minute: int
    left_this_minute: int
    left_today: int | None
    """None until Xero's headers have told."""
    day_limit: int | None = None
    """Calls a day that Xero permits, as far as its headers told since the start of this process."""
    minute_resets_at: datetime | None = None
    """When all calls of a minute are left again; None while all of them are."""
    day_resets_at: datetime | None = None
    """When a new day has begun at the latest; None while nothing tells."""


class Problem(StrEnum):
    """Which limit refused a call (X-Rate-Limit-Problem)."""

    MINUTE = "minute"
    DAY = "day"
    CONCURRENT = "concurrent"
    APP_MINUTE = "appminute"


class Left(msgspec.Struct, frozen=True):
    """What an answer's headers say is left; None where a header is missing."""

    minute: int | None = None
    day: int | None = None
    app_minute: int | None = None


class Leave(Protocol):
    """Leave to make one call. It is `sent`, then `answered`, perhaps `refused`; or it is given up."""

    def is_good(self) -> bool:
        """Whether it still is: leave that this process had is lost with its place among the replicas."""
        ...

    def sent(self) -> None:
        """From now on Xero may count the call."""
        ...

    def not_sent(self) -> None:
        """It did not reach Xero after all: there was no connection to send it on."""
        ...

    def answered(self, left: Left) -> None:
        """Xero answered, with this left; a call that is sent and not answered is taken to go on at Xero for a while."""
        ...

    def refused(self, problem: Problem, retry_after: float | None) -> datetime:
        """A limit refused the call (429), for so many seconds. Returns when the next one may be made."""
        ...


class Pacing(Protocol):
    """Who gives leave to call, so that no limit of Xero's is ever overrun."""

    def call(self, xero_tenant_id: str, purpose: Purpose) -> AbstractAsyncContextManager[Leave]:
        """Wait until a call may be made, and hold its place while it is.

        Raises:
            CallLimitError: the day has no more calls for this purpose.
            DrainingError: this process shuts down.
        """
        ...

    def close(self) -> None:
        """Let nobody through any more, neither who waits nor who comes; calls that are under way go on."""
        ...

    async def until_closed(self) -> None:
        """Return once nobody is let through any more."""
        ...

    def held_up(self, xero_tenant_id: str) -> HeldUp | None:
        """Which limit calls to this organisation are waiting for, if for any."""
        ...

    def allowance(self, xero_tenant_id: str) -> Allowance:
        """What is left for this organisation at this moment, as far as this process knows."""
        ...
