"""The commands that forget: what is older than it is kept."""

from uuid import uuid4

from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, say
from tieout.client import Client


def prune(server: Server, *, dry_run: bool, as_json: bool) -> None:
    """Forget what is older than the server keeps it, or say how much that would be."""

    async def command(client: Client) -> None:
        answer = await client.connections.prune_expired(dry_run=dry_run, request_id=str(uuid4()))
        if as_json:
            document(answer)
            return
        done = "would be forgotten" if dry_run else "forgotten"
        for count in answer.counts:
            kept = f"{count.setting}, {count.kept_for.ToTimedelta().days} days"
            say(f"{count.rows:>12,} {count.kind.replace('_', ' ')} {done} ({kept})")

    run(server, command, as_json=as_json)
