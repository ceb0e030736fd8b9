"""What payment exports ask of an organisation's books at Xero: what may be paid, what is made, what came of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus

from tieout_server.clock import Clock
from tieout_server.errors import RejectedError
from tieout_server.ledger.books import Purpose
from tieout_server.ledger.writes import (
    SENT_WITHIN,
    Deletion,
    Draft,
    Found,
    InvoiceLines,
    Payable,
    RecordKind,
    Written,
)
from tieout_server.xero.drafts import Letter, letter_of, letter_of_note
from tieout_server.xero.found import NONE, PLACES, Read, Records
from tieout_server.xero.payables import PayablesPage, in_lists, is_id, read_lines, read_payables
from tieout_server.xero.transport import Access, Request, SendBy, Transport
from tieout_server.xero.written import read_noted, read_written

_PAGE_SIZE = 1_000
"""The most that Xero serves (Xero, Requests and responses, Paging)."""
_MARGIN = timedelta(seconds=1)
"""Whether If-Modified-Since includes its own second is not documented (UNSURE register, U6)."""


class Writes:
    """The writing half of an organisation's books. Every method raises what `Transport.fetch` does."""

    def __init__(self, transport: Transport, access: Access, clock: Clock) -> None:
        self._transport = transport
        self._access = access
        self._clock = clock

    async def payable(self, ids: Sequence[str], numbers: Sequence[str], purpose: Purpose) -> Sequence[Payable]:
        """Sales invoices with these ids or numbers and the payments that count on them; what is not there is left out.

        One call for each `IDS_AT_ONCE` ids, and one for each `IDS_AT_ONCE` numbers or as many as an address takes; a
        number with a comma, which separates numbers in a list, has a call of its own. What is no id of Xero's is not
        asked for: it would have the whole list refused. Nor is a number with both a comma and a quotation mark, which
        `where` cannot express (XeroAPI/Xero-Java #347).
        """
        asked = [{"IDs": ",".join(some)} for some in in_lists([one for one in ids if is_id(one)])]
        asked += [{"InvoiceNumbers": ",".join(some)} for some in in_lists([n for n in numbers if "," not in n])]
        asked += [{"where": f'InvoiceNumber=="{number}"'} for number in numbers if "," in number and '"' not in number]
        found = [payable for narrowed in asked for payable in await self._payables(narrowed, purpose)]
        return list({payable.invoice.xero_invoice_id: payable for payable in found}.values())

    async def invoice_lines(self, xero_invoice_id: str, purpose: Purpose) -> InvoiceLines | None:
        """The lines of one invoice, prices with all four places; None if there is no such invoice."""
        request = Request(path=f"Invoices/{xero_invoice_id}", purpose=purpose, parameters={"unitdp": "4"})
        try:
            return (await self._transport.fetch(self._access, request, read_lines)).content
        except RejectedError as refusal:
            if not _is_absence(refusal):
                raise
            return None

    async def write(self, drafts: Sequence[Draft], idempotency_key: str) -> Sequence[Written]:
        """Make these, all of one kind and `WRITES_AT_ONCE` at most (a deletion goes alone), in one call.

        Each is made or refused by itself; the answers are in the order of the drafts. Repeated with the same key and
        drafts within 6 minutes, it does nothing and answers the same (Xero, Idempotent requests). What cannot be sent
        within `SENT_WITHIN`, because limits or tokens hold it up, is not sent. Cancellation leaves open what was done.

        Raises:
            AnswerLostError: it was sent, and whether it was done is not known; `records_since` or `status_of` tell.
            CallLimitError: a limit refused it, or held it up; nothing was done.
            RejectedError: Xero refused the call as a whole; nothing was done.
            Other errors: nothing was done.
        """
        request = self._request(letter_of(drafts), Purpose.PAYMENT_EXPORT, idempotency_key)
        try:
            return (await self._transport.fetch(self._access, request, lambda body: read_written(drafts, body))).content
        except RejectedError as refusal:
            if isinstance(drafts[0], Deletion):
                return [Written(messages=refusal.messages)]
            raise

    async def records_since(self, kind: RecordKind, since: datetime) -> Sequence[Found]:
        """All records of this kind changed at or after this instant of Xero's clock, to be searched for a marker.

        Deleted ones are among them as far as Xero lists them (UNSURE register, U5). One that changes while pages are
        read may come twice, the later state last; none is passed over.
        """
        place, found, number, page_count = PLACES[kind], dict[str, Found](), 1, 1
        while number <= page_count:
            order = {"order": f"{place.key} ASC", "page": str(number), "pageSize": str(_PAGE_SIZE)}
            request = Request(
                path=place.path,
                purpose=Purpose.PAYMENT_EXPORT,
                parameters=dict(place.parameters) | (order if place.is_paged else {}),
                since=since - _MARGIN,
            )
            read = partial(_whole, place.read, number) if place.is_paged else place.read
            records = await self._records(request, read)
            found |= {record.xero_id: record for record in records.found}
            number, page_count = number + 1, records.pagination.page_count
        return list(found.values())

    async def status_of(self, kind: RecordKind, xero_id: str) -> Found | None:
        """How one record stands now; None if there is none."""
        path, read = PLACES[kind].of_one
        request = Request(path=f"{path}/{xero_id}", purpose=Purpose.PAYMENT_EXPORT)
        try:
            found = (await self._records(request, read)).found
        except RejectedError as refusal:
            if not _is_absence(refusal):
                raise
            return None
        return found[0] if found else None

    async def note(self, xero_invoice_id: str, text: str, idempotency_key: str) -> None:
        """Add a note to an invoice's history; 2,500 characters at most (Xero, History).

        Raises:
            AnswerLostError: it was sent, and whether it was done is not known.
            RejectedError: Xero does not take it.
        """
        request = self._request(letter_of_note(xero_invoice_id, text), Purpose.NOTE, idempotency_key)
        messages = (await self._transport.fetch(self._access, request, read_noted)).content
        if messages:
            raise RejectedError("Xero does not take the note.", messages)

    async def _payables(self, narrowed: dict[str, str], purpose: Purpose) -> Sequence[Payable]:
        found: list[Payable] = []
        number, page_count = 1, 1
        while number <= page_count:
            # Without a page Xero leaves out most of an invoice, its payments among it (Xero, Invoices).
            paging = {"order": "InvoiceID ASC", "page": str(number), "pageSize": str(_PAGE_SIZE)}
            request = Request(path="Invoices", purpose=purpose, parameters=narrowed | paging)
            read = partial(read_payables, page=number, page_size=_PAGE_SIZE)
            page: PayablesPage = (await self._transport.fetch(self._access, request, read)).content
            found += page.payables
            number, page_count = number + 1, page.page_count
        return found

    async def _records(self, request: Request, read: Read) -> Records:
        """The records of an answer; none where nothing changed since (304)."""
        return (await self._transport.fetch(self._access, request, lambda body: read(body) if body else NONE)).content

    def _request(self, letter: Letter, purpose: Purpose, idempotency_key: str) -> Request:
        return Request(
            path=letter.path,
            purpose=purpose,
            parameters=letter.parameters,
            method=letter.method,
            content=letter.content,
            idempotency_key=idempotency_key,
            send_by=SendBy.within(SENT_WITHIN, self._clock),
        )


def _whole(read: Read, page: int, body: bytes) -> Records:
    """A page that does not contradict itself: a record that is passed over would be made a second time."""
    records = read(body)
    records.pagination.check(records.row_count, page=page, page_size=_PAGE_SIZE)
    return records


def _is_absence(refusal: RejectedError) -> bool:
    """Whether it says that there is no such document."""
    return refusal.facts.get("status") == str(HTTPStatus.NOT_FOUND.value)
