"""What writes are answered: the documents as they are now, or the elements given back with what is wrong."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from tieout_sandbox.accounting.refusals import HEADERS
from tieout_sandbox.accounting.wire import pretty

_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def written(block: str, leave_out: Collection[str], extra: dict[str, Any]) -> str:
    """A document's block as the answer to a write: without some members, with some more."""
    members = _DECODER.decode(block.encode())
    return pretty({key: value for key, value in members.items() if key not in leave_out} | extra)


def validation_failed(elements: list[str]) -> web.Response:
    """The 400 of a call that was summarised: nothing was done because of these elements."""
    body = {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [_DECODER.decode(block.encode()) for block in elements],
    }
    return _bad(body)


def refusal(message: str, status: int = 400) -> web.Response:
    """A refusal of the call as a whole."""
    body = {"ErrorNumber": 10, "Type": "ValidationException", "Message": message, "Elements": []}
    return _bad(body, status)


def unreadable(type_: str, number: int, message: str) -> web.Response:
    """A body that cannot be read or says nothing (the numbers are undocumented: fact sheet U16)."""
    return _bad({"ErrorNumber": number, "Type": type_, "Message": message})


def _bad(body: dict[str, Any], status: int = 400) -> web.Response:
    return web.Response(status=status, body=pretty(body).replace("\n", "\r\n").encode(), headers=HEADERS)
