"""`tieout-server --help` answers at once: nothing of the service is imported for it."""

import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = {"aiohttp", "alembic", "grpc", "sqlalchemy", "structlog", "uvloop"}


@pytest.mark.parametrize("arguments", [["--help"], ["prune", "--help"], ["callers", "add", "--help"]])
def test_help_imports_nothing_of_the_service(arguments: list[str]) -> None:
    program = f"import sys; from tieout_server.__main__ import cli; cli({arguments}, standalone_mode=False)"
    asked = subprocess.run(
        [sys.executable, "-c", f"{program}; print('imported:', *sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    shown, _, imported = asked.stdout.partition("imported:")
    assert "Usage:" in shown
    assert HEAVY & set(imported.split()) == set()


def test_it_says_which_version_it_is() -> None:
    command = [sys.executable, "-m", "tieout_server", "--version"]
    asked = subprocess.run(command, check=True, capture_output=True, text=True)
    assert asked.stdout == f"tieout-server {version('tieout')}\n"
