"""Commands of TokenOpen as processes, which tests fork from one that has imported TokenOpen already.

A new interpreter takes longer to import a platform than most tests take, and tests start hundreds. What is
forked is a process like any other, with arguments, environment, files and signals of its own; only the
interpreter's start is left out. Trials begin from that, as do the tests of a first start and of the demo.

``python -m tests.e2e.command N`` is the process that forks, told by messages on the socket N.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

ROOT: Final = Path(__file__).parents[2]
_MESSAGE_BYTES_MAX: Final = 1 << 17


class Command(Protocol):
    """A command that runs; ``wait`` returns its exit code, or a signal's number as a negative one, and raises
    subprocess.TimeoutExpired."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, number: int) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class _Forked:
    """A command that was forked; its end is told by a line on a pipe."""

    def __init__(self, arguments: Sequence[str], told: int) -> None:
        self._arguments = arguments
        self._told = told
        # Closed with the last reference: several threads may wait for one command.
        weakref.finalize(self, os.close, told)
        self._lock = threading.Lock()
        self._code: int | None = None
        self.pid = _read_line(told)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self._arguments), timeout or 0)
            with self._lock:
                if self._code is None:
                    self._code = _read_line(self._told)
        return self._code


def _read_line(descriptor: int) -> int:
    """Return the number on a line, which is written at once."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        assert byte, "the process that forks is gone"
        line += byte
    return int(line)


class Forking:
    """The process that forks, started when the first command is."""

    def __init__(self) -> None:
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, stdout: int, stderr: int
    ) -> Command:
        """Start a command with these descriptors as its output, as ``execute`` does."""
        if _interpreter_variables(environment) != _interpreter_variables(os.environ):
            return execute(arguments, environment, stdout=stdout, stderr=stderr)
        if self._ours is None:
            self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.e2e.command", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd=ROOT,
                )
        told, tells = os.pipe()
        wish = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": os.getcwd(),
            "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
            "cores": sorted(os.sched_getaffinity(0)),
        }
        socket.send_fds(self._ours, [json.dumps(wish).encode()], [stdout, stderr, tells])
        os.close(tells)
        return _Forked(arguments, told)

    def close(self) -> None:
        """End the process that forks."""
        if self._ours is not None and self._process is not None:
            self._ours.close()
            self._process.wait()
            self._ours = None


def _interpreter_variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return what an interpreter looks at when it starts, such as where a trial's clock is."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


def execute(arguments: Sequence[str], environment: Mapping[str, str], *, stdout: int, stderr: int) -> Command:
    """Start a command in an interpreter of its own, as its users do."""
    return subprocess.Popen(
        [sys.executable, "-m", "tokenopen.cli.main", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


def _import_all() -> None:
    from tokenopen.cli.main import COMMANDS

    for place in COMMANDS.values():
        importlib.import_module(place.partition(":")[0])


def _serve_forks(requests: socket.socket) -> dict[str, Any] | None:
    """Fork until nobody asks for it any more. Returns None then, and in each child what it is to become."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    tells: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_ends(tells)
        if requests not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_BYTES_MAX, 3)
        if not message:
            return None
        stdout, stderr, tell = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            for descriptor in (*descriptors, *tells.values()):
                os.close(descriptor)
            for each in (requests, woken, wakes):
                each.close()
            wish: dict[str, Any] = json.loads(message)
            return wish
        os.write(tell, f"{pid}\n".encode())
        tells[pid] = tell
        os.close(stdout)
        os.close(stderr)


def _tell_ends(tells: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            tell = tells.pop(pid)
            # Whoever started it may not wait for it.
            with contextlib.suppress(BrokenPipeError):
                os.write(tell, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(tell)


def _run(arguments: Sequence[str]) -> None:
    global _exit_code
    from tokenopen.cli.main import main

    sys.argv = ["tokenopen", *arguments]
    _exit_code = 1
    try:
        main()
        _exit_code = 0
    except SystemExit as end:
        _exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def _main() -> None:
    _import_all()
    wish = _serve_forks(socket.socket(fileno=int(sys.argv[1])))
    if wish is not None:
        os.environ.clear()
        os.environ.update(wish["environment"])
        os.chdir(wish["directory"])
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(wish["descriptors"]))
        os.sched_setaffinity(0, wish["cores"])
        _run(wish["arguments"])


_exit_code = 0


def _leave() -> None:
    """End here, after threads and all that is to be done at an exit. To take down what was imported as well
    would write to every page of it, which until then is shared."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_exit_code)


if __name__ == "__main__":
    # What is registered first is done last.
    atexit.register(_leave)
    _main()
