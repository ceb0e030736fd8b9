"""Pages of a list: how many rows, and the token that leads to the next one."""

import base64
import binascii
import hashlib
from typing import Any, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message

from tieout_server.errors import InvalidRequestError, Violation
from tieout_server.storage.pages import Span

DEFAULT_SIZE = 100
MAX_SIZE = 1000

Key = TypeVar("Key")


class ListRequest(Protocol):
    """What every request for a list has."""

    page_size: int
    page_token: str


def size_of(request: ListRequest) -> int:
    """How many rows the caller wants on a page."""
    return min(request.page_size or DEFAULT_SIZE, MAX_SIZE)


def token_after(request: Message, key: object) -> str:
    """The token that goes on with this request behind the row that has this key."""
    place = msgspec.json.encode(key)
    token = msgspec.json.encode((_digest(request, place), msgspec.Raw(place)))
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def key_of(request: Message, token: str, form: type[Key]) -> Key | None:
    """The key behind which this request goes on; None for the first page.

    Raises:
        InvalidRequestError: the token was not given for this request, or has changed since.
    """
    if not token:
        return None
    try:
        digest, place = _parts(token)
        key: Key = msgspec.json.decode(place, type=form)
    except _NOT_OURS as error:
        raise InvalidRequestError(Violation("page_token", "is not a token of this service")) from error
    if digest != _digest(request, place):
        raise InvalidRequestError(Violation("page_token", "belongs to another request"))
    return key


def span_of(request: Any) -> Span:  # noqa: ANN401 - every request for a list, and each is a class of its own
    """Which rows a page of this request has."""
    following = key_of(request, request.page_token, Span)
    return Span(size_of(request), following.after if following else None)


def next_token(request: Message, following: Span | None) -> str:
    """The token of the page that has these rows; empty where there is none."""
    return token_after(request, following) if following else ""


def fault_of_token(request: Message, token: str) -> str:
    """What is wrong with this token, whatever the form of its key; empty if nothing is."""
    try:
        key_of(request, token, msgspec.Raw)
    except InvalidRequestError as error:
        return error.violations[0].rule
    return ""


_NOT_OURS = (binascii.Error, UnicodeEncodeError, ValueError, msgspec.MsgspecError, RecursionError)


def _parts(token: str) -> tuple[str, msgspec.Raw]:
    """The digest and the key in a token.

    Raises:
        _NOT_OURS: it has none.
    """
    raw = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
    return msgspec.json.decode(raw, type=tuple[str, msgspec.Raw])


def _digest(request: Message, place: bytes | msgspec.Raw) -> str:
    """Names the request, whatever its page, and the place that it goes on from."""
    same = type(request)()
    same.CopyFrom(request)
    for field in ("page_size", "page_token"):
        same.ClearField(field)
    whole = type(request).__name__.encode() + same.SerializeToString(deterministic=True)
    return hashlib.sha256(whole + b"\0" + bytes(place)).hexdigest()[:16]
