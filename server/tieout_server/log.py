"""Structured logs: one line per event, for people or for machines, never with a secret."""

import io
import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import Token
from typing import TextIO, cast

import structlog


class _StandardError(io.TextIOBase):
    """Standard error as it is when a line is written: who runs a command within their own process may change it."""

    def write(self, text: str, /) -> int:
        """Write there."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Let nothing wait there."""
        sys.stderr.flush()


_STANDARD_ERROR = _StandardError()


def configure(*, log_format: str, level: str) -> None:
    """Write events of this level and above to standard error in this format; of libraries, warnings and errors."""
    as_json = log_format == "json"
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # A traceback is one string of the line; structlog's dictionaries would hold the values of variables.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _STANDARD_ERROR)),
        cache_logger_on_first_use=True,
    )
    _take_in_libraries(shared, renderer)


def _take_in_libraries(shared: list[structlog.typing.Processor], renderer: structlog.typing.Processor) -> None:
    """Have what asyncio, grpc or aiohttp say through `logging` look like our own lines."""
    lines = logging.StreamHandler(_STANDARD_ERROR)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], _library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, shared[-1], renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)


def _library(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The library that speaks is the subject, as a part of this program is in its own lines."""
    event["subject"] = event["_record"].name
    return event


def get(subject: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one subject."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(subject=subject)
    return logger


def about(**fields: str) -> AbstractContextManager[None]:
    """Have every line that is written within the block, and in tasks begun in it, carry these fields."""
    return structlog.contextvars.bound_contextvars(**fields)


Bound = Mapping[str, Token[object]]
"""Fields that lines carry, to be released."""


def bind(**fields: str) -> Bound:
    """Have every line that is written from now on in this task, and in tasks begun by it, carry these fields."""
    return structlog.contextvars.bind_contextvars(**fields)


def release(bound: Bound) -> None:
    """Have lines carry these fields no longer."""
    structlog.contextvars.reset_contextvars(**bound)
