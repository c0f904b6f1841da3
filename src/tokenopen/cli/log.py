"""Log: what a process tells while it serves, on stderr.

Imported before anything that logs, so that structlog is imported without what it would bring along.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO, cast


@contextlib.contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Have packages look as if they were not installed."""
    before = {name: sys.modules.get(name) for name in names}
    # None is how Python is told.
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


# It imports both wherever they are, for tracebacks in colour and for greenlets, which no server of ours has:
# 8 MB with all that they import in turn.
with _absent("rich", "greenlet"):
    import structlog


class _BestEffort:
    """A stream on which nothing fails: where the log cannot be written, on a full disk, calls go on without.

    An error would otherwise end whatever was logging, the till among them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logging() -> None:
    """Log to stderr: for people on a terminal, as JSON lines elsewhere."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _BestEffort(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    # It warns of every form that it cannot read: nobody may fill a disk with that.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
