"""Supervisor: starts the workers of one ``tokenopen serve``, replaces those that die, passes signals on.

It runs no event loop and opens no database. Workers are fresh processes that inherit one listening socket,
so a connection that one of them no longer takes is taken by another.

    SIGTERM, SIGINT   passed on; it ends when all have ended, and kills what has not after a while
    SIGHUP            each worker in turn: a new one is started, and once it is ready the old one hands over
    a worker ends     it is replaced; one that keeps ending before it served is waited for ever longer
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

import structlog

from tokenopen.bootstrap import FirstStart

# Streams may take 30 s to end, and the last charges a moment to be written.
END_MAX_S: Final = 75
PAUSE_MIN_S: Final = 0.1
PAUSE_MAX_S: Final = 3.0
# A worker that has served for so long had no trouble starting.
SOUND_AFTER_S: Final = 2.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    # Where it tells that it is ready, until it has.
    ready_pipe: int
    ready_at_s: float | None = None


@dataclass(eq=False, slots=True)
class _Place:
    """One of the N workers: who serves in it, and who is to take over."""

    worker: _Worker | None = None
    successor: _Worker | None = None
    pause_s: float = PAUSE_MIN_S
    start_at_s: float = 0.0
    # Workers that hand over, and are gone soon.
    leaving: list[_Worker] = field(default_factory=list)

    @property
    def vacant(self) -> bool:
        return self.worker is None and self.successor is None

    @property
    def workers(self) -> list[_Worker]:
        return [worker for worker in (self.worker, self.successor, *self.leaving) if worker is not None]


class Supervisor:
    """Keeps ``workers`` processes serving on an inherited socket.

    ``on_ready`` is called once, when all of them serve, with what a first start tells.
    """

    def __init__(
        self, listener: socket.socket, *, workers: int, on_ready: Callable[[FirstStart | None], None]
    ) -> None:
        self._listener = listener
        self._on_ready = on_ready
        self._places = [_Place() for _ in range(workers)]
        self._selector = selectors.DefaultSelector()
        # Nobody reads from it; workers see it end when this process does.
        self._life = os.pipe()
        self._received, self._wake_up = socket.socketpair()
        # What the workers count is told there; it goes with this process.
        self._meter_directory = TemporaryDirectory(prefix="tokenopen-meter-")
        self._first_start: FirstStart | None = None
        self._greeted = False
        self._served = False
        self._stop_by_s: float | None = None
        # Places whose worker is still to be replaced by a rolling restart, in order.
        self._rolling: list[_Place] = []

    def run(self) -> int:
        """Supervise until told to stop; return the exit code."""
        with self._receiving_signals():
            # The first one alone: it brings the database up to date, and where it cannot start none can.
            self._start(self._places[0])
            while self._stop_by_s is None or any(place.workers for place in self._places):
                self._wait()
                for place in self._places:
                    self._bury(place)
                if self._stop_by_s is None:
                    if not self._served and self._places[0].worker is None:
                        return 1
                    self._start_missing()
                    self._roll_on()
                elif monotonic() > self._stop_by_s:
                    _log.error("workers_killed", after_s=END_MAX_S)
                    self._tell(signal.SIGKILL)
        return 0

    @contextmanager
    def _receiving_signals(self) -> Iterator[None]:
        for end in (self._received, self._wake_up):
            end.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        fd_before = signal.set_wakeup_fd(self._wake_up.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._received, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait(self) -> None:
        """Wait for a signal, a worker that is ready, or the time to do something."""
        due = [place.start_at_s for place in self._places if place.vacant and self._served]
        if self._stop_by_s is not None:
            due = [self._stop_by_s]
        timeout_s = max(0.0, min(due) - monotonic()) if due else None
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                for number in self._received.recv(256):
                    self._receive(number)
            else:
                self._note_ready(*key.data)

    def _receive(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stop_by_s is None:
                self._stop_by_s = monotonic() + END_MAX_S
                # Once the workers have closed theirs, who comes is refused instead of kept waiting.
                self._listener.close()
            self._tell(signal.Signals(number))
        elif number == signal.SIGHUP and self._stop_by_s is None:
            _log.info("rolling_restart", workers=len(self._places))
            self._rolling = list(self._places)

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            for worker in place.workers:
                worker.process.send_signal(number)

    def _start(self, place: _Place, *, successor: bool = False) -> None:
        ready_read, ready_write = os.pipe()
        inherited = (self._listener.fileno(), ready_write, self._life[0])
        process = subprocess.Popen(  # noqa: S603 a module of ours, with numbers
            [
                sys.executable,
                "-m",
                "tokenopen.cli.serve_worker",
                *map(str, inherited),
                self._meter_directory.name,
            ],
            pass_fds=inherited,
            # Ctrl-C is for us; workers are ended in order.
            process_group=0,
        )
        os.close(ready_write)
        worker = _Worker(process, ready_read)
        if successor:
            place.successor = worker
        else:
            place.worker = worker
        self._selector.register(ready_read, selectors.EVENT_READ, (place, worker))

    def _note_ready(self, place: _Place, worker: _Worker) -> None:
        """Read what a worker tells once it is ready; it tells nothing where it ends instead."""
        told = os.read(worker.ready_pipe, 4096)
        self._selector.unregister(worker.ready_pipe)
        os.close(worker.ready_pipe)
        if not told:
            return
        worker.ready_at_s = monotonic()
        self._served = True
        first_start = json.loads(told)
        if first_start is not None:
            self._first_start = FirstStart(**first_start)
        _log.info("worker_ready", process=worker.process.pid)
        if worker is place.successor:
            old, place.worker, place.successor = place.worker, worker, None
            if old is not None:
                place.leaving.append(old)
                old.process.send_signal(signal.SIGHUP)
        if not self._greeted and all(each.worker and each.worker.ready_at_s for each in self._places):
            self._greeted = True
            self._on_ready(self._first_start)

    def _bury(self, place: _Place) -> None:
        """Forget the place's workers that have ended, and say when to start another."""
        for worker in place.workers:
            code = worker.process.poll()
            if code is None:
                continue
            if worker is place.worker:
                place.worker = None
                self._plan_start(place, worker, code)
            elif worker is place.successor:
                place.successor = None
                # What runs goes on running: it is better than what cannot start.
                _log.error("rolling_restart_given_up", process=worker.process.pid, exit_code=code)
                self._rolling.clear()
            else:
                place.leaving.remove(worker)

    def _plan_start(self, place: _Place, worker: _Worker, code: int) -> None:
        now_s = monotonic()
        if worker.ready_at_s is not None and now_s - worker.ready_at_s >= SOUND_AFTER_S:
            place.pause_s = PAUSE_MIN_S
            place.start_at_s = now_s
        else:
            place.start_at_s = now_s + place.pause_s
            place.pause_s = min(2 * place.pause_s, PAUSE_MAX_S)
        if self._stop_by_s is None:
            _log.warning("worker_ended", process=worker.process.pid, exit_code=code)

    def _start_missing(self) -> None:
        if self._served:
            for place in self._places:
                if place.vacant and monotonic() >= place.start_at_s:
                    self._start(place)

    def _roll_on(self) -> None:
        """Replace the next worker, once the one before has left."""
        if any(place.leaving or place.successor for place in self._places):
            return
        while self._rolling:
            place = self._rolling.pop(0)
            if place.worker is not None:
                self._start(place, successor=True)
                return
