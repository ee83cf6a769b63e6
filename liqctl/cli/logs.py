"""Logs: structlog and the libraries' own records, in one format, to stderr, without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from liqctl.cli.readers import takes_more
from liqctl.cli.redact import escape, redact
from liqctl.config import log_levels

log = structlog.get_logger(__name__)

TRACE = 5
PATIENCE_MS = 100
LEVELS = {
    "off": logging.CRITICAL + 10,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
CHATTY = (
    "httpx",
    "httpcore",
    "websockets",
    "uvicorn",
)  # httpx logs whole URLs, API keys included, at INFO
_NAMES = {"warning": "warn", "critical": "error", "exception": "error", f"level {TRACE}": "trace"}


def start_logging(levels: str, log_format: str = "auto", *, no_color: bool = False) -> None:
    """Send every log record to stderr from now on; `auto` is console on a terminal, else JSON.

    Raises:
        ValueError: a level has another name.
    """
    by_logger = log_levels(levels)
    on_terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not on_terminal)
    handler = _StderrHandler()
    handler.setFormatter(_formatter(as_json=as_json, colors=on_terminal and not no_color))
    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name, level in by_logger.items():
        logging.getLogger(name or None).setLevel(LEVELS[level])
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_shared(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a second start within one process must reach old loggers
    )


class _StderrHandler(logging.Handler):
    """Writes to what sys.stderr is at the moment: a live view replaces it."""

    def __init__(self) -> None:
        """Start with nothing lost."""
        super().__init__()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a stderr that is gone or stands still must not stop the keeper.

        It is waited for once; then records are lost, and counted, until it takes some again.
        """
        try:
            if not takes_more(sys.stderr, 0 if self._lost else PATIENCE_MS):
                self._lost += 1
                return
            lost, self._lost = self._lost, 0
            if lost:
                log.warning("log_lines_lost", count=lost)
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return


class _Formatter(ProcessorFormatter):
    """The last step for every record, whoever logged it: secrets leave the finished text."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _formatter(*, as_json: bool, colors: bool) -> logging.Formatter:
    render: list[Processor]
    if as_json:
        render = [
            structlog.processors.format_exc_info,
            _escape,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Never rich tracebacks: they show local variables, keys among them.
        console = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
        render = [structlog.processors.format_exc_info, _escape, console]
    return _Formatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared()],
        processors=[ProcessorFormatter.remove_processors_meta, *render],
    )


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _name_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _name_level(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event["level"] = _NAMES.get(event["level"], event["level"])
    return event


def _escape(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Write control characters out: an account's bytes or a node's answer cannot forge a line."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escape(value, keep="\n\t" if key == "exception" else "")
    return event
