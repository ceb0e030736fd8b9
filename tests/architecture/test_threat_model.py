"""The threat model points at tests that are there, and can be read in one sitting."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THREAT_MODEL.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", TEXT)))
ADVERSARIES = (
    "A stolen database",
    "A stolen token of Xero's",
    "A hostile caller",
    "A hostile sender of webhooks",
    "A hostile browser",
    "A hostile answer of Xero's",
    "A compromised or confused replica",
    "The sandbox",
)


@pytest.mark.parametrize("named", NAMED)
def test_every_test_that_it_names_is_there(named: str) -> None:
    path, _, name = named.partition("::")
    assert (ROOT / path).is_file()
    assert re.search(rf"^(async )?def {name}\(" if name else "def test_", (ROOT / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_every_adversary_is_met_by_tests(adversary: str) -> None:
    section = TEXT.split(f"\n## {adversary}\n")[1].split("\n## ")[0]
    assert section.count("| `tests/") >= 3


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) <= 250
