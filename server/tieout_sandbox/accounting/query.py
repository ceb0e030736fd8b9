"""What a GET on a collection asks for: filter, order, page, and how much of each document."""

import email.utils
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tieout_sandbox.accounting.render import Detail
from tieout_sandbox.accounting.where import Fields, Predicate, QueryParseError, Value, guid, parse_where
from tieout_sandbox.switches import Switches

PARAMETERS = frozenset(
    {
        "where", "order", "page", "pageSize", "IDs", "InvoiceNumbers", "ContactIDs", "Statuses", "References",
        "includeArchived", "createdByMyApp", "unitdp", "summaryOnly", "searchTerm",
    }
)  # fmt: skip
"""As Xero's OpenAPI file spells them."""
DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 1_000
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the list is wanted."""

    number: int
    size: int


class Asked(Protocol):
    """What has to be known of a collection to read a request for it."""

    @property
    def lists(self) -> tuple[str, ...]:
        """Parameters with lists of ids or the like, lower case."""

    @property
    def modified_since(self) -> bool:
        """Whether If-Modified-Since is honoured."""

    @property
    def search(self) -> tuple[str, ...]:
        """The fields that searchTerm looks in."""

    @property
    def created_by_app(self) -> bool:
        """Whether createdByMyApp is honoured."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Which app asks, and how the open questions are answered for it."""

    client_id: str
    switches: Switches


@dataclass(frozen=True, slots=True)
class Query:
    """A GET on a collection, read but not yet judged; the text parts also name a result that may be kept.

    Args:
        where: the expression, empty for none.
        order: the expression, empty for Xero's default.
        modified_since: the instant from If-Modified-Since, whole seconds.
        page: None for the old listing of everything.
        lists: id lists, by lower-case parameter name.
        summary_only: leave details out.
        include_archived: archived contacts too.
        search: text to look for in names, numbers and addresses, lower case.
        created_by: only what this app created.
        unit_places: decimal places of UnitAmount, 2 or 4.
        strictly_after: leave out what changed in exactly the second of If-Modified-Since.
    """

    where: str
    order: str
    modified_since: datetime | None
    page: Page | None
    lists: tuple[tuple[str, frozenset[str]], ...]
    summary_only: bool
    include_archived: bool
    search: str = ""
    created_by: str | None = None
    unit_places: int = 2
    strictly_after: bool = False

    @property
    def detail(self) -> Detail:
        """How much of each document the answer shows."""
        if self.summary_only:
            return Detail.SUMMARY
        has_ids = any(name != "statuses" for name, _ in self.lists)
        return Detail.PAGE if self.page or has_ids else Detail.LISTING

    @property
    def selection(self) -> tuple[object, ...]:
        """What decides which documents match and in which order, whatever the page."""
        return (
            self.where,
            self.order,
            self.modified_since,
            self.strictly_after,
            self.lists,
            self.include_archived,
            self.search,
            self.created_by,
        )


def read_query(params: Mapping[str, str], modified_since: str | None, collection: Asked, caller: Caller) -> Query:
    """Read a request's parameters.

    `Statuses` and `summaryOnly=true` enforce paging even without `page` (Xero, Invoices and Contacts).

    Raises:
        QueryParseError: a list of ids names what is no id.
    """
    switches = caller.switches
    given = {name.lower(): value for name, value in params.items() if _is_known(name, switches)}
    lists = tuple((name, _list(name, given[name])) for name in collection.lists if given.get(name))
    summary_only = _is_true(given, "summaryonly")
    pages = "page" in given or "statuses" in dict(lists) or summary_only
    delta = collection.modified_since and modified_since
    since = parse_modified_since(modified_since, cut=switches.modified_since_cut_to_seconds) if delta else None
    mine = collection.created_by_app and _is_true(given, "createdbymyapp")
    return Query(
        where=given.get("where", "").strip(),
        order=given.get("order", "").strip(),
        modified_since=since,
        page=_page(given) if pages else None,
        lists=lists,
        summary_only=summary_only,
        include_archived=_is_true(given, "includearchived")
        or (since is not None and switches.archived_contacts_in_delta),
        search=given.get("searchterm", "").strip().lower() if collection.search else "",
        created_by=caller.client_id if mine else None,
        unit_places=unit_places(given),
        strictly_after=not switches.modified_since_inclusive,
    )


def unit_places(params: Mapping[str, str]) -> int:
    """The decimal places of UnitAmount: 4 where `unitdp=4` is asked for, else 2."""
    return 4 if any(name.lower() == "unitdp" and value == "4" for name, value in params.items()) else 2


