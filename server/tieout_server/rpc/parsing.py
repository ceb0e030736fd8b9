"""The bytes of a request as its message; what is none is refused like every other request that is not sound."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError


class Garbled:
    """What stands for a request whose bytes are no message. Raising instead, grpc would call it INTERNAL."""


def parsing(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The same, with `Garbled` for what cannot be parsed."""
    if parse is None:
        return None

    def parsed(sent: bytes) -> Any:  # noqa: ANN401 - messages of every method pass
        try:
            return parse(sent)
        except DecodeError:
            return Garbled()

    return parsed
