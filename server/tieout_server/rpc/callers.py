"""Each call and its caller: who it is, whether it may do this, see this and do so much; and what goes on record."""

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
from google.protobuf.message import Message
from grpc import aio

from tieout_server.callers.authentication import Authentication, Credentials
from tieout_server.callers.caller import LOCAL, Caller
from tieout_server.callers.directory import FRESH
from tieout_server.callers.limits import Streams
from tieout_server.callers.service import Callers
from tieout_server.connections.authorisation import UNKNOWN_STATE, hash_of
from tieout_server.errors import (
    CallerNotPermittedError,
    CallerRateLimitedError,
    CallerUnauthenticatedError,
    ConsentStateError,
    DrainingError,
    IssuerUnavailableError,
    NotFoundError,
    StorageUnavailableError,
    TieoutError,
)
from tieout_server.rate import Rate
from tieout_server.rpc import hiding, validate
from tieout_server.rpc.access import Kind, Need, need_of
from tieout_server.settings import Settings
from tieout_server.storage.audit import AuditEvent, Outcome
from tieout_server.storage.owners import Owner
from tieout_server.work import requests

HEALTH = "/grpc.health."
REFLECTION = "/grpc.reflection."
REFUSALS_AT_ONCE, REFUSALS_EVERY = 100.0, 1.0
"""Refusals of one caller that go on record, at once and, for long, one in so many seconds: a flood must not fill the
disk."""

_Context = aio.ServicerContext[Any, Any]
_CALLER: ContextVar[Caller] = ContextVar("caller")


def merchants() -> frozenset[str] | None:
    """The only merchants that exist for whoever makes the call in hand; None: all."""
    return _CALLER.get().merchants


class Door:
    """Where calls come in."""

    def __init__(self, callers: Callers, settings: Settings, *, only_here: bool) -> None:
        self.callers = callers
        self.authentication = Authentication(callers, settings, only_here=only_here)
        self.open_to_all = (HEALTH, REFLECTION) if only_here else (HEALTH,)
        """Probes show no token, and health tells no secret; reflection only on this machine."""
        self.calls = Rate(2 * settings.caller_rate, 1 / settings.caller_rate, callers.monotonic)
        self.streams = Streams(settings.caller_streams)
        self.refusals = Rate(REFUSALS_AT_ONCE, REFUSALS_EVERY, callers.monotonic)

    def call(self, method: str, context: _Context) -> "Call":
        """A call that has come, of which nothing is known yet."""
        return Call(self, method, context)


