"""What keeps the suite short: long files first, cases that take turns on the databases, SQL compiled once."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

import compiled_once

pytest_plugins = ["databases"]

RINGS = ("guarantees", "service", "xero", "browser", "storage", "architecture", "unit")
"""Those whose files take long first, so that no worker is left alone with one of them in the end."""
LONGEST = (
    "test_replicas.py", "test_watches.py", "test_reconciliation.py", "test_exactly_once.py", "test_polling.py",
    "test_sending_once.py", "test_reversing_once.py",
)  # fmt: skip
"""Those of a ring that take longest, in this order."""
DATABASES = ("sqlite", "postgres")
EVERYTHING = "TIEOUT_TEST_EVERYTHING"
"""Set where each case is to run on both kinds of database, whatever the test says."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and begin to share; but let no logger keep what one test has configured."""
    compiled_once.share()
    structlog.configure = functools.partial(_configured, structlog.configure)
    _write_plainly()
    config.addinivalue_line("markers", "in_turn: its cases run on SQLite and PostgreSQL in turn, each on one of them")


def pytest_runtest_teardown() -> None:
    """Write lines as before again: a command that ran within this process has set up its own."""
    _write_plainly()


def _write_plainly() -> None:
    """Write lines as structlog does by itself, but tracebacks as Python does: to adorn one takes as long as a test."""
    structlog.reset_defaults()
    *others, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, plain])


def _configured(configure: Callable[..., None], **settings: Any) -> None:  # noqa: ANN401 - structlog's, of any kind
    configure(**settings | {"cache_logger_on_first_use": False})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, and put in order."""
    left_out = [] if os.environ.get(EVERYTHING) else _not_their_turn(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    items.sort(key=lambda item: _rank(item.path))


def _not_their_turn(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The cases of marked tests on the kind of database whose turn it is not; who asks for one only gets that one.

    The cases of a test take turns, and tests do in whose first case begins.
    """
    tests: dict[str, dict[str, dict[str, pytest.Item]]] = {}
    for item in items:
        if item.get_closest_marker("in_turn") and (kind := _database_of(item)):
            cases = tests.setdefault(item.nodeid.partition("[")[0], {})
            cases.setdefault(item.nodeid.replace(kind, "", 1), {})[kind] = item
    left_out = []
    for first, cases in enumerate(tests.values()):
        both = [found for found in cases.values() if len(found) == len(DATABASES)]
        left_out += [found[DATABASES[turn % len(DATABASES)]] for turn, found in enumerate(both, first)]
    return left_out


def _database_of(item: pytest.Item) -> str:
    """The kind of database on which it runs, if it runs on both in turn."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return next((value for value in given if value in DATABASES), "")


def _rank(path: Path) -> tuple[int, int]:
    ring = next((place for place, name in enumerate(RINGS) if name in path.parts), len(RINGS))
    return ring, LONGEST.index(path.name) if path.name in LONGEST else len(LONGEST)
