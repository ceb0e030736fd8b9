"""An examination, told: a line for each finding for people, JSON for machines, and an exit code for scripts."""

import textwrap
from collections import Counter
from collections.abc import Sequence

import msgspec

from tieout_server.doctor.findings import Finding, Level

MARKS = {Level.FINE: "✓", Level.NOT_EXAMINED: "-", Level.WARNING: "!", Level.FAULT: "✗"}
WARNINGS, FAULTS = 1, 3
"""Exit codes: something should be seen to; something is wrong."""
WIDTH = 118


def exit_code(findings: Sequence[Finding]) -> int:
    """0 where all is fine, 1 with warnings, 3 with faults."""
    levels = {finding.level for finding in findings}
    return FAULTS if Level.FAULT in levels else WARNINGS if Level.WARNING in levels else 0


def for_people(findings: Sequence[Finding]) -> str:
    """A line for each finding, with its remedy below, and what it comes to."""
    count = Counter(finding.level for finding in findings)
    faults, warnings = _counted(count[Level.FAULT], "fault"), _counted(count[Level.WARNING], "warning")
    left = f", {skipped} not examined" if (skipped := count[Level.NOT_EXAMINED]) else ""
    total = f"{faults}, {warnings}, {count[Level.FINE]} fine{left}."
    return "\n".join([*(_told(finding) for finding in findings), "", total])


def for_machines(findings: Sequence[Finding]) -> str:
    """The findings as JSON."""
    return msgspec.json.format(msgspec.json.encode({"findings": findings, "exit_code": exit_code(findings)})).decode()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _told(finding: Finding) -> str:
    lines = textwrap.wrap(f"{MARKS[finding.level]} {finding.check}: {finding.seen}", WIDTH, subsequent_indent="    ")
    if finding.remedy:
        lines += textwrap.wrap(f"→ {finding.remedy}", WIDTH, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)
