"""Where a call's time goes: py-spy's samples of the gateway's loop, told apart by phase.

A sample belongs to the first phase in this list that any of its frames is of. What belongs to none is the
loop itself: reading, writing and waking tasks.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

# Parts of what py-spy writes of a frame: function (file:line).
PHASES: Final[Mapping[str, tuple[str, ...]]] = {
    "till: commit": (
        "_commit (",
        "_roll_back (",
    ),
    "till: decide": ("decide_batch (", "rows_concerned ("),
    "till: read and write rows": ("post_batch (",),
    "till: gather and answer": ("gateway/till.py",),
    "settle": ("gateway/settle.py", "_json_outcome (", "read_reply (", "outcome (tokenopen"),
    "write": ("api/connection.py", "api/exchange.py"),
    "stream: read events": ("_stream.py", "upstream/sse.py"),
    "forward": ("gateway/forward.py", "upstream/http1"),
    "parse": ("read_request (", "read_request_body (", "json_body.py"),
    "check": ("gateway/check.py", "gateway/reference.py", "gateway/route.py", "core/caller.py"),
    "resolve": ("caller_key.py", "core/api_key.py", "gateway/directory.py"),
    "protocol": ("http_protocol.py", "httptools_impl.py:1", "httptools_impl.py:2"),
    "other": ("tokenopen/",),
}
LOOP: Final = "loop"
_SAMPLES_PER_S: Final = 200


def find_py_spy() -> str | None:
    """Return the program, from the environment that runs this or from the machine."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def phase_of(frames: str) -> str:
    """Return the phase of a sample's frames, outermost first, joined by semicolons."""
    inside = frames.partition("run_until_complete")[2] or frames.partition("Runner.run")[2]
    for phase, marks in PHASES.items():
        if any(mark in inside for mark in marks):
            return phase
    return LOOP


def profile(pid: int, load: Callable[[], None], *, seconds: float) -> Mapping[str, float]:
    """Return the share of each phase in the loop's time while ``load`` runs, which takes that long."""
    program = find_py_spy()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="tokenopen-profile-") as directory:
        path = Path(directory) / "samples"
        arguments = ["-r", str(_SAMPLES_PER_S), "-d", str(max(1, int(seconds))), "-f", "raw", "-o", str(path)]
        recording = subprocess.Popen(
            [program, "record", "-p", str(pid), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        load()
        recording.wait(timeout=60)
        counts: Counter[str] = Counter()
        for line in path.read_text().splitlines():
            frames, _, count = line.rpartition(" ")
            # Threads that wait for work are no part of it.
            if "_serve_alone" in frames:
                counts[phase_of(frames)] += int(count)
    total = max(1, counts.total())
    return {phase: counts[phase] / total for phase in (*PHASES, LOOP)}