def _is_known(name: str, switches: Switches) -> bool:
    return switches.parameter_names_ignore_case or name in PARAMETERS


def _is_true(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").lower() == "true"


def parse_modified_since(text: str | None, *, cut: bool = True) -> datetime | None:
    """If-Modified-Since in the spellings that clients send: ISO with or without zone, fraction or time, and RFC 1123.

    Cut to the second unless told otherwise; what cannot be read, such as `/Date(…)/`, counts as not sent, as at Xero (a
    trap: everything is downloaded).
    """
    if not text:
        return None
    text = text.strip()
    try:
        at = datetime.fromisoformat(text) if _ISO.fullmatch(text) else email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.replace(microsecond=0) if cut else at


def select(documents: Iterable[Any], query: Query, fields: Fields, key: str, search: Sequence[str] = ()) -> list[Any]:
    """The documents that match, in order.

    Args:
        documents: the whole collection.
        query: what is asked.
        fields: what can be asked.
        key: the lower-case name of the id, which always breaks ties.
        search: the fields that searchTerm looks in.

    Raises:
        QueryParseError: where or order cannot be read.
    """
    tests: list[Predicate] = []
    if query.modified_since is not None:
        since = query.modified_since
        tests.append(_changed_after(since) if query.strictly_after else lambda document: document.updated_at >= since)
    for name, wanted in query.lists:
        read = fields[_LIST_FIELDS.get(name, key)]
        tests.append(_one_of(read, wanted))
    if query.search:
        tests.append(_has_term(query.search, [fields[name] for name in search]))
    if query.created_by is not None:
        tests.append(lambda document: getattr(document, "created_by", None) == query.created_by)
    if query.where:
        tests.append(parse_where(query.where, fields))
    found = [document for document in documents if all(test(document) for test in tests)] if tests else list(documents)
    if not query.order and "updateddateutc" in fields:
        found.sort(key=_default_key(fields[key]))
        return found
    for name, descending in reversed(_order(query.order, fields, key)):
        read = fields[name]
        found.sort(key=_sort_key(read), reverse=descending)
    return found


def _has_term(term: str, reads: Sequence[Callable[[Any], Value]]) -> Predicate:
    """The term stands, in any case, in one of the fields that are read."""
    return lambda document: any(term in str(read(document) or "").lower() for read in reads)


def _changed_after(since: datetime) -> Predicate:
    """Changed in a later second."""
    return lambda document: bool(document.updated_at.replace(microsecond=0) > since)


_LIST_FIELDS = {
    "statuses": "status",
    "contactids": "contact.contactid",
    "invoicenumbers": "invoicenumber",
    "references": "reference",
}


def _order(order: str, fields: Fields, key: str) -> list[tuple[str, bool]]:
    """Fields and whether they descend; Xero adds the id last (documented), and by default starts with the update."""
    default = "UpdatedDateUTC" if "updateddateutc" in fields else key
    steps = []
    for step in (order or default).split(","):
        name, _, direction = step.strip().partition(" ")
        direction = direction.strip().upper() or "ASC"
        if name.lower() not in fields or direction not in {"ASC", "DESC"}:
            raise QueryParseError(f"No property or field '{name}' exists")
        steps.append((name.lower(), direction == "DESC"))
    return steps if steps[-1][0] == key else [*steps, (key, False)]


def _default_key(read_id: Callable[[Any], Value]) -> Callable[[Any], Any]:
    """UpdatedDateUTC, then the id: what is asked for most, in one go."""
    return lambda document: (document.updated_at, read_id(document))


def _one_of(read: Callable[[Any], Value], wanted: frozenset[str]) -> Predicate:
    return lambda document: str(read(document)).lower() in wanted


def _sort_key(read: Callable[[Any], Value]) -> Callable[[Any], Any]:
    """Missing values come first."""

    def key(document: Any) -> Any:  # noqa: ANN401 any kind of document
        value = read(document)
        return (value is not None, value)

    return key


def _page(given: Mapping[str, str]) -> Page:
    number = _number(given.get("page"), 1)
    size = _number(given.get("pagesize"), DEFAULT_PAGE_SIZE)
    return Page(max(1, number), min(max(1, size), LARGEST_PAGE_SIZE))


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default


def _list(name: str, text: str) -> frozenset[str]:
    read = guid if name.endswith("ids") else str.lower
    return frozenset(read(part.strip()) for part in text.split(",") if part.strip())
