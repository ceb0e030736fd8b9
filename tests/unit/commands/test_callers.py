"""`tieout-server callers`: a key is printed once and alone, lists show no secret, mistakes are said in a sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tieout_server.__main__ import cli
from tieout_server.callers import keys

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {"TIEOUT_DATABASE_URL": f"sqlite:///{tmp_path / 'tieout.db'}", "TIEOUT_LOG_LEVEL": "error"}
    return lambda *arguments: CliRunner().invoke(cli, ["callers", *arguments], env=environment)


def test_a_key_is_printed_once_and_alone_on_standard_output(run: Run) -> None:
    added = run("add", "console", "--role", "operator", "--role", "exporter", "--merchant", "m-1")
    assert added.exit_code == 0
    shown = keys.parse(added.stdout.strip())
    assert shown is not None
    assert "exporter, operator, for m-1" in added.stderr
    listed = run("list")
    assert listed.stdout.splitlines()[0] == "console  operator, exporter  m-1"
    assert shown.id in listed.stdout
    assert shown.secret not in listed.output


def test_an_empty_list_says_so(run: Run) -> None:
    listed = run("list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "Nobody is registered" in listed.stderr


def test_a_key_is_replaced_and_a_caller_ends(run: Run) -> None:
    old = keys.parse(run("add", "console", "--role", "reader").stdout.strip())
    new = keys.parse(run("new-key", "console", "--expires-in-days", "90").stdout.strip())
    assert old is not None
    assert new is not None
    assert run("revoke", "--key", old.id).exit_code == 0
    lines = run("list").stdout.splitlines()
    assert [line.split()[1] for line in lines if "revoked" in line] == [old.id]
    assert run("revoke", "console").exit_code == 0
    assert "revoked" in run("list").stdout.splitlines()[0]


def test_a_certificate_needs_no_key(run: Run) -> None:
    added = run("add", "console", "--role", "reader", "--certificate", "spiffe://example/console")
    assert (added.exit_code, added.stdout) == (0, "")
    assert "certificate spiffe://example/console" in run("list").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "local", "--role", "reader"), "cannot be a caller's name"),
        (("revoke", "nobody"), "no caller 'nobody'"),
        (("revoke", "--key", "0"), "no key '0'"),
        (("new-key", "nobody"), "no caller 'nobody'"),
        (("revoke",), "either a caller or"),
        (("add", "console"), "Missing option"),
        (("add", "console", "--role", "king"), "king"),
    ],
)
def test_a_mistake_is_said_in_a_sentence(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in done.output
