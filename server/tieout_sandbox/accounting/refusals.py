"""What the Accounting API answers when it does not answer the question: 429, 400, 406 and 304."""

from typing import Any

import msgspec
from aiohttp import web

from tieout_sandbox.accounting.volume import TooManyRecordsError
from tieout_sandbox.accounting.where import QueryParseError
from tieout_sandbox.limits import Problem, Refusal
from tieout_sandbox.switches import Switches

HEADERS = {
    "Cache-Control": "max-age=0, no-cache, no-store",
    "Pragma": "no-cache",
    "Server": "Kestrel",
    "Content-Type": "application/json; charset=utf-8",
}
NOT_FOUND = "The resource you're looking for cannot be found"


def limited(refusal: Refusal, switches: Switches) -> web.Response:
    """A 429, without a body unless switched (fact sheet U9); only minute and day say when to come back."""
    name = switches.limit_app_minute_name if refusal.problem is Problem.APP_MINUTE else str(refusal.problem)
    if switches.limit_names_capitalised:
        name = name.capitalize()
    headers = {"X-Rate-Limit-Problem": name}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    text = "Rate Limit Exceeded" if switches.limit_answers_have_text else None
    return web.Response(status=429, headers=headers, text=text)


def bad_query(error: QueryParseError | TooManyRecordsError, switches: Switches) -> web.Response:
    """A where or order that cannot be read, or a list that is too long to be asked for like this."""
    if isinstance(error, TooManyRecordsError):
        return _bad({"ErrorNumber": 10, "Type": "ValidationException", "Message": str(error), "Elements": []})
    number = switches.query_error_number
    return _bad({"ErrorNumber": number, "Type": "QueryParseException", "Message": str(error)})


def takes(request: web.Request, kind: str, *, by_name: bool = False) -> bool:
    """Whether the client takes answers of this kind; one that says nothing takes them all, unless a name is wanted."""
    accepted = request.headers.get("Accept", "")
    families = {kind} if by_name else {"", "*/*", f"{kind.partition('/')[0]}/*", kind}
    return any(part.partition(";")[0].strip().lower() in families for part in accepted.split(","))


def not_acceptable() -> web.Response:
    """406 for a client that takes neither JSON nor, where there is one, a PDF: XML is not written here."""
    return web.Response(status=406, text="The sandbox answers in JSON only")


def not_modified() -> web.Response:
    """304, where nothing changed since If-Modified-Since and the switch says so."""
    return web.Response(status=304)


def _bad(body: dict[str, Any]) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(body), indent=2).replace(b"\n", b"\r\n")
    return web.Response(status=400, body=text, headers=HEADERS)
