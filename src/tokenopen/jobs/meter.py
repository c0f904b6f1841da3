"""Meter files: what the workers of one ``serve`` have counted, so that whichever is asked tells of all.

Each worker writes what it counted into a file of its own every few seconds. Files of workers that have ended
stay: what they counted has happened. The supervisor removes the directory when it ends.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tokenopen.core.meter import Distribution, Reading, Series, add_up

WRITE_METER_S: Final = 2.0


class _File(msgspec.Struct):
    counts: list[tuple[list[str], int]]
    distributions: list[tuple[list[str], list[int], int]]


class MeterFiles:
    """A worker's own count, and those of its siblings in ``directory``; alone without one."""

    def __init__(self, reading: Reading, directory: Path | None = None) -> None:
        self._reading = reading
        self._own = None if directory is None else directory / f"{os.getpid()}-{os.urandom(4).hex()}.json"

    async def write(self) -> None:
        """Let the siblings see what was counted here."""
        if self._own is None:
            return
        reading = self._reading
        content = _File(
            counts=[(list(series), value) for series, value in reading.counts.items()],
            distributions=[
                (list(series), distribution.counts, distribution.sum)
                for series, distribution in reading.distributions.items()
            ],
        )
        new = self._own.with_suffix(".new")
        # Without the directory, or room in it, there is only less to see.
        with contextlib.suppress(OSError):
            new.write_bytes(msgspec.json.encode(content))
            new.replace(self._own)

    def read(self) -> Reading:
        """Return what all of them have counted."""
        return add_up([self._reading, *self._siblings()])

    def _siblings(self) -> Sequence[Reading]:
        if self._own is None:
            return ()
        found = []
        for path in self._own.parent.glob("*.json"):
            if path != self._own:
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    found.append(_reading(msgspec.json.decode(path.read_bytes(), type=_File)))
        return found


def _reading(content: _File) -> Reading:
    reading = Reading()
    for labels, value in content.counts:
        reading.counts[_series(labels)] += value
    for labels, counts, sum_ in content.distributions:
        reading.distributions[_series(labels)] = Distribution(counts, sum_)
    return reading


def _series(labels: list[str]) -> Series:
    return tuple(labels)
