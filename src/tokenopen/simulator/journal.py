"""What was received: one JSON line per call in a file, and the last calls with their bytes in memory.

The line is written before the last bytes of the reply leave, so a reply that anybody saw whole is on
file, whoever is killed next. Both are off unless asked for.
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tokenopen.simulator.reply import Reply

RECORDED_CALLS_MAX: Final = 1000


class Journal:
    """The log file at ``log_path``, or None for none; with ``record`` also the last 1,000 calls."""

    def __init__(self, *, log_path: Path | None, record: bool) -> None:
        self._file: int | None = None
        if log_path is not None:
            self._file = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._recorded: deque[dict[str, object]] | None = deque(maxlen=RECORDED_CALLS_MAX) if record else None

    @property
    def logs(self) -> bool:
        """Whether ``log`` writes anything."""
        return self._file is not None

    @property
    def records(self) -> bool:
        """Whether ``record`` keeps anything."""
        return self._recorded is not None

    def log(self, *, request_id: str | None, at_ms: int, reply: Reply | None, outcome: str) -> None:
        """Append one line, in one write; ``reply`` is None for a call that could not be read."""
        if self._file is None:
            return
        line = {
            "request_id": request_id,
            "at_ms": at_ms,
            "model": reply and reply.model,
            "stream": bool(reply and reply.stream),
            "prompt_tokens": reply.prompt_tokens if reply else 0,
            "completion_tokens": reply.completion_tokens if reply else 0,
            "outcome": outcome,
        }
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def record(self, *, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Keep what was received: ``body`` as it came (text, or base64 where it is not UTF-8), and parsed."""
        if self._recorded is None:
            return
        try:
            text: str | None = body.decode()
        except UnicodeDecodeError:
            text = None
        try:
            parsed: object = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            parsed = None
        self._recorded.append(
            {
                "at_ms": time.time_ns() // 1_000_000,
                "method": method,
                "path": path,
                "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers],
                "body": text,
                "body_base64": body if text is None else None,
                "json": parsed,
            }
        )

    def recorded(self, limit: int) -> bytes:
        """Return the last ``limit`` calls as JSON, the newest last."""
        assert self._recorded is not None
        calls = list(self._recorded)[-limit:] if limit else []
        return msgspec.json.encode({"data": calls})

    def forget(self) -> None:
        """Drop what was recorded; the log file stays."""
        assert self._recorded is not None
        self._recorded.clear()
