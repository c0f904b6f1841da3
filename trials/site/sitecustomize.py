"""What Python runs before a server of a trial: its clock is moved, and it takes itself for a machine apart.

A trial puts this directory into PYTHONPATH, so that it reaches every process that a server starts, and says
what to change in two variables. The product has no such settings: nobody should run it on a wrong clock.
"""

import os

OFFSET_VARIABLE = "TRIAL_CLOCK_OFFSET_MS"
MACHINE_VARIABLE = "TRIAL_MACHINE"


def _move_clock(offset_ms: int) -> None:
    from tokenopen.ports.clock import SystemClock

    now_ms, monotonic_ms = SystemClock.now_ms, SystemClock.monotonic_ms
    setattr(SystemClock, "now_ms", lambda clock: now_ms(clock) + offset_ms)  # noqa: B010 - mypy
    # Where durations are counted from is another on every machine, too.
    setattr(SystemClock, "monotonic_ms", lambda clock: monotonic_ms(clock) + abs(offset_ms))  # noqa: B010


def _be_machine(name: str) -> None:
    from tokenopen.ports import presence

    find = presence.find_presence

    def find_here() -> presence.Presence:
        found = find()
        found.machine += f" {name}"
        return found

    presence.find_presence = find_here


if OFFSET_VARIABLE in os.environ:
    _move_clock(int(os.environ[OFFSET_VARIABLE]))
if MACHINE_VARIABLE in os.environ:
    _be_machine(os.environ[MACHINE_VARIABLE])
