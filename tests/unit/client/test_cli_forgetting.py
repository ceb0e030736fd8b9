"""The commands that forget: what they say, and what they ask before."""

import json
from collections.abc import Callable

import grpc
import pytest
from typer.testing import Result

from tieout.v1.connection_service_pb2 import PruneCount, PruneExpiredRequest, PruneExpiredResponse

Cli = Callable[..., Result]


def pruned(request: PruneExpiredRequest, _context: grpc.ServicerContext) -> PruneExpiredResponse:
    """Two kinds, of which a dry run finds more."""
    old = PruneCount(kind="audit_events", rows=1_200 if request.dry_run else 7, setting="TIEOUT_KEEP_AUDIT")
    old.kept_for.FromSeconds(400 * 86_400)
    return PruneExpiredResponse(counts=[PruneCount(kind="syncs", setting="TIEOUT_KEEP_SYNCS"), old])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dry-run",), "1,200 audit events would be forgotten (TIEOUT_KEEP_AUDIT, 400 days)"),
        ((), "7 audit events forgotten (TIEOUT_KEEP_AUDIT, 400 days)"),
    ],
)
def test_pruning_says_how_much_of_what_and_why(cli: Cli, options: tuple[str, ...], said: str) -> None:
    result = cli({"ConnectionService/PruneExpired": pruned}, "prune", *options)
    assert (result.exit_code, result.stdout.splitlines()[1].strip()) == (0, said)


def test_pruning_answers_scripts_as_json(cli: Cli) -> None:
    result = cli({"ConnectionService/PruneExpired": pruned}, "prune", "--json")
    counts = json.loads(result.stdout)["counts"]
    assert [(it["kind"], it["rows"], it.get("kept_for")) for it in counts][1] == ("audit_events", "7", "34560000s")
