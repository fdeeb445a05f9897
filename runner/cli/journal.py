"""The process's log: one JSON object a line on stderr, with whatever the caller said about it.

A line of a run's work carries its Route, run, job, attempt and step: who handles a message binds them, and
whatever is called in between knows nothing of it.
"""

import logging
import sys
from typing import Any

import structlog

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
# Said at every request or message by the libraries underneath.
CHATTY = ("uvicorn", "uvicorn.error", "celery", "kombu", "amqp", "httpx2", "httpcore2", "docker", "urllib3")


def keep_journal(verbose: int) -> None:
    """Log warnings and worse; with one `--verbose` also what happens, with two everything.

    Ours are a level more talkative than the libraries'.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    level = LEVELS[min(verbose, len(LEVELS) - 1)]
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(LEVELS[max(0, min(verbose, len(LEVELS)) - 1)])
