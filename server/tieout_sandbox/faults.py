"""Faults on demand: rules that make the next calls to a path fail in one of Xero's ways."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

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
    DROP = "drop"
    """The connection is cut before anything is done."""
    DROP_AFTER = "drop_after"
    """The connection is cut after everything is done: the answer is lost."""
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
}
"""Status, content type and body of the fixed ones (Xero, response codes)."""


@dataclass(slots=True)
class FaultRule:
    """The next `times` calls whose method and path match fail.

    Args:
        kind: how.
        path: a regular expression that is searched in the path, without regard to case.
        method: only this one, or any.
        times: how many calls; it counts down.
        status: for ANSWER.
        body: for ANSWER.
        content_type: for ANSWER.
    """

    kind: FaultKind
    path: str = ""
    method: str | None = None
    times: int = 1
    status: int = 500
    body: str = ""
    content_type: str = "text/plain"

    def matches(self, method: str, path: str) -> bool:
        """Whether it is this call's turn to fail."""
        if self.times <= 0 or self.method not in {None, method}:
            return False
        return re.search(self.path, path, re.IGNORECASE) is not None


@dataclass(slots=True)
class Faults:
    """The rules in force, in the order in which they were made."""

    rules: list[FaultRule] = field(default_factory=list)

    def add(self, rule: FaultRule) -> FaultRule:
        """Make the next calls fail.

        Raises:
            ValueError: the path is no regular expression.
        """
        try:
            re.compile(rule.path)
        except re.error as error:
            raise ValueError(f"Not a regular expression: {rule.path}") from error
        self.rules.append(rule)
        return rule

    def take(self, method: str, path: str) -> FaultRule | None:
        """The rule for this call, counted down; None lets it pass."""
        for rule in self.rules:
            if rule.matches(method, path):
                rule.times -= 1
                return rule
        return None

    def clear(self) -> None:
        """Let everything pass again."""
        self.rules.clear()
