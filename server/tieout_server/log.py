"""Structured logs: one line per event, for people or for machines, never with a secret."""

import logging
import sys

import structlog


def configure(*, log_format: str, level: str) -> None:
    """Write events of this level and above to standard error in this format."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def get(subject: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of one subject."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(subject=subject)
    return logger
