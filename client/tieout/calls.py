"""Makes the calls of one channel: says who is calling, how long to wait, and raises our errors for gRPC's."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import (
    AioRpcError,
    StreamUnaryMultiCallable,
    UnaryStreamCall,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
)

from tieout.paging import Item, Pages, PageT
from tieout.watch import Message, Patience, resume
from tieout.wire import typed

Request = TypeVar("Request")
Response = TypeVar("Response")
AnyRequest = TypeVar("AnyRequest", bound=ProtoMessage)
ListRequest = TypeVar("ListRequest", bound=ProtoMessage)
WatchRequest = TypeVar("WatchRequest", bound=ProtoMessage)


@dataclass(frozen=True)
class Calls:
    """How every call of a client is made."""

    token: Callable[[], str]
    """The bearer token of now, empty for none: asked at each call, and kept out of what is printed."""
    timeout: timedelta
    """How long a call may take; a watch has no such end."""
    patience: Patience
    """How watches resume."""

    def __repr__(self) -> str:
        return f"Calls(timeout={self.timeout!r}, patience={self.patience!r})"

    async def unary(self, method: UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """One request, one response."""
        try:
            metadata = _metadata(self.token())
            return await method(request, metadata=metadata, timeout=self.timeout.total_seconds())
        except AioRpcError as error:
            raise typed(error) from error

    async def send(
        self, method: StreamUnaryMultiCallable[Request, Response], requests: AsyncIterator[Request]
    ) -> Response:
        """A stream of requests, one response when it has ended. What the requests raise ends the call and is raised."""
        broken: list[Exception] = []

        async def watched() -> AsyncGenerator[Request, None]:
            try:
                async for request in requests:
                    yield request
            except Exception as error:
                broken.append(error)  # gRPC would keep it to itself, and only say that the call was cancelled
                raise

        try:
            return await method(watched(), metadata=_metadata(self.token()))
        except AioRpcError as error:
            raise typed(error) from error
        except asyncio.CancelledError:
            if broken:
                raise broken[0] from None
            raise

    async def stream(
        self, method: UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """One request, a stream of responses that ends by itself and cannot be resumed."""
        call = method(request, metadata=_metadata(self.token()))
        try:
            async for response in call:
                yield response
        except AioRpcError as error:
            raise typed(error) from error
        finally:
            call.cancel()

    def pages(
        self,
        method: UnaryUnaryMultiCallable[ListRequest, PageT],
        request: ListRequest,
        items: Callable[[PageT], Iterable[Item]],
        page_token: str,
    ) -> Pages[PageT, Item]:
        """A list, read from `page_token` on as it is used."""

        async def read(token: str) -> PageT:
            return await self.unary(method, _with(request, page_token=token))

        return Pages(read, items, page_token)

    def watch(
        self,
        method: UnaryStreamMultiCallable[WatchRequest, Message],
        request: WatchRequest,
        after: str,
        until: Callable[[Message], bool] | None = None,
    ) -> AsyncGenerator[Message, None]:
        """A watch that resumes by itself from `after`; see `tieout.watch.resume`."""
        shown = ""

        def open_after(resume_token: str) -> UnaryStreamCall[WatchRequest, Message]:
            nonlocal shown
            shown = self.token()
            # With a token there is nothing to begin from the start, and the service refuses both together.
            begin: dict[str, str | bool] = {"after": resume_token, "from_start": False} if resume_token else {}
            return method(_with(request, **begin), metadata=_metadata(shown))

        return resume(open_after, after, self.patience, until=until, may_identify_anew=lambda: self.token() != shown)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def _with(request: AnyRequest, **fields: str | bool) -> AnyRequest:
    """A copy of the request with some fields set; those that it does not have are left out where they are zero."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name, value in fields.items():
        if value or name in copy.DESCRIPTOR.fields_by_name:
            setattr(copy, name, value)
    return copy


def instant(at: datetime | None) -> Timestamp | None:
    """The instant as the API wants it.

    Raises:
        ValueError: it has no time zone.
    """
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone: an instant needs one, e.g. datetime.now(UTC)")
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
