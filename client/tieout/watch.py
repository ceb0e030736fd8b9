"""Watches that resume by themselves: a broken stream is opened again behind the last message that arrived."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from grpc import StatusCode
from grpc.aio import AioRpcError, UnaryStreamCall

from tieout.errors import CallerUnauthenticatedError, TieoutError, TryAgainError, UnreachableError
from tieout.wire import typed


class Resumable(Protocol):
    """A message of any watch."""

    @property
    def resume_token(self) -> str:
        """Where to go on after it."""
        ...


Message = TypeVar("Message", bound=Resumable)
Opened = TypeVar("Opened")

# What the transport says when a stream was cut rather than answered; such a status carries no reason of ours.
_CUT = ("RST_STREAM", "Stream removed", "GOAWAY", "Socket closed", "Connection reset")


@dataclass(frozen=True)
class Patience:
    """How a watch deals with a server that is away."""

    first_pause: timedelta = timedelta(milliseconds=200)
    """Before the first attempt to resume; doubled before each further one."""
    longest_pause: timedelta = timedelta(seconds=20)
    """No pause is longer, unless the server asks for it."""
    silence: timedelta = timedelta(seconds=45)
    """A stream that says nothing for so long is taken for dead: a heartbeat comes every 15 seconds."""
    attempts: int | None = None
    """How many attempts in a row may fail before the failure is raised. None: it is tried for ever."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """How to pause, in seconds."""
    resumed: Callable[[], None] = lambda: None
    """Called when the first message arrives after a failure."""

    def pause(self, failures: int, error: TieoutError) -> float:
        """Seconds to wait after so many failures in a row: jittered, so that not all watches return at once.

        The jitter comes on top of what the server asks for: it asks all that it sends away for the same.
        """
        doubled = self.first_pause.total_seconds() * 2.0 ** min(failures - 1, 30)
        capped = min(doubled, self.longest_pause.total_seconds())
        # Only an error with a reason comes from the service; on all others `retry_after` is a default.
        asked = error.retry_after.total_seconds() if error.reason and error.retry_after else 0.0
        return asked + capped * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


async def resume(
    open_after: Callable[[str], UnaryStreamCall[Opened, Message]],
    after: str,
    patience: Patience,
    *,
    until: Callable[[Message], bool] | None = None,
    may_identify_anew: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[Message, None]:
    """Every message of a watch, over as many streams as that takes, until `until` holds for one.

    `open_after` opens the stream behind a token, or at its beginning with an empty one. A stream that broke or fell
    silent is opened again with the last token, and so is one that its server ended, unless `until` says that the watch
    has an end. A status that says that somebody has to do something is raised, OUT_OF_RANGE as
    `ResumeTokenTooOldError`; but one that no longer knows who is calling is not where the caller `may_identify_anew`.
    Leaving the iteration, or cancelling it, ends the stream.

    Raises:
        TieoutError: the watch was refused, or `patience.attempts` attempts in a row failed.
    """
    failures = 0
    while True:
        try:
            async with aclosing(_messages(open_after(after), patience.silence)) as messages:
                async for message in messages:
                    if failures:
                        patience.resumed()
                    failures, after = 0, message.resume_token or after
                    yield message
                    if until and until(message):
                        return
            if until:
                return
            error: TieoutError = UnreachableError("The server ended the stream.")
        except AioRpcError as broken:
            error = typed(broken)
            is_stranger = isinstance(error, CallerUnauthenticatedError)
            if not resumable(broken, error) and not (is_stranger and may_identify_anew()):
                raise error from broken
        except TimeoutError:
            error = UnreachableError("The stream fell silent.")
        failures += 1
        if patience.attempts is not None and failures >= patience.attempts:
            raise error
        await patience.sleep(patience.pause(failures, error))


def resumable(broken: AioRpcError, error: TieoutError) -> bool:
    """Whether the stream was only interrupted: nobody has to do anything, and the same watch is welcome again."""
    if error.reason:
        return isinstance(error, TryAgainError)
    if broken.code() in {StatusCode.INTERNAL, StatusCode.UNKNOWN}:
        return any(sign in (broken.details() or "") for sign in _CUT)
    return broken.code() in {StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED}


async def _messages(call: UnaryStreamCall[Opened, Message], silence: timedelta) -> AsyncGenerator[Message, None]:
    """The messages of one stream; `TimeoutError` when it falls silent. The stream is ended on every way out."""
    stream: AsyncIterator[Message] = aiter(call)
    try:
        while True:
            async with asyncio.timeout(silence.total_seconds()):
                message = await anext(stream, None)
            if message is None:
                return
            yield message
    finally:
        call.cancel()
