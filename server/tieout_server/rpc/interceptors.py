"""What surrounds every call: who may call, whether the request is sound, how errors look, and what the log says.

One wrapper for all of it, made once per method, because each further layer costs every call.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc import aio
from grpc_status import rpc_status

from tieout_server import log
from tieout_server.clock import Clock
from tieout_server.errors import StorageUnavailableError
from tieout_server.rpc import errors, validate
from tieout_server.rpc.callers import HEALTH, Call, Door
from tieout_server.rpc.in_hand import InHand
from tieout_server.rpc.observed import REQUEST_ID, Observation
from tieout_server.rpc.parsing import Garbled, parsing

logger = log.get("rpc")

_Context = aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]  # generic in its stubs only
else:
    _Handler = grpc.RpcMethodHandler
_Behavior = Callable[[Any, _Context], Awaitable[Any]]


class Surround(aio.ServerInterceptor):
    """Authenticates, validates, maps errors and logs, around handlers of every arity."""

    def __init__(self, door: Door, clock: Clock, in_hand: InHand) -> None:
        self._door = door
        self._in_hand = in_hand
        self._clock = clock
        self._wrapped: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """The handler of this method, surrounded; an unknown method is left to grpc."""
        handler = await continuation(details)
        if handler is None:
            return handler  # type: ignore[return-value] # None is grpc's word for a method that nobody serves
        method = details.method
        if method not in self._wrapped:
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        surround = self._streaming if handler.response_streaming else self._unary
        make: Any = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        wrapped: _Handler = make(
            surround(method, behavior),
            request_deserializer=parsing(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _unary(self, method: str, behavior: _Behavior) -> _Behavior:
        async def surrounded(request: Any, context: _Context) -> Any:  # noqa: ANN401 - messages of every method pass
            async with self._call(method, request, context, is_stream=False) as call:
                if not isinstance(request, Message):
                    request = call.each(request)
                with self._in_hand.call():
                    return await call.answer(await behavior(request, context))

        return surrounded

    def _streaming(self, method: str, behavior: Callable[[Any, _Context], Any]) -> _Behavior:
        # A coroutine that writes, never a generator: grpc does not close a handler's generator when a write fails
        # (grpc/grpc#42295), so that its `finally` would run later and elsewhere.
        async def surrounded(request: Any, context: _Context) -> None:  # noqa: ANN401 - messages of every method pass
            async with self._call(method, request, context, is_stream=True) as call:
                answer = behavior(request, context)
                if not inspect.isasyncgen(answer):
                    with self._in_hand.call(is_endless=True):
                        await answer  # writes by itself, as the health service's Watch does
                    return
                with self._in_hand.call():
                    async with aclosing(answer) as messages:
                        async for message in messages:
                            if call.is_to_be_looked_at():
                                await call.look_again()
                            await context.write(await call.answer(message))

        return surrounded

    @asynccontextmanager
    async def _call(self, method: str, request: object, context: _Context, *, is_stream: bool) -> AsyncIterator[Call]:
        with Observation(method, context, is_stream=is_stream) as observation:
            call, raised = self._door.call(method, context), None
            try:
                if not method.startswith(HEALTH):
                    self._in_hand.check_is_open()
                await call.admit(streams=is_stream)
                observation.caller = call.caller
                if isinstance(request, Message | Garbled):
                    validate.check(request)
                if isinstance(request, Message):
                    await call.check(request)
                observation.begins(request)
                yield call
            except asyncio.CancelledError:
                observation.outcome = "CANCELLED"
                raise
            except aio.AbortError:
                observation.outcome = "ABORTED BY HANDLER"
                raise
            except Exception as error:  # noqa: BLE001 - the edge: whatever is raised becomes a status
                observation.outcome, raised = errors.row_of(error).status.name, error
                await self._refuse(await call.error(error), context, observation.request_id)
            finally:
                call.end(observation.outcome, raised)

    async def _refuse(self, error: Exception, context: _Context, request_id: str) -> None:
        """End the call with the status of this error."""
        if errors.row_of(error).status is grpc.StatusCode.INTERNAL:
            logger.error("fault", exc_info=error)
        if isinstance(error, StorageUnavailableError):
            logger.info("the database cannot be used", why=error.why)
        status = rpc_status.to_status(errors.status_of(error, now=self._clock.now(), request_id=request_id))
        named = (*status.trailing_metadata, (REQUEST_ID, request_id))  # what was set before does not outlive an abort
        await context.abort(status.code, status.details, named)


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether the request and the response are streams."""
