"""The command line as a whole: how it finds the server, how it fails, and that no command is missing."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner, Result

from tieout.cli.app import app
from tieout.v1.connection_service_pb2 import (
    Connection,
    GetConnectionResponse,
    ListConnectionsRequest,
    ListConnectionsResponse,
)
from tieout.v1.sync_service_pb2 import StartSyncResponse, Sync, SyncProgress, SyncState, WatchSyncResponse

Context = grpc.ServicerContext
Cli = Callable[..., Result]
Serve = Callable[[Mapping[str, Callable[..., object]]], str]
ROOT = Path(__file__).resolve().parents[3]


def named_commands() -> set[str]:
    commands: set[str] = set()
    for path in (ROOT / "proto").rglob("*_service.proto"):
        for comment in re.findall(r"((?:  //.*\n)+)  rpc ", path.read_text()):
            commands.update(re.findall(r"// CLI: `tieout ([a-z -]+?)(?: [A-Z\"-].*)?`", comment))
    return commands


def test_a_server_that_is_not_there_leaves_with_4_and_says_where_it_was_looked_for() -> None:
    result = CliRunner().invoke(app, ["--target", "127.0.0.1:1", "connections"])
    assert result.exit_code == 4
    assert "TIEOUT_TARGET" in result.stderr


def test_a_certificate_that_cannot_be_read_leaves_with_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--ca-file", str(tmp_path / "none.pem"), "connections"])
    assert result.exit_code == 2
    assert "none.pem" in result.stderr


def test_an_address_of_the_web_is_no_target() -> None:
    result = CliRunner().invoke(app, ["--target", "http://localhost:7440/", "connections", "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["sentence"] == "the target is host:port, without http://: localhost:7440"


def test_the_help_sorts_commands_by_what_they_are_about() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120", "NO_COLOR": "1"}).stdout
    panels = re.findall(r"─ ([A-Z][A-Za-z ]+) ─", shown)
    assert panels[:3] == ["Options", "Connections to Xero", "What is read from Xero"]
    assert "Commands" not in panels, "what has no panel"


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"tieout {version('tieout')}\n"


def program(target: str, *arguments: str) -> subprocess.Popen[str]:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored in a shell's background
        "from tieout.cli import main; main()"
    )
    line = [sys.executable, "-c", code, "--target", target, *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "table"])
def test_a_reader_that_leaves_ends_the_program_quietly(serve: Serve, form: list[str]) -> None:
    listed = ListConnectionsResponse(connections=[Connection(id="c1")])
    with program(serve({"ConnectionService/ListConnections": lambda *_: listed}), "connections", *form) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 141


def test_ctrl_c_leaves_a_followed_sync_and_says_how_to_come_back(serve: Serve) -> None:
    def watch(_request: object, context: Context) -> Iterator[WatchSyncResponse]:
        left = threading.Event()
        context.add_callback(left.set)
        yield WatchSyncResponse(progress=SyncProgress(sync=sync, percent=20))
        left.wait()

    sync = Sync(id="s1", state=SyncState.SYNC_STATE_RUNNING)
    target = serve(
        {
            "ConnectionService/GetConnection": lambda *_: GetConnectionResponse(connection=Connection(id="c1")),
            "SyncService/StartSync": lambda *_: StartSyncResponse(sync=sync),
            "SyncService/WatchSync": watch,
        }
    )
    with program(target, "sync", "acme", "--follow") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert "20.0 %" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        told = running.stderr.read()
    again, end = "`tieout sync acme --follow` shows it again", "`tieout cancel-sync s1` ends it."
    assert told == f"The sync runs on; {again}, {end}\n"
    assert running.returncode == 130


def test_a_lost_server_is_told_and_that_it_is_back(cli: Cli) -> None:
    states = iter([SyncState.SYNC_STATE_RUNNING, SyncState.SYNC_STATE_SUCCEEDED])

    def watch(_request: object, context: Context) -> Iterator[WatchSyncResponse]:
        state = next(states)
        yield WatchSyncResponse(resume_token="1", progress=SyncProgress(sync=Sync(state=state)))
        if state == SyncState.SYNC_STATE_RUNNING:
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    calls = {"SyncService/StartSync": lambda *_: StartSyncResponse(sync=Sync(id="s1")), "SyncService/WatchSync": watch}
    lost, back = cli(calls, "sync", "acme", "--follow").stderr.splitlines()
    assert lost.startswith("Lost the server; trying again in 0.")
    assert back == "Back again."


def test_target_and_token_come_from_the_environment(serve: Serve) -> None:
    seen: list[dict[str, str | bytes]] = []

    def listing(_request: ListConnectionsRequest, context: Context) -> ListConnectionsResponse:
        seen.append(dict(context.invocation_metadata()))
        return ListConnectionsResponse()

    target = serve({"ConnectionService/ListConnections": listing})
    result = CliRunner().invoke(app, ["connections"], env={"TIEOUT_TARGET": target, "TIEOUT_TOKEN": "s3cret"})
    assert result.exit_code == 0
    assert seen[0]["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("command", sorted(named_commands()))
def test_every_command_that_the_api_names_is_there(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(" --", maxsplit=1)[0].split(), "--help"])
    assert result.exit_code == 0, result.output
