"""The HTTP side of the Accounting API: who may call, how often, what is answered."""

import asyncio
from collections import OrderedDict
from typing import Any

from aiohttp import web

from tieout_sandbox.accounting.call import Call
from tieout_sandbox.accounting.collections import COLLECTIONS, Collection, is_visible
from tieout_sandbox.accounting.compression import gzipped
from tieout_sandbox.accounting.idempotency import IdempotencyKeys
from tieout_sandbox.accounting.parts import BadReportError, read_part, read_report
from tieout_sandbox.accounting.pdf import pdf_of
from tieout_sandbox.accounting.query import Caller, Query, read_query, select, unit_places
from tieout_sandbox.accounting.refusals import (
    HEADERS,
    NOT_FOUND,
    bad_query,
    limited,
    not_acceptable,
    not_modified,
    takes,
)
from tieout_sandbox.accounting.render import Detail
from tieout_sandbox.accounting.render_settings import action_blocks, organisation_block
from tieout_sandbox.accounting.volume import TooManyRecordsError, check_volume
from tieout_sandbox.accounting.where import QueryParseError
from tieout_sandbox.accounting.wire import element, envelope, new_correlation_id, pagination_block
from tieout_sandbox.accounting.write_answers import refusal
from tieout_sandbox.accounting.writing import Asked, Path, write
from tieout_sandbox.books.churn import Churn
from tieout_sandbox.books.savepoint import Savepoint
from tieout_sandbox.faults import LIMIT_PROBLEMS, FaultKind
from tieout_sandbox.identity.access import DeniedError, authenticate, authorise
from tieout_sandbox.identity.authority import Authority, Bearer
from tieout_sandbox.identity.scopes import scopes_for
from tieout_sandbox.lag import ReadLag
from tieout_sandbox.limits import Limits
from tieout_sandbox.organisations import Organisation
from tieout_sandbox.request_log import Entry

ENTRY = web.RequestKey("entry", Entry)
FAULT = web.RequestKey("fault", FaultKind)
_ORGANISATION_PATHS = frozenset({"organisation", "organisations"})
JSON, PDF = "application/json", "application/pdf"
CORRELATION = "Xero-Correlation-Id"
_PREMIUM_PATHS = frozenset({"journals"})
"""Only for apps that pay for the Advanced tier, which none here does: 403 without a body (Xero, pricing)."""
_OTHER_PATHS = _ORGANISATION_PATHS | _PREMIUM_PATHS | {"reports"}
_READS = frozenset({"GET", "HEAD"})
_KEPT_RESULTS = 32
_WORTH_COMPRESSING = 1_000


