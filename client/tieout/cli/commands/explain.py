"""The command that explains contacts."""

import re

from rich.text import Text

from tieout.cli.names import find_connection
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, moment, say, word
from tieout.client import Client
from tieout.v1.sync_service_pb2 import ContactVerdict, ExplainContactResponse

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNKNOWN = ContactVerdict.CONTACT_VERDICT_NOT_FOUND_IN_XERO


def contact(server: Server, name: str, named: str, *, as_json: bool) -> None:
    """Say why a contact, named in whichever way, is or is not a customer here."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        answer = await _explained(client, connection.id, named)
        if as_json:
            document(answer)
            return
        for it in answer.explanations:
            verdict = word(ContactVerdict, it.verdict, "CONTACT_VERDICT_")
            said = "Xero, just now" if it.asked_xero else f"the copy of {moment(it.as_of)}"
            say(f"{verdict}: {it.sentence}")
            say(Text(f"  according to {said}; {it.xero.xero_contact_id}".rstrip("; "), style="dim"))

    run(server, command, as_json=as_json)


async def _explained(client: Client, connection_id: str, contact: str) -> ExplainContactResponse:
    """What is said of it by what it looks like: an id, an email address, or else a name, and then a number."""
    if _ID.fullmatch(contact):
        return await client.syncs.explain_contact(connection_id, xero_contact_id=contact)
    if "@" in contact:
        return await client.syncs.explain_contact(connection_id, email=contact)
    named = await client.syncs.explain_contact(connection_id, name=contact)
    if named.explanations[0].verdict != _UNKNOWN:
        return named
    numbered = await client.syncs.explain_contact(connection_id, contact_number=contact)
    found = numbered.explanations[0].verdict != _UNKNOWN
    return numbered if found else named
