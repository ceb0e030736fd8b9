"""Faults on demand: rules that make calls to a path fail in one of Xero's ways, by turn or by chance."""

import random
import re
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web

from tieout_sandbox.limits import Problem


class FaultKind(StrEnum):
    """How a call fails."""

    OFFLINE = "offline"
    """503, "The Xero API is currently offline for maintenance"."""
    UNAVAILABLE = "unavailable"
    """503, "The Xero API is temporarily unavailable"."""
    ORGANISATION_OFFLINE = "organisation_offline"
    """503, "The Organisation is offline"."""
    FORBIDDEN_HTML = "forbidden_html"
    """403 with an HTML page, as the edge sends it."""
    UNAVAILABLE_HTML = "unavailable_html"
    """503 with an HTML page, as the edge sends it when nothing behind it answers."""
    DROP = "drop"
    """The connection is cut before anything is done."""
    DROP_AFTER = "drop_after"
    """The connection is cut after everything is done: the answer is lost."""
    REFRESH_LOST = "refresh_lost"
    """A refresh rotates the token, and its answer is lost; the path need not be given."""
    SLOW = "slow"
    """The call is answered `seconds` of real time later."""
    TRUNCATED = "truncated"
    """The connection is cut in the middle of the answer's body; everything was done."""
    ELEMENT_ERROR = "element_error"
    """200, but the element carries StatusAttributeString ERROR with `body` as its message; only for writes."""
    BOOKKEEPER_PAYS = "bookkeeper_pays"
    """Just before payments or batches are written, a bookkeeper pays the rest of their invoices in Xero."""
    LIMIT_MINUTE = "limit_minute"
    LIMIT_DAY = "limit_day"
    LIMIT_CONCURRENT = "limit_concurrent"
    LIMIT_APP_MINUTE = "limit_appminute"
    ANSWER = "answer"
    """Whatever status and body the rule says."""


LIMIT_PROBLEMS = {
    FaultKind.LIMIT_MINUTE: Problem.MINUTE,
    FaultKind.LIMIT_DAY: Problem.DAY,
    FaultKind.LIMIT_CONCURRENT: Problem.CONCURRENT,
    FaultKind.LIMIT_APP_MINUTE: Problem.APP_MINUTE,
}
"""The rules that answer 429."""

TEXTS = {
    FaultKind.OFFLINE: (503, "text/plain", "The Xero API is currently offline for maintenance"),
    FaultKind.UNAVAILABLE: (503, "text/plain", "The Xero API is temporarily unavailable"),
    FaultKind.ORGANISATION_OFFLINE: (503, "text/plain", "The Organisation is offline"),
    FaultKind.FORBIDDEN_HTML: (
        403,
        "text/html",
        "<html><head><title>Access Denied</title></head><body><h1>Access Denied</h1></body></html>",
    ),
    FaultKind.UNAVAILABLE_HTML: (
        503,
        "text/html",
        "<html><head><title>503 Service Unavailable</title></head><body><h1>Service Unavailable</h1></body></html>",
    ),
}
"""Status, content type and body of the fixed ones (Xero, response codes; the pages are those of usual edges)."""


@dataclass(slots=True)
class FaultRule:
    """The next `times` calls whose method and path match fail, or each of them with a probability.

    Args:
        kind: how.
        path: a regular expression that is searched in the path, without regard to case.
        method: only this one, or any.
        times: how many calls; it counts down. None never ends.
        probability: of each matching call, 0 to 1.
        status: for ANSWER.
        body: for ANSWER; the message for ELEMENT_ERROR.
        content_type: for ANSWER.
        seconds: for SLOW.
        retry_after: another Retry-After than Xero would send; empty leaves it out.
        organisation: only calls about this one, by the id in xero-tenant-id; any call unless given.
    """

    kind: FaultKind
    path: str = ""
    method: str | None = None
    times: int | None = 1
    probability: float = 1.0
    status: int = 500
    body: str = ""
    content_type: str = "text/plain"
    seconds: float = 1.0
    retry_after: str | None = None
    organisation: str | None = None

    def matches(self, call: "Call") -> bool:
        """Whether this call may fail by it."""
        if self.times == 0 or self.method not in {None, call.method}:
            return False
        if self.organisation not in {None, call.organisation_id}:
            return False
        if self.kind is FaultKind.REFRESH_LOST and not call.refreshes:
            return False
        wanted = _OWN_PATHS.get(self.kind)
        if wanted is not None and not re.search(wanted, call.path, re.IGNORECASE):
            return False
        return re.search(self.path, call.path, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Call:
    """What rules look at.

    Args:
        method: of the request.
        path: of the request.
        organisation_id: whom it is about; empty for identity and connections.
        refreshes: whether it is a token request that refreshes.
    """

    method: str
    path: str
    organisation_id: str = ""
    refreshes: bool = False


_OWN_PATHS = {FaultKind.REFRESH_LOST: "^/connect/token$", FaultKind.BOOKKEEPER_PAYS: "/(batch)?payments$"}
"""Kinds that make sense on one path only."""

_STATUSES = range(200, 600)

RULE = web.RequestKey("rule", FaultRule)
"""The rule that a request met, for those who answer it."""


def checked(rule: FaultRule) -> FaultRule:
    """The rule, if it can be followed.

    Raises:
        ValueError: the path is no regular expression, or the probability or the status none.
    """
    try:
        re.compile(rule.path)
    except re.error as error:
        raise ValueError(f"Not a regular expression: {rule.path}") from error
    if not 0 <= rule.probability <= 1:
        raise ValueError(f"A probability lies between 0 and 1: {rule.probability}")
    if rule.status not in _STATUSES:
        raise ValueError(f"A status lies between {_STATUSES[0]} and {_STATUSES[-1]}: {rule.status}")
    return rule


@dataclass(slots=True)
class Faults:
    """The rules in force, in the order in which they were made.

    Chance comes from a seed and is asked only for calls that a rule matches: the same calls meet the same faults.
    """

    rules: list[FaultRule] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 it has to be repeatable

    def seed(self, seed: int) -> None:
        """Begin the chances again, from another seed."""
        self.chance.seed(seed)

    def add(self, rule: FaultRule) -> FaultRule:
        """Make the next calls fail.

        Raises:
            ValueError: the path is no regular expression, or the probability none.
        """
        self.rules.append(checked(rule))
        return rule

    def take(self, call: Call) -> FaultRule | None:
        """The rule for this call, counted down; None lets it pass."""
        for rule in self.rules:
            if not rule.matches(call):
                continue
            if rule.probability < 1 and self.chance.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
            return rule
        return None

    def clear(self) -> None:
        """Let everything pass again."""
        self.rules.clear()
