r"""Xero's JSON as it is on the wire: pretty, two spaces, CRLF, `\/Date(ms+0000)\/`, amounts with their two places.

Documents are written as text with "\n" and no indentation of their own; `nest` moves a block in, `element` makes it an
element of the envelope's array. Writing text beats building and encoding values, and what is written is what is seen.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import msgspec

quote = encode_basestring
"""A JSON string; like Xero, it leaves everything beyond ASCII as it is."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def instant(at: datetime) -> str:
    """An instant with its offset, to the millisecond."""
    return f'"\\/Date({milliseconds(at)}+0000)\\/"'


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970 in UTC."""
    return round(at.timestamp() * 1000)


def seconds_string(at: datetime) -> str:
    """UpdatedDateUTCString: whole seconds, with Z (since July 2026)."""
    return f'"{at.isoformat()[:19]}Z"'


@lru_cache(maxsize=8192)
def day(on: date) -> str:
    """A date: midnight UTC of the calendar day, whatever the organisation's time zone."""
    return f'"\\/Date({(on - _EPOCH.date()).days * _DAY_MS}+0000)\\/"'


@lru_cache(maxsize=8192)
def day_string(on: date) -> str:
    """The twin of a date as text, without Z."""
    return f'"{on.isoformat()}T00:00:00"'


def boolean(value: bool) -> str:  # noqa: FBT001 it writes this value
    """`true` or `false`."""
    return "true" if value else "false"


def optional(key: str, json_text: str | None) -> str:
    """A member of an object that is left out when there is nothing to say."""
    return "" if json_text is None else f'\n  "{key}": {json_text},'


def nest(text: str) -> str:
    """A block one level further in."""
    return text.replace("\n", "\n  ")


def array(items: Iterable[str]) -> str:
    """An array of blocks; an empty one stays on its line."""
    blocks = [nest(item) for item in items]
    return "[\n  " + ",\n  ".join(blocks) + "\n]" if blocks else "[]"


def pretty(value: Any) -> str:  # noqa: ANN401 any JSON value
    """A block out of plain values, for what is rare enough; dates are given as made by `plain_instant`."""
    text = msgspec.json.format(_ENCODER.encode(value), indent=2).decode()
    return text.replace('"/Date(', '"\\/Date(').replace(')/"', ')\\/"')


def plain_instant(at: datetime, *, offset: bool = True) -> str:
    """An instant as a plain value for `pretty`; Organisation.CreatedDateUTC has no offset."""
    return f"/Date({milliseconds(at)}{'+0000' if offset else ''})/"


def plain_day(on: date) -> str:
    """A date as a plain value for `pretty`."""
    return f"/Date({(on - _EPOCH.date()).days * _DAY_MS}+0000)/"


def element(text: str) -> bytes:
    """A block as an element of the envelope's array, in bytes."""
    return b"    " + text.replace("\n", "\r\n    ").encode()


def envelope(
    *, provider: str, at: datetime, correlation_id: str, collection: str, elements: list[bytes], pagination: str = ""
) -> bytes:
    """The whole response body.

    Args:
        provider: the name of the calling app.
        at: now.
        correlation_id: the Id, which the response repeats in Xero-Correlation-Id.
        collection: the key of the array.
        elements: as made by `element`.
        pagination: as made by `pagination_block`; only paged answers have one.
    """
    head = (
        f'{{\n  "Id": "{correlation_id}",\n  "Status": "OK",\n  "ProviderName": {quote(provider)},\n'
        f'  "DateTimeUTC": "\\/Date({milliseconds(at)})\\/",{pagination}\n  "{collection}": ['
    ).replace("\n", "\r\n")
    if not elements:
        return head.encode() + b"]\r\n}"
    pieces = elements.copy()  # one join of all: pages are megabytes, and each further copy is felt
    pieces[0] = head.encode() + b"\r\n" + pieces[0]
    pieces[-1] += b"\r\n  ]\r\n}"
    return b",\r\n".join(pieces)


def pagination_block(page: int, page_size: int, item_count: int) -> str:
    """The `pagination` object, which stands before the collection."""
    page_count = -(-item_count // page_size)
    block = {"page": page, "pageSize": page_size, "pageCount": page_count, "itemCount": item_count}
    return f'\n  "pagination": {nest(pretty(block))},'


def new_correlation_id() -> str:
    """An id for one request."""
    return str(uuid.uuid4())
