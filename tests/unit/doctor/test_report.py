"""How an examination is told, and that no check stops another."""

import asyncio
import json
from collections.abc import Sequence

from tieout_server.doctor.findings import Finding, Level, bounded, fault, fine, not_examined, warning
from tieout_server.doctor.report import exit_code, for_machines, for_people

FINE, SKIPPED = fine("clock", "It agrees."), not_examined("vault", "There is none.")
WARNING, FAULT = warning("TLS", "It expires.", "Renew it."), fault("database", "It is away.", "Start it.")


def test_the_worst_finding_decides_the_exit_code() -> None:
    assert exit_code([FINE, SKIPPED]) == 0
    assert exit_code([FINE, WARNING]) == 1
    assert exit_code([FAULT, WARNING, FINE]) == 3


def test_people_read_each_finding_with_its_remedy_and_the_sum() -> None:
    assert for_people([FINE, WARNING, FAULT]).splitlines() == [
        "✓ clock: It agrees.",
        "! TLS: It expires.",
        "    → Renew it.",
        "✗ database: It is away.",
        "    → Start it.",
        "",
        "1 fault, 1 warning, 1 fine.",
    ]


def test_of_one_and_of_many_it_is_spoken_rightly() -> None:
    assert for_people([FINE, FAULT, FAULT]).splitlines()[-1] == "2 faults, 0 warnings, 1 fine."


def test_what_was_not_examined_is_counted_where_there_is_any() -> None:
    assert for_people([FINE, SKIPPED]).splitlines()[-1] == "0 faults, 0 warnings, 1 fine, 1 not examined."


def test_machines_read_the_same_as_json() -> None:
    told = json.loads(for_machines([FAULT]))
    assert told["exit_code"] == 3
    assert told["findings"] == [
        {"check": "database", "level": "fault", "seen": "It is away.", "remedy": "Start it."}
    ]  # fmt: skip


async def test_a_check_that_breaks_is_a_fault_that_repeats_nothing_of_the_error() -> None:
    async def broken() -> Sequence[Finding]:
        raise ValueError("with a secret in it")

    [found] = await bounded("database", broken)
    assert found.level is Level.FAULT
    assert "ValueError" in found.seen
    assert "secret" not in found.seen


async def test_a_check_that_hangs_is_ended() -> None:
    async def hanging() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    [found] = await bounded("Xero", hanging, bound=0.01)
    assert found.level is Level.FAULT
    assert found.check == "Xero"
