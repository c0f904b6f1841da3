"""Real exchanges with providers, which lie beside the project and are not part of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2].parent / "shared" / "recordings" / "providers.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One exchange: what was asked, and what came back."""

    id: str
    path: str
    request: dict[str, Any]
    status: int
    is_stream: bool
    body: bytes


@cache
def load_recordings() -> Sequence[Recording]:
    """Return every recording; the test is skipped, and says so, where there are none."""
    if not PATH.exists():
        pytest.skip(f"no recordings at {PATH}")
    rows = [json.loads(line) for line in PATH.read_text().splitlines()]
    return [
        Recording(
            id=row["id"],
            path=row["path"],
            request=row["request"],
            status=row["status"],
            is_stream=row["content_type"].startswith("text/event-stream"),
            body=row["body"].encode(),
        )
        for row in rows
    ]


def recordings_at(*path_ends: str) -> Sequence[Recording]:
    """Return the recordings whose path ends with one of these."""
    return [recording for recording in load_recordings() if recording.path.endswith(path_ends)]
