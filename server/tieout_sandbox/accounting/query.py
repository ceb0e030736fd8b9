"""What a GET on a collection asks for: filter, order, page, and how much of each document."""

import email.utils
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tieout_sandbox.accounting.render import Detail
from tieout_sandbox.accounting.where import Fields, Predicate, QueryParseError, Value, parse_where

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 1_000
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the list is wanted."""

    number: int
    size: int


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
    """

    where: str
    order: str
    modified_since: datetime | None
    page: Page | None
    lists: tuple[tuple[str, frozenset[str]], ...]
    summary_only: bool
    include_archived: bool

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
        return (self.where, self.order, self.modified_since, self.lists, self.include_archived)


def read_query(params: Mapping[str, str], modified_since: str | None, list_names: Iterable[str]) -> Query:
    """Read a request's parameters (names in any case).

    `Statuses` and `summaryOnly=true` enforce paging even without `page` (Xero, Invoices and Contacts).
    """
    given = {name.lower(): value for name, value in params.items()}
    lists = tuple((name, _list(given[name])) for name in list_names if given.get(name))
    summary_only = given.get("summaryonly", "").lower() == "true"
    pages = "page" in given or "statuses" in dict(lists) or summary_only
    return Query(
        where=given.get("where", "").strip(),
        order=given.get("order", "").strip(),
        modified_since=parse_modified_since(modified_since),
        page=_page(given) if pages else None,
        lists=lists,
        summary_only=summary_only,
        include_archived=given.get("includearchived", "").lower() == "true",
    )


def parse_modified_since(text: str | None) -> datetime | None:
    """If-Modified-Since in the spellings that clients send: ISO with or without zone, fraction or time, and RFC 1123.

    Cut to the second; what cannot be read counts as not sent, as at Xero (a trap: everything is downloaded).
    """
    if not text:
        return None
    text = text.strip()
    try:
        at = datetime.fromisoformat(text) if _ISO.fullmatch(text) else email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.replace(microsecond=0)


def select(documents: Iterable[Any], query: Query, fields: Fields, key: str) -> list[Any]:
    """The documents that match, in order.

    Args:
        documents: the whole collection.
        query: what is asked.
        fields: what can be asked.
        key: the lower-case name of the id, which always breaks ties.

    Raises:
        QueryParseError: where or order cannot be read.
    """
    tests: list[Predicate] = []
    if query.modified_since is not None:
        since = query.modified_since
        tests.append(lambda document: bool(document.updated_at >= since))
    for name, wanted in query.lists:
        read = fields[_LIST_FIELDS.get(name, key)]
        tests.append(_one_of(read, wanted))
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


def _list(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())
