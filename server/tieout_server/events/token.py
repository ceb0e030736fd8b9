"""Resume tokens: a position in the log, opaque to callers."""

import base64
import binascii
import struct

from tieout_server.errors import InvalidRequestError, Violation

_VERSION = 1
_FORM = struct.Struct(">BQ")


def encode(position: int) -> str:
    """The token of this position."""
    return base64.urlsafe_b64encode(_FORM.pack(_VERSION, position)).decode().rstrip("=")


def decode(token: str, *, last: int) -> int:
    """The position that this token stands for.

    Raises:
        InvalidRequestError: it is none of our tokens, or lies beyond the last position ever given out.
    """
    try:
        version, position = _FORM.unpack(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError) as error:
        raise InvalidRequestError(Violation("after", "is not a resume token of this service")) from error
    if version != _VERSION or position > last:
        raise InvalidRequestError(Violation("after", "is not a resume token of this service's log"))
    return int(position)