class AccountingRoutes:
    """Everything under `/api.xro/2.0`."""

    def __init__(self, authority: Authority, limits: Limits, churn: Churn, latency_ms: float) -> None:
        self._authority = authority
        self._clock = authority.clock
        self._limits = limits
        self._churn = churn
        self.latency_ms = latency_ms
        self.lag = ReadLag()
        self._keys = IdempotencyKeys(self._clock.now)
        self._results: OrderedDict[tuple[object, ...], tuple[int, list[Any]]] = OrderedDict()

    @property
    def latency_ms(self) -> float:
        """How long each call takes, in real milliseconds.

        Raises:
            ValueError: nothing can take that long.
        """
        return self._latency_ms

    @latency_ms.setter
    def latency_ms(self, milliseconds: float) -> None:
        if not 0 <= milliseconds < float("inf"):
            raise ValueError("Latency is a number of milliseconds from 0 on.")
        self._latency_ms = milliseconds

    def add_to(self, app: web.Application) -> None:
        """Register the paths; they are case-insensitive, as at Xero."""
        prefix = "/{api:(?i:api\\.xro)}/2.0/{endpoint}"
        for path in ("", "/{id}", "/{id}/{part}", "/{id}/{part}/{part_id}"):
            app.router.add_route("*", prefix + path + "{slash:/?}", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """The answer to a call, which has an id whatever it says: support asks for it."""
        response = await self._answer(request)
        response.headers.setdefault(CORRELATION, new_correlation_id())
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        """Check the caller and the limits, then read the books or write to them."""
        entry = request[ENTRY]
        path = Path.of(request)
        endpoint, writes = path.endpoint, request.method not in _READS
        if endpoint not in COLLECTIONS and endpoint not in _OTHER_PATHS:
            return web.Response(status=404, text=NOT_FOUND)
        if endpoint == "reports" and writes:
            return web.Response(status=405, text="The requested resource does not support this method")
        try:
            bearer = authenticate(self._authority, request.headers.get("Authorization"))
            wanted = scopes_for(self._scoped_as(path), writes=writes)
            reads = "" if writes else _read_as(path)
            organisation = authorise(self._authority, bearer, request.headers.get("xero-tenant-id"), wanted, reads)
        except DeniedError as denied:
            return denied.response(self._authority.switches)
        entry.organisation_id, entry.client_id = organisation.id, bearer.client_id
        if endpoint in _PREMIUM_PATHS:
            return web.Response(status=403)
        return await self._within_limits(request, organisation, bearer, path)

    def _scoped_as(self, path: Path) -> str:
        """The endpoint whose scope counts: which one credit note allocations want is open (fact sheet U19)."""
        is_allocation = path.endpoint == "creditnotes" and path.part == "allocations"
        return (
            "payments" if is_allocation and self._authority.switches.allocations_need_payments_scope else path.endpoint
        )

    async def _within_limits(
        self, request: web.Request, organisation: Organisation, bearer: Bearer, path: Path
    ) -> web.Response:
        line = (organisation.id, bearer.client_id)
        entry = request[ENTRY]
        problem = LIMIT_PROBLEMS.get(request[FAULT]) if FAULT in request else None
        now = self._clock.now()
        refusal = self._limits.refuse(problem, *line, now) if problem else self._limits.admit(*line, now)
        entry.in_flight = self._limits.in_flight(*line) + (1 if refusal else 0)
        if refusal is not None:
            entry.limit_problem = refusal.problem
            return self._with_remaining(limited(refusal, organisation.books.switches), line)
        try:
            if request.method not in _READS:
                return self._with_remaining(await self._change(request, organisation, bearer, path), line)
            await self._take_time()
            response = self._read(request, self.lag.shown(organisation, self._clock.now()), bearer, path)
            if any(name.lower() == "page" for name in request.query):
                self._churn.after_page(organisation.books)
            return self._with_remaining(response, line)
        finally:
            self._limits.release(*line)

    async def _take_time(self) -> None:
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)

    async def _change(
        self, request: web.Request, organisation: Organisation, bearer: Bearer, path: Path
    ) -> web.Response:
        """Write once, however often the same Idempotency-Key comes."""
        if not self._takes_json(request):
            return not_acceptable()
        body = await request.read()

        async def work() -> web.Response:
            await self._take_time()
            books, role = organisation.books, organisation.role_of(bearer.user_id)
            point, creates = Savepoint(books), request.method == "PUT"
            places = unit_places(request.query)
            call = Call(organisation, role, bearer.client_id, books.today(), creates, point, places)
            answer = write(call, Asked.of(request, path, body))
            if answer.response is not None:
                return answer.response
            return self._respond(bearer, answer.name, [element(block) for block in answer.blocks])

        waits = organisation.books.switches.idempotent_call_in_flight_waits
        response = await self._keys.answer(request, bearer.client_id, work, waits=waits)
        return _compressed(request, response)

    def _takes_json(self, request: web.Request) -> bool:
        return takes(request, JSON, by_name=self._authority.switches.json_must_be_asked_for)

    def _with_remaining(self, response: web.Response, line: tuple[str, str]) -> web.Response:
        left = self._limits.remaining(*line, self._clock.now())
        response.headers["X-DayLimit-Remaining"] = str(left.day)
        response.headers["X-MinLimit-Remaining"] = str(left.minute)
        response.headers["X-AppMinLimit-Remaining"] = str(left.app_minute)
        return response

    def _read(self, request: web.Request, organisation: Organisation, bearer: Bearer, path: Path) -> web.Response:
        endpoint, wanted = path.endpoint, path.id
        by_name = self._authority.switches.json_must_be_asked_for
        if not self._takes_json(request) and not takes(request, PDF, by_name=by_name):
            return not_acceptable()
        if endpoint in _ORGANISATION_PATHS:
            return self._organisation(request, organisation, bearer, wanted)
        prints = path.part == "pdf" and path.part_id is None and COLLECTIONS[endpoint].printed
        if endpoint == "reports" or (path.part is not None and not prints):
            return self._part(request, organisation, bearer, path)
        collection = COLLECTIONS[endpoint]
        if wanted is None:
            return self._list(request, organisation, bearer, collection)
        document = collection.find(organisation, wanted)
        if document is None:
            return web.Response(status=404, text=NOT_FOUND)
        return self._single(request, organisation, bearer, collection, document)

    def _single(
        self,
        request: web.Request,
        organisation: Organisation,
        bearer: Bearer,
        collection: Collection,
        document: Any,  # noqa: ANN401 any kind of document
    ) -> web.Response:
        prints = request.match_info.get("part") is not None or not self._takes_json(request)
        if prints and collection.printed:
            return web.Response(body=pdf_of(f"{collection.name} {document.number}"), content_type=PDF)
        today, places = organisation.books.today(), unit_places(request.query)
        written = collection.write(document, Detail.SINGLE, organisation, today, places)
        return _compressed(request, self._respond(bearer, collection.name, [written]))

    def _part(self, request: web.Request, organisation: Organisation, bearer: Bearer, path: Path) -> web.Response:
        """A report, or something below a document."""
        try:
            if path.endpoint == "reports" and path.part is None:
                found = read_report(organisation, path.id or "", request.query, self._clock.now())
            else:
                found = read_part(organisation, path.endpoint, path.id or "", path.part or "")
        except BadReportError as error:
            return refusal(str(error))
        if found is None or path.part_id is not None:
            return web.Response(status=404, text=NOT_FOUND)
        return _compressed(request, self._respond(bearer, found[0], [element(block) for block in found[1]]))

    def _organisation(
        self, request: web.Request, organisation: Organisation, bearer: Bearer, wanted: str | None
    ) -> web.Response:
        if wanted is None:
            block = element(organisation_block(organisation))
            return _compressed(request, self._respond(bearer, "Organisations", [block]))
        if wanted.lower() != "actions":
            return web.Response(status=404, text=NOT_FOUND)
        actions = action_blocks(organisation.role_of(bearer.user_id))
        return _compressed(request, self._respond(bearer, "Actions", [element(action) for action in actions]))

    def _list(
        self, request: web.Request, organisation: Organisation, bearer: Bearer, collection: Collection
    ) -> web.Response:
        switches = organisation.books.switches
        since = request.headers.get("If-Modified-Since")
        try:
            query = read_query(request.query, since, collection, Caller(bearer.client_id, switches))
            found = self._select(organisation, collection, query)
        except (QueryParseError, TooManyRecordsError) as error:
            return bad_query(error, switches)
        if not found and query.modified_since is not None and switches.nothing_modified_answers_304:
            return not_modified()
        pagination = ""
        if collection.paged and query.page is not None:
            first = (query.page.number - 1) * query.page.size
            pagination = pagination_block(query.page.number, query.page.size, len(found))
            found = found[first : first + query.page.size]
        today, detail = organisation.books.today(), query.detail
        places = query.unit_places
        elements = [collection.write(document, detail, organisation, today, places) for document in found]
        return _compressed(request, self._respond(bearer, collection.name, elements, pagination))

    def _select(self, organisation: Organisation, collection: Collection, query: Query) -> list[Any]:
        """What matches, in order; kept until the books change, because pages of one list come one after the other."""
        switches = organisation.books.switches
        key = (organisation.id, collection.name, switches.deleted_payments_in_delta, *query.selection)
        kept = self._results.get(key)
        revision = organisation.books.revision
        is_settings = collection.name in {"Users", "Currencies"}
        if kept is not None and kept[0] == revision and not is_settings:
            self._results.move_to_end(key)
            return kept[1]
        documents = collection.documents(organisation).values()
        is_narrow = query.modified_since is not None or bool(query.lists)
        if not is_narrow:
            check_volume(collection, query, len(documents), self._limits.quota.records)
        visible = (doc for doc in documents if is_visible(doc, query, switches))
        found = select(visible, query, collection.fields, collection.key.lower(), collection.search)
        if is_narrow:
            check_volume(collection, query, len(found), self._limits.quota.records)
        self._results[key] = (revision, found)
        if len(self._results) > _KEPT_RESULTS:
            self._results.popitem(last=False)
        return found

    def _respond(self, bearer: Bearer, name: str, elements: list[bytes], pagination: str = "") -> web.Response:
        """The envelope; other formats than JSON are not spoken here."""
        correlation_id = new_correlation_id()
        body = envelope(
            provider=self._authority.apps[bearer.client_id].name,
            at=self._clock.now(),
            correlation_id=correlation_id,
            collection=name,
            elements=elements,
            pagination=pagination,
        )
        return web.Response(body=body, headers=HEADERS | {CORRELATION: correlation_id})


def _read_as(path: Path) -> str:
    """What is read, for those who may read a little only; one user is read as all are."""
    return path.endpoint if path.id is None or path.endpoint == "users" else f"{path.endpoint}/{path.id.lower()}"


def _compressed(request: web.Request, response: web.Response) -> web.Response:
    """The response, compressed where the client takes gzip and it is worth it."""
    body = response.body
    if not isinstance(body, bytes) or len(body) < _WORTH_COMPRESSING:
        return response
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        request[ENTRY].bytes_whole = len(body)
        response.body = gzipped(body)
        response.headers.update({"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
    return response
