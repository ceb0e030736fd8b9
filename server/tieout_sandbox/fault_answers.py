"""What a call gets that meets a fault rule: another answer, half of it, none, or a late one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tieout_sandbox.accounting.routes import FAULT
from tieout_sandbox.books.rules import NotAllowedError
from tieout_sandbox.faults import LIMIT_PROBLEMS, RULE, TEXTS, Call, FaultKind, FaultRule

if TYPE_CHECKING:  # the server makes one; only the type goes round in a circle
    from collections.abc import Iterator

    from aiohttp.typedefs import Handler

    from tieout_sandbox.organisations import Organisation
    from tieout_sandbox.server import Sandbox

_API = "/api.xro/"
_CUT_AFTER = frozenset({FaultKind.DROP_AFTER, FaultKind.REFRESH_LOST})


async def rule_for(sandbox: Sandbox, request: web.Request) -> FaultRule | None:
    """The rule whose turn it is, if any."""
    refreshes = False
    if sandbox.faults.rules and request.path == "/connect/token":
        refreshes = (await request.post()).get("grant_type") == "refresh_token"
    is_about_one = request.path.lower().startswith(_API)
    organisation_id = request.headers.get("xero-tenant-id", "").lower() if is_about_one else ""
    return sandbox.faults.take(Call(request.method, request.path, organisation_id, refreshes))


async def answered(
    sandbox: Sandbox, request: web.Request, answer: Handler, rule: FaultRule | None
) -> web.StreamResponse:
    """The answer to a call, as the rule wants it."""
    if rule is None:
        return await answer(request)
    fixed = _fixed(request, rule)
    if fixed is not None:
        return fixed
    await _beforehand(sandbox, request, rule)
    request[FAULT], request[RULE] = rule.kind, rule
    response = await answer(request)
    if rule.kind in _CUT_AFTER:
        _cut(request)
    if rule.kind is FaultKind.TRUNCATED:
        await _cut_in_the_middle(request, response)
    if rule.retry_after is not None:
        _replace_retry_after(response, rule.retry_after)
    return response


def _fixed(request: web.Request, rule: FaultRule) -> web.Response | None:
    """An answer that needs no work done."""
    if rule.kind is FaultKind.ANSWER:
        return web.Response(status=rule.status, text=rule.body, content_type=rule.content_type, headers=_retry(rule))
    if rule.kind in TEXTS:
        status, content_type, text = TEXTS[rule.kind]
        return web.Response(status=status, text=text, content_type=content_type, headers=_retry(rule))
    if rule.kind in LIMIT_PROBLEMS and not request.path.lower().startswith(_API):
        return web.Response(status=429, headers=_retry(rule))  # identity knows neither kinds nor windows
    return None


def _retry(rule: FaultRule) -> dict[str, str]:
    return {"Retry-After": rule.retry_after} if rule.retry_after else {}


def _replace_retry_after(response: web.StreamResponse, retry_after: str) -> None:
    response.headers.popall("Retry-After", None)
    if retry_after:
        response.headers["Retry-After"] = retry_after


async def _beforehand(sandbox: Sandbox, request: web.Request, rule: FaultRule) -> None:
    """What happens before the work is done."""
    if rule.kind is FaultKind.DROP:
        _cut(request)
    if rule.kind is FaultKind.SLOW:
        await request.read()  # it has arrived, and is done even when nobody waits for the answer any more
        await asyncio.sleep(rule.seconds)
    if rule.kind is FaultKind.BOOKKEEPER_PAYS:
        organisation = sandbox.authority.organisations.get(request.headers.get("xero-tenant-id", "").lower())
        if organisation is not None:
            _pay_first(organisation, await request.read())


def _pay_first(organisation: Organisation, body: bytes) -> None:
    """Pay what remains on each invoice that a JSON body of payments names; what cannot be paid is left alone."""
    with contextlib.suppress(msgspec.DecodeError):
        for payment in _payments_in(msgspec.json.decode(body)):
            with contextlib.suppress(NotAllowedError):
                organisation.books.pay(_invoice_id(payment), reference="Paid by the bookkeeper")


def _payments_in(given: Any) -> Iterator[Any]:  # noqa: ANN401 whatever was sent
    """Every payment, those of batches included."""
    inside = given.get("BatchPayments", given.get("Payments")) if isinstance(given, dict) else None
    if isinstance(inside, list):
        for one in inside:
            yield from _payments_in(one)
    else:
        yield given


def _invoice_id(payment: Any) -> str:  # noqa: ANN401 whatever was sent
    invoice = payment.get("Invoice") if isinstance(payment, dict) else None
    return str(invoice.get("InvoiceID", "")).lower() if isinstance(invoice, dict) else ""


def _cut(request: web.Request) -> None:
    """Close the connection under the client without a word.

    Raises:
        CancelledError: always, so that nothing is written to it any more.
    """
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


async def _cut_in_the_middle(request: web.Request, response: web.StreamResponse) -> None:
    """Send the headers and half of the body, and close.

    Raises:
        CancelledError: always, so that nothing is written to it any more.
    """
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # what was written is still sent
    raise asyncio.CancelledError
