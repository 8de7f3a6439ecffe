"""Structured logs on stderr: a console for people, JSON lines for machines; a decision not to act is logged once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from typing import Literal

import structlog

Logger = structlog.typing.FilteringBoundLogger


class _Stderr:
    """Looks up sys.stderr at every write, so that lines appear above a progress bar and not in it."""

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
    """Remembers what was logged about each duty, so that the same reason is logged once and not at every tick."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._last: dict[str, str] = {}

    def say(self, key: str, decision: str, reason: str, **fields: object) -> None:
        """Log `decision` about `key` with its reason, unless that was the last one logged about it."""
        text = f"{decision}: {reason}"
        if self._last.get(key) != text:
            self._last[key] = text
            self._logger.info(decision, reason=reason, **fields)

    def forget(self, key: str) -> None:
        """Forget the decision about `key`: the next one is logged even if it is the same."""
        self._last.pop(key, None)

    def retain(self, keys: Collection[str]) -> None:
        """Forget the decisions about everything but `keys`."""
        self._last = {key: text for key, text in self._last.items() if key in keys}
