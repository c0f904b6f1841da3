"""What the kernel says of processes: their children, and the CPU time that they took."""

import contextlib
import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not been buried."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of all that it has started, also of those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        # A child that has ended meanwhile; its time is its parent's from then on.
        return 0.0
    # From the third field on: utime, stime, cutime and cstime are fields 14 to 17.
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S + sum(map(cpu_s, children_of(pid)))


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def memory_kib(pid: int) -> int:
    """Return how much memory of its own a process has in use (its resident set)."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")
    ]
    return int(line.split()[1])


def open_descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def run_ns(pid: int) -> int:
    """Return how long the threads that a process has now have run, in ns."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def children_cpu_ms(pid: int) -> float:
    """Return the CPU that a process's children have used, in ms, to the scheduler's own precision."""
    used_ns = 0
    for child in children_of(pid):
        # One that ended meanwhile has used nothing since.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            used_ns += run_ns(child)
    return used_ns / 1e6
