"""What a kernel tells of workers: seen from another process, through a stop and a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tokenopen.ports.presence import SocketPresence, UnknownPresence, find_presence

ANNOUNCE = """
import sys, time
from tokenopen.ports.presence import find_presence
presence = find_presence()
presence.announce(sys.argv[1])
print(presence.machine, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_a_worker_is_gone_once_its_process_has_ended_and_not_while_it_is_stopped() -> None:
    presence = find_presence()
    assert isinstance(presence, SocketPresence)
    worker_id = f"wrk_test_{os.getpid()}"
    assert presence.is_gone(worker_id, presence.machine)
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, worker_id], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == presence.machine
    assert not presence.is_gone(worker_id, presence.machine)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    assert not presence.is_gone(worker_id, presence.machine)
    process.kill()
    process.wait()
    process.stdout.close()
    assert presence.is_gone(worker_id, presence.machine)
    # Of another machine nothing is known.
    assert not presence.is_gone(worker_id, "another boot net:[1]")


def test_a_name_is_held_until_it_is_withdrawn_and_by_one_only() -> None:
    presence = SocketPresence("here")
    name = f"wrk_own_{os.getpid()}"
    presence.announce(name)
    assert not presence.is_gone(name, "here")
    with pytest.raises(OSError, match="in use"):
        SocketPresence("here").announce(name)
    presence.withdraw(name)
    assert presence.is_gone(name, "here")


def test_where_nothing_is_known_nobody_is_gone() -> None:
    assert not UnknownPresence().is_gone("wrk_1", UnknownPresence().machine)
