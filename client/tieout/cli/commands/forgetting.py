"""The commands that forget: what is older than it is kept, and one person."""

from uuid import uuid4

from tieout.cli.confirm import confirm
from tieout.cli.names import find_connection
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


def erase_customer(server: Server, name: str, customer: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase one person who is erased in Xero already, after a yes, or say how much that would be."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        answer = await client.connections.erase_customer(
            connection.id, customer, dry_run=dry_run, request_id=str(uuid4())
        )
        if as_json:
            document(answer)
            return
        for count in answer.counts:
            say(f"{count.rows:>12,} {count.kind.replace('_', ' ')} {'would be erased' if dry_run else 'erased'}")
        say("Documents and payment exports stay: they are the merchant's accounting records.")

    if not (dry_run or yes):
        confirm(f"Erase what names or describes the customer {customer}, for good?")
    run(server, command, as_json=as_json)
