"""Finds the connection that a person named: by its id, or by its merchant's where that leaves no doubt."""

from tieout.client import Client
from tieout.errors import CallerError, NotFoundError
from tieout.v1.connection_service_pb2 import Connection, ConnectionState


async def find_connection(client: Client, name: str) -> Connection:
    """The connection with this id, or else the merchant's only one, or else its only one that is CONNECTED.

    Raises:
        NotFoundError: there is neither.
        CallerError: the merchant has several; the sentence names their ids.
    """
    try:
        return await client.connections.get(name)
    except NotFoundError:
        found = [it async for it in client.connections.list(merchant_id=name)]
    connected = [it for it in found if it.state == ConnectionState.CONNECTION_STATE_CONNECTED]
    for candidates in (found, connected):
        if len(candidates) == 1:
            return candidates[0]
    if not found:
        raise NotFoundError(f"There is no connection and no merchant {name!r}.")
    raise CallerError(
        f"Merchant {name!r} has several connections: {', '.join(it.id for it in found)}. Name one by its id."
    )
