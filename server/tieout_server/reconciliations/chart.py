"""A small picture of both balances over time that stands in a page and needs nothing from elsewhere.

The lines are SVG and become as wide as the page permits; the labels are text of the page, of one size everywhere.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from html import escape

from tieout_server.reconciliations.proof import Account, Point

WIDTH, HEIGHT = 600, 180
LABELS = 4
_DAY = 86_400.0


def chart(account: Account, until: datetime) -> str:
    """Both balances from the first comparison to this instant, as steps; empty where nothing was compared."""
    points = list(account.over_time)
    if not points:
        return ""
    scale = _Scale(points, until)
    name = f"Balance of {account.customer} in {account.currency}: ours and Xero's from {_day(points[0].at)} on"
    told = f"Ours is {account.ours:,.2f} now, Xero's {account.xero:,.2f}."
    return (
        f'<div class="chart">{scale.amounts()}<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(f"{name}. {told}")}">{scale.grid()}'
        f"{scale.steps('ours', [(p.at, p.ours) for p in points])}"
        f"{scale.steps('xero', [(p.at, p.xero) for p in points])}</svg>{scale.days()}</div>"
    )


class _Scale:
    """Where an instant and an amount are in the picture."""

    def __init__(self, points: Sequence[Point], until: datetime) -> None:
        amounts = [amount for point in points for amount in (point.ours, point.xero)]
        self._low, self._high = min(amounts), max(amounts)
        if self._low == self._high:
            self._low, self._high = self._low - 1, self._high + 1
        self._from, self._until = points[0].at, max(until, points[-1].at)
        self._seconds = (self._until - self._from).total_seconds() or 1.0

    def amounts(self) -> str:
        """What each line across stands for, the highest first."""
        told = "".join(f"<li>{amount:,.2f}</li>" for amount in reversed(self._across()))
        return f'<ul class="amounts" aria-hidden="true">{told}</ul>'

    def days(self) -> str:
        """The first and the last day."""
        told = f"<li>{self._label(self._from)}</li><li>{self._label(self._until)}</li>"
        return f'<ul class="days" aria-hidden="true">{told}</ul>'

    def grid(self) -> str:
        """The lines across."""
        return "".join(f'<path class="grid" d="M0 {self._y(amount)}H{WIDTH}"/>' for amount in self._across())

    def steps(self, side: str, told: Sequence[tuple[datetime, Decimal]]) -> str:
        """One side's balance: it stays until it was seen to have changed."""
        path = f"M{self._x(told[0][0])} {self._y(told[0][1])}"
        path += "".join(f"H{self._x(at)}V{self._y(amount)}" for at, amount in told[1:])
        return f'<path class="{side}" d="{path}H{WIDTH}"/>'

    def _across(self) -> list[Decimal]:
        return [self._low + (self._high - self._low) * part / (LABELS - 1) for part in range(LABELS)]

    def _x(self, at: datetime) -> str:
        share = (at - self._from).total_seconds() / self._seconds
        return f"{share * WIDTH:.1f}"

    def _y(self, amount: Decimal) -> str:
        share = float((amount - self._low) / (self._high - self._low))  # a place on the paper, not money
        return f"{(1 - share) * HEIGHT:.1f}"

    def _label(self, at: datetime) -> str:
        return _day(at) if self._seconds > _DAY else f"{_day(at)}, {at:%H:%M}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"
