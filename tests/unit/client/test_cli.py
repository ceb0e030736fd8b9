"""The command line as a whole: how it finds the server, how it fails, and that no command is missing."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner, Result

from tieout.cli.app import app
from tieout.v1.connection_service_pb2 import (
    ListConnectionsRequest,
    ListConnectionsResponse,
)

Context = grpc.ServicerContext
Cli = Callable[..., Result]
Serve = Callable[[Mapping[str, Callable[..., object]]], str]
ROOT = Path(__file__).resolve().parents[3]


def served_commands() -> set[str]:
    commands: set[str] = set()
    for path in (ROOT / "proto").rglob("*_service.proto"):
        for comment in re.findall(r"((?:  //.*\n)+)  rpc ", path.read_text()):
            if "Not served yet" not in comment:
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


def test_target_and_token_come_from_the_environment(serve: Serve) -> None:
    seen: list[dict[str, str | bytes]] = []

    def listing(_request: ListConnectionsRequest, context: Context) -> ListConnectionsResponse:
        seen.append(dict(context.invocation_metadata()))
        return ListConnectionsResponse()

    target = serve({"ConnectionService/ListConnections": listing})
    result = CliRunner().invoke(app, ["connections"], env={"TIEOUT_TARGET": target, "TIEOUT_TOKEN": "s3cret"})
    assert result.exit_code == 0
    assert seen[0]["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("command", sorted(served_commands()))
def test_every_command_that_the_api_names_is_there(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(" --", maxsplit=1)[0].split(), "--help"])
    assert result.exit_code == 0, result.output
