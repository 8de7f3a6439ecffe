"""Structured logs on stderr: a console for people, JSON lines for machines; decisions not to act are said once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from typing import Literal

import structlog

Logger = structlog.typing.FilteringBoundLogger


class _Stderr:
    """Looks up sys.stderr at every write, so that a progress bar can move out of the way."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(style: Literal["auto", "json", "console"], level: str) -> Logger:
    """Set up structlog for the process and return its root logger."""
    people = sys.stderr.isatty() if style == "auto" else style == "console"
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    processors.append(
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger()
    return logger


class Decisions:
    """Remembers what was said about each duty, so that the same reason is logged once and not every tick."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._said: dict[str, str] = {}

    def say(self, key: str, decision: str, reason: str, **fields: object) -> None:
        """Log `decision` about `key` with its reason, unless that was the last thing said about it."""
        text = f"{decision}: {reason}"
        if self._said.get(key) != text:
            self._said[key] = text
            self._logger.info(decision, reason=reason, **fields)

    def forget(self, key: str) -> None:
        """The duty went on: the next reason is news again."""
        self._said.pop(key, None)

    def retain(self, keys: Collection[str]) -> None:
        """Forget everything but `keys`: what is no duty any more needs no memory."""
        self._said = {key: text for key, text in self._said.items() if key in keys}
