"""Finds what a person named: a connection by its id or its merchant's, a customer by id or by name."""

import re

from tieout.client import Client
from tieout.errors import CallerError, Facts, InvalidRequestError, NotFoundError
from tieout.v1.connection_service_pb2 import Connection, ConnectionState
from tieout.v1.receivables_service_pb2 import Customer
from tieout.v1.reconciliation_service_pb2 import InvoiceReference

_CONNECTED = ConnectionState.CONNECTION_STATE_CONNECTED
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNBEGUN = ConnectionState.CONNECTION_STATE_PENDING_AUTHORISATION


async def find_connections(client: Client, name: str) -> list[Connection]:
    """The connection with this id, or else all of the merchant's, oldest first; never none.

    Raises:
        NotFoundError: there is neither.
    """
    try:
        return [await client.connections.get(name)]
    except (NotFoundError, InvalidRequestError):  # a merchant's id may be longer than one of ours
        if not name:
            raise
    found = [it async for it in client.connections.list(merchant_id=name)]
    if not found:
        raise not_found("connection", name, f"There is no connection and no merchant {name!r}.")
    return found


async def find_connection(client: Client, name: str, meant: ConnectionState.ValueType = _CONNECTED) -> Connection:
    """The connection that the name stands for.

    That is the one with this id. Else, of the merchant's, it is the one in the state that is `meant`, or the one that
    is CONNECTED, or the newest; one that never got its consent is only meant where there is no other.

    Raises:
        NotFoundError: there is no such connection or merchant.
        CallerError: the merchant has several in that state; the sentence names their ids.
    """
    found = await find_connections(client, name)
    for state in (meant, _CONNECTED):
        fitting = [it for it in found if it.state == state]
        if len(fitting) > 1:
            ids = ", ".join(it.id for it in fitting)
            raise CallerError(f"Merchant {name!r} has several such connections: {ids}. Name one by its id.")
        if fitting:
            return fitting[0]
    begun = [it for it in found if it.state != _UNBEGUN]
    return (begun or found)[-1]


async def find_customer(client: Client, connection_id: str, name: str) -> Customer:
    """The customer with this id, or else the only one with this name; case does not count.

    Raises:
        NotFoundError: there is neither.
        CallerError: several have the name; the sentence names their ids.
    """
    try:
        return await client.receivables.get_customer(connection_id, name)
    except (NotFoundError, InvalidRequestError):  # a name may be longer than an id
        if not name:
            raise
    similar = client.receivables.list_customers(connection_id, search=name)
    found = [it async for it in similar if it.name.casefold() == name.casefold()]
    if not found:
        raise not_found("customer", name, f"There is no customer with the id or the name {name!r}.")
    if len(found) > 1:
        ids = ", ".join(it.id for it in found)
        raise CallerError(f"Several customers are called {name!r}: {ids}. Name one by its id.")
    return found[0]


def invoice_named(name: str) -> InvoiceReference:
    """The invoice that a person named: ids are GUIDs, and all else is the number on it."""
    return InvoiceReference(invoice_id=name) if _GUID.fullmatch(name) else InvoiceReference(invoice_number=name)


def not_found(kind: str, name: str, sentence: str) -> NotFoundError:
    """The error of the service, for what was looked for in several ways."""
    return NotFoundError(sentence, Facts("NOT_FOUND", "NOT_FOUND", metadata={"kind": kind, "name": name}))
