"""The commands about discrepancies: list, look at, acknowledge, follow and prove them, and report what was missed."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from uuid import uuid4

from tieout.cli import discrepancy as display
from tieout.cli.lists import first, listed, page_size
from tieout.cli.names import find_connection, find_customer, invoice_named, not_found
from tieout.cli.options import Server
from tieout.cli.run import run
from tieout.cli.show import document, documents, say
from tieout.client import Client
from tieout.errors import CallerError, NotFoundError, TieoutError
from tieout.v1.reconciliation_service_pb2 import (
    DiscrepancyCause,
    DiscrepancyState,
    EvidenceHeader,
    ExportEvidenceResponse,
    WatchDiscrepanciesResponse,
)


def show_all(
    server: Server, name: str, customer: str, wanted: dict[str, list[str]], limit: int, *, as_json: bool
) -> None:
    """List discrepancies, the largest of each currency first; `wanted` holds states and causes."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        pages = client.reconciliations.list_discrepancies(
            connection.id,
            customer_id=(await find_customer(client, connection.id, customer)).id if customer else "",
            states=[DiscrepancyState.Value(f"DISCREPANCY_STATE_{it}") for it in wanted["states"]],
            causes=[DiscrepancyCause.Value(f"DISCREPANCY_CAUSE_{it}") for it in wanted["causes"]],
            page_size=page_size(limit),
        )
        found, more = await first(pages, limit)
        if as_json:
            documents(found)
        else:
            listed(display.listing(found) if found else "There are no such discrepancies.", more=more)

    run(server, command, as_json=as_json)


def show(server: Server, discrepancy_id: str, *, as_json: bool) -> None:
    """Show all that is known of one discrepancy."""

    async def command(client: Client) -> None:
        found = await client.reconciliations.get_discrepancy(discrepancy_id)
        if as_json:
            document(found)
            return
        for part in display.card(found):
            say(part)

    run(server, command, as_json=as_json)


def acknowledge(server: Server, discrepancy_id: str, remark: str, *, as_json: bool) -> None:
    """Note that a person knows of it."""

    async def command(client: Client) -> None:
        known = await client.reconciliations.acknowledge_discrepancy(
            discrepancy_id, note=remark, request_id=str(uuid4())
        )
        if as_json:
            document(known)
        else:
            say(f"{known.id} is {display.state(known)}. It stays off balance until both sides agree.")

    run(server, command, as_json=as_json)


def watch(server: Server, name: str, after: str, *, as_json: bool) -> None:
    """Follow discrepancies: what they are now, then every change."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        watched = client.reconciliations.watch_discrepancies(connection.id, after=after, from_start=not after)
        async with aclosing(watched) as messages:
            async for message in messages:
                _tell(message, as_json=as_json)

    run(server, command, as_json=as_json)


def report(server: Server, name: str, description: str, about: dict[str, list[str]], *, as_json: bool) -> None:
    """Report a difference that was not flagged; `about` holds customers, invoices and payments."""

    async def command(client: Client) -> None:
        connection = await find_connection(client, name)
        customers = [await find_customer(client, connection.id, it) for it in about["customers"]]
        case = await client.reconciliations.report_discrepancy(
            connection.id,
            description,
            customer_ids=[it.id for it in customers],
            invoices=[invoice_named(it) for it in about["invoices"]],
            payment_ids=about["payments"],
            request_id=str(uuid4()),
        )
        if as_json:
            document(case)
        else:
            say(case.sentence)
            say(f"`tieout evidence {case.id}` writes what was found.")

    run(server, command, as_json=as_json)


def evidence(server: Server, subject: str, output: Path | None, *, as_json: bool) -> None:
    """Write the evidence of a discrepancy, or of a case, as a zip."""

    async def command(client: Client) -> None:
        header, path = await _saved(client, subject, output)
        if as_json:
            document(header)
        else:
            say(f"Wrote {path} ({header.size_bytes:,} bytes). It opens anywhere; begin with summary.html.")

    run(server, command, as_json=as_json)


async def _saved(client: Client, subject: str, output: Path | None) -> tuple[EvidenceHeader, Path]:
    for named in ({"discrepancy_id": subject}, {"case_id": subject}):
        with suppress(NotFoundError):
            return await _save(client.reconciliations.export_evidence(**named), output)
    raise not_found("case", subject, f"There is no discrepancy and no case {subject!r}.")


async def _save(
    messages: AsyncGenerator[ExportEvidenceResponse, None], output: Path | None
) -> tuple[EvidenceHeader, Path]:
    """The file under its own name, here or in the directory given, or under the name given; whole, or not at all.

    Raises:
        NotFoundError: there is nothing with this id.
        TieoutError: what came is not what was sent.
        OSError: it cannot be written.
    """
    header, checksum, content = EvidenceHeader(), "", bytearray()
    async with aclosing(messages) as parts:
        async for part in parts:
            if part.HasField("header"):
                header = part.header
            content += part.chunk
            checksum = part.sha256 or checksum
    if checksum != hashlib.sha256(content).hexdigest():
        raise TieoutError("The file did not come whole. Try again.")
    path = _target(header, output)
    _write(path, content)
    return header, path


def _target(header: EvidenceHeader, output: Path | None) -> Path:
    """Where it goes; of the name that came only its last part counts."""
    own = Path(Path(header.file_name).name or "evidence.zip")
    if output is None:
        return own
    if output.is_dir():
        return output / own
    if not output.parent.is_dir():
        raise CallerError(f"There is no directory {str(output.parent)!r}.")
    return output


def _write(path: Path, content: bytearray) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _tell(message: WatchDiscrepanciesResponse, *, as_json: bool) -> None:
    if as_json:
        document(message)
    elif message.HasField("snapshot"):
        say(display.line_now(message.snapshot))
    elif message.HasField("change"):
        say(display.line(message.change))
