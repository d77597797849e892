"""The server's log: one line an event, with the job that it belongs to; as text or as JSON."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Literal, TextIO

import structlog

QUIET = ("alembic", "httpx", "httpcore", "PIL")  # they tell of every request at INFO


def configure_logging(level: str = "INFO", style: Literal["text", "json"] = "text",
                      stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process to one stream.

    Whatever module logs while a job has the device, the line carries its ``job_id`` and ``kind``,
    which ``easel.serving.scheduler`` binds.

    Args:
        level: the least that is logged.
        style: text for people, JSON for machines.
        stream: standard error where None.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "text":  # visitors' texts reach it in messages and errors; JSON escapes them itself
        shared.append(_escape_values)
    ending: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if style == "json":
        ending += [structlog.processors.format_exc_info,
                   structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        ending += [structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=_indented_traceback)]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared,
                                                             processors=ending))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def escape_controls(text: str) -> str:
    """A text on one line, with its control characters and what reorders text written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode()
                   for char in text)


def _escape_values(logger: Any, method: str, event: structlog.typing.EventDict,
                   ) -> structlog.typing.EventDict:
    return {key: escape_controls(value) if isinstance(value, str) else value
            for key, value in event.items()}


def _indented_traceback(stream: TextIO, error: structlog.typing.ExcInfo) -> None:
    """A traceback below its line, no line of which begins as one of the log does."""
    lines = "".join(traceback.format_exception(*error)).splitlines()
    stream.write("".join(f"\n    {escape_controls(line)}" for line in lines))
