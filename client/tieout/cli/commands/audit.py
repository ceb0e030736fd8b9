"""The command that tells what callers of the service did."""

from rich.table import Table

from tieout.cli.lists import first, listed, page_size
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import documents, moment
from tieout.client import Client
from tieout.errors import NotFoundError
from tieout.v1.connection_service_pb2 import AuditEvent


def show(server: Server, name: str, caller: str, limit: int, *, as_json: bool) -> None:
    """List what callers did, newest first: to one connection, for one merchant, or all."""

    async def command(client: Client) -> None:
        connection_id, merchant_id = await _about(client, name)
        pages = client.connections.list_audit_events(
            connection_id=connection_id, merchant_id=merchant_id, caller=caller, page_size=page_size(limit)
        )
        found, more = await first(pages, limit)
        if as_json:
            documents(found)
        else:
            listed(_table(found) if found else "Nothing is on record.", more=more)

    run(server, command, as_json=as_json)


async def _about(client: Client, name: str) -> tuple[str, str]:
    """The connection with this id, or else the merchant: their ids, of which one at least is empty."""
    if not name:
        return "", ""
    try:
        return (await client.connections.get(name)).id, ""
    except NotFoundError:
        return "", name


def _table(events: list[AuditEvent]) -> Table:
    table = Table("at", "caller", "from", "call", "merchant", "about", "outcome", box=None, pad_edge=False)
    for it in events:
        outcome = it.reason or it.status or "unknown: under way, or cut off"
        about = it.subject_id or it.connection_id
        table.add_row(
            moment(it.at), f"{it.caller} ({it.authenticated_by})", it.peer, it.method, it.merchant_id, about, outcome
        )
    return table
