"""Pages of a query: each begins behind the last row of the one before, so rows that come or go shift nothing."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from sqlalchemy import BigInteger, Row, Select, and_, or_
from sqlalchemy.sql import ColumnElement

from tieout_server.errors import InvalidRequestError, Violation
from tieout_server.storage.database import Transaction

Found = Row[Any]
"""One row as the database gave it; `storage.documents` makes a document of it."""

_Text = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
"""What PostgreSQL can be asked for."""
Key = tuple[_Text | int, _Text]
"""A row's place in an order: what is sorted by, then Xero's id."""

_STORED_BITS = 63


class Span(msgspec.Struct, frozen=True):
    """How many rows are wanted at most, and behind which place; None means from the beginning."""

    limit: int = 100
    after: Key | None = None


class IdSpan(msgspec.Struct, frozen=True):
    """How many ids are wanted at most, in their order, and behind which one."""

    limit: int
    after: str = ""


async def paged(
    tx: Transaction,
    query: Select[Any],
    order: tuple[ColumnElement[Any], ColumnElement[str]],
    span: Span,
    *,
    newest_first: bool = False,
) -> tuple[Sequence[Found], Span | None]:
    """The rows of this span in this order, and the span of the next page, None at the end.

    With `newest_first` the first column of the order descends; ids always ascend.

    Raises:
        InvalidRequestError: the span begins at a place that this order does not have.
    """
    by, key = order
    if span.after is not None:
        _check_place(by, span.after[0])
        query = query.where(_behind(by, key, span.after, newest_first=newest_first))
    direction = by.desc() if newest_first else by.asc()
    query = query.add_columns(by.label("sorted_by"), key.label("sorted_key")).order_by(direction, key)
    rows = (await tx.execute(query.limit(span.limit + 1))).all()
    if len(rows) <= span.limit:
        return rows, None
    page = rows[: span.limit]
    return page, Span(span.limit, (page[-1].sorted_by, page[-1].sorted_key))


def _check_place(by: ColumnElement[Any], place: str | int) -> None:
    is_number = isinstance(by.type, BigInteger)
    if is_number is not isinstance(place, int) or (isinstance(place, int) and place.bit_length() > _STORED_BITS):
        raise InvalidRequestError(Violation("page_token", "is not one of this list"))


def _behind(by: ColumnElement[Any], key: ColumnElement[str], after: Key, *, newest_first: bool) -> ColumnElement[bool]:
    """The first condition alone would do; the second one lets the database start in the middle of an index."""
    place, name = after
    further = by < place if newest_first else by > place
    return and_(or_(further, and_(by == place, key > name)), by <= place if newest_first else by >= place)
