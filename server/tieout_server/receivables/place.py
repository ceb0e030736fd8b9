"""Where a reader of changes stands: in the order of changes or within a snapshot, as a resume token."""

import base64
import binascii
import zlib
from typing import Annotated

import msgspec

from tieout_server.errors import InvalidRequestError, Violation
from tieout_server.ledger.documents import Entity

ORDER = tuple(Entity)
"""The order in which records of one change, and of a snapshot, are told: customers before their documents. Part of
every token: entities are only ever added at the end."""
_END = 255
"""The rank behind all entities."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Rank = Annotated[int, msgspec.Meta(ge=0, le=_END)]
_Id = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00]*\Z")]
"""Tokens come from outside, and PostgreSQL cannot be asked for a NUL."""


class Place(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Behind this record of this change; of a snapshot, `number` is the change that it began with."""

    number: _Number
    rank: _Rank
    id: _Id = ""

    @classmethod
    def of(cls, number: int, entity: Entity, record_id: str) -> "Place":
        """The place behind this record."""
        return cls(number, ORDER.index(entity), record_id)

    @classmethod
    def end_of(cls, number: int) -> "Place":
        """The place behind everything with this number."""
        return cls(number, _END)

    @property
    def is_end(self) -> bool:
        """Whether it lies behind everything with its number."""
        return self.rank == _END


class Bookmark(msgspec.Struct, frozen=True):
    """A place, and whether it lies within a snapshot."""

    place: Place
    in_snapshot: bool = False


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    connection: int
    in_snapshot: bool
    place: Place


_VERSION = 1
_decode = msgspec.msgpack.Decoder(_Token).decode


def encode(connection_id: str, bookmark: Bookmark) -> str:
    """The token of this bookmark in the changes of this connection."""
    token = _Token(_VERSION, _mark(connection_id), bookmark.in_snapshot, bookmark.place)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(token)).decode().rstrip("=")


def decode(connection_id: str, token: str, *, last: int) -> Bookmark:
    """The bookmark that this token stands for.

    Raises:
        InvalidRequestError: it is no token of these changes, or lies behind the last number ever given out.
    """
    try:
        found = _decode(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequestError(Violation("after", "is not a resume token of this service")) from error
    if found.version != _VERSION or found.connection != _mark(connection_id) or found.place.number > last:
        raise InvalidRequestError(Violation("after", "is not a resume token of this connection's changes"))
    return Bookmark(found.place, found.in_snapshot)


def _mark(connection_id: str) -> int:
    """Enough of the connection to notice a token of another one."""
    return zlib.crc32(connection_id.encode())