class Call:
    """One call, from its first byte to its outcome."""

    def __init__(self, door: Door, method: str, context: _Context) -> None:
        self._door = door
        self._method = method
        self._shown = _credentials(context)
        self._need: Need | None = None
        self._caller: Caller | None = None
        self._looks_again_at = 0.0
        self._counts_as_stream = False
        self._request: Message | None = None
        self._owner = Owner("", "")
        self._is_hidden = False
        self._event_id = ""
        self._tells_of_connections = ".ConnectionService/" in method

    @property
    def caller(self) -> str:
        """Who makes it, by name; empty while that is not known, or need not be."""
        return self._caller.name if self._caller else ""

    async def admit(self, *, streams: bool) -> None:
        """Check that whoever this is may make such a call at all, now.

        Raises:
            CallerUnauthenticatedError, CallerNotPermittedError, CallerRateLimitedError, IssuerUnavailableError: no.
        """
        if self._method.startswith(self._door.open_to_all):
            return
        self._caller = caller = await self._door.authentication.authenticate(self._shown)
        self._looks_again_at = self._door.callers.monotonic() + FRESH
        _CALLER.set(caller)
        requests.whose.set("" if caller.merchants is None else caller.name)
        self._check_amount(caller, streams=streams)
        self._need = need = need_of(self._method)
        if need is None or not caller.has(need.role):
            role = need.role if need else "none"
            raise CallerNotPermittedError(f"{caller.name} may not do this: it takes the role {role}.", role=role)
        if need.of_all and caller.merchants is not None:
            raise CallerNotPermittedError(
                f"{caller.name} may not do this: it is about all merchants, and takes the role {need.role} for all.",
                role=need.role,
            )

    async def check(self, request: Message) -> None:
        """Check that what the request names exists for this caller, and record what is to be done.

        Raises:
            NotFoundError, ConsentStateError: it does not, or is another merchant's: nobody can tell.
            CallerNotPermittedError: it names a merchant that the caller is not for.
        """
        caller, need = self._caller, self._need
        if caller is None or need is None:
            return
        self._request = request
        acts = need.acts_by(request)
        if caller.merchants is not None or acts:
            for kind, ids in _by_kind(need, request):
                await self._check_seen(caller, kind, ids)
        if acts and not self._event_id:
            await self._door.callers.audit.begin(self._event(caller))

    async def each(self, incoming: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of a request that is a stream, each of them sound and permitted."""
        async for message in incoming:
            validate.check(message)
            await self.check(message)
            yield message

    def is_to_be_looked_at(self) -> bool:
        """Whether it is time to see whether the caller of this stream may stay."""
        return self._caller is not None and self._door.callers.monotonic() >= self._looks_again_at

    async def look_again(self) -> None:
        """Check that the caller of this stream may still do what it might when it began; else the stream ends.

        Raises:
            CallerUnauthenticatedError: it was revoked, or its token has expired.
            DrainingError: it may do something else now: it comes back, and is judged anew.
        """
        self._looks_again_at = self._door.callers.monotonic() + FRESH
        try:
            now = await self._door.authentication.identify(self._shown)
        except (StorageUnavailableError, IssuerUnavailableError):
            return  # nobody can say now, and what was true a moment ago is believed
        if now is None:
            raise CallerUnauthenticatedError("The token is no longer accepted: it has expired or was revoked.")
        if now != self._caller:
            raise DrainingError("What this caller may do has changed; resume with your token.")

    async def error(self, error: Exception) -> Exception:
        """This error as the caller may see it."""
        return error if self._sees_all() else await hiding.in_error(error, self._sees)

    async def answer(self, answer: Any) -> Any:  # noqa: ANN401 - messages of every method pass
        """This answer as the caller may see it."""
        return (
            answer if self._sees_all() or not self._tells_of_connections else await hiding.in_answer(answer, self._sees)
        )

    def end(self, status: str, error: Exception | None) -> None:
        """Note what came of it."""
        if self._counts_as_stream and self._caller:
            self._door.streams.close(self._caller.name)
        reason = error.reason if isinstance(error, TieoutError) else ""
        if self._event_id:
            self._door.callers.audit.end(Outcome(self._event_id, status, reason))
        if self._caller is not None and self._is_worth_a_note(error):
            self._note(self._caller, status, reason)

    def _sees_all(self) -> bool:
        return self._caller is None or self._caller.merchants is None

    async def _sees(self, connection_id: str) -> bool:
        owner = (await self._door.callers.owners.of(Kind.CONNECTION, (connection_id,))).get(connection_id)
        return owner is None or self._caller is None or self._caller.sees(owner.merchant_id)

    def _is_worth_a_note(self, error: Exception | None) -> bool:
        """Whether this was refused for lack of permission, or is an act that could not begin."""
        if self._is_hidden:
            return True
        is_act = self._need is not None and self._need.acts
        is_refused = isinstance(error, CallerNotPermittedError) or (is_act and isinstance(error, NotFoundError))
        return is_refused and not self._event_id

    def _note(self, caller: Caller, status: str, reason: str) -> None:
        if self._is_hidden:  # to the operator it is what it was
            status, reason = "PERMISSION_DENIED", CallerNotPermittedError.reason
        if not self._door.refusals.take(caller.name):
            event = msgspec.structs.replace(self._event(caller), status=status, reason=reason)
            self._door.callers.audit.note(event)

    def _check_amount(self, caller: Caller, *, streams: bool) -> None:
        if caller is LOCAL:
            return  # where callers are not told apart there is none to be kept from the others
        if wait := self._door.calls.take(caller.name):
            at = self._door.callers.clock.now() + timedelta(seconds=wait)
            raise CallerRateLimitedError(f"{caller.name} calls too often.", at)
        if streams:
            if not self._door.streams.open(caller.name):
                raise CallerRateLimitedError(f"{caller.name} has too many streams open.")
            self._counts_as_stream = True

    async def _check_seen(self, caller: Caller, kind: Kind, ids: Sequence[str]) -> None:
        """Check that these exist for the caller, and remember for the record whose they are."""
        if kind is Kind.MERCHANT:
            self._owner = Owner(ids[0], "")
            if not caller.sees(ids[0]):
                raise CallerNotPermittedError(f"{caller.name} is not for the merchant {ids[0]!r}.", merchant_id=ids[0])
            return
        names = {hash_of(one) if kind is Kind.CONSENT else one: one for one in ids}
        owners = await self._door.callers.owners.of(kind, names)
        for name, shown in names.items():
            owner = owners.get(name)
            if owner is not None:
                self._owner = owner
            if caller.merchants is not None and (owner is None or not caller.sees(owner.merchant_id)):
                self._is_hidden = owner is not None
                raise _unknown(kind, shown)

    def _event(self, caller: Caller) -> AuditEvent:
        named = dict(_by_kind(self._need, self._request)) if self._need and self._request is not None else {}
        things = [ids[0] for kind, ids in named.items() if kind not in (Kind.MERCHANT, Kind.CONNECTION, Kind.CONSENT)]
        connection_id = self._owner.connection_id or named.get(Kind.CONNECTION, [""])[0]
        self._event_id = secrets.token_hex(12)
        return AuditEvent(
            id=self._event_id,
            at=self._door.callers.clock.now(),
            caller=caller.name,
            authenticated_by=caller.authenticated_by,
            method=self._method.removeprefix("/tieout.v1.").replace("/", "."),
            merchant_id=self._owner.merchant_id,
            connection_id=connection_id,
            subject=things[0] if things else "",
            request_id=getattr(self._request, "request_id", ""),
            peer=self._shown.address,
        )


def _by_kind(need: Need, request: Message) -> Iterator[tuple[Kind, list[str]]]:
    """What the request is about, by kind."""
    found: dict[Kind, list[str]] = {}
    for kind, name in need.named(request):
        found.setdefault(kind, []).append(name)
    yield from found.items()


def _unknown(kind: Kind, name: str) -> TieoutError:
    """What is said of what does not exist."""
    if kind is Kind.CONSENT:
        return ConsentStateError(UNKNOWN_STATE, fault="unknown")
    return NotFoundError(kind, name)


def _credentials(context: _Context) -> Credentials:
    sent = next((value for key, value in context.invocation_metadata() or () if key == "authorization"), "")
    authorization = sent if isinstance(sent, str) else sent.decode("latin-1")
    return Credentials(authorization, _certificate_names(context), _address(context.peer()))


def _certificate_names(context: _Context) -> tuple[str, ...]:
    """The alternative names (URI, DNS) of the caller's certificate, or else its common name."""
    shown = context.auth_context()
    for name in ("x509_subject_alternative_name", "x509_common_name"):
        if values := tuple(value.decode(errors="replace") for value in shown.get(name, ()) if value):
            return values
    return ()


def _address(peer: str) -> str:
    """The address in `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000` or `unix:…`, without the port."""
    kind, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
